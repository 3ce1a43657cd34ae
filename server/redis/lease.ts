// Leases: a time-bounded right to commit for one session. Redlock calms contention; the fencing token taken with each
// lease, which the commit script checks, is what makes a late holder harmless. Losing the lock servers costs speed only.
import type { Logger } from 'pino';
import Redlock, { ExecutionError, ResourceLockedError, type Lock } from 'redlock';
import type { Cursor } from '../../client-sdk/protocol/messages.js';
import type { Metrics } from '../metrics.js';
import { pause, type Time } from '../time.js';
import { RedisFailure, type RedisClient } from './connection.js';
import type { Keys } from './keys.js';
import type { SessionStore, StoredState } from './session-store.js';

/** How long a lock lives when its holder dies, milliseconds. */
export const LEASE_TTL_MS = 5000;
/**
 * How long a lease is used at most before it is taken again, milliseconds: far from its end, so that no clock matters. Each
 * is used for at least half of it, and not all for the same time: sessions that began together must not renew together.
 */
const LEASE_USE_MS = 4000;
/**
 * A holder gives a lease up within a batch when another node wants it. One that has not after so long is dead, paused or
 * cut off: its lease is superseded by a newer token, milliseconds.
 */
export const LEASE_WAIT_MAX_MS = 300;
/** How long a lease that superseded another is used, milliseconds; then the lock is tried again. */
const SUPERSEDED_USE_MS = 2000;
/** Pause between two attempts to take a lock that another node holds, milliseconds (plus as much jitter). */
const LEASE_RETRY_MS = 4;
/** How often a waiting node says so, milliseconds. */
const WANT_EVERY_MS = 100;
/** After a majority of the lock servers did not answer they are left alone for so long. */
const BREAKER_MS = 5000;

/** The right to commit, and what its taker did not know of the session. */
export interface Lease {
  /** The fencing token; 1 for a session that does not exist yet. */
  readonly fence: number;
  /** The session now, where it differs from what the taker had; `'absent'` with the life of its Redis. */
  readonly found: StoredState | { kind: 'absent'; redisLife: string } | null;
  /** Monotonic milliseconds (`Time.monotonic`) until which it may be used. */
  readonly usableUntil: number;
  /** Gives it up. Never fails, never decides an answer. */
  release(): unknown;
}

export class Leases {
  private readonly store: SessionStore;
  private readonly keys: Keys;
  private readonly metrics: Metrics;
  private readonly logger: Logger;
  private readonly time: Time;
  private readonly redlock: Redlock;
  private readonly quorum: number;
  private readonly releasing = new Set<Promise<unknown>>();
  private breakerUntil = 0;
  /** As the log was told last, and when (monotonic milliseconds). */
  private areLocksLost = false;
  private toldAt = -Infinity;

  constructor(options: {
    store: SessionStore;
    keys: Keys;
    lockClients: readonly RedisClient[];
    metrics: Metrics;
    logger: Logger;
    time: Time;
  }) {
    this.store = options.store;
    this.keys = options.keys;
    this.metrics = options.metrics;
    this.logger = options.logger;
    this.time = options.time;
    this.quorum = Math.floor(options.lockClients.length / 2) + 1;
    // Its own retries would collide again and again after a split vote: we retry, with jitter, afresh each time.
    this.redlock = new Redlock([...options.lockClients], { retryCount: 0, automaticExtensionThreshold: 0 });
    this.redlock.on('error', (error: Error) => this.logger.trace({ err: error }, 'lock server'));
  }

  /**
   * Waits for the lease of a session, at most about LEASE_WAIT_MAX_MS; then takes a newer token, which ends the other
   * holder's. Without lock servers goes on under the current token. Throws RedisFailure when the data Redis does not
   * answer.
   */
  async take(sessionId: string, have: Cursor | null): Promise<Lease> {
    const deadline = this.time.monotonic() + LEASE_WAIT_MAX_MS;
    let wantedAt = -Infinity;
    while (this.time.monotonic() >= this.breakerUntil) {
      // A lock would be good for nothing, and waiting for one would keep the caller for longer than it may wait.
      if (!this.store.ready) throw new RedisFailure('not-sent', 'Redis is away');
      const began = this.time.monotonic();
      const lock = await this.lock(sessionId);
      if (lock !== 'lost') this.note(false, began);
      // Redlock can hand out a lock that has already run out: only what is left by our own clock counts.
      if (lock instanceof Object && this.time.monotonic() - began < LEASE_USE_MS / 4) {
        return this.fenced(sessionId, have, began + LEASE_USE_MS * (0.5 + this.time.random() / 2), lock);
      }
      if (lock instanceof Object) this.release(lock);
      if (lock === 'lost') {
        this.breakerUntil = this.time.monotonic() + BREAKER_MS;
        this.note(true, began);
        break;
      }
      if (began > deadline) {
        this.metrics.leaseBypasses.inc({ reason: 'held' });
        return this.fenced(sessionId, have, began + SUPERSEDED_USE_MS, null);
      }
      if (began - wantedAt > WANT_EVERY_MS) {
        wantedAt = began;
        // Best effort: Redis refuses it when it is out of memory, and the lease is superseded then.
        await this.store.want(sessionId).catch(() => undefined);
      }
      await pause(this.time, LEASE_RETRY_MS * (1 + this.time.random()));
    }
    return this.bypass(sessionId);
  }

  /** Waits for releases under way. */
  async close(): Promise<void> {
    await Promise.allSettled(this.releasing);
  }

  /** Logs that the lock servers are lost or back, once for all sessions that find it out. */
  private note(areLost: boolean, began: number): void {
    // An attempt from before the change says nothing of now.
    if (areLost === this.areLocksLost || began < this.toldAt) return;
    this.areLocksLost = areLost;
    this.toldAt = this.time.monotonic();
    if (areLost) this.logger.warn('the lock servers do not answer: going on under fence and revision');
    else this.logger.warn('the lock servers answer again');
  }

  private async lock(sessionId: string): Promise<Lock | 'held' | 'lost'> {
    try {
      return await this.redlock.acquire([this.keys.session(sessionId).lock], LEASE_TTL_MS);
    } catch (error) {
      if (!(error instanceof ExecutionError)) return 'lost';
      const stats = await error.attempts.at(-1);
      if (!stats) return 'lost';
      const held = [...stats.votesAgainst.values()].filter((vote) => vote instanceof ResourceLockedError);
      return stats.votesFor.size + held.length >= this.quorum ? 'held' : 'lost';
    }
  }

  private async fenced(sessionId: string, have: Cursor | null, usableUntil: number, lock: Lock | null): Promise<Lease> {
    const release = () => lock && this.release(lock);
    try {
      const taken = await this.store.fence(sessionId, have);
      this.metrics.leasesTaken.inc();
      if (taken.kind === 'absent') return { fence: 1, found: taken, usableUntil, release };
      return { fence: taken.fence, found: taken.stored, usableUntil, release };
    } catch (error) {
      release();
      throw error;
    }
  }

  /** The current token, not a new one: nodes that each took a new one would fence each other for ever. */
  private async bypass(sessionId: string): Promise<Lease> {
    this.metrics.leaseBypasses.inc({ reason: 'lost' });
    const read = await this.store.read(sessionId, null);
    const usableUntil = this.time.monotonic() + SUPERSEDED_USE_MS;
    const release = () => undefined;
    if (read.kind === 'absent') return { fence: 1, found: read, usableUntil, release };
    if (read.kind !== 'state') throw new Error('a read from nothing answers with a state');
    return { fence: read.stored.fence, found: read.stored, usableUntil, release };
  }

  private release(lock: Lock): void {
    const released = lock.release().catch((error: unknown) => {
      this.metrics.releaseFailures.inc();
      this.logger.debug({ err: error }, 'a lock was not released; it runs out by itself');
    });
    this.releasing.add(released);
    void released.finally(() => this.releasing.delete(released));
  }
}
