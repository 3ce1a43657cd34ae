// Commits that wait for a replica. No Redis here knows WAITAOF: what it would answer is scripted; all else is the real code.
import { expect } from 'chai';
import type { RedisClient } from '../../server/redis/connection.js';
import { createKeys } from '../../server/redis/keys.js';
import { ReplicatedCommits } from '../../server/redis/replicated-commits.js';

describe('commits that wait for a replica', () => {
  const keys = createKeys('attune').session('s');

  function scripted(reply: string, waited: [number, number], said: string[]) {
    return {
      status: 'ready',
      defineCommand: () => undefined,
      attune_commit: () => {
        said.push('commit');
        return Promise.resolve([reply]);
      },
      set: (key: string) => Promise.resolve(said.push(`set ${key}`)),
      call: (...args: unknown[]) => {
        said.push(args.join(' '));
        return Promise.resolve(waited);
      },
    } as unknown as RedisClient;
  }

  it('[TP9] a commit is answered when a replica has it, a repeated one too; else its outcome is unknown; a refusal waits for nothing', async () => {
    for (const reply of ['COMMITTED', 'DUPLICATE']) {
      const said: string[] = [];
      const commits = new ReplicatedCommits([scripted(reply, [1, 1], said)]);
      expect(await commits.run('commit', keys, [])).to.deep.equal([reply]);
      expect(said).to.deep.equal(['commit', `set ${keys.replicated}`, 'WAITAOF 1 1 1000']);
      for (const waited of [
        [1, 0],
        [0, 1],
      ] as [number, number][]) {
        const alone = new ReplicatedCommits([scripted(reply, waited, [])]);
        const failure = await alone.run('commit', keys, []).catch((error: unknown) => error);
        expect(failure).to.include({ name: 'RedisFailure', kind: 'no-answer' });
      }
    }
    // The script was refused nothing; the mark behind it is.
    const refusal = Object.assign(new Error('NOREPLICAS Not enough good replicas to write.'), { name: 'ReplyError' });
    const marked = Object.assign(scripted('COMMITTED', [1, 1], []), { set: () => Promise.reject(refusal) });
    const failure = await new ReplicatedCommits([marked]).run('commit', keys, []).catch((error: unknown) => error);
    expect(failure).to.include({ name: 'RedisFailure', kind: 'no-answer' });
    const said: string[] = [];
    await new ReplicatedCommits([scripted('STALE', [0, 0], said)]).run('commit', keys, []);
    expect(said).to.deep.equal(['commit']);
  });

  it('[TP9] each has a connection to itself, and the next has it after that, failed or not', async () => {
    const said: string[] = [];
    const client = scripted('COMMITTED', [1, 0], said);
    const commits = new ReplicatedCommits([client]);
    const results = await Promise.allSettled([1, 2, 3].map(() => commits.run('commit', keys, [])));
    expect(results.map(({ status }) => status)).to.deep.equal(['rejected', 'rejected', 'rejected']);
    expect(said.filter((one) => !one.startsWith('set'))).to.deep.equal(
      [1, 2, 3].flatMap(() => ['commit', 'WAITAOF 1 1 1000']),
    );
  });
});
