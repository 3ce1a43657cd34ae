// Presence: who is in each session and what each shows, over all nodes. This node writes its own participants to Redis,
// a few changes at a time, and gives its readers what comes back. It is kept apart from commits: no update and no join
// waits for it or fails with it; what could not be written is written later.
import { randomBytes } from 'node:crypto';
import type { Logger } from 'pino';
import type { Json } from '../../client-sdk/protocol/json.js';
import { PARTICIPANTS_MAX } from '../../client-sdk/protocol/limits.js';
import type { Author, Participant } from '../../client-sdk/protocol/messages.js';
import type { Metrics } from '../metrics.js';
import {
  PRESENCE_KEPT_MS,
  type PresenceChange,
  type PresenceStore,
  type Showing,
  type WholePresence,
} from '../redis/presence-store.js';
import { NodeLives } from './node-lives.js';
import { PresenceCopy, UNREAD, type Difference } from './presence-copy.js';
import type { Sink } from './room.js';

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
/** Changes of one session that wait; participants that leave beyond are found by a read of the whole. */
const WAITING_MAX = 10_000;
/** Publications kept while a read is under way; more are found by the next check. */
const KEPT_CHANGES_MAX = 256;
/** Participants without room that each check tries again. */
const RETRIES_PER_CHECK = 8;
/** A session's presence is touched so often, milliseconds. */
const TOUCH_EVERY_MS = PRESENCE_KEPT_MS / 4;

/** A participant whose socket is here. */
interface Own {
  participant: Participant;
  /** Size of what it shows, bytes. */
  bytes: number;
  /** Redis may have it. */
  isWritten: boolean;
}

/** One session's presence on this node. */
interface Watched {
  readonly sessionId: string;
  readonly own: Map<string, Own>;
  /** Ids of participants of this node whose entry in Redis is not as it should be. */
  readonly waiting: Set<string>;
  /** Those that there was no room for. */
  readonly unshown: Set<string>;
  copy: PresenceCopy;
  /** The hub has a room for it: its changes are heard. */
  isOpen: boolean;
  reading: Promise<void> | undefined;
  /** Heard while a read is under way. */
  kept: PresenceChange[];
  timer: NodeJS.Timeout | undefined;
  writing: Promise<void> | undefined;
  writtenAt: number;
  pauseMs: number;
}

export interface PresenceOptions {
  store: PresenceStore;
  sinks: readonly Sink[];
  nodeId: string;
  metrics: Metrics;
  logger: Logger;
  /** Milliseconds since 1970. */
  now: () => number;
}

export class Presence {
  private readonly options: PresenceOptions;
  private readonly watched = new Map<string, Watched>();
  private readonly lives: NodeLives;
  private participantCount = 0;

  constructor(options: PresenceOptions) {
    this.options = options;
    this.lives = new NodeLives({
      store: options.store,
      nodeId: options.nodeId,
      others: () => this.otherNodes(),
      onLapsed: () => this.writeAllAgain(),
      onGone: (nodes) => this.removeGone(nodes),
      onLook: () => this.touch(),
      logger: options.logger,
    });
  }

  // ---- What sockets say: each is carried out at once here, and soon for everybody -----------------------------------

  /** A socket came: from now on it is a participant. `state` has passed its checks. */
  enter(sessionId: string, author: Author, state: Json): Participant {
    const watched = this.watch(sessionId);
    const participantId = randomBytes(16).toString('base64url');
    const joinedAt = new Date(this.options.now()).toISOString();
    const participant: Participant = { participantId, ...author, state, joinedAt };
    watched.own.set(participantId, { participant, bytes: bytesOf(participant), isWritten: false });
    this.count(1);
    this.write(watched, participantId);
    return participant;
  }

  /** The participant shows something else; without a state it stays as it is. Gives it as it is now. */
  update(sessionId: string, participantId: string, state: Json | undefined): Participant | undefined {
    const watched = this.watched.get(sessionId);
    const own = watched?.own.get(participantId);
    if (!watched || !own || state === undefined) return own?.participant;
    own.participant = { ...own.participant, state };
    own.bytes = bytesOf(own.participant);
    watched.unshown.delete(participantId);
    this.write(watched, participantId);
    return own.participant;
  }

  /** The socket left. Does nothing for one that is no participant. */
  leave(sessionId: string, participantId: string): void {
    const watched = this.watched.get(sessionId);
    const own = watched?.own.get(participantId);
    if (!watched || !own) return;
    watched.own.delete(participantId);
    watched.unshown.delete(participantId);
    this.count(-1);
    // Who came and left between two writes was never there.
    if (!own.isWritten) watched.waiting.delete(participantId);
    else if (watched.waiting.size < WAITING_MAX) this.write(watched, participantId);
    else watched.copy.version = UNREAD;
    this.forgetIfDone(watched);
  }

  /** Everybody in a session as far as it is known here, `self` as it is now. */
  participants(sessionId: string, self?: Participant): Participant[] {
    const watched = this.watched.get(sessionId);
    const all = watched?.copy.participants() ?? [];
    if (!watched || !self) return all;
    const others = all.filter(({ participantId }) => participantId !== self.participantId);
    // Where there is no room for it, nobody is shown it.
    const isFull = others.length === all.length && all.length >= PARTICIPANTS_MAX;
    return isFull || watched.unshown.has(self.participantId) ? others : [...others, self];
  }

  // ---- What the hub says --------------------------------------------------------------------------------------------

  /** The hub hears a session. Resolves when it is known who is in it, or cannot be known now. Never rejects. */
  async open(sessionId: string): Promise<void> {
    const watched = this.watch(sessionId);
    watched.isOpen = true;
    if (watched.copy.version === UNREAD) await this.read(watched);
  }

  /** The hub hears it no longer: nobody of it is left here. */
  end(sessionId: string): void {
    const watched = this.watched.get(sessionId);
    if (!watched) return;
    watched.isOpen = false;
    watched.copy = new PresenceCopy();
    for (const participantId of watched.own.keys()) this.leave(sessionId, participantId);
    this.forgetIfDone(watched);
  }

  hear(sessionId: string, change: PresenceChange): void {
    const watched = this.watched.get(sessionId);
    if (!watched?.isOpen) return;
    if (watched.reading) {
      // What is beyond leaves a gap, which the next change or check finds.
      if (watched.kept.length < KEPT_CHANGES_MAX) watched.kept.push(change);
      return;
    }
    this.apply(watched, change);
  }

  /** Version of what this node has; to be asked before Redis is. */
  versionOf(sessionId: string): number {
    return this.watched.get(sessionId)?.copy.version ?? UNREAD;
  }

  /** Redis is at `found`, and this node was at `before` when it was asked. */
  checked(sessionId: string, before: number, found: number): void {
    const watched = this.watched.get(sessionId);
    if (!watched?.isOpen) return;
    // Who showed less since then has made room.
    this.tryAgain(watched, RETRIES_PER_CHECK);
    // Where a change came meanwhile, the next check tells.
    if (watched.copy.version !== before || found === before) return;
    void this.read(watched);
  }

  /** Writes that all of this node left. The sockets must have been closed. */
  async close(): Promise<void> {
    this.lives.stop();
    await Promise.all(
      [...this.watched.values()].map(async (watched) => {
        clearTimeout(watched.timer);
        for (let i = 0; i < LAST_WRITES_MAX && watched.waiting.size > 0; i += 1) {
          await watched.writing;
          await this.writeWaiting(watched);
        }
      }),
    );
    await this.lives.leave();
  }

  // ---- To Redis -----------------------------------------------------------------------------------------------------

  private watch(sessionId: string): Watched {
    const existing = this.watched.get(sessionId);
    if (existing) return existing;
    const watched: Watched = {
      sessionId,
      own: new Map(),
      waiting: new Set(),
      unshown: new Set(),
      copy: new PresenceCopy(),
      isOpen: false,
      reading: undefined,
      kept: [],
      timer: undefined,
      writing: undefined,
      writtenAt: -Infinity,
      pauseMs: WRITE_EVERY_MS,
    };
    this.watched.set(sessionId, watched);
    return watched;
  }

  private forgetIfDone(watched: Watched): void {
    const isBusy = watched.isOpen || watched.writing || watched.own.size + watched.waiting.size > 0;
    if (isBusy || this.watched.get(watched.sessionId) !== watched) return;
    clearTimeout(watched.timer);
    this.watched.delete(watched.sessionId);
  }

  /** Has a participant's entry brought to what it should be: at once, or when the pause since the last write is over. */
  private write(watched: Watched, participantId: string): void {
    watched.waiting.add(participantId);
    this.schedule(watched);
  }

  private schedule(watched: Watched): void {
    if (watched.timer || watched.writing) return;
    const wait = watched.writtenAt + watched.pauseMs - performance.now();
    watched.timer = setTimeout(() => void this.writeWaiting(watched), Math.max(wait, 0)).unref();
  }

  private async writeWaiting(watched: Watched): Promise<void> {
    watched.timer = undefined;
    if (watched.writing) return;
    const changes = this.take(watched);
    if (changes.length > 0) {
      watched.writtenAt = performance.now();
      watched.writing = this.send(watched, changes);
      await watched.writing;
      watched.writing = undefined;
    }
    if (watched.waiting.size > 0) this.schedule(watched);
    else this.forgetIfDone(watched);
  }

  private async send(watched: Watched, changes: readonly Showing[]): Promise<void> {
    try {
      const refused = await this.options.store.change(watched.sessionId, changes);
      watched.pauseMs = WRITE_EVERY_MS;
      for (const i of refused) this.refused(watched, changes[i]!.participantId);
    } catch (error) {
      watched.pauseMs = RETRY_MS;
      for (const { participantId } of changes) watched.waiting.add(participantId);
      this.options.logger.debug({ err: error }, 'presence could not be written yet');
    }
  }

  /** What is to be written now, those that left first: they make room. */
  private take(watched: Watched): Showing[] {
    const { nodeId: node } = this.options;
    const left: Showing[] = [];
    const shown: Showing[] = [];
    let bytes = 0;
    for (const participantId of watched.waiting) {
      if (left.length + shown.length >= WRITE_CHANGES_MAX || bytes > WRITE_BYTES_MAX) break;
      watched.waiting.delete(participantId);
      const own = watched.own.get(participantId);
      if (own) {
        own.isWritten = true;
        bytes += own.bytes;
        shown.push({ node, participantId, participant: own.participant });
      } else left.push({ node, participantId, participant: null });
    }
    return [...left, ...shown];
  }

  /** There is no room for it until another leaves. One that is shown stays as it was shown before. */
  private refused(watched: Watched, participantId: string): void {
    if (watched.own.has(participantId)) watched.unshown.add(participantId);
  }

  private writeAllAgain(): void {
    for (const watched of this.watched.values()) {
      for (const participantId of watched.own.keys()) this.write(watched, participantId);
    }
  }

  private touch(): void {
    const longAgo = performance.now() - TOUCH_EVERY_MS;
    for (const watched of this.watched.values()) {
      if (watched.own.size === 0 || watched.writtenAt > longAgo) continue;
      watched.writtenAt = performance.now();
      void this.send(watched, []);
    }
  }

  private otherNodes(): Set<string> {
    const nodes = new Set<string>();
    for (const { copy } of this.watched.values()) for (const node of copy.nodes()) nodes.add(node);
    nodes.delete(this.options.nodeId);
    return nodes;
  }

  /** Takes the participants of nodes that are gone out of every session that is open here; whoever comes later does too. */
  private removeGone(nodes: readonly string[]): void {
    for (const { sessionId, copy } of this.watched.values()) {
      const ghosts = nodes.flatMap((node) =>
        copy.of(node).map((participantId) => ({ node, participantId, participant: null })),
      );
      if (ghosts.length === 0) continue;
      this.options.store
        .change(sessionId, ghosts)
        .catch((error: unknown) => this.options.logger.debug({ err: error }, 'a gone node is still shown'));
    }
  }

  // ---- From Redis ---------------------------------------------------------------------------------------------------

  /** Reads the whole; who asks while a read is under way is given that one. */
  private read(watched: Watched): Promise<void> {
    watched.reading ??= this.options.store
      .read(watched.sessionId)
      .then(
        (whole) => this.replace(watched, whole),
        (error: unknown) => {
          // What was heard meanwhile follows nothing that is known: asking again at once could go on without end.
          watched.kept.length = 0;
          watched.copy.version = UNREAD;
          this.options.logger.debug({ err: error }, 'presence could not be read; the next check tries again');
        },
      )
      .finally(() => {
        watched.reading = undefined;
        for (const change of watched.kept.splice(0)) this.hear(watched.sessionId, change);
      });
    return watched.reading;
  }

  private replace(watched: Watched, whole: WholePresence): void {
    if (!watched.isOpen) return;
    this.tell(watched, watched.copy.replace(whole));
    // What should be there and is not, and what is there and should not be.
    for (const [participantId, own] of watched.own) {
      if (own.isWritten && !watched.copy.has(participantId) && !watched.unshown.has(participantId)) {
        this.write(watched, participantId);
      }
    }
    for (const participantId of watched.copy.of(this.options.nodeId)) {
      if (!watched.own.has(participantId)) this.write(watched, participantId);
    }
  }

  private apply(watched: Watched, change: PresenceChange): void {
    const difference = watched.copy.apply(change);
    if (!difference) {
      void this.read(watched);
      return;
    }
    this.tell(watched, difference);
    for (const participantId of difference.left) {
      // Another node took this one for gone.
      if (watched.own.has(participantId)) this.write(watched, participantId);
    }
  }

  private tell(watched: Watched, { joined, left, updated }: Difference): void {
    const { sessionId } = watched;
    if (joined.length + left.length + updated.length === 0) return;
    for (const sink of this.options.sinks) {
      sink.tell(sessionId, 'presence:updated', { sessionId, joined, left, updated });
    }
    this.tryAgain(watched, left.length);
  }

  /** Tries some of those that there was no room for, the longest waiting first. */
  private tryAgain(watched: Watched, most: number): void {
    for (const participantId of [...watched.unshown].slice(0, most)) {
      watched.unshown.delete(participantId);
      this.write(watched, participantId);
    }
  }

  private count(more: number): void {
    this.participantCount += more;
    this.options.metrics.participants.set(this.participantCount);
  }
}

function bytesOf(participant: Participant): number {
  return Buffer.byteLength(JSON.stringify(participant));
}
