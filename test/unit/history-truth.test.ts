// The log as the bytes of an append-only file give it: whole transactions, lives one after the other, a torn end.
import { expect } from 'chai';
import { logsOf } from '../support/history-truth.js';
import { keysOf, type LoggedCommit } from '../support/session-log.js';

const words = (...all: string[]): string =>
  `*${all.length}\r\n${all.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('')}`;
const bodyOf = (revision: number) => ({ revision, text: `é\r\n$1\r\n*1\r\n${revision}` });
const add = (id: string, revision: number) =>
  words('XADD', keysOf(id).log, `${revision}-0`, 'e', 'x', 'f', '7', 'b', JSON.stringify(bodyOf(revision)));
const commit = (revision: number): LoggedCommit => ({ revision, event: 'x', fence: 7, body: bodyOf(revision) });
const read = (...parts: string[]) => logsOf(Buffer.from(parts.join('')), ['a', 'b']);

describe('the log in an append-only file', () => {
  it('[HC4] the logs of sessions are found among all other commands, whatever bytes are in them', () => {
    const other = words('xadd', 'another', '1-0', 'e', 'x');
    const logs = read(
      words('SELECT', '0'),
      add('a', 1),
      add('b', 1),
      other,
      words('SET', keysOf('a').log, ''),
      add('a', 2),
    );
    expect([...logs]).to.deep.equal([
      ['a', [[commit(1), commit(2)]]],
      ['b', [[commit(1)]]],
    ]);
  });

  it('[HC4] a transaction counts where it is whole', () => {
    const [multi, exec] = [words('MULTI'), words('EXEC')];
    expect(read(multi, add('a', 1), exec, multi, add('a', 2)).get('a')).to.deep.equal([[commit(1)]]);
  });

  it('[HC4] a torn end, at whichever byte, leaves the commands before it', () => {
    const [whole, torn] = [add('a', 1), add('a', 2)];
    for (let bytes = 0; bytes < Buffer.byteLength(torn); bytes += 1) {
      const file = Buffer.concat([Buffer.from(whole), Buffer.from(torn).subarray(0, bytes)]);
      expect(logsOf(file, ['a']).get('a'), `after ${bytes} bytes`).to.deep.equal([[commit(1)]]);
    }
  });

  it('[HC4] a log that is removed begins another life, by whichever command', () => {
    const log = keysOf('a').log;
    for (const removal of [words('UNLINK', 'x', log), words('DEL', log, 'x'), words('FLUSHALL')]) {
      expect(read(removal, add('a', 1), add('a', 2), removal, removal, add('a', 1)).get('a')).to.deep.equal([
        [commit(1), commit(2)],
        [commit(1)],
      ]);
    }
  });

  it('[HC4] what a clear or a removed message takes out of the stream stays in the log', () => {
    const removal = words('XTRIM', keysOf('a').log, 'MINID', '=', '2-0');
    expect(read(add('a', 1), add('a', 2), removal).get('a')).to.deep.equal([[commit(1), commit(2)]]);
  });

  it('[HC4] a log that was trimmed, and bytes that are no command, are errors', () => {
    for (const name of ['XTRIM', 'XDEL']) {
      expect(() => read(add('a', 1), words(name, keysOf('a').log, '1-0'))).to.throw('was trimmed');
    }
    expect(() => read(add('a', 1), words('XTRIM', keysOf('a').log, 'MAXLEN', '=', '1'))).to.throw('was trimmed');
    expect(() => read(add('a', 1), 'nonsense\r\n')).to.throw('nonsense');
  });
});
