// The outbox: one session's own writes in the order in which they were made, until each is answered. It sends them while
// its session is joined, again with the same ids where the answer is not known, and never one before an earlier one.
import { pauseMs } from './backoff.js';
import { ClientError, unanswered } from './client-error.js';
import type { ClientEvent } from './protocol/messages.js';

/** Writes that wait at most, of one session. */
export const WRITES_MAX = 1000;
/** Their size, characters of JSON. */
export const WRITES_CHARS_MAX = 2 ** 22;
/** Writes that are sent before the first of them is answered. */
export const IN_FLIGHT_MAX = 64;
/** Pause before writes are sent again, milliseconds: the first and the longest. */
export const RESEND_MS = [50, 5000] as const;
/** A write that was sent is not sent again after so long, milliseconds: the server remembers its id for 10 minutes. */
export const RESEND_WITHIN_MS = 9 * 60 * 1000;

/** A write as it can be kept over a reload. */
export interface StoredWrite {
  readonly updateId: string;
  readonly event: ClientEvent;
  /** Without `sessionId` and `updateId`. */
  readonly request: object;
  /** When it was sent first and not answered with certainty since, milliseconds since 1970. */
  readonly sentAt?: number | undefined;
}

/** What an outbox is given by its session. */
export interface OutboxOptions {
  /** Sends to the session. Where no answer came the outcome of the error is unknown, and whoever owns the connection
   * closes the outbox and opens it again. */
  ask: (event: ClientEvent, request: object, answered: (error: ClientError | null, reply?: object) => void) => void;
  /** After each change of what it holds. */
  changed: () => void;
  /** A write was acknowledged, or failed for good; before the caller hears of it. */
  settled: (write: StoredWrite, error: ClientError | null, reply?: object) => void;
}

/** See {@link createOutbox}. */
export interface Outbox {
  /** What is not answered, oldest first. */
  readonly writes: readonly StoredWrite[];
  /**
   * Takes a write's place in the order and resolves with its acknowledgement. Rejects with `QUEUE_FULL`. `size`: characters
   * of its request. With `signal`: aborted before it was sent it is taken back; afterwards only the waiting ends, for it
   * may have happened.
   */
  add: (write: StoredWrite, size: number, signal?: AbortSignal) => Promise<object>;
  /** The session is joined: sends all that is not answered, oldest first. */
  open: () => void;
  /** The connection is gone: what was on its way waits to be sent again. */
  close: () => void;
  /** Fails everything that waits, but for the write that a commit tells of. */
  fail: (error: ClientError, commit?: { updateId?: string }) => void;
}

interface Entry extends StoredWrite {
  sentAt?: number | undefined;
  readonly size: number;
  /** The opening in which it was sent last and not answered; 0: none. */
  sentIn: number;
  /** Tells its caller. */
  done: (error: ClientError | null, reply?: object) => void;
}

/** An outbox that is closed. */
export function createOutbox({ ask, changed, settled }: OutboxOptions): Outbox {
  const entries: Entry[] = [];
  let attempts = 0;
  let chars = 0;
  /** Counts openings and closings: an answer from before decides nothing about sending. */
  let life = 1;
  let isOpen = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  /** A write failed in a way that may be retried: nothing is sent until all on their way are answered, and then later. */
  let retryInMs = 0;

  const flush = () => {
    if (!isOpen || retryInMs) return;
    for (const entry of entries.slice(0, IN_FLIGHT_MAX)) if (entry.sentIn !== life) send(entry);
  };

  const send = (entry: Entry) => {
    const { event, request, updateId, sentAt } = entry;
    const now = Date.now();
    if (sentAt && now - sentAt > RESEND_WITHIN_MS) {
      settle(entry, unanswered('OUTCOME_UNKNOWN', updateId));
      // What waits behind it has its place.
      return flush();
    }
    const thisLife = (entry.sentIn = life);
    entry.sentAt ??= now;
    ask(event, { ...request, updateId }, (error, reply) => {
      if (!error) {
        attempts = 0;
        settle(entry, null, reply);
        // A fault of the server may come again for ever, and all that waits behind it with it.
      } else if (error.code === 'INTERNAL' || !error.isTemporary) settle(entry, error);
      else {
        if (thisLife === life) {
          entry.sentIn = 0;
          // Those that fail together are one attempt.
          if (!retryInMs) attempts += 1;
          retryInMs = Math.max(retryInMs, pauseMs(attempts, RESEND_MS, error.retryAfterMs));
        }
        // This time it certainly did not happen; an earlier time it may have.
        if (!sentAt && error.outcome !== 'unknown') {
          entry.sentAt = undefined;
          changed();
        }
      }
      if (thisLife === life) proceed();
    });
    // Only now, for who hears of it may write again, and that is sent at once.
    if (!sentAt) changed();
  };

  /** Sends what waits; after a failure only once nothing is on its way any more, so that no retry is overtaken. */
  const proceed = () => {
    if (!retryInMs) return flush();
    if (entries.some(({ sentIn }) => sentIn === life)) return;
    clearTimeout(timer);
    timer = setTimeout(() => {
      retryInMs = 0;
      flush();
    }, retryInMs);
  };

  const settle = (entry: Entry, error: ClientError | null, reply?: object) => {
    const index = entries.indexOf(entry);
    if (index < 0) return;
    entries.splice(index, 1);
    chars -= entry.size;
    settled(entry, error, reply);
    changed();
    entry.done(error, reply);
  };

  const close = () => {
    life += 1;
    isOpen = false;
    retryInMs = 0;
    clearTimeout(timer);
  };

  return {
    writes: entries,
    add: (write, size, signal) =>
      new Promise((resolve, reject) => {
        if (entries.length >= WRITES_MAX || chars + size > WRITES_CHARS_MAX) {
          return reject(new ClientError('QUEUE_FULL', { retry: 'after-delay' }));
        }
        const done = (error: ClientError | null, reply?: object) => {
          signal?.removeEventListener('abort', abort);
          if (error) reject(error);
          else resolve(reply!);
        };
        const entry: Entry = { ...write, size, sentIn: 0, done };
        entries.push(entry);
        chars += size;
        const abort = () => {
          // Sent ones stay in the order until they are answered; only their caller waits no more.
          if (entry.sentAt) reject(unanswered('ABORTED', entry.updateId));
          else settle(entry, new ClientError('ABORTED'));
        };
        signal?.addEventListener('abort', abort);
        if (signal?.aborted) return abort();
        changed();
        flush();
      }),
    open() {
      close();
      isOpen = true;
      flush();
    },
    close,
    fail(error, commit) {
      close();
      for (const entry of entries.slice()) {
        const isDone = entry.updateId === commit?.updateId;
        settle(entry, isDone ? null : entry.sentAt ? unanswered('OUTCOME_UNKNOWN', entry.updateId) : error, commit);
      }
    },
  };
}
