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

/** Whether two JSON values are equal; the order of members does not count. */
export function isEqual(a: Json | undefined, b: Json | undefined): boolean {
  if (Object.is(a, b)) return true;
  if (Array.isArray(a)) {
    return Array.isArray(b) && a.length === b.length && a.every((item, index) => isEqual(item, b[index]));
  }
  if (!isObject(a) || !isObject(b)) return a === b;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && isEqual(a[key], b[key]));
}

/** RFC 7396: the target with the merge patch applied. */
export function applyMerge(target: Json | undefined, merge: Json): Json {
  if (!isObject(merge)) return merge;
  const merged: JsonObject = isObject(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(merge)) {
    if (value === null) delete merged[key];
    else merged[key] = applyMerge(Object.hasOwn(merged, key) ? merged[key] : undefined, value);
  }
  return merged;
}

/** RFC 6902: the document after all operations. Throws where one of them does not apply; the document is never changed. */
export function applyPatch(document: Json, operations: readonly PatchOperation[]): Json {
  return operations.reduce((value, operation) => {
    const path = tokensOf(operation.path);
    switch (operation.op) {
      case 'add':
      case 'replace':
        return place(value, path, operation.value, operation.op === 'add');
      case 'remove':
        return remove(value, path);
      case 'test':
        if (!isEqual(read(value, path), operation.value)) throw new Error(`${operation.path} is another value`);
        return value;
      case 'move':
      case 'copy': {
        const from = tokensOf(operation.from);
        return place(operation.op === 'move' ? remove(value, from) : value, path, read(value, from), true);
      }
    }
  }, document);
}

/**
 * The merge patch that turns `before` into `after`; undefined where none does, because a member became null or the two
 * are not objects. Members that did not change are not in it.
 */
export function mergeBetween(before: Json | undefined, after: Json): JsonObject | undefined {
  if (!isObject(before) || !isObject(after)) return undefined;
  const merge: JsonObject = {};
  for (const key of Object.keys(before)) if (!Object.hasOwn(after, key)) merge[key] = null;
  for (const [key, value] of Object.entries(after)) {
    const old = Object.hasOwn(before, key) ? before[key] : undefined;
    if (isEqual(old, value)) continue;
    const change =
      isObject(value) && isObject(old) ? mergeBetween(old, value) : removesInMerge(value) ? undefined : value;
    if (change === undefined) return undefined;
    merge[key] = change;
  }
  return merge;
}

/** Whether a merge patch would take the value, or a part of it, for a removal. */
function removesInMerge(value: Json): boolean {
  return value === null || (isObject(value) && Object.values(value).some(removesInMerge));
}

const tokensOf = (pointer: string): string[] =>
  pointer
    .split('/')
    .slice(1)
    .map((token) => token.replaceAll('~1', '/').replaceAll('~0', '~'));

function read(value: Json | undefined, path: readonly string[]): Json {
  for (const token of path) {
    const holder: unknown = value;
    if (typeof holder !== 'object' || holder === null || !Object.hasOwn(holder, token)) throw noValue(path);
    value = (holder as JsonObject)[token];
  }
  return value as Json;
}

/** A copy of the path down to the holder of its last token, which `change` is given. */
function edit(
  value: Json,
  path: readonly string[],
  change: (holder: JsonObject | Json[], token: string) => void,
): Json {
  const [token = '', ...rest] = path;
  if (!isObject(value) && !Array.isArray(value)) throw noValue(path);
  const copy = Array.isArray(value) ? [...value] : { ...value };
  if (rest.length === 0) change(copy, token);
  else (copy as JsonObject)[token] = edit(read(copy, [token]), rest, change);
  return copy;
}

function place(document: Json, path: readonly string[], value: Json, isNew: boolean): Json {
  if (path.length === 0) return value;
  return edit(document, path, (holder, token) => {
    if (!isNew) read(holder, [token]);
    if (isNew && Array.isArray(holder)) holder.splice(token === '-' ? holder.length : indexOf(holder, token), 0, value);
    else (holder as JsonObject)[token] = value;
  });
}

function remove(document: Json, path: readonly string[]): Json {
  return edit(document, path, (holder, token) => {
    read(holder, [token]);
    if (Array.isArray(holder)) holder.splice(Number(token), 1);
    else delete holder[token];
  });
}

function indexOf(list: Json[], token: string): number {
  const index = Number(token);
  if (!/^\d+$/.test(token) || index > list.length) throw noValue([token]);
  return index;
}

const noValue = (path: readonly string[]) => new Error(`there is no value at /${path.join('/')}`);
