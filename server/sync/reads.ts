// Reads that no room is needed for: always from Redis, so never older than a write that was acknowledged before.
import { AttuneError } from '../../client-sdk/protocol/errors.js';
import type { SessionDocument } from '../../client-sdk/protocol/messages.js';
import { RedisFailure } from '../redis/connection.js';
import type { ListPosition, SessionStore } from '../redis/session-store.js';

export type { ListPosition };

/** Sessions read at the same time for one list. */
const LIST_READS_MAX = 32;

/** All reads reject with UNAVAILABLE while Redis does not answer, and give `null` where there is no such session. */
export class SessionReads {
  private readonly store: SessionStore;

  constructor(store: SessionStore) {
    this.store = store;
  }

  async session(sessionId: string): Promise<SessionDocument | null> {
    const read = await answered(this.store.read(sessionId, null));
    return read.kind === 'state' ? read.stored.state.document : null;
  }

  history(sessionId: string, before: number | undefined, limit: number) {
    return answered(this.store.history(sessionId, before, limit));
  }

  messages(sessionId: string, page: { before?: number | undefined; after?: number | undefined; limit: number }) {
    return answered(this.store.messages(sessionId, page));
  }

  export(sessionId: string) {
    return answered(this.store.export(sessionId));
  }

  ids(prefix: string, from: ListPosition, limit: number) {
    return answered(this.store.list(prefix, from, limit));
  }

  /** The documents of those that exist, in the order asked for. */
  async sessions(sessionIds: readonly string[]): Promise<SessionDocument[]> {
    const documents: SessionDocument[] = [];
    for (let i = 0; i < sessionIds.length; i += LIST_READS_MAX) {
      const some = await Promise.all(sessionIds.slice(i, i + LIST_READS_MAX).map((id) => this.session(id)));
      documents.push(...some.filter((document) => document !== null));
    }
    return documents;
  }
}

/** The same promise, with a Redis that is away as UNAVAILABLE. */
export async function answered<T>(read: Promise<T>): Promise<T> {
  try {
    return await read;
  } catch (error) {
    if (!(error instanceof RedisFailure)) throw error;
    throw new AttuneError('UNAVAILABLE', 'Redis does not answer', { cause: error });
  }
}
