// Who is who: names, colours and initials of people and bots, and how a client's id carries them. Pure; keeps nothing.
import type { Author } from '../../client-sdk/protocol/messages.js';
import { isJsonObject, type Json } from '../../client-sdk/protocol/json.js';

/** One person as others see them. `color` is #rrggbb. */
export interface Person {
  readonly name: string;
  readonly color: string;
}

/** What a tab shows of itself: who, and the setting (a JSON Pointer) that is being edited. */
export interface PresenceState extends Person {
  readonly editing?: string;
}

/** Colours that are told apart on light and dark ground and carry white text. */
export const colors = [
  { value: '#0b6e99', name: 'Blue' },
  { value: '#7a4fb5', name: 'Violet' },
  { value: '#b0416b', name: 'Rose' },
  { value: '#b1481f', name: 'Orange' },
  { value: '#876100', name: 'Ochre' },
  { value: '#3f7a2a', name: 'Green' },
  { value: '#0d6b5d', name: 'Teal' },
  { value: '#4556b8', name: 'Indigo' },
] as const;
/** Bots look alike, and like no person. */
const BOT_COLOR = '#4c5a66';
/** Characters of a name. */
export const NAME_CHARS_MAX = 40;

const birds = ['Heron', 'Wren', 'Plover', 'Swift', 'Lark', 'Curlew', 'Finch', 'Tern', 'Avocet', 'Dunlin', 'Siskin'];

/** Somebody new, by chance. */
export function newPerson(random: () => number): Person {
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)] as T;
  return { name: `Guest ${pick(birds)}`, color: pick(colors).value };
}

/** `Ada King Lovelace` → `AL`; the first character of names without letters. */
export function initials(name: string): string {
  const words = name.split(/[\s._-]+/).filter((word) => word !== '');
  // By code points: half of an emoji is nothing to show.
  const begin = (word: string) => Array.from(word)[0] ?? '';
  return (begin(words[0] ?? '?') + (words.length > 1 ? begin(words.at(-1) ?? '') : '')).toUpperCase();
}

/**
 * A client's id that tells who it is, so that what a tab did can be shown with its name when it is long gone: without tokens
 * the server knows nobody's name. `unique` sets it apart from others.
 */
export function clientIdOf({ name, color }: Person, unique: string): string {
  return `${name.slice(0, NAME_CHARS_MAX).toWellFormed().replaceAll('|', '/')}|${color.slice(1)}|${unique}`;
}

/** Who an author is: as the server names them, else as their client's id tells, else by kind. Colours of strangers are made of their id. */
export function personOf({ clientId, kind, name }: Author): Person {
  const [, told, color] = /^([^|]{1,40})\|([0-9a-f]{6})\|/.exec(clientId) ?? [];
  const fallback = clientId === 'http' ? 'HTTP' : kind === 'tab' ? `Tab ${clientId.slice(0, 6)}` : clientId;
  return {
    name: name ?? told ?? fallback,
    color: color ? `#${color}` : kind === 'bot' ? BOT_COLOR : colorOf(clientId),
  };
}

/** What a participant shows of itself, as far as it is what this page shows; anyone may show anything. */
export function presenceOf(author: Author, state: Json | undefined): PresenceState {
  const person = personOf(author);
  if (!isJsonObject(state)) return person;
  const { name, color, editing } = state;
  return {
    name: typeof name === 'string' && name.trim() !== '' ? name.slice(0, NAME_CHARS_MAX) : person.name,
    color: typeof color === 'string' && /^#[0-9a-f]{6}$/i.test(color) ? color : person.color,
    ...(typeof editing === 'string' && { editing }),
  };
}

/** Black or white, whichever can be read on a colour (#rrggbb). */
export function inkOn(color: string): '#000000' | '#ffffff' {
  const channels = [1, 3, 5].map((at) => Number.parseInt(color.slice(at, at + 2), 16) / 255);
  const [r = 0, g = 0, b = 0] = channels.map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? '#000000' : '#ffffff';
}

function colorOf(id: string): string {
  let hash = 0;
  for (const character of id) hash = (hash * 31 + (character.codePointAt(0) ?? 0)) >>> 0;
  return colors[hash % colors.length]?.value ?? colors[0].value;
}
