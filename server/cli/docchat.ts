// The shape in which the Python application "docchat" saved a session, and the session line of import and export:
// one into the other, both ways. Pure; it judges shapes only, never ids, roles or sizes (the server does).

/** Any JSON object. */
export type JsonRecord = Record<string, unknown>;

/** A message of a session line. What is left out is given by the server. */
export interface MessageLine {
  id?: string;
  role: unknown;
  content: unknown;
  /** ISO 8601 with a zone, in the precision it was given. */
  timestamp?: string;
  status?: string;
  metadata?: JsonRecord;
  references?: unknown[];
}

/** One session with its messages, oldest first, as one line of an import. */
export interface SessionLine {
  id: unknown;
  settings?: JsonRecord;
  title?: string;
  metadata?: JsonRecord;
  /** ISO 8601, UTC, milliseconds. */
  createdAt?: string;
  updatedAt?: string;
  messages: MessageLine[];
}

/** A session file of docchat. Times are ISO 8601 without a zone and mean UTC. */
export interface DocchatSession {
  session_id: string;
  created_at?: string;
  updated_at?: string;
  settings: JsonRecord;
  messages: JsonRecord[];
  title?: string;
  metadata?: JsonRecord;
}

/** A value that is not of the shape it should have; the message is the reason to show. */
export class ShapeError extends Error {}

const SESSION_FIELDS = new Set(['session_id', 'created_at', 'updated_at', 'settings', 'messages', 'title', 'metadata']);
const MESSAGE_FIELDS = new Set(['role', 'content', 'timestamp', 'metadata', 'references']);

/** date, T or a blank, time to the minute, seconds, fraction, zone */
const isoTime = /^(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2})(:\d{2})?(?:[.,](\d+))?(?:(Z)|([+-]\d{2}):?(\d{2}))?$/i;

/** Whether a parsed file is one of docchat (it has a `session_id`) rather than a session line (`id`). */
export function isDocchat(value: JsonRecord): boolean {
  return Object.hasOwn(value, 'session_id');
}

/**
 * A docchat session as a session line. Times get their zone (UTC), those of the session milliseconds; `null` counts
 * as absent, as Python writes a missing value. `leftOut` names fields that a session has no place for.
 * Throws a ShapeError where a field is of the wrong type.
 */
export function fromDocchat(file: JsonRecord): { session: SessionLine; leftOut: string[] } {
  const leftOut = new Set(unknownFields(file, SESSION_FIELDS, ''));
  const messages = optional(file, 'messages', '', isArray, 'an array') ?? [];
  const session: SessionLine = {
    id: file['session_id'],
    ...defined('settings', optional(file, 'settings', '', isRecord, 'an object')),
    ...defined('title', optional(file, 'title', '', isString, 'a string')),
    ...defined('metadata', optional(file, 'metadata', '', isRecord, 'an object')),
    ...defined('createdAt', sessionTime(file, 'created_at')),
    ...defined('updatedAt', sessionTime(file, 'updated_at')),
    messages: messages.map((message, index) => {
      const place = `messages[${index}]`;
      if (!isRecord(message)) throw new ShapeError(`${place} is not an object`);
      for (const name of unknownFields(message, MESSAGE_FIELDS, 'messages[].')) leftOut.add(name);
      return messageFromDocchat(message, `${place}.`);
    }),
  };
  return { session, leftOut: [...leftOut] };
}

function messageFromDocchat(message: JsonRecord, place: string): MessageLine {
  const timestamp = optional(message, 'timestamp', place, isString, 'a string');
  if (timestamp !== undefined && !isTime(timestamp)) throw new ShapeError(`${place}timestamp is not an ISO 8601 time`);
  return {
    role: message['role'],
    content: message['content'],
    ...defined('timestamp', timestamp === undefined ? undefined : withZone(timestamp)),
    ...defined('metadata', optional(message, 'metadata', place, isRecord, 'an object')),
    ...defined('references', optional(message, 'references', place, isArray, 'an array')),
  };
}

/**
 * A session line as docchat would have saved it: the fields it knows, in its order, times without a zone. Ids,
 * authors, states and settings revisions of messages have no place there. Throws a ShapeError where the line is not a
 * session.
 */
export function toDocchat(line: JsonRecord): DocchatSession {
  const id = line['id'];
  if (!isString(id)) throw new ShapeError('the session has no id');
  const messages = optional(line, 'messages', '', isArray, 'an array') ?? [];
  const createdAt = optional(line, 'createdAt', '', isString, 'a string');
  const updatedAt = optional(line, 'updatedAt', '', isString, 'a string');
  return {
    session_id: id,
    ...defined('created_at', createdAt === undefined ? undefined : withoutZone(createdAt)),
    ...defined('updated_at', updatedAt === undefined ? undefined : withoutZone(updatedAt)),
    settings: optional(line, 'settings', '', isRecord, 'an object') ?? {},
    messages: messages.map((message, index) => {
      if (!isRecord(message)) throw new ShapeError(`messages[${index}] is not an object`);
      return messageToDocchat(message, `messages[${index}].`);
    }),
    ...defined('title', optional(line, 'title', '', isString, 'a string')),
    ...defined('metadata', optional(line, 'metadata', '', isRecord, 'an object')),
  };
}

function messageToDocchat(message: JsonRecord, place: string): JsonRecord {
  const timestamp = optional(message, 'timestamp', place, isString, 'a string');
  return {
    role: message['role'],
    content: message['content'],
    ...defined('timestamp', timestamp === undefined ? undefined : withoutZone(timestamp)),
    ...defined('metadata', optional(message, 'metadata', place, isRecord, 'an object')),
    ...defined('references', optional(message, 'references', place, isArray, 'an array')),
  };
}

/** An ISO 8601 time with its zone: one that names none is UTC. Precision and a zone that is there stay as they are. */
export function withZone(time: string): string {
  const match = isoTime.exec(time);
  if (!match || match[5] !== undefined || match[6] !== undefined) return time;
  return `${time.replace(' ', 'T').replace(',', '.')}Z`;
}

/**
 * An ISO 8601 time as Python's naive datetime in UTC writes it: no zone, and no fraction where it is zero; the
 * fraction's digits are kept otherwise. What is not a time comes back unchanged.
 */
export function withoutZone(time: string): string {
  const match = isoTime.exec(time);
  if (!match) return time;
  const [, date, minute, second = ':00', fraction = '', , zoneHours, zoneMinutes] = match;
  let whole = `${date}T${minute}${second}`;
  if (zoneHours !== undefined) {
    const at = Date.parse(`${whole}${zoneHours}:${zoneMinutes}`);
    if (Number.isNaN(at)) return time;
    whole = new Date(at).toISOString().slice(0, -'.000Z'.length);
  }
  return /[1-9]/.test(fraction) ? `${whole}.${fraction}` : whole;
}

function sessionTime(file: JsonRecord, key: string): string | undefined {
  const time = optional(file, key, '', isString, 'a string');
  if (time === undefined) return undefined;
  if (!isTime(time)) throw new ShapeError(`${key} is not an ISO 8601 time`);
  return new Date(withZone(time)).toISOString();
}

function isTime(text: string): boolean {
  return isoTime.test(text) && !Number.isNaN(Date.parse(withZone(text)));
}

/** The member `key`, or undefined where it is absent or null; a ShapeError where it is something else. */
function optional<T>(
  record: JsonRecord,
  key: string,
  place: string,
  is: (value: unknown) => value is T,
  what: string,
): T | undefined {
  const value = record[key];
  if (value === undefined || value === null) return undefined;
  if (!is(value)) throw new ShapeError(`${place}${key} is not ${what}`);
  return value;
}

/** `{ [key]: value }`, or nothing where the value is undefined: an absent member stays absent. */
function defined<K extends string, T>(key: K, value: T | undefined): { [P in K]?: T } {
  return value === undefined ? {} : ({ [key]: value } as { [P in K]?: T });
}

function unknownFields(record: JsonRecord, known: ReadonlySet<string>, prefix: string): string[] {
  return Object.keys(record)
    .filter((name) => !known.has(name))
    .map((name) => `${prefix}${name}`);
}

/** Whether a value is a JSON object. */
export function isRecord(value: unknown): value is JsonRecord {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isArray(value: unknown): value is unknown[] {
  return Array.isArray(value);
}

function isString(value: unknown): value is string {
  return typeof value === 'string';
}
