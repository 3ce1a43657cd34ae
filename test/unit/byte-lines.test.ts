// Cutting a stream of bytes into lines, whatever the chunks are.
import { expect } from 'chai';
import fc from 'fast-check';
import { byteLines } from '../../server/cli/byte-lines.js';

const limit = 8;

/** The lines of a text that arrives in chunks of these sizes; a line that was too long is its size. */
async function linesOf(text: string, sizes: readonly number[]): Promise<(string | number)[]> {
  const bytes = Buffer.from(text);
  const chunks: Buffer[] = [];
  for (let from = 0, i = 0; from < bytes.length; i += 1) {
    const size = sizes[i % sizes.length] ?? 1;
    chunks.push(bytes.subarray(from, from + size));
    from += size;
  }
  const lines: (string | number)[] = [];
  for await (const line of byteLines(chunks, limit)) {
    lines.push(line.tooLong ? line.size : line.bytes.toString());
    expect(line.line).to.equal(lines.length);
  }
  return lines;
}

describe('lines of bytes', () => {
  it('[X8] the lines are the same however the bytes are cut into chunks', async () => {
    const text = fc.array(fc.constantFrom('a', 'b', '\n', 'ü'), { maxLength: 40 }).map((parts) => parts.join(''));
    const sizes = fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(text, sizes, async (given, cut) => {
        const expected = given
          .split('\n')
          .map((line) => (Buffer.byteLength(line) > limit ? Buffer.byteLength(line) : line));
        if (expected.at(-1) === '') expected.pop();
        expect(await linesOf(given, cut)).to.deep.equal(expected);
      }),
    );
  });

  it('[X8] a carriage return before a newline belongs to neither line nor limit', async () => {
    expect(await linesOf('12345678\r\n123456789\r\n\r\nx', [3])).to.deep.equal(['12345678', 10, '', 'x']);
  });

  it('[X9] a line above the limit is skipped, and the one after it is whole', async () => {
    expect(await linesOf(`${'x'.repeat(1000)}\n12345678\n123456789`, [7])).to.deep.equal([1000, '12345678', 9]);
  });

  it('[X9] the last line tells whether a newline ended it', async () => {
    const ended: boolean[] = [];
    for await (const line of byteLines([Buffer.from('a\nb')], limit)) ended.push(line.ended);
    expect(ended).to.deep.equal([true, false]);
  });
});
