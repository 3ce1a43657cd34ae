// The outbox: one session's own writes in the order in which they were made, until each is answered. It sends them while
// its session is joined, again with the same ids where the answer is not known, and never one before an earlier one.
import { ClientError } from './client-error.js';
import type { ClientEvent } from './protocol/messages.js';

/** Writes that wait at most, of one session. */
export const WRITES_MAX = 1000;
/** Their size, characters of JSON. */
export const WRITES_CHARS_MAX = 4 * 1024 * 1024;
/** Writes that are sent before the first of them is answered. */
export const IN_FLIGHT_MAX = 64;
/** Answers "perhaps, ask again" (`same-id`) that one write takes before it fails with the last of them. */
export const UNKNOWN_ANSWERS_MAX = 8;
/** Pause before writes are sent again, milliseconds: doubled each time, from the first to the second. */
export const RESEND_MS = [100, 5000] as const;
/** A write that was sent is not sent again after so long, milliseconds: the server remembers its id for 10 minutes. */
export const RESEND_WITHIN_MS = 9 * 60 * 1000;

/** A write as it can be kept over a reload. */
export interface StoredWrite {
  readonly updateId: string;
  readonly event: ClientEvent;
  /** Without `sessionId` and `updateId`. */
  readonly request: object;
  /** When it was sent first and not answered with certainty since, milliseconds since 1970. */
  readonly sentAt?: number;
}

/** What an outbox is given by its session. */
export interface OutboxOptions {
  /** Sends to the server; rejects with a ClientError, or with anything else where no answer came. */
  send: (event: ClientEvent, request: object) => Promise<object>;
  sessionId: string;
  now: () => number;
  /** After each change of what it holds: what it holds now. */
  changed: (writes: readonly StoredWrite[]) => void;
  /** An acknowledgement, before the caller hears of it. */
  acknowledged: (write: StoredWrite, reply: object) => void;
  /** A write that failed for good, before the caller hears of it. */
  refused: (write: StoredWrite, error: ClientError) => void;
}

interface Entry extends StoredWrite {
  sentAt?: number;
  readonly chars: number;
  /** It is on its way in this connection. */
  isSent: boolean;
  /** It was on its way and nobody said what became of it. */
  isUnknown: boolean;
  unknownAnswers: number;
  resolve: (reply: object) => void;
  reject: (error: ClientError) => void;
}

export class Outbox {
  private readonly options: OutboxOptions;
  private readonly entries: Entry[] = [];
  private chars = 0;
  /** Counts connections: an answer of an earlier one decides nothing about sending. */
  private life = 0;
  private isOpen = false;
  private resendMs: number = RESEND_MS[0];
  private timer: ReturnType<typeof setTimeout> | undefined;
  /** A write failed in a way that may be retried: nothing is sent until all that is on its way is answered, and then later. */
  private retryInMs: number | undefined;

  constructor(options: OutboxOptions) {
    this.options = options;
  }

  /** Writes that are not answered, oldest first. */
  get writes(): readonly StoredWrite[] {
    return this.entries;
  }

  /** How many they are. */
  get size(): number {
    return this.entries.length;
  }

  /**
   * Takes a write's place in the order and resolves with its acknowledgement. Throws `QUEUE_FULL`. With `signal`: aborted
   * before it was sent it is taken back; afterwards only the waiting ends, for it may have happened.
   */
  add(write: StoredWrite, signal?: AbortSignal): Promise<object> {
    if (signal?.aborted) return Promise.reject(aborted());
    const chars = JSON.stringify(write.request).length;
    if (this.entries.length >= WRITES_MAX || this.chars + chars > WRITES_CHARS_MAX) {
      return Promise.reject(
        new ClientError('QUEUE_FULL', 'too many updates wait to be sent', { retry: 'after-delay' }),
      );
    }
    return new Promise((resolve, reject) => {
      const entry: Entry = {
        ...write,
        chars,
        isSent: false,
        isUnknown: write.sentAt !== undefined,
        unknownAnswers: 0,
        resolve,
        reject,
      };
      this.entries.push(entry);
      this.chars += chars;
      signal?.addEventListener('abort', () => this.abort(entry), { once: true });
      this.tell();
      this.flush();
    });
  }

  /** The session is joined: sends all that is not answered, oldest first. */
  open(): void {
    this.close();
    this.isOpen = true;
    this.flush();
  }

  /** The connection is gone: what was on its way waits to be sent again. */
  close(): void {
    this.life += 1;
    this.isOpen = false;
    this.retryInMs = undefined;
    clearTimeout(this.timer);
    for (const entry of this.entries) {
      entry.isUnknown ||= entry.isSent;
      entry.isSent = false;
    }
  }

  /** Fails everything that waits. */
  fail(error: ClientError): void {
    this.close();
    for (const entry of this.entries.slice()) this.refuse(entry, entry.sentAt === undefined ? error : unknown(entry));
  }

  private flush(): void {
    if (!this.isOpen || this.retryInMs !== undefined) return;
    for (const entry of this.entries.slice(0, IN_FLIGHT_MAX)) if (!entry.isSent) this.sendOne(entry);
  }

  private sendOne(entry: Entry): void {
    const now = this.options.now();
    if (entry.sentAt !== undefined && now - entry.sentAt > RESEND_WITHIN_MS) return this.refuse(entry, unknown(entry));
    const isFirst = entry.sentAt === undefined;
    entry.isSent = true;
    entry.sentAt ??= now;
    if (isFirst) this.tell();
    const { life } = this;
    const { sessionId, send } = this.options;
    send(entry.event, { ...entry.request, sessionId, updateId: entry.updateId }).then(
      (reply) => this.answered(entry, life, reply),
      (error: unknown) => this.failed(entry, life, error),
    );
  }

  private answered(entry: Entry, life: number, reply: object): void {
    if (!this.take(entry)) return;
    this.resendMs = RESEND_MS[0];
    this.options.acknowledged(entry, reply);
    entry.resolve(reply);
    this.proceed(life);
  }

  private failed(entry: Entry, life: number, error: unknown): void {
    if (!this.entries.includes(entry)) return;
    // Without an answer the connection is given up by whoever owns it; the next one sends again.
    if (!(error instanceof ClientError)) return;
    entry.isUnknown ||= error.outcome === 'unknown';
    // This time it certainly did not happen; an earlier time it may have.
    if (!entry.isUnknown) delete entry.sentAt;
    const isUseless = error.retry === 'same-id' && (entry.unknownAnswers += 1) >= UNKNOWN_ANSWERS_MAX;
    if (isUseless || error.retry === 'never' || error.retry === 'after-refresh') {
      this.refuse(entry, error);
      return this.proceed(life);
    }
    if (life !== this.life) return;
    entry.isSent = false;
    this.retryInMs = Math.max(this.retryInMs ?? 0, error.retryAfterMs ?? 0, this.resendMs * (0.5 + Math.random() / 2));
    this.proceed(life);
  }

  /** Sends what waits; after a failure only once nothing is on its way any more, so that no retry is overtaken. */
  private proceed(life: number): void {
    if (life !== this.life || !this.isOpen) return;
    if (this.retryInMs === undefined) return this.flush();
    if (this.entries.some(({ isSent }) => isSent)) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.retryInMs = undefined;
      this.flush();
    }, this.retryInMs);
    this.resendMs = Math.min(this.resendMs * 2, RESEND_MS[1]);
  }

  private abort(entry: Entry): void {
    // Sent ones stay in the order until they are answered; only their caller waits no more.
    if (entry.sentAt === undefined) this.refuse(entry, aborted());
    else entry.reject(aborted(entry));
  }

  private refuse(entry: Entry, error: ClientError): void {
    if (!this.take(entry)) return;
    this.options.refused(entry, error);
    entry.reject(error);
  }

  private take(entry: Entry): boolean {
    const index = this.entries.indexOf(entry);
    if (index < 0) return false;
    this.entries.splice(index, 1);
    this.chars -= entry.chars;
    this.tell();
    return true;
  }

  private tell(): void {
    this.options.changed(this.entries);
  }
}

const unknownOutcome = (updateId: string) => ({ retry: 'same-id', outcome: 'unknown', details: { updateId } }) as const;
const unknown = ({ updateId }: StoredWrite) =>
  new ClientError('OUTCOME_UNKNOWN', 'it was sent and not answered', unknownOutcome(updateId));
const aborted = (sent?: StoredWrite) =>
  new ClientError('ABORTED', 'aborted by the caller', sent && unknownOutcome(sent.updateId));
