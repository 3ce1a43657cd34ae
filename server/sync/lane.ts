// A lane: what waits for one session, and what this node knows of it between two batches. It decides nothing.
import type { AttuneError } from '../../client-sdk/protocol/errors.js';
import type { AnyWriteReply, Cursor, Message } from '../../client-sdk/protocol/messages.js';
import type { Lease } from '../redis/lease.js';
import type { StoredState } from '../redis/session-store.js';
import type { Plan } from '../session/plan.js';
import type { SessionState } from '../session/state.js';
import { frees, type Update } from '../session/update.js';
import type { Time, Timer } from '../time.js';

/** Updates decided by one commit call. */
export const BATCH_UPDATES_MAX = 256;
/** Bytes that one commit call may write, as far as can be told before planning. */
const BATCH_BYTES_MAX = 1024 * 1024;
/** Messages that a lane remembers between batches (a streamed one is changed many times). */
const KNOWN_MESSAGES_MAX = 32;
/** Their size while it has work, characters. */
const KNOWN_MESSAGES_CHARS_MAX = 512 * 1024;
/** Their size while it rests: there may be thousands of such lanes. */
const RESTING_MESSAGES_CHARS_MAX = 32 * 1024;

/** A lease given up on request is not asked for again for so long, milliseconds: more than those who wait for it pause. */
const GIVE_WAY_MS = 12;

/** Where updates come from: a socket, or one HTTP request. */
export interface Origin {
  /** Session -> what stands there before all but one update. */
  readonly barriers: Map<string, Barrier>;
  /** Whether it had heard of a refusal before it sent what comes now; an HTTP request sends nothing more. */
  readonly hasHeard?: (refusal: AttuneError) => boolean;
}

/** An update failed and may be tried again: none of the same origin is decided before that. */
export interface Barrier {
  readonly updateId: string;
  readonly refusal: AttuneError;
  /** Monotonic milliseconds when the update failed. */
  readonly since: number;
}

/** An update that was taken and not answered. */
export interface Pending {
  readonly update: Update;
  readonly origin: Origin;
  readonly bytes: number;
  /** Monotonic milliseconds. */
  readonly arrived: number;
  /** It was answered. */
  settled: boolean;
  readonly resolve: (reply: AnyWriteReply) => void;
  readonly reject: (error: AttuneError) => void;
}

export class Lane {
  readonly sessionId: string;
  /** `ready`: in line for a turn; `running`: a batch is being decided. */
  mode: 'idle' | 'ready' | 'running' = 'idle';
  readonly waiting: Pending[] = [];
  bytes = 0;
  lease: Lease | null = null;
  /** Monotonic milliseconds before which it does not ask for the lease: another node is first. */
  asksFrom = -Infinity;
  /** Another node waits for the lease: it is given up after the batch under way. */
  wanted = false;
  linger: Timer | undefined;
  /** The session as last seen, `state: null` when absent; `null`: nothing is known. */
  known: { state: SessionState | null; redisLife: string } | null = null;
  fence = 0;
  /** Messages as of `known`; `null` is known to be absent. */
  readonly messages = new Map<string, Message | null>();

  private readonly monotonic: Time['monotonic'];

  constructor(sessionId: string, monotonic: Time['monotonic']) {
    this.sessionId = sessionId;
    this.monotonic = monotonic;
  }

  cursor(): Cursor | null {
    return this.known?.state?.document ?? null;
  }

  holdsLease(): boolean {
    return this.lease !== null && this.known !== null && this.monotonic() < this.lease.usableUntil;
  }

  useLease(lease: Lease): void {
    this.lease = lease;
    this.fence = lease.fence;
    if (lease.found === null) return;
    if ('kind' in lease.found) this.adoptAbsence(lease.found.redisLife);
    else this.adopt(lease.found);
  }

  dropLease(): void {
    this.lease?.release();
    this.lease = null;
    this.wanted = false;
    this.messages.clear();
  }

  /** Gives the lease up to another node that waits for it, and lets that one be first. */
  giveWay(): void {
    this.dropLease();
    this.asksFrom = this.monotonic() + GIVE_WAY_MS;
  }

  /** The state as Redis has it, in place of what was known. The token stays: a newer one refuses the next commit. */
  adopt({ state }: StoredState): void {
    this.known = { state, redisLife: state.document.epoch.slice(-8) };
    this.messages.clear();
  }

  adoptAbsence(redisLife: string): void {
    this.known = { state: null, redisLife };
    this.fence = 1;
    this.messages.clear();
  }

  /** After a confirmed batch. */
  advance(planned: Plan): void {
    this.known = { state: planned.next, redisLife: this.known!.redisLife };
    if (planned.cleared || planned.next === null) this.messages.clear();
    for (const [id, message] of planned.messages) this.messages.set(id, message);
    this.trimMessages(KNOWN_MESSAGES_CHARS_MAX);
  }

  /** Nothing waits any more: keeps what is small, for the next token of a streamed message. */
  rest(): void {
    this.trimMessages(RESTING_MESSAGES_CHARS_MAX);
  }

  private trimMessages(charsMax: number): void {
    let size = 0;
    for (const message of this.messages.values()) size += sizeOf(message);
    if (this.messages.size > KNOWN_MESSAGES_MAX || size > charsMax) this.messages.clear();
  }

  /** After an answer that did not come: nothing is known any more. */
  forget(): void {
    this.dropLease();
    this.known = null;
    this.messages.clear();
  }

  /**
   * The updates to decide together, oldest first. One that makes room goes alone, and an id is in a batch only once:
   * its second use is answered from what the first one left in Redis.
   */
  nextBatch(): Pending[] {
    const settingsSize = this.known?.state?.settingsJson.length ?? 0;
    const ids = new Set<string>();
    let size = 0;
    let count = 0;
    for (const { update, bytes } of this.waiting) {
      const id = `${update.by.userId} ${update.updateId}`;
      size += bytes + (update.action.kind === 'settings' ? settingsSize : 0);
      const full = count >= BATCH_UPDATES_MAX || size > BATCH_BYTES_MAX || ids.has(id);
      if (count > 0 && (full || frees(update.action))) break;
      count += 1;
      ids.add(id);
      if (frees(update.action)) break;
    }
    return this.take(count);
  }

  /** Takes the oldest out of the lane. */
  take(count: number): Pending[] {
    const taken = this.waiting.splice(0, count);
    for (const { bytes } of taken) this.bytes -= bytes;
    return taken;
  }

  takeWaitingOf(origin: Origin): Pending[] {
    const taken = this.waiting.filter((pending) => pending.origin === origin);
    if (taken.length === 0) return taken;
    const rest = this.waiting.filter((pending) => pending.origin !== origin);
    this.waiting.splice(0, this.waiting.length, ...rest);
    for (const { bytes } of taken) this.bytes -= bytes;
    return taken;
  }
}

/** About how many characters a message holds; parts are rarely streamed, so that measuring them costs little. */
function sizeOf(message: Message | null): number {
  if (!message) return 0;
  const { content, metadata, references } = message;
  const text = typeof content === 'string' ? content.length : JSON.stringify(content).length;
  return text + (metadata || references ? JSON.stringify([metadata, references]).length : 0);
}
