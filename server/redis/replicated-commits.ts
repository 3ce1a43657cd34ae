// Commits that are answered only when a replica has them on its disk too (WAITAOF). That holds up the connection it is asked
// on, and speaks of what was written on it: each commit has a connection of a pool to itself until then.
import { RedisFailure, send, type RedisClient } from './connection.js';
import type { SessionKeys } from './keys.js';
import { Scripts, type TaggedReply } from './scripts.js';

/** How long a replica may take, milliseconds; well below the time that a command may take. */
const REPLICA_WAIT_MS = 1000;
/** How long the mark of a repeated answer is kept, milliseconds. */
const MARK_MS = 1000;
/** Connections, and so commits that wait for a replica at the same time. */
export const REPLICATED_CONNECTIONS = 8;

interface Line {
  readonly client: RedisClient;
  readonly scripts: Scripts;
}

/** Runs a commit script. Throws RedisFailure. */
export type RunCommit = (
  script: 'commit' | 'commitFreeing',
  keys: SessionKeys,
  args: readonly (string | number)[],
) => Promise<TaggedReply>;

export class ReplicatedCommits {
  private readonly free: Line[];
  /** Bounded by the sessions that have a commit under way: one each. */
  private readonly waiting: ((line: Line) => void)[] = [];

  constructor(clients: readonly RedisClient[]) {
    this.free = clients.map((client) => ({ client, scripts: new Scripts(client) }));
  }

  /** As the script answers, once a replica has it; where none has in time it may be lost: `no-answer`. */
  readonly run: RunCommit = async (script, keys, args) => {
    const line = this.free.pop() ?? (await new Promise<Line>((resolve) => this.waiting.push(resolve)));
    try {
      const reply = await line.scripts.run(script, keys, args);
      if (reply[0] !== 'COMMITTED' && reply[0] !== 'DUPLICATE') return reply;
      await this.replicated(line, keys).catch((error: unknown) => {
        // Whatever became of the wait, the primary has the commit: a refusal of the mark is none of the commit.
        throw new RedisFailure('no-answer', 'it is not known whether a replica has the commit', error);
      });
      return reply;
    } finally {
      const next = this.waiting.shift();
      if (next) next(line);
      else this.free.push(line);
    }
  };

  private async replicated({ client }: Line, keys: SessionKeys): Promise<void> {
    const reply = await send(client, async (one) => {
      // A repeated answer wrote nothing, and there would be nothing to wait for: a replica that has this mark has what was
      // written before it.
      await one.set(keys.replicated, '1', 'PX', MARK_MS);
      return one.call('WAITAOF', 1, 1, REPLICA_WAIT_MS);
    });
    const [local, replicas] = reply as [number, number];
    if (local < 1 || replicas < 1) throw new RedisFailure('no-answer', 'no replica has the commit on its disk yet');
  }
}
