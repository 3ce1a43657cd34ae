// Whether a value may be what a field holds, in words for people. Pure. It spares a round trip for what a form can know; the
// server's word is the last one.
import type { Json } from '../../../client-sdk/protocol/json.js';
import type { Field } from './form-model.js';

/** Why a value cannot be taken, as a sentence, or undefined where nothing is known against it. */
export function problemWith(field: Field, value: Json): string | undefined {
  if (typeof value === 'number') return numberProblem(field, value);
  if (typeof value === 'string') return textProblem(field, value);
  if (Array.isArray(value)) {
    const { maxItems } = field;
    return maxItems !== undefined && value.length > maxItems ? `Takes at most ${maxItems} entries.` : undefined;
  }
  return undefined;
}

/** What was typed into a number field: its value, undefined for nothing, or what is wrong with it. */
export function readNumber(field: Field, text: string): { value?: number; problem?: string } {
  if (text.trim() === '') return field.isOptional ? {} : { problem: 'A number is needed here.' };
  const value = Number(text.trim().replace(',', '.'));
  if (!Number.isFinite(value)) return { problem: 'This is not a number.' };
  const problem = problemWith(field, value);
  return problem === undefined ? { value } : { problem };
}

/** What was typed as JSON: its value, undefined for nothing, or where it ends to be JSON. */
export function readJson(field: Field, text: string): { value?: Json; problem?: string } {
  if (text.trim() === '') return field.isOptional ? {} : { problem: 'A value is needed here.' };
  try {
    const value = JSON.parse(text) as Json;
    const problem = problemWith(field, value);
    return problem === undefined ? { value } : { problem };
  } catch {
    return { problem: 'This is not JSON. Text needs quotes: "like this".' };
  }
}

function numberProblem(field: Field, value: number): string | undefined {
  const { minimum, maximum, multipleOf, types } = field;
  if (types.includes('integer') && !types.includes('number') && !Number.isInteger(value)) {
    return 'Must be a whole number.';
  }
  const isBelow = minimum !== undefined && value < minimum;
  const isAbove = maximum !== undefined && value > maximum;
  if ((isBelow || isAbove) && minimum !== undefined && maximum !== undefined) {
    return `Must be from ${minimum} to ${maximum}.`;
  }
  if (isBelow) return `Must be at least ${minimum}.`;
  if (isAbove) return `Must be at most ${maximum}.`;
  if (multipleOf !== undefined && !isMultiple(value, multipleOf)) return `Must be a multiple of ${multipleOf}.`;
  return undefined;
}

/** 0.3 is a multiple of 0.1, whatever floating point says. */
function isMultiple(value: number, of: number): boolean {
  const times = value / of;
  return Math.abs(times - Math.round(times)) < 1e-9 * Math.max(1, Math.abs(times));
}

function textProblem(field: Field, value: string): string | undefined {
  const { minLength = 0, maxLength = Infinity, pattern, choices, isOpen } = field;
  // The schema counts characters, not UTF-16 units.
  const length = Array.from(value).length;
  if (length < minLength) return minLength === 1 ? 'Must not be empty.' : `Takes at least ${minLength} characters.`;
  if (length > maxLength) return `Takes at most ${maxLength} characters; this has ${length}.`;
  if (!isOpen && choices && !choices.some((choice) => choice.value === value)) {
    return `Must be one of ${choices.map(({ title }) => title).join(', ')}.`;
  }
  if (pattern !== undefined && !matches(pattern, value)) return `Must match ${pattern}.`;
  return undefined;
}

function matches(pattern: string, value: string): boolean {
  try {
    return new RegExp(pattern, 'u').test(value);
  } catch {
    return true; // the server's engine knows a pattern that this one does not: let it decide
  }
}
