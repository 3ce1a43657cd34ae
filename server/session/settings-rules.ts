// How settings change: merge (RFC 7396), patch (RFC 6902), defaults under what was given, and what differs between two
// versions. Pure; never changes its inputs: results share the subtrees that stayed the same.
import jsonPatch from 'fast-json-patch';
import { checkJson, equalJson, isForbiddenKey, isJsonObject, pointerToken } from '../../client-sdk/protocol/json.js';
import type { Json, JsonObject } from '../../client-sdk/protocol/json.js';
import { JSON_DEPTH_MAX } from '../../client-sdk/protocol/limits.js';

/** One step of a delta (RFC 6902), as `deltaOf` makes it. */
export type Operation = { op: 'add' | 'replace'; path: string; value: Json } | { op: 'remove'; path: string };

/** The answer of `applyJsonPatch`. `index` is the operation that was refused, where it was one of them. */
export type PatchResult =
  | { ok: true; settings: JsonObject }
  | { ok: false; code: 'INVALID_REQUEST' | 'TOO_LARGE'; message: string; index?: number };

/** A patch of more operations than this is refused: each costs a walk of its path. */
export const PATCH_OPERATIONS_MAX = 1_000;

/** All values that one patch writes, copies and moves included, add up to at most this: copies alone could double the document with every operation. */
export const PATCH_WRITTEN_BYTES_MAX = 1_048_576;

/** All changed paths of one update together: a long key above many members would be repeated for each of them. */
export const CHANGED_PATHS_CHARACTERS_MAX = 65_536;

/** Paths in messages are cut to this many characters. */
const MESSAGE_PATH_CHARACTERS_MAX = 120;

/**
 * Applies a merge patch (RFC 7396) whose top is an object: null removes, objects merge, everything else replaces.
 * Returns `target` itself where nothing changed. Recursive: both must have passed `checkJson`.
 */
export function mergePatch(target: JsonObject, patch: JsonObject): JsonObject {
  let result = target;
  for (const key of Object.keys(patch)) {
    const wanted = patch[key];
    if (wanted === undefined) continue;
    const present = own(target, key);
    if (wanted === null) {
      if (present === undefined) continue;
      if (result === target) result = { ...target };
      delete result[key];
      continue;
    }
    // An object over something else still merges, into nothing: its nulls must not be stored.
    const next = isJsonObject(wanted) ? mergePatch(isJsonObject(present) ? present : {}, wanted) : wanted;
    if (present !== undefined && (next === present || equalJson(next, present))) continue;
    if (result === target) result = { ...target };
    put(result, key, next);
  }
  return result;
}

/** `given` over `defaults`: objects member by member, everything else from `given`, null included. Recursive as `mergePatch`. */
export function overlay(defaults: JsonObject, given: JsonObject): JsonObject {
  const result = { ...defaults };
  for (const key of Object.keys(given)) {
    const value = given[key];
    if (value === undefined) continue;
    const below = own(defaults, key);
    put(result, key, isJsonObject(below) && isJsonObject(value) ? overlay(below, value) : value);
  }
  return result;
}

/**
 * JSON Pointers of the values that differ. Goes into objects that are on both sides; arrays and scalars are compared whole.
 * Where the paths would be longer than CHANGED_PATHS_CHARACTERS_MAX together, objects above them stand for what is in them,
 * at last the whole ('').
 * First what was added or changed, in the order of `after`, then what was removed, in the order of `before`; [] when equal.
 */
export function changedPaths(before: JsonObject, after: JsonObject): string[] {
  for (let levels = JSON_DEPTH_MAX; levels >= 1; levels >>= 1) {
    const changes: Changes = { changed: [], removed: [], room: CHANGED_PATHS_CHARACTERS_MAX };
    collectChanges(before, after, '', levels, changes);
    if (changes.room >= 0) return [...changes.changed, ...changes.removed];
  }
  // Even the keys of the top level are too long: the whole has changed.
  return [''];
}

/** The RFC 6902 operations that turn `before` into `after`, one for each of their `changedPaths`, in that order. */
export function deltaOf(changed: readonly string[], before: JsonObject, after: JsonObject): Operation[] {
  return changed.map((path) => {
    const value = valueAt(after, path);
    if (value === undefined) return { op: 'remove', path };
    return { op: valueAt(before, path) === undefined ? 'add' : 'replace', path, value };
  });
}

/** The value that a JSON Pointer (RFC 6901) names, or undefined where there is none or the pointer is malformed. Sees own members only. */
export function valueAt(document: Json, pointer: string): Json | undefined {
  const tokens = tokensOf(pointer);
  return tokens === undefined ? undefined : valueAtTokens(document, tokens);
}

/**
 * Applies a JSON Patch (RFC 6902), all of it or nothing. `operations` may be anything: it is checked here, each value included.
 * Refused with a sentence that names the operation: a malformed one, a path that is not there, a failed `test`, a forbidden key in
 * a path, a result that is no object (`INVALID_REQUEST`); more than `PATCH_WRITTEN_BYTES_MAX` of written values (`TOO_LARGE`).
 * The result is at most `JSON_DEPTH_MAX` deep if `target` was; whether it is small enough is the caller's to check.
 */
export function applyJsonPatch(target: JsonObject, operations: unknown): PatchResult {
  if (!Array.isArray(operations)) return refuse('a JSON patch must be an array of operations');
  if (operations.length > PATCH_OPERATIONS_MAX) {
    return refuse(
      `a JSON patch may have at most ${PATCH_OPERATIONS_MAX} operations, this one has ${operations.length}`,
    );
  }
  const draft: Draft = { document: cloneJson(target), writtenBytes: 0 };
  for (const [index, candidate] of operations.entries()) {
    try {
      applyStep(draft, readStep(candidate));
    } catch (error) {
      if (error instanceof Refusal)
        return { ok: false, code: error.code, message: `operation ${index}: ${error.message}`, index };
      // The library throws what it likes; whatever it was, the draft is thrown away and the target untouched.
      return { ok: false, code: 'INVALID_REQUEST', message: `operation ${index}: cannot be applied`, index };
    }
  }
  if (!isJsonObject(draft.document)) return refuse('the patched settings must be an object');
  return { ok: true, settings: draft.document };
}

/** The patched copy so far, and what its values have cost. */
interface Draft {
  document: Json;
  writtenBytes: number;
}

/** An operation that has the right members, its paths as tokens. */
type Step =
  | { op: 'add' | 'replace' | 'test'; path: Path; value: Json }
  | { op: 'remove'; path: Path }
  | { op: 'move' | 'copy'; path: Path; from: Path };

interface Path {
  readonly pointer: string;
  readonly tokens: readonly string[];
}

/** Why an operation is refused. Never leaves `applyJsonPatch`. */
class Refusal extends Error {
  readonly code: 'INVALID_REQUEST' | 'TOO_LARGE';
  constructor(message: string, code: 'INVALID_REQUEST' | 'TOO_LARGE' = 'INVALID_REQUEST') {
    super(message);
    this.code = code;
  }
}

function readStep(candidate: unknown): Step {
  if (!isJsonObject(candidate)) throw new Refusal('must be an object');
  const op = own(candidate, 'op');
  switch (op) {
    case 'add':
    case 'replace':
    case 'test': {
      const value = own(candidate, 'value');
      if (value === undefined) throw new Refusal(`"${op}" needs a "value"`);
      return { op, path: readPath(candidate, 'path'), value };
    }
    case 'remove':
      return { op, path: readPath(candidate, 'path') };
    case 'move':
    case 'copy':
      return { op, path: readPath(candidate, 'path'), from: readPath(candidate, 'from') };
    default:
      throw new Refusal('"op" must be one of add, remove, replace, move, copy, test');
  }
}

function readPath(operation: JsonObject, member: 'path' | 'from'): Path {
  const pointer = own(operation, member);
  if (typeof pointer !== 'string') throw new Refusal(`"${member}" must be a string`);
  const tokens = tokensOf(pointer);
  if (tokens === undefined) throw new Refusal(`"${member}" ${brief(pointer)} is not a JSON Pointer`);
  const forbidden = tokens.find(isForbiddenKey);
  if (forbidden !== undefined) throw new Refusal(`"${member}" has the key "${forbidden}", which is not allowed`);
  return { pointer, tokens };
}

function applyStep(draft: Draft, step: Step): void {
  switch (step.op) {
    case 'test':
      measure(step.value, JSON_DEPTH_MAX, PATCH_WRITTEN_BYTES_MAX);
      if (!equalJson(existing(draft, step.path), step.value)) {
        throw new Refusal(`the test of ${brief(step.path.pointer)} failed`);
      }
      return;
    case 'remove':
      return remove(draft, step.path);
    case 'replace':
      existing(draft, step.path);
      return write(draft, 'replace', step.path, step.value);
    case 'add':
      return add(draft, step.path, step.value);
    case 'copy':
      return add(draft, step.path, existing(draft, step.from));
    case 'move':
      return move(draft, step.from, step.path);
  }
}

// The library takes inherited names, "01", "" and "-" for places that exist and may write past the end of an array,
// so that it is asked only for what was found to be possible here.

function add(draft: Draft, path: Path, value: Json): void {
  if (path.tokens.length > 0) {
    const parent = valueAtTokens(draft.document, path.tokens.slice(0, -1));
    const key = path.tokens.at(-1) as string;
    if (typeof parent !== 'object' || parent === null)
      throw new Refusal(`there is nothing to add ${brief(path.pointer)} to`);
    if (Array.isArray(parent) && key !== '-' && !(isIndex(key) && Number(key) <= parent.length)) {
      throw new Refusal(`${brief(path.pointer)} is not a place in the array`);
    }
  }
  write(draft, 'add', path, value);
}

function move(draft: Draft, from: Path, path: Path): void {
  const value = existing(draft, from);
  if (path.pointer === from.pointer) return;
  if (path.pointer.startsWith(`${from.pointer}/`)) throw new Refusal('a value cannot be moved into itself');
  remove(draft, from);
  add(draft, path, value);
}

function remove(draft: Draft, path: Path): void {
  existing(draft, path);
  change(draft, { op: 'remove', path: path.pointer });
}

function write(draft: Draft, op: 'add' | 'replace', path: Path, value: Json): void {
  const maxBytes = PATCH_WRITTEN_BYTES_MAX - draft.writtenBytes;
  draft.writtenBytes += measure(value, JSON_DEPTH_MAX - path.tokens.length, maxBytes);
  // A copy, because later operations change it in place while the request, or another place in the document, keeps the original.
  change(draft, { op, path: path.pointer, value: cloneJson(value) });
}

function change(draft: Draft, operation: Operation): void {
  draft.document = jsonPatch.applyOperation<Json>(draft.document, operation, false, true, true).newDocument;
}

/** The value at a path, which must be there. */
function existing(draft: Draft, path: Path): Json {
  const value = valueAtTokens(draft.document, path.tokens);
  if (value === undefined) throw new Refusal(`there is nothing at ${brief(path.pointer)}`);
  return value;
}

/** Bytes of a value of the patch, which must be JSON and within the limits that are left. */
function measure(value: Json, maxDepth: number, maxBytes: number): number {
  const check = checkJson(value, { maxDepth, maxBytes });
  if (check.ok) return check.bytes;
  if (check.code === 'TOO_LARGE') {
    throw new Refusal(`the values of the patch add up to more than ${PATCH_WRITTEN_BYTES_MAX} bytes`, 'TOO_LARGE');
  }
  throw new Refusal(`its value${check.path === '' ? '' : ` at ${brief(check.path)}`} ${check.message}`);
}

/** What is collected of one comparison; `room` is what the paths may still take, characters. */
interface Changes {
  changed: string[];
  removed: string[];
  room: number;
}

/** Goes `levels` deep; an object below that differs as a whole. Stops where the room is used up. */
function collectChanges(before: JsonObject, after: JsonObject, at: string, levels: number, changes: Changes): void {
  const add = (list: string[], path: string) => {
    changes.room -= path.length;
    list.push(path);
  };
  for (const key of Object.keys(after)) {
    if (changes.room < 0) return;
    const now = after[key];
    if (now === undefined) continue;
    const was = own(before, key);
    if (was === now) continue;
    const path = `${at}/${pointerToken(key)}`;
    if (levels > 1 && isJsonObject(was) && isJsonObject(now)) collectChanges(was, now, path, levels - 1, changes);
    else if (was === undefined || !equalJson(was, now)) add(changes.changed, path);
  }
  for (const key of Object.keys(before)) {
    if (changes.room < 0) return;
    if (before[key] === undefined || own(after, key) !== undefined) continue;
    add(changes.removed, `${at}/${pointerToken(key)}`);
  }
}

/** The unescaped tokens of a JSON Pointer, or undefined where it is malformed. */
function tokensOf(pointer: string): string[] | undefined {
  if (pointer === '') return [];
  if (!pointer.startsWith('/') || /~(?![01])/.test(pointer)) return undefined;
  const tokens = pointer.slice(1).split('/');
  return pointer.includes('~') ? tokens.map((token) => token.replaceAll('~1', '/').replaceAll('~0', '~')) : tokens;
}

function valueAtTokens(document: Json, tokens: readonly string[]): Json | undefined {
  let value: Json | undefined = document;
  for (const token of tokens) {
    if (typeof value !== 'object' || value === null) return undefined;
    if (Array.isArray(value)) value = isIndex(token) ? value[Number(token)] : undefined;
    else value = own(value, token);
  }
  return value;
}

/** An index as RFC 6901 writes it: no sign, no leading zero. */
function isIndex(token: string): boolean {
  return /^(?:0|[1-9][0-9]{0,9})$/.test(token);
}

/** A member that the object itself has: `toString` and its like are not settings. */
function own(object: JsonObject, key: string): Json | undefined {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

/** Sets a member; `__proto__` would set the prototype by plain assignment. */
function put(object: JsonObject, key: string, value: Json): void {
  if (key === '__proto__')
    Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
  else object[key] = value;
}

function cloneJson(value: Json): Json {
  return typeof value === 'object' && value !== null ? (JSON.parse(JSON.stringify(value)) as Json) : value;
}

function brief(pointer: string): string {
  const cut = pointer.length > MESSAGE_PATH_CHARACTERS_MAX;
  return `"${cut ? `${pointer.slice(0, MESSAGE_PATH_CHARACTERS_MAX)}…` : pointer}"`;
}

function refuse(message: string): PatchResult {
  return { ok: false, code: 'INVALID_REQUEST', message };
}
