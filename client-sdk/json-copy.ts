// What the caller hands over, as it is sent: a copy that nobody changes any more, and only what JSON can say.
import { ClientError } from './client-error.js';

/** Largest value that is sent, bytes of JSON: the server ends a line with a packet of more than 1 MiB, ids included. */
export const BODY_BYTES_MAX = 2 ** 20 - 1024;

/**
 * A copy of the value as JSON has it, and the characters of that. Throws `INVALID_REQUEST` for a member that would be lost
 * in silence, or remove a setting (a promise, a function, a map, `NaN`), `TOO_LARGE`, and what `JSON` itself throws.
 */
export function jsonOf<T>(value: T): [copy: T, chars: number] {
  const text = JSON.stringify(value, (key, member: unknown) => {
    if (jsonTags.test({}.toString.call(member)) || Number.isFinite(member)) return member;
    throw new ClientError('INVALID_REQUEST', { message: `${key} is no JSON` });
  });
  if (new Blob([text]).size > BODY_BYTES_MAX) throw new ClientError('TOO_LARGE');
  return [JSON.parse(text) as T, text.length];
}

const jsonTags = / (Obj|Array]|Str|Boo|Nul|Und)/;
