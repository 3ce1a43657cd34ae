// Removes sessions that had neither a commit nor a socket for SESSION_IDLE_TTL_S. Off unless that is configured.
// Every node looks; the deletion is a commit like any other, so that two nodes cannot both do it.
import type { Logger } from 'pino';
import type { Author } from '../../client-sdk/protocol/messages.js';
import { randomUUID } from 'node:crypto';
import type { ListPosition, SessionStore } from '../redis/session-store.js';
import type { Time, Timer } from '../time.js';
import type { SessionHub } from './session-hub.js';
import type { UpdateQueue } from './update-queue.js';

/** A node looks so many times per TTL, so that a session stays at most a quarter longer. */
const LOOKS_PER_TTL = 4;
/** The longest pause between two looks, milliseconds. */
const LOOK_EVERY_MAX_MS = 60_000;
/** Sessions asked for at a time. */
const PAGE_SESSIONS = 200;

const sweeper: Author = { userId: 'attune', clientId: 'idle-sessions', kind: 'service' };

export class IdleSessions {
  private readonly options: {
    store: SessionStore;
    queue: UpdateQueue;
    hub: SessionHub;
    ttlS: number;
    logger: Logger;
    time: Time;
  };
  private timer: Timer | undefined;
  private closed = false;

  constructor(options: IdleSessions['options']) {
    this.options = options;
    if (options.ttlS > 0) this.schedule();
  }

  close(): void {
    this.closed = true;
    this.options.time.clearTimeout(this.timer);
  }

  private schedule(): void {
    if (this.closed) return;
    const every = Math.min((this.options.ttlS * 1000) / LOOKS_PER_TTL, LOOK_EVERY_MAX_MS);
    this.timer = this.options.time.setTimeout(() => {
      this.look()
        .catch((error: unknown) =>
          this.options.logger.debug({ err: error }, 'the look for idle sessions did not finish'),
        )
        .finally(() => this.schedule());
    }, every);
    this.timer.unref();
  }

  private async look(): Promise<void> {
    const { store, hub, ttlS, time } = this.options;
    const at = new Date(time.now()).toISOString();
    const cutoff = new Date(time.now() - ttlS * 1000).toISOString();
    for (const sessionId of hub.sessionIds()) await store.touch(sessionId, at);
    let from: ListPosition | undefined = { partition: 0, after: '' };
    while (from && !this.closed) {
      const page: { ids: string[]; next?: ListPosition } = await store.list('', from, PAGE_SESSIONS);
      const idle = await Promise.all(page.ids.map((id) => store.idle(id, cutoff)));
      for (const [i, found] of idle.entries()) if (found) await this.remove(page.ids[i]!, found);
      from = page.next;
    }
  }

  private async remove(sessionId: string, found: { epoch: string; revision: number }): Promise<void> {
    // A reader may have come since this look began.
    if (this.options.hub.hears(sessionId)) return;
    const update = {
      sessionId,
      updateId: randomUUID(),
      payloadHash: '',
      by: sweeper,
      // Only as it was found: a commit since then keeps it.
      action: { kind: 'delete' as const, ifEpoch: found.epoch, ifDocumentRevision: found.revision },
    };
    await this.options.queue.submit(update, { barriers: new Map() }, 0).catch(() => undefined);
  }
}
