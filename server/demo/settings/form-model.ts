// What a form for the settings looks like, read out of their JSON Schema: fields with a control each, in groups. Pure; knows
// no DOM, draws nothing and validates nothing.
import { isJsonObject, pointerToken, type Json, type JsonObject } from '../../../client-sdk/protocol/json.js';

/** How a setting is changed. `choice` picks from a list (which may be open to others), `json` takes anything as text. */
export type Control = 'choice' | 'toggle' | 'slider' | 'number' | 'text' | 'textarea' | 'tags' | 'json';

/** One setting of the form. Limits are the schema's own; those that it does not name are absent. */
export interface Field {
  /** JSON Pointer into the settings. */
  readonly path: string;
  /** The same as a list of keys. */
  readonly keys: readonly string[];
  readonly title: string;
  readonly description?: string;
  readonly control: Control;
  /** JSON types that the schema takes; empty: any. */
  readonly types: readonly string[];
  /** Values to choose from. */
  readonly choices?: readonly Choice[];
  /** Whether values beside `choices` are taken too. */
  readonly isOpen: boolean;
  /** Whether the setting may be absent. */
  readonly isOptional: boolean;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly multipleOf?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly pattern?: string;
  readonly maxItems?: number;
}

export interface Choice {
  readonly value: Json;
  readonly title: string;
}

export interface FieldGroup {
  /** The schema's `x-group`, or `general`. */
  readonly name: string;
  readonly title: string;
  readonly fields: readonly Field[];
}

/** Objects in objects that a form follows; what is deeper is shown as JSON. */
const FORM_DEPTH_MAX = 6;
/** References that are followed for one field. */
const REFERENCES_MAX = 16;
/** A text that may be longer than this gets several lines. */
const TEXT_CHARS_MAX = 400;
/** A range of whole numbers wider than this is typed, not dragged. */
const SLIDER_STEPS_MAX = 200;
const GENERAL = 'general';

/**
 * The form of a settings schema: groups in the order in which the schema first names them. Nested objects with known members
 * are taken apart; `$ref` to a place in the schema, and `allOf`, are followed.
 */
export function formOf(schema: JsonObject): FieldGroup[] {
  const fields = new Map<string, Field[]>();
  collect(schema, schema, [], GENERAL, fields);
  return [...fields].map(([name, list]) => ({ name, title: humanized(name), fields: list }));
}

/** A field for each member of the settings that the form does not have: shown as JSON. */
export function unknownFields(groups: readonly FieldGroup[], settings: JsonObject): Field[] {
  const known = new Set(groups.flatMap(({ fields }) => fields.map(({ path }) => path)));
  const found: Field[] = [];
  const look = (value: JsonObject, keys: readonly string[]) => {
    for (const [key, member] of Object.entries(value)) {
      const at = [...keys, key];
      const path = pointerOf(at);
      if (member === undefined || known.has(path)) continue;
      const hasKnown = [...known].some((other) => other.startsWith(`${path}/`));
      if (hasKnown && isJsonObject(member)) look(member, at);
      else found.push({ ...jsonField(at), title: at.join(' › ') });
    }
  };
  look(settings, []);
  return found;
}

/** The control for a field as it is now: one that cannot show the value gives way to JSON. */
export function controlFor(field: Field, value: Json | undefined): Control {
  if (value === undefined || value === null) return field.control;
  switch (field.control) {
    case 'toggle':
      return typeof value === 'boolean' ? 'toggle' : 'json';
    case 'slider':
    case 'number':
      return typeof value === 'number' ? field.control : 'json';
    case 'text':
    case 'textarea':
      return typeof value === 'string' ? field.control : 'json';
    case 'choice':
      return typeof value === 'object' ? 'json' : 'choice';
    case 'tags':
      return typeof value === 'string' || isTextList(value) ? 'tags' : 'json';
    case 'json':
      return 'json';
  }
}

/** How far one step of a slider goes: about a hundredth of the range, and a power of ten. */
export function stepOf(field: Field): number {
  if (field.multipleOf !== undefined) return field.multipleOf;
  if (!field.types.includes('number')) return 1;
  const range = (field.maximum ?? 1) - (field.minimum ?? 0);
  return range > 0 ? 10 ** Math.floor(Math.log10(range / 50)) : 1;
}

/** The value at a list of keys, or undefined where there is none. */
export function valueAt(settings: Json | undefined, keys: readonly string[]): Json | undefined {
  return keys.reduce<Json | undefined>(
    (value, key) => (isJsonObject(value) && Object.hasOwn(value, key) ? value[key] : undefined),
    settings,
  );
}

export function pointerOf(keys: readonly string[]): string {
  return keys.map((key) => `/${pointerToken(key)}`).join('');
}

/** A value as one would write it: texts as they are, everything else as JSON. */
export function plainText(value: Json): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

export function isTextList(value: Json | undefined): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}

function collect(
  root: JsonObject,
  node: JsonObject,
  keys: readonly string[],
  group: string,
  into: Map<string, Field[]>,
): void {
  const required = isTextList(node['required']) ? node['required'] : [];
  for (const part of listOf(node['allOf'])) {
    if (isJsonObject(part)) collect(root, resolved(root, part), keys, group, into);
  }
  for (const [key, raw] of Object.entries(isJsonObject(node['properties']) ? node['properties'] : {})) {
    if (!isJsonObject(raw)) continue;
    const member = resolved(root, raw);
    const at = [...keys, key];
    const itsGroup = typeof member['x-group'] === 'string' ? member['x-group'] : group;
    const parts = isJsonObject(member['properties']) && at.length < FORM_DEPTH_MAX;
    if (parts) {
      // Members of a nested object stand under its own name, unless the schema says where.
      collect(root, member, at, typeof member['x-group'] === 'string' ? itsGroup : key, into);
      continue;
    }
    const list = into.get(itsGroup) ?? [];
    if (list.some(({ path }) => path === pointerOf(at))) continue;
    list.push(fieldOf(at, member, !required.includes(key)));
    into.set(itsGroup, list);
  }
}

/** A schema node with what its local references say beneath it. */
function resolved(root: JsonObject, node: JsonObject): JsonObject {
  let result = node;
  for (let count = 0; count < REFERENCES_MAX && typeof result['$ref'] === 'string'; count += 1) {
    const { $ref, ...own } = result;
    const target = referenced(root, $ref as string);
    if (!isJsonObject(target)) return own;
    result = { ...target, ...own };
  }
  return result;
}

function referenced(root: JsonObject, reference: string): Json | undefined {
  if (!reference.startsWith('#')) return undefined;
  const tokens = decodeURIComponent(reference.slice(1)).split('/').slice(1);
  const keys = tokens.map((token) => token.replaceAll('~1', '/').replaceAll('~0', '~'));
  return valueAt(root, keys);
}

function fieldOf(keys: readonly string[], node: JsonObject, isOptional: boolean): Field {
  const types = listOf(node['type']).filter((type) => typeof type === 'string');
  const { choices, isOpen } = choicesOf(node);
  const numbers = ['minimum', 'maximum', 'multipleOf', 'minLength', 'maxLength', 'maxItems'] as const;
  const limits = Object.fromEntries(numbers.filter((n) => typeof node[n] === 'number').map((n) => [n, node[n]]));
  const field: Omit<Field, 'control'> = {
    path: pointerOf(keys),
    keys,
    title: typeof node['title'] === 'string' ? node['title'] : humanized(keys.at(-1) ?? ''),
    ...(typeof node['description'] === 'string' && { description: node['description'] }),
    types,
    ...(choices && { choices }),
    isOpen,
    isOptional,
    ...(limits as Partial<Record<(typeof numbers)[number], number>>),
    ...(typeof node['pattern'] === 'string' && { pattern: node['pattern'] }),
  };
  return { ...field, control: controlOf(field, node) };
}

/** A list of values to choose from: `enum` and `oneOf` with `const` are closed, `examples` are open. */
function choicesOf(node: JsonObject): { choices?: Choice[]; isOpen: boolean } {
  const constants = [...listOf(node['oneOf']), ...listOf(node['anyOf'])].filter(isJsonObject);
  if (constants.length > 0 && constants.every((part) => part['const'] !== undefined)) {
    const choices = constants.map((part) => choice(part['const'] as Json, part['title']));
    return { choices: choices.filter(({ value }) => value !== null), isOpen: false };
  }
  const isOpen = !Array.isArray(node['enum']);
  const values = listOf(isOpen ? node['examples'] : node['enum']);
  const choices = values.filter((value) => value !== null).map((value) => choice(value));
  return choices.length > 0 ? { choices, isOpen } : { isOpen: true };
}

function choice(value: Json, title?: Json): Choice {
  if (typeof title === 'string') return { value, title };
  if (typeof value === 'boolean') return { value, title: value ? 'Yes' : 'No' };
  return { value, title: plainText(value) };
}

function controlOf(field: Omit<Field, 'control'>, node: JsonObject): Control {
  const asked = node['x-control'];
  const takes = (type: string) => field.types.includes(type);
  const isBounded = field.minimum !== undefined && field.maximum !== undefined;
  if (takes('array')) return takesTextItems(node) ? 'tags' : 'json';
  if (field.choices?.every(({ value }) => typeof value !== 'object')) return 'choice';
  // The schema's author names first what is meant most: a switch that may also be a word begins as a switch.
  if (field.types[0] === 'boolean') return 'toggle';
  if (takes('number') || takes('integer')) {
    if (!isBounded) return 'number';
    const steps = field.maximum! - field.minimum!;
    return asked === 'slider' || (takes('number') && asked === undefined) || steps <= SLIDER_STEPS_MAX
      ? 'slider'
      : 'number';
  }
  if (takes('string')) {
    return asked === 'textarea' || (field.maxLength ?? 0) > TEXT_CHARS_MAX ? 'textarea' : 'text';
  }
  return 'json';
}

function takesTextItems(node: JsonObject): boolean {
  if (node['items'] === undefined) return true;
  return isJsonObject(node['items']) && listOf(node['items']['type']).includes('string');
}

function jsonField(keys: readonly string[]): Field {
  const title = humanized(keys.at(-1) ?? '');
  return { path: pointerOf(keys), keys, title, control: 'json', types: [], isOpen: true, isOptional: true };
}

function listOf(value: Json | undefined): Json[] {
  if (value === undefined) return [];
  return Array.isArray(value) ? value : [value];
}

/** `max_tokens` → `Max tokens`. */
function humanized(key: string): string {
  const words = key
    .replaceAll(/[_-]+/g, ' ')
    .replaceAll(/([a-z])([A-Z])/g, '$1 $2')
    .trim()
    .toLowerCase();
  return words.charAt(0).toUpperCase() + words.slice(1);
}
