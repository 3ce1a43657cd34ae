// Splits a byte stream into lines without ever holding more than one: for the import.
import { IMPORT_LINE_BYTES_MAX } from '../../client-sdk/protocol/limits.js';
import type { RawLine } from '../sync/transfer.js';

const LF = 0x0a;
const CR = 0x0d;

/** The lines of a stream without their ends; `null` in place of one longer than IMPORT_LINE_BYTES_MAX. */
export async function* linesOf(stream: AsyncIterable<Buffer>): AsyncGenerator<RawLine> {
  let parts: Buffer[] = [];
  let size = 0;
  const add = (part: Buffer) => {
    size += part.length;
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
  for await (const chunk of stream) {
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
