// The update queue: each session's updates take their place on arrival, wait in a bounded lane, and are decided in
// batches (group commit), one batch of a session at a time. Nothing is answered before Redis confirmed it.
//
//   waiting -> planned over the known state -> one commit call -> COMMITTED  answered
//                                                              DUPLICATE  those answered as the first time, rest again
//                                                              STALE      the returned state adopted, planned again
//                                                              FENCED     lease taken again, planned again
//                                                              no answer  OUTCOME_UNKNOWN
import type { Logger } from 'pino';
import { AttuneError } from '../../client-sdk/protocol/errors.js';
import type { JsonObject } from '../../client-sdk/protocol/json.js';
import type { Limits } from '../../client-sdk/protocol/limits.js';
import type { AnyWriteReply } from '../../client-sdk/protocol/messages.js';
import type { Metrics } from '../metrics.js';
import { RedisFailure } from '../redis/connection.js';
import type { Leases } from '../redis/lease.js';
import type { SessionStore } from '../redis/session-store.js';
import { plan, type Outcome, type Plan } from '../session/plan.js';
import type { SettingsSchema } from '../session/settings-schema.js';
import { frees, messageNeeded, type Update } from '../session/update.js';
import { pause, type Time, type Timer } from '../time.js';
import { answerAgain, completeConflict } from './answers.js';
import { Lane, type Barrier, type Origin, type Pending } from './lane.js';
import { RETRY_AFTER_MS } from './retry-after.js';

/** Updates of one session that wait; more are refused with OVERLOADED. */
export const LANE_UPDATES_MAX = 2000;
/** Bytes of requests of one session that wait. */
export const LANE_BYTES_MAX = 8 * 1024 * 1024;
/** Updates of all sessions that wait on this node. */
export const QUEUE_UPDATES_MAX = 20_000;
/** Bytes of requests of all sessions that wait on this node. */
export const QUEUE_BYTES_MAX = 64 * 1024 * 1024;
/** An update that has not gone to Redis after so long is refused, milliseconds; with COMMIT_TIMEOUT_MS below 2 s. */
export const QUEUE_WAIT_MAX_MS = 1800;
/** Sessions whose batches are decided at the same time; the others take turns. */
const LANES_RUNNING_MAX = 128;
/** Sessions that are kept in memory while nothing waits for them. */
const LANES_IDLE_MAX = 2000;
/** Times a batch is planned again because another node was faster. */
const ATTEMPTS_MAX = 12;
/** After so many of them the other node is asked to give way. */
const ATTEMPTS_BEFORE_WISH = 2;
/** A lease without work is kept for so long, milliseconds, where this node hears when another wants it. */
const LEASE_LINGER_MS = 2000;
/** Where it does not hear: just long enough for the next update of a burst. */
const LEASE_LINGER_DEAF_MS = 20;
/**
 * Nothing of the same socket overtakes the retry of a refused update for RETRY_AFTER_MS at least, and for so long at most,
 * milliseconds, though the caller never says that it has heard: by then a connection that is silent was closed.
 */
const BARRIER_MAX_MS = 20_000;
/** Pause before a Redis that is away is tried again, milliseconds. */
const AWAY_PAUSE_MS = 20;
/** How often waiting updates are checked for having waited too long, milliseconds. */
const SWEEP_MS = 100;

export interface UpdateQueueOptions {
  store: SessionStore;
  leases: Leases;
  limits: Limits;
  schema: SettingsSchema;
  metrics: Metrics;
  logger: Logger;
  time: Time;
  /** Whether this node hears the feed of a session, and so when another node wants its lease. */
  hears: (sessionId: string) => boolean;
}

export class UpdateQueue {
  private readonly store: SessionStore;
  private readonly options: UpdateQueueOptions;
  private readonly lanes = new Map<string, Lane>();
  private readonly ready: Lane[] = [];
  private readonly time: Time;
  private readonly sweeper: Timer;
  private running = 0;
  private updates = 0;
  private bytes = 0;
  private draining = false;
  private drained: (() => void) | undefined;

  constructor(options: UpdateQueueOptions) {
    this.options = options;
    this.store = options.store;
    this.time = options.time;
    this.sweeper = this.time.setInterval(() => this.sweep(), SWEEP_MS);
    this.sweeper.unref();
  }

  /**
   * Takes the update's place in its session's lane at once, and answers when Redis has decided. Rejects with an
   * AttuneError. Updates of one origin to one session are decided in the order of these calls; after one of them failed
   * in a way that may be retried, those behind it fail too. `bytes` is the size of the request.
   */
  submit(update: Update, origin: Origin, bytes: number): Promise<AnyWriteReply> {
    try {
      this.admit(update, origin, bytes);
    } catch (error) {
      return Promise.reject(error as Error);
    }
    const lane = this.lane(update.sessionId);
    return new Promise((resolve, reject) => {
      lane.waiting.push({ update, origin, bytes, arrived: this.time.monotonic(), settled: false, resolve, reject });
      lane.bytes += bytes;
      this.updates += 1;
      this.bytes += bytes;
      this.wake(lane);
    });
  }

  /** Another node waits for the lease of a session: it has it at once, or after the batch that is being decided. */
  giveUp(sessionId: string): void {
    const lane = this.lanes.get(sessionId);
    if (!lane) return;
    if (lane.mode === 'running') lane.wanted = true;
    else lane.giveWay();
  }

  /** Takes nothing more, decides what waits, gives all leases up. */
  async drain(): Promise<void> {
    this.draining = true;
    if (this.updates > 0) await new Promise<void>((resolve) => (this.drained = resolve));
    this.time.clearInterval(this.sweeper);
    for (const lane of this.lanes.values()) {
      this.time.clearTimeout(lane.linger);
      lane.dropLease();
    }
    await this.options.leases.close();
  }

  private admit(update: Update, origin: Origin, bytes: number): void {
    if (this.draining) throw new AttuneError('UNAVAILABLE', 'this node is leaving; connect again');
    const barrier = origin.barriers.get(update.sessionId);
    if (barrier) {
      if (barrier.updateId !== update.updateId && stands(barrier, origin, this.time.monotonic())) {
        throw new AttuneError('UNAVAILABLE', 'an update before this one failed and may be tried again first');
      }
      origin.barriers.delete(update.sessionId);
    }
    const lane = this.lanes.get(update.sessionId);
    const full =
      (lane && (lane.waiting.length >= LANE_UPDATES_MAX || lane.bytes + bytes > LANE_BYTES_MAX)) ||
      this.updates >= QUEUE_UPDATES_MAX ||
      this.bytes + bytes > QUEUE_BYTES_MAX;
    if (full) {
      const refusal = new AttuneError('OVERLOADED', 'too many updates are waiting');
      this.holdBack(update, origin, refusal);
      throw refusal;
    }
  }

  /** What the socket sent behind a failed update must not be decided before its retry. */
  private holdBack({ sessionId, updateId }: Update, origin: Origin, refusal: AttuneError): void {
    // Of several that failed the first is to be tried again first.
    const barrier = origin.barriers.get(sessionId);
    if (!barrier || !stands(barrier, origin, this.time.monotonic())) {
      origin.barriers.set(sessionId, { updateId, refusal, since: this.time.monotonic() });
    }
  }

  private lane(sessionId: string): Lane {
    let lane = this.lanes.get(sessionId);
    if (!lane) {
      lane = new Lane(sessionId, this.time.monotonic);
      this.lanes.set(sessionId, lane);
    }
    return lane;
  }

  private wake(lane: Lane): void {
    if (lane.mode !== 'idle') return;
    lane.mode = 'ready';
    this.time.clearTimeout(lane.linger);
    // After this turn of the event loop: all that has arrived by then is one batch.
    this.time.setImmediate(() => {
      this.ready.push(lane);
      this.pump();
    });
  }

  private pump(): void {
    while (this.running < LANES_RUNNING_MAX) {
      const lane = this.ready.shift();
      if (!lane) return;
      this.running += 1;
      lane.mode = 'running';
      void this.turn(lane).finally(() => {
        this.running -= 1;
        this.rest(lane);
        this.pump();
      });
    }
  }

  /** After a batch: the session goes to the back of the line, or rests and gives its lease up soon. */
  private rest(lane: Lane): void {
    if (lane.waiting.length > 0) {
      lane.mode = 'ready';
      this.ready.push(lane);
      return;
    }
    lane.mode = 'idle';
    lane.rest();
    const lingerMs = this.options.hears(lane.sessionId) ? LEASE_LINGER_MS : LEASE_LINGER_DEAF_MS;
    if (lane.lease) lane.linger = this.time.setTimeout(() => lane.dropLease(), lingerMs);
    // The newest at the end: the first are those that rested longest.
    this.lanes.delete(lane.sessionId);
    this.lanes.set(lane.sessionId, lane);
    if (this.lanes.size > LANES_IDLE_MAX) this.forgetOldest();
    if (this.updates === 0) this.drained?.();
  }

  private forgetOldest(): void {
    for (const lane of this.lanes.values()) {
      if (lane.mode !== 'idle') continue;
      this.time.clearTimeout(lane.linger);
      lane.dropLease();
      this.lanes.delete(lane.sessionId);
      return;
    }
  }

  private async turn(lane: Lane): Promise<void> {
    const batch = lane.nextBatch();
    if (batch.length === 0) return;
    this.options.metrics.batchSize.observe(batch.length);
    try {
      await this.decide(lane, batch);
    } catch (error) {
      // Not one of the failures we know: what happened to these updates is not known either.
      lane.forget();
      this.options.metrics.internalErrors.inc();
      this.options.logger.error({ err: error, sessionId: lane.sessionId }, 'a batch failed');
      for (const pending of batch)
        this.fail(lane, pending, new AttuneError('INTERNAL', 'the update failed', { cause: error }));
    }
  }

  /** Decides a batch: plans and commits until Redis confirmed, or says why not. Settles every update of it. */
  private async decide(lane: Lane, batch: Pending[]): Promise<void> {
    let todo = batch;
    let attempts = 0;
    while (todo.length > 0) {
      let isCommitting = false;
      try {
        await this.prepare(lane, todo);
        const updates = todo.map(({ update }) => update);
        const planned = plan(await this.planInput(lane, todo), updates);
        isCommitting = true;
        todo = await this.commit(lane, todo, planned);
        attempts += 1;
      } catch (error) {
        if (!(error instanceof RedisFailure)) throw error;
        if (await this.mayWait(lane, todo, isCommitting, error)) continue;
        this.giveUpOn(lane, todo, isCommitting, error);
        return;
      }
      if (attempts >= ATTEMPTS_MAX)
        this.failAll(lane, todo.splice(0), 'UNAVAILABLE', 'other nodes were faster each time');
      // Without lock servers nobody else would say it, and the faster node would always win.
      if (todo.length > 0 && attempts === ATTEMPTS_BEFORE_WISH)
        await this.store.want(lane.sessionId).catch(() => undefined);
    }
  }

  private giveUpOn(lane: Lane, todo: Pending[], isCommitting: boolean, error: RedisFailure): void {
    if (isCommitting) this.options.metrics.commitReplies.inc({ reply: error.kind });
    if (isCommitting && error.kind === 'no-answer') {
      this.failAll(lane, todo, 'OUTCOME_UNKNOWN', 'Redis did not answer; the same id is safe to send again', error);
    } else {
      const message = error.kind === 'refused' ? error.message : 'Redis does not answer';
      this.failAll(lane, todo, 'UNAVAILABLE', message, error);
    }
  }

  /** One commit call; returns the updates that are to be planned again. */
  private async commit(lane: Lane, todo: Pending[], planned: Plan): Promise<Pending[]> {
    const { metrics } = this.options;
    const began = this.time.monotonic();
    const answer = await this.store.commit({
      sessionId: lane.sessionId,
      over: lane.known!.state,
      redisLife: lane.known!.redisLife,
      fence: lane.fence,
      plan: planned,
      ids: todo.map(({ update }, i) => ({ key: idKey(update), remember: remembered(update, planned.outcomes[i]!) })),
      freeing: todo.every(({ update }) => frees(update.action)),
    });
    metrics.commitReplies.inc({ reply: answer.kind });
    metrics.commitSeconds.observe((this.time.monotonic() - began) / 1000);
    switch (answer.kind) {
      case 'committed':
        metrics.commits.inc(planned.commits.length);
        lane.advance(planned);
        if (answer.wanted || lane.wanted) lane.giveWay();
        todo.forEach((pending, i) => this.settle(pending, planned.outcomes[i]!));
        return [];
      case 'duplicate':
        for (const [i, first] of answer.remembered) {
          const pending = todo[i]!;
          this.leave(pending);
          answerAgain(this.store, pending.update, first).then(pending.resolve, pending.reject);
        }
        return todo.filter((_, i) => !answer.remembered.has(i));
      case 'stale':
        lane.adopt(answer.stored);
        return todo;
      case 'absent':
        lane.adoptAbsence(answer.redisLife);
        return todo;
      case 'fenced':
        lane.dropLease();
        return todo;
      case 'broken':
        return this.failBroken(lane, todo, answer.key);
      default:
        return answer satisfies never;
    }
  }

  /** Something that is not ours is under a key of the session: nothing was written, and nothing will be. */
  private failBroken(lane: Lane, todo: Pending[], key: number): Pending[] {
    this.options.logger.error(
      { sessionId: lane.sessionId, key },
      'a key of a session holds something that is not ours',
    );
    lane.forget();
    for (const pending of todo) {
      // Without its document there is no such session, as every read says too; only making one is in the way.
      const isGone = key === 1 && pending.update.action.kind !== 'open';
      const message = isGone ? 'there is no such session' : 'the session is damaged; the log has more';
      this.leave(pending);
      pending.reject(new AttuneError(isGone ? 'SESSION_NOT_FOUND' : 'INTERNAL', message));
    }
    return [];
  }

  /** Holds the lease, and knows the session's state and every message that the updates name. */
  private async prepare(lane: Lane, todo: Pending[]): Promise<void> {
    if (!lane.holdsLease()) {
      lane.dropLease();
      const giveWayMs = lane.asksFrom - this.time.monotonic();
      if (giveWayMs > 0) await pause(this.time, giveWayMs);
      lane.useLease(await this.options.leases.take(lane.sessionId, lane.cursor()));
    }
    const wanted = todo.flatMap(({ update }) => messageNeeded(update.action) ?? []);
    if (wanted.every((id) => lane.messages.has(id))) return;
    const messageIds = [...new Set(wanted)];
    const read = await this.store.read(lane.sessionId, lane.cursor(), { messageIds });
    if (read.kind === 'absent') {
      lane.adoptAbsence(read.redisLife);
    } else {
      if (read.kind === 'state') lane.adopt(read.stored);
      if (read.kind === 'tail') throw new Error('no tail was asked for');
      messageIds.forEach((id, i) => lane.messages.set(id, read.messages[i] ?? null));
    }
    if (lane.known?.state === null) for (const id of messageIds) lane.messages.set(id, null);
  }

  private async planInput(lane: Lane, todo: Pending[]) {
    const { limits, schema } = this.options;
    const { state, redisLife } = lane.known!;
    const restorable = new Map<number, JsonObject | null>();
    for (const { update } of todo) {
      if (update.action.kind !== 'settings' || !('restore' in update.action.change)) continue;
      const revision = update.action.change.restore;
      const kept = revision <= (state?.document.revision ?? 0) ? await this.store.at(lane.sessionId, revision) : null;
      restorable.set(revision, kept?.settings?.value ?? null);
    }
    return { state, redisLife, messages: lane.messages, restorable, now: this.time.now(), limits, schema };
  }

  /** Where nothing of the batch was sent it waits for Redis to be back, as long as its oldest update may. */
  private async mayWait(lane: Lane, todo: Pending[], isCommitting: boolean, error: RedisFailure): Promise<boolean> {
    lane.forget();
    if (isCommitting && error.kind !== 'not-sent') return false;
    const oldest = todo[0]!.arrived;
    if (this.time.monotonic() + AWAY_PAUSE_MS > oldest + QUEUE_WAIT_MAX_MS) return false;
    await pause(this.time, AWAY_PAUSE_MS);
    return true;
  }

  private settle(pending: Pending, outcome: Outcome): void {
    this.leave(pending);
    if (outcome.kind !== 'refused') return pending.resolve(outcome.reply);
    if (outcome.error.code !== 'REVISION_CONFLICT') return pending.reject(outcome.error);
    void completeConflict(this.store, pending.update, outcome.error).then(pending.reject);
  }

  private failAll(
    lane: Lane,
    todo: Pending[],
    code: 'UNAVAILABLE' | 'OUTCOME_UNKNOWN',
    message: string,
    cause?: unknown,
  ): void {
    for (const pending of todo) {
      const { updateId } = pending.update;
      const details = code === 'OUTCOME_UNKNOWN' ? { details: { updateId } } : {};
      this.fail(lane, pending, new AttuneError(code, message, { ...details, cause }));
    }
  }

  private fail(lane: Lane, pending: Pending, error: AttuneError): void {
    if (!this.leave(pending)) return;
    this.holdBack(pending.update, pending.origin, error);
    pending.reject(error);
    // A retry must find nothing of the same socket decided before it.
    for (const behind of lane.takeWaitingOf(pending.origin)) {
      this.leave(behind);
      const overtaken = 'an update before this one failed and may be tried again first';
      behind.reject(new AttuneError('UNAVAILABLE', overtaken));
    }
  }

  /** Takes an update out of the counts; false where it was answered before. */
  private leave(pending: Pending): boolean {
    if (pending.settled) return false;
    pending.settled = true;
    this.updates -= 1;
    this.bytes -= pending.bytes;
    this.options.metrics.queueSeconds.observe((this.time.monotonic() - pending.arrived) / 1000);
    if (this.updates === 0 && this.draining) this.time.setImmediate(() => this.drained?.());
    return true;
  }

  private sweep(): void {
    this.options.metrics.queuedUpdates.set(this.updates);
    const oldest = this.time.monotonic() - QUEUE_WAIT_MAX_MS;
    for (const lane of this.lanes.values()) {
      for (;;) {
        const first = lane.waiting[0];
        if (!first || first.arrived > oldest) break;
        lane.take(1);
        this.fail(lane, first, new AttuneError('UNAVAILABLE', 'the update waited too long'));
      }
    }
  }
}

/** Whether what comes now may have been sent before its sender heard of the refusal, or could not yet have retried. */
function stands({ refusal, since }: Barrier, { hasHeard }: Origin, now: number): boolean {
  const age = now - since;
  return age < RETRY_AFTER_MS || (age < BARRIER_MAX_MS && hasHeard?.(refusal) === false);
}

/** The scope of an update id is session and user; the length keeps `a` + `bc` apart from `ab` + `c`. */
function idKey({ by, updateId }: Update): string {
  return `${by.userId.length}:${by.userId}${updateId}`;
}

function remembered({ payloadHash }: Update, outcome: Outcome) {
  if (outcome.kind === 'refused') return null;
  const { revision, epoch, at } = outcome;
  return { revision, epoch, at, payloadHash, changed: outcome.kind === 'committed' };
}

export type { Origin };
