// The participants of one session whose sockets are on this node, and what Redis is still to be told of them. Writes say
// what should be, not what happened: one that is sent again, or late, does no harm.
import type { Logger } from 'pino';
import type { Participant } from '../../client-sdk/protocol/messages.js';
import { PRESENCE_KEPT_MS, type PresenceStore, type Showing } from '../redis/presence-store.js';
import type { Time, Timer } from '../time.js';
import type { InTurn } from './turns.js';

/** Pause between two writes of one session, milliseconds: what comes meanwhile goes out together. */
const WRITE_EVERY_MS = 50;
/** Pause before a write that failed is tried again, milliseconds. */
const RETRY_MS = 500;
/** Participants in one write. */
const WRITE_CHANGES_MAX = 250;
/** What they show, bytes; the rest waits for the next write. */
const WRITE_BYTES_MAX = 128 * 1024;
/** Writes of one session when the server stops: enough for all who can be shown. */
const LAST_WRITES_MAX = 8;
/** Changes that wait; participants that leave beyond are found by a read of the whole. */
const WAITING_MAX = 10_000;
/** A session's presence is touched so often, milliseconds. */
const TOUCH_EVERY_MS = PRESENCE_KEPT_MS / 4;

interface Own {
  participant: Participant;
  /** Size of what it shows, bytes. */
  bytes: number;
  /** Redis may have it. */
  isWritten: boolean;
}

export interface OwnParticipantsOptions {
  store: PresenceStore;
  nodeId: string;
  logger: Logger;
  time: Time;
  /** Every call of Redis is made in turn. */
  inTurn: InTurn;
  /** Nothing is left to be written. */
  onWritten: () => void;
}

export class OwnParticipants {
  private readonly sessionId: string;
  private readonly options: OwnParticipantsOptions;
  private readonly own = new Map<string, Own>();
  /** Ids of those whose entry in Redis is not as it should be. */
  private readonly waiting = new Set<string>();
  /** Those that there was no room for. */
  private readonly unshown = new Set<string>();
  private timer: Timer | undefined;
  private writing: Promise<void> | undefined;
  private writtenAt = -Infinity;
  private pauseMs = WRITE_EVERY_MS;

  constructor(sessionId: string, options: OwnParticipantsOptions) {
    this.sessionId = sessionId;
    this.options = options;
  }

  /** Nobody is here, and Redis knows it as far as can be told. */
  get isDone(): boolean {
    return this.own.size + this.waiting.size === 0 && !this.writing;
  }

  ids(): string[] {
    return [...this.own.keys()];
  }

  get(participantId: string): Participant | undefined {
    return this.own.get(participantId)?.participant;
  }

  isUnshown(participantId: string): boolean {
    return this.unshown.has(participantId);
  }

  /** Shows a participant, a new one or as it is now. */
  show(participant: Participant): void {
    const { participantId } = participant;
    const bytes = Buffer.byteLength(JSON.stringify(participant));
    const isWritten = this.own.get(participantId)?.isWritten ?? false;
    this.own.set(participantId, { participant, bytes, isWritten });
    this.write(participantId);
  }

  /** Takes a participant out. False where it cannot be noted: the whole has to be read, and compared. */
  remove(participantId: string): boolean {
    const own = this.own.get(participantId);
    this.own.delete(participantId);
    this.unshown.delete(participantId);
    // Who came and left between two writes was never there.
    if (!own?.isWritten) this.waiting.delete(participantId);
    else if (this.waiting.size >= WAITING_MAX) return false;
    else this.write(participantId);
    return true;
  }

  /** Has an entry brought to what it should be: at once, or when the pause since the last write is over. */
  write(participantId: string): void {
    this.unshown.delete(participantId);
    this.waiting.add(participantId);
    this.schedule();
  }

  writeAllAgain(): void {
    for (const participantId of this.own.keys()) this.write(participantId);
  }

  /** Tries some of those that there was no room for, the longest waiting first. */
  tryAgain(most: number): void {
    for (const participantId of [...this.unshown].slice(0, most)) this.write(participantId);
  }

  /** What Redis has of this node is compared with what it should have. */
  compare(found: readonly string[]): void {
    const known = new Set(found);
    for (const [participantId, { isWritten }] of this.own) {
      if (isWritten && !known.has(participantId) && !this.unshown.has(participantId)) this.write(participantId);
    }
    for (const participantId of known) if (!this.own.has(participantId)) this.write(participantId);
  }

  /** Keeps a session's presence that does not change from ending. */
  touch(): void {
    if (this.own.size === 0 || this.options.time.monotonic() < this.writtenAt + TOUCH_EVERY_MS) return;
    this.writtenAt = this.options.time.monotonic();
    void this.options.inTurn(() => this.send([]));
  }

  /** Writes what waits, without further pauses; gives up what fails. */
  async close(): Promise<void> {
    this.options.time.clearTimeout(this.timer);
    for (let i = 0; i < LAST_WRITES_MAX && this.waiting.size > 0; i += 1) {
      await this.writing;
      await this.writeWaiting();
    }
    this.options.time.clearTimeout(this.timer);
  }

  private schedule(): void {
    if (this.timer || this.writing) return;
    const wait = this.writtenAt + this.pauseMs - this.options.time.monotonic();
    this.timer = this.options.time.setTimeout(() => void this.writeWaiting(), Math.max(wait, 0));
    this.timer.unref();
  }

  private async writeWaiting(): Promise<void> {
    this.timer = undefined;
    if (this.writing) return;
    if (this.waiting.size > 0) {
      this.writing = this.options.inTurn(() => this.send(this.take()));
      await this.writing;
      this.writing = undefined;
    }
    if (this.waiting.size > 0) this.schedule();
    else this.options.onWritten();
  }

  private async send(changes: readonly Showing[]): Promise<void> {
    this.writtenAt = this.options.time.monotonic();
    try {
      const refused = await this.options.store.change(this.sessionId, changes);
      this.pauseMs = WRITE_EVERY_MS;
      // One that was shown before stays as it was.
      for (const i of refused) {
        const { participantId } = changes[i]!;
        if (this.own.has(participantId)) this.unshown.add(participantId);
      }
    } catch (error) {
      this.pauseMs = RETRY_MS;
      for (const { participantId } of changes) this.waiting.add(participantId);
      this.options.logger.debug({ err: error }, 'presence could not be written yet');
    }
  }

  /** What is to be written now, those that left first: they make room. */
  private take(): Showing[] {
    const { nodeId: node } = this.options;
    const left: Showing[] = [];
    const shown: Showing[] = [];
    let bytes = 0;
    for (const participantId of this.waiting) {
      if (left.length + shown.length >= WRITE_CHANGES_MAX || bytes > WRITE_BYTES_MAX) break;
      this.waiting.delete(participantId);
      const own = this.own.get(participantId);
      if (own) {
        own.isWritten = true;
        bytes += own.bytes;
        shown.push({ node, participantId, participant: own.participant });
      } else left.push({ node, participantId, participant: null });
    }
    return [...left, ...shown];
  }
}
