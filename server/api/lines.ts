// Splits a byte stream into lines without ever holding more than one: for the import.
import type { Readable } from 'node:stream';
import { AttuneError } from '../../client-sdk/protocol/errors.js';
import { IMPORT_LINE_BYTES_MAX } from '../../client-sdk/protocol/limits.js';
import type { RawLine } from '../sync/transfer.js';

/** A line that is too long is read past up to here, bytes; a longer one ends the import. */
const SKIPPED_BYTES_MAX = 4 * IMPORT_LINE_BYTES_MAX;
const LF = 0x0a;
const CR = 0x0d;

/** The lines of a stream without their ends; `null` in place of one longer than IMPORT_LINE_BYTES_MAX. */
export async function* linesOf(stream: Readable): AsyncGenerator<RawLine> {
  let parts: Buffer[] = [];
  let size = 0;
  const add = (part: Buffer) => {
    size += part.length;
    if (size > SKIPPED_BYTES_MAX) throw new AttuneError('TOO_LARGE', `a line has more than ${SKIPPED_BYTES_MAX} bytes`);
    // A line that is too long is counted, not kept.
    if (size <= IMPORT_LINE_BYTES_MAX + 1) parts.push(part);
    else parts = [];
  };
  const finish = (): RawLine => {
    const line = Buffer.concat(parts);
    const bytes = size;
    parts = [];
    size = 0;
    const whole = line.at(-1) === CR ? line.subarray(0, -1) : line;
    return bytes > IMPORT_LINE_BYTES_MAX + 1 || whole.length > IMPORT_LINE_BYTES_MAX ? null : whole;
  };
  // Not destroyed when this ends early: whoever sends is to be answered.
  for await (const chunk of stream.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    let start = 0;
    for (let end = chunk.indexOf(LF); end >= 0; end = chunk.indexOf(LF, start)) {
      add(chunk.subarray(start, end));
      yield finish();
      start = end + 1;
    }
    if (start < chunk.length) add(chunk.subarray(start));
  }
  if (size > 0) yield finish();
}
