// Cuts a stream of bytes into lines, holding at most one line. It never looks into a line.

/** One line without its newline, or what is known of one that was too long to hold. `line` counts from 1. */
export type ByteLine =
  | { line: number; bytes: Buffer; ended: boolean; tooLong: false }
  | { line: number; size: number; ended: boolean; tooLong: true };

const NEWLINE = 0x0a;
const RETURN = 0x0d;

/**
 * The lines of a stream, in order; the last one needs no newline (`ended` is false then). A line of more than
 * `maxBytes` is read to its end but not kept. Memory: one line and one chunk.
 */
export async function* byteLines(
  chunks: AsyncIterable<Buffer> | Iterable<Buffer>,
  maxBytes: number,
): AsyncGenerator<ByteLine> {
  let held: Buffer[] = [];
  let size = 0;
  let line = 1;
  const take = (part: Buffer): void => {
    size += part.length;
    // One byte more than the limit: a carriage return before the newline does not count.
    if (size <= maxBytes + 1) held.push(part);
    else held = [];
  };
  const cut = (ended: boolean): ByteLine => {
    const joined = held.length === 1 ? held[0]! : Buffer.concat(held);
    const bytes = joined.at(-1) === RETURN ? joined.subarray(0, -1) : joined;
    const result: ByteLine =
      size > maxBytes + 1 || bytes.length > maxBytes
        ? { line, size, ended, tooLong: true }
        : { line, bytes, ended, tooLong: false };
    held = [];
    size = 0;
    line += 1;
    return result;
  };

  for await (const chunk of chunks) {
    let from = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, from)) {
      take(chunk.subarray(from, end));
      yield cut(true);
      from = end + 1;
    }
    if (from < chunk.length) take(chunk.subarray(from));
  }
  if (size > 0) yield cut(false);
}
