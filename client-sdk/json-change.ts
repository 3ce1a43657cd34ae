// Changes of JSON values: applied by copying only what changes (what stays keeps its reference), and found between two
// values. It validates nothing: the server does.
import type { Json, JsonObject } from './protocol/json.js';

/** One operation of RFC 6902. */
export type PatchOperation =
  | { op: 'add' | 'replace' | 'test'; path: string; value: Json }
  | { op: 'remove'; path: string }
  | { op: 'move' | 'copy'; from: string; path: string };

const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

// A key that every object inherits gives a function, or a prototype, whose copy is empty: neither is taken for a value.

/** RFC 7396: the target with the merge patch applied. */
export function applyMerge(target: Json | undefined, merge: Json): Json {
  if (!isObject(merge)) return merge;
  const merged: JsonObject = isObject(target) ? { ...target } : {};
  for (const key in merge) {
    const value = merge[key]!;
    if (value === null) delete merged[key];
    else merged[key] = applyMerge(merged[key], value);
  }
  return merged;
}

/**
 * The merge patch with what differs between the two: applied to `before` it gives `after`, but for members that are null
 * there, which it removes.
 */
export function mergeBetween(before: JsonObject, after: JsonObject): JsonObject {
  const merge: JsonObject = {};
  for (const key in { ...before, ...after }) {
    const old = before[key];
    const value = after[key];
    // Members in another order are sent though nothing changed: that does no harm.
    if (JSON.stringify(old) === JSON.stringify(value)) continue;
    merge[key] = isObject(old) && isObject(value) ? mergeBetween(old, value) : (value ?? null);
  }
  return merge;
}

/**
 * RFC 6902: the document after all operations, which is never changed itself; undefined where one of them does not apply.
 * It is no judge: what it takes and the server refuses (a `test` that fails, a member of a text) is shown until then.
 */
export function applyPatch(document: Json, operations: readonly PatchOperation[]): Json | undefined {
  try {
    return operations.reduce((before, operation) => {
      const { op, path, from } = operation as Partial<Record<'op' | 'from', string>> & { path: string };
      let { value } = operation as { value: Json };
      if (op === 'test') return before;
      if (from !== undefined) {
        const source = tokensOf(from);
        value = source.reduce(memberOf, before);
        if (op === 'move') before = edit(before, source);
      }
      return edit(before, tokensOf(path), value, !op!.startsWith('re'));
    }, document);
  } catch {
    return undefined;
  }
}

const tokensOf = (pointer: string): string[] =>
  pointer
    .split('/')
    .slice(1)
    .map((token) => token.replaceAll('~1', '/').replaceAll('~0', '~'));

function memberOf(holder: Json, token: string): Json {
  const member = (holder as JsonObject)[token];
  if (member === undefined) throw new Error();
  return member;
}

/** A copy with another value at the path, or without the one there is; only with `isNew` may there be none yet. */
function edit(value: Json, [token, ...rest]: string[], replacement?: Json, isNew?: boolean): Json {
  if (token === undefined) return replacement!;
  const copy = (Array.isArray(value) ? [...value] : { ...(value as JsonObject) }) as JsonObject;
  if (rest.length) copy[token] = edit(memberOf(copy, token), rest, replacement, isNew);
  else {
    if (!isNew) memberOf(copy, token);
    const items = replacement === undefined ? [] : [replacement];
    if (Array.isArray(copy)) copy.splice(token === '-' ? copy.length : +token, isNew ? 0 : 1, ...items);
    else if (replacement !== undefined) copy[token] = replacement;
    else delete copy[token];
  }
  return copy;
}
