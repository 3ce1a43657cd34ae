// What JSON is here: its types, the check that every value from outside passes before anything recursive touches it,
// and equality. Runs anywhere; never throws, never recurses over unchecked input, never changes what it is given.

/** Any value that JSON can hold. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** A JSON object: settings, metadata, a patch. */
export type JsonObject = { [key: string]: Json };

/** How deep and how large a value may be. `maxDepth`: a scalar is 0, `{}` is 1, `{"a":[]}` is 2. `maxBytes`: UTF-8, as `JSON.stringify` writes it. */
export interface JsonLimits {
  readonly maxDepth: number;
  readonly maxBytes: number;
}

/** What `checkJson` found. `path` is a JSON Pointer to the first offending value, at most `POINTER_CHARACTERS_MAX` long (then it ends in `…`). */
export type JsonCheck =
  { ok: true; bytes: number } | { ok: false; code: 'INVALID_REQUEST' | 'TOO_LARGE'; path: string; message: string };

/** A pointer in a refusal is cut to this many characters: it goes into replies and log lines. */
export const POINTER_CHARACTERS_MAX = 256;

/** True for the keys that are refused at any depth, because code that assigns by key could be led to a prototype through them. */
export function isForbiddenKey(key: string): boolean {
  return key === '__proto__' || key === 'constructor' || key === 'prototype';
}

/** True for a plain object: made by `{}`, `JSON.parse` or `Object.create(null)`; false for arrays, null and instances of classes. */
export function isJsonObject(value: unknown): value is JsonObject {
  if (typeof value !== 'object' || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/** One key as a token of a JSON Pointer (RFC 6901). */
export function pointerToken(key: string): string {
  return key.replaceAll('~', '~0').replaceAll('/', '~1');
}

/**
 * Checks that a value of unknown origin is JSON within limits, and measures it: `bytes` is exactly
 * `Buffer.byteLength(JSON.stringify(value))`.
 *
 * Refuses, at the first offence in document order: what JSON cannot hold (also `undefined` in an array, NaN, Infinity,
 * binary data and every object that is neither plain nor an array) and the keys of `isForbiddenKey` as `INVALID_REQUEST`;
 * too deep as `INVALID_REQUEST`; too many bytes as `TOO_LARGE`. Object members that are `undefined` count as absent.
 * Stops at the first refusal; a cycle ends at the depth or the size limit.
 */
export function checkJson(value: unknown, limits: JsonLimits): JsonCheck {
  const walk = new Walk();
  let bytes = 0;
  let current = value;
  for (;;) {
    if (typeof current === 'object' && current !== null) {
      const fault = walk.enter(current, limits.maxDepth);
      if (fault !== undefined) return refusal('INVALID_REQUEST', walk.pointer(), fault);
      bytes += 2;
    } else {
      const size = scalarBytes(current, limits.maxBytes - bytes);
      if (typeof size === 'string') return refusal('INVALID_REQUEST', walk.pointer(), size);
      bytes += size;
    }
    if (bytes > limits.maxBytes) return tooLarge(walk.pointer(), limits.maxBytes);

    if (!walk.next()) return { ok: true, bytes };
    if (walk.separated) bytes += 1;
    if (walk.key !== undefined) {
      if (isForbiddenKey(walk.key)) {
        return refusal('INVALID_REQUEST', walk.pointer(), `the key "${walk.key}" is not allowed`);
      }
      bytes += stringBytes(walk.key, limits.maxBytes - bytes) + 1;
      if (bytes > limits.maxBytes) return tooLarge(walk.pointer(), limits.maxBytes);
    }
    current = walk.value;
  }
}

/**
 * Deep equality of two checked JSON values: the order of keys does not matter, -0 equals 0, `undefined` members count as absent.
 * Recursive: both values must have passed `checkJson` with a modest `maxDepth`.
 */
export function equalJson(a: Json, b: Json): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (Array.isArray(a) || Array.isArray(b)) {
    if (!Array.isArray(a) || !Array.isArray(b) || a.length !== b.length) return false;
    return a.every((item, index) => equalJson(item, b[index] as Json));
  }
  let members = 0;
  for (const key of Object.keys(a)) {
    const left = a[key];
    if (left === undefined) continue;
    members += 1;
    const right = Object.hasOwn(b, key) ? b[key] : undefined;
    if (right === undefined || !equalJson(left, right)) return false;
  }
  for (const key of Object.keys(b)) if (b[key] !== undefined) members -= 1;
  return members === 0;
}

/** A container on the way down: its keys (null for an array), the next member to visit, and whether one was visited. */
interface Frame {
  readonly members: { readonly [key: string]: unknown };
  readonly keys: readonly string[] | null;
  readonly length: number;
  position: number;
  begun: boolean;
}

/** A position in a value, kept in a list instead of the call stack, which 10 kB of brackets would overflow. */
class Walk {
  /** The member that `next` moved to: its value, its key in an object, and whether a comma comes before it. */
  value: unknown = undefined;
  key: string | undefined = undefined;
  separated = false;

  private readonly frames: Frame[] = [];

  /** Goes down into an array or object; says what is wrong with it instead where it may not be there. */
  enter(container: object, maxDepth: number): string | undefined {
    const isArray = Array.isArray(container);
    if (!isArray && !isJsonObject(container)) return 'is not JSON: only plain objects and arrays are';
    if (this.frames.length >= maxDepth) return `is nested deeper than ${maxDepth} levels`;
    const keys = isArray ? null : Object.keys(container);
    const length = isArray ? container.length : (keys as string[]).length;
    this.frames.push({ members: container as unknown as Frame['members'], keys, length, position: 0, begun: false });
    return undefined;
  }

  /** Moves to the next member in document order; false when there is none left anywhere. */
  next(): boolean {
    for (let frame = this.frames.at(-1); frame !== undefined; frame = this.frames.at(-1)) {
      while (frame.position < frame.length) {
        const key = frame.keys?.[frame.position];
        const value = frame.members[key ?? frame.position];
        frame.position += 1;
        // A forbidden key is shown even without a value: whoever sends one is refused.
        if (key !== undefined && value === undefined && !isForbiddenKey(key)) continue;
        this.separated = frame.begun;
        frame.begun = true;
        this.key = key;
        this.value = value;
        return true;
      }
      this.frames.pop();
    }
    return false;
  }

  /** Where the walk is, as a JSON Pointer of bounded length. */
  pointer(): string {
    let pointer = '';
    for (const { keys, position } of this.frames) {
      // A container that was entered last has no member yet: it is itself the place.
      if (position === 0) break;
      const token = keys?.[position - 1]?.slice(0, POINTER_CHARACTERS_MAX) ?? String(position - 1);
      pointer += `/${pointerToken(token)}`;
      if (pointer.length > POINTER_CHARACTERS_MAX) return `${pointer.slice(0, POINTER_CHARACTERS_MAX - 1)}…`;
    }
    return pointer;
  }
}

/** Bytes of a value that is no object, or what is wrong with it. Strings that cannot fit into `budget` are not scanned. */
function scalarBytes(value: unknown, budget: number): number | string {
  switch (typeof value) {
    case 'string':
      return stringBytes(value, budget);
    case 'number':
      return Number.isFinite(value) ? String(value).length : 'is not JSON: a number must be finite';
    case 'boolean':
      return value ? 4 : 5;
    case 'object':
      return 4; // null; the caller has taken all other objects
    default:
      return `is not JSON: ${typeof value}`;
  }
}

/** Bytes of a string with quotes and escapes as `JSON.stringify` writes them; some number above `budget` where it does not fit. */
function stringBytes(text: string, budget: number): number {
  let bytes = text.length + 2;
  // Every UTF-16 unit takes a byte at least, so that a huge string is refused without reading it.
  if (bytes > budget) return bytes;
  for (let index = 0; index < text.length; index += 1) {
    const unit = text.charCodeAt(index);
    if (unit < 0x80) {
      if (unit < 0x20) bytes += isShortEscape(unit) ? 1 : 5;
      else if (unit === 0x22 || unit === 0x5c) bytes += 1;
    } else if (unit < 0x800) {
      bytes += 1;
    } else if (unit < 0xd800 || unit > 0xdfff) {
      bytes += 2;
    } else if (unit < 0xdc00 && isLowSurrogate(text.charCodeAt(index + 1))) {
      bytes += 2; // two units, four bytes
      index += 1;
    } else {
      bytes += 5; // alone, it is written as \uXXXX
    }
  }
  return bytes;
}

/** \b \t \n \f \r; the other control characters are written as \u00XX. */
function isShortEscape(unit: number): boolean {
  return unit >= 0x08 && unit <= 0x0d && unit !== 0x0b;
}

function isLowSurrogate(unit: number): boolean {
  return unit >= 0xdc00 && unit <= 0xdfff;
}

function refusal(code: 'INVALID_REQUEST' | 'TOO_LARGE', path: string, message: string): JsonCheck {
  return { ok: false, code, path, message };
}

function tooLarge(path: string, maxBytes: number): JsonCheck {
  return refusal('TOO_LARGE', path, `is larger than ${maxBytes} bytes as JSON`);
}

/**
 * The value as JSON with the members of every object in one order: equal values give equal texts, however a client orders
 * them. Recursive: the value must have passed `checkJson`. Undefined members are left out.
 */
export function canonical(value: Json | undefined): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  const members = Object.keys(value)
    .filter((key) => value[key] !== undefined)
    .toSorted()
    .map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`);
  return `{${members.join(',')}}`;
}
