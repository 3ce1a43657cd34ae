// Bugs that are built in to see whether the simulation finds them, each with what has to find it.
import type { CommitCall, CommitReply, SessionStore } from '../../server/redis/session-store.js';
import type { Room } from '../../server/sync/room.js';
import type { Commit } from '../../client-sdk/protocol/messages.js';
import { RedisModel } from '../support/redis-model.js';
import type { Plant } from './run.js';

class WithoutFence extends RedisModel {
  protected override isOvertaken(): boolean {
    return false;
  }
}

class WithoutIds extends RedisModel {
  protected override duplicates(): undefined {
    return undefined;
  }
}

class WithoutNews extends RedisModel {
  protected override check(keys: readonly string[]): ReturnType<RedisModel['check']> {
    const [tag, epoch, revision, presence] = super.check(keys);
    return tag === 'AT' ? [tag, epoch!, Math.min(Number(revision), 1), presence!] : [tag!, epoch!];
  }
}

/** The private parts of a node that plants change. */
interface Queue {
  store: SessionStore;
  giveUpOn: (lane: unknown, todo: unknown, isCommitting: boolean, error: unknown) => void;
}
interface Hub {
  apply: (room: Room, commits: readonly Commit[], size: number) => void;
}

export const plants: Record<string, { plant: Plant; finds: RegExp }> = {
  'the fence is ignored': {
    plant: { makeModel: (life) => new WithoutFence(life), under: ['node stopped', 'lock servers hang'] },
    finds: /^I13 /m,
  },
  'ids are not looked up': {
    plant: { makeModel: (life) => new WithoutIds(life), under: ['replies lost', 'clients cut off'] },
    finds: /^I3 /m,
  },
  'the check of revisions sees nothing new': {
    plant: { makeModel: (life) => new WithoutNews(life), under: ['feed drops, doubles and reorders'] },
    finds: /^I10 /m,
  },
  'an update is answered before Redis has': {
    plant: {
      onNode: ({ queue }) => {
        const { store } = queue as unknown as Queue;
        const commit = store.commit.bind(store);
        store.commit = (call: CommitCall): Promise<CommitReply> => {
          commit(call).catch(() => undefined);
          return Promise.resolve({ kind: 'committed', wanted: false });
        };
      },
      under: ['commands lost', 'redis killed and restarted'],
    },
    finds: /^I2 /m,
  },
  'what nobody knows is called certain': {
    plant: {
      onNode: ({ queue }) => {
        const own = queue as unknown as Queue;
        const giveUpOn = own.giveUpOn.bind(queue);
        own.giveUpOn = (lane, todo, _isCommitting, error) => giveUpOn(lane, todo, false, error);
      },
      under: ['replies lost'],
    },
    finds: /^I4 /m,
  },
  'commits are delivered as they come': {
    plant: {
      onNode: ({ hub }) => {
        (hub as unknown as Hub).apply = (room, commits, size) => {
          for (const commit of commits) if (room.document && !room.over) room.deliver(commit, size);
        };
      },
    },
    finds: /^I8 /m,
  },
};
