// A SessionStorage as tests ask it: what a session that is opened is told, and what is kept of it then.
import type { StoredWrite } from '../../client-sdk/outbox.js';
import type { Confirmed } from '../../client-sdk/replica.js';
import type { SessionStorage } from '../../client-sdk/shapes.js';

export interface OpenedStorage {
  /** Opens the session: what is told at once; later writes are given to `later`. */
  load(sessionId: string, later?: (write: StoredWrite) => void): { writes: StoredWrite[]; confirmed: Confirmed | null };
  /** What is to be kept of it; opens it where that was not done. */
  save(sessionId: string, writes: readonly StoredWrite[], confirmed: Confirmed | null): void;
}

export function opened(storage: SessionStorage): OpenedStorage {
  const saves = new Map<string, ReturnType<SessionStorage['open']>>();
  const load: OpenedStorage['load'] = (sessionId, later) => {
    const told = { writes: [] as StoredWrite[], confirmed: null as Confirmed | null };
    let isOpen = false;
    const save = storage.open(sessionId, {
      confirmed: (session) => void (told.confirmed = session),
      unsent: (write) => void (isOpen ? later?.(write) : told.writes.push(write)),
    });
    isOpen = true;
    saves.set(sessionId, save);
    return told;
  };
  return {
    load,
    save(sessionId, writes, confirmed) {
      if (!saves.has(sessionId)) load(sessionId);
      saves.get(sessionId)!(writes, confirmed);
    },
  };
}
