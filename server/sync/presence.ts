// Presence: who is in each session and what each shows, over all nodes. This node writes its own participants to Redis,
// and gives its readers what comes back. It is kept apart from commits: no update waits for it or fails with it, and a
// join only for a moment.
import { randomBytes } from 'node:crypto';
import type { Logger } from 'pino';
import type { Json } from '../../client-sdk/protocol/json.js';
import { PARTICIPANTS_MAX } from '../../client-sdk/protocol/limits.js';
import type { Author, Participant } from '../../client-sdk/protocol/messages.js';
import type { Metrics } from '../metrics.js';
import type { PresenceChange, PresenceStore, Shown, WholePresence } from '../redis/presence-store.js';
import type { Time } from '../time.js';
import { NodeLives } from './node-lives.js';
import { OwnParticipants } from './own-participants.js';
import { PresenceCopy, UNREAD, type Difference } from './presence-copy.js';
import type { Sink } from './room.js';
import { createTurns } from './turns.js';

/** Publications kept while a read is under way; more are found by the next check. */
const KEPT_CHANGES_MAX = 256;
/** Reads and writes under way at the same time: after an outage of Redis, or a node's death, every session has its own. */
const CALLS_MAX = 64;
/** Participants without room that each check tries again. */
const RETRIES_PER_CHECK = 8;

/** One session's presence on this node. */
interface Watched {
  readonly sessionId: string;
  readonly own: OwnParticipants;
  copy: PresenceCopy;
  /** The hub has a room for it: its changes are heard. */
  isOpen: boolean;
  reading: Promise<void> | undefined;
  /** Heard while a read is under way. */
  readonly kept: PresenceChange[];
}

export interface PresenceOptions {
  store: PresenceStore;
  sinks: readonly Sink[];
  nodeId: string;
  metrics: Metrics;
  logger: Logger;
  time: Time;
}

export class Presence {
  private readonly options: PresenceOptions;
  private readonly watched = new Map<string, Watched>();
  private readonly lives: NodeLives;
  /** Each session has at most two reads or writes in it, and one more for each look while nodes are gone. */
  private readonly inTurn = createTurns(CALLS_MAX);
  private participantCount = 0;

  constructor(options: PresenceOptions) {
    this.options = options;
    const each = (step: (own: OwnParticipants) => void) => {
      for (const { own } of this.watched.values()) step(own);
    };
    this.lives = new NodeLives({
      store: options.store,
      nodeId: options.nodeId,
      others: () => this.otherNodes(),
      onLapsed: () => each((own) => own.writeAllAgain()),
      onGone: (nodes) => this.removeGone(nodes),
      onLook: () => each((own) => own.touch()),
      logger: options.logger,
      time: options.time,
    });
  }

  // ---- What sockets say: each is carried out at once here, and soon for everybody -----------------------------------

  /** A socket came: from now on it is a participant. `state` has passed its checks. */
  enter(sessionId: string, author: Author, state: Json): Participant {
    const participantId = randomBytes(16).toString('base64url');
    const joinedAt = new Date(this.options.time.now()).toISOString();
    const participant: Participant = { participantId, ...author, state, joinedAt };
    this.watch(sessionId).own.show(participant);
    this.count(1);
    return participant;
  }

  /** The participant shows something else; without a state it stays as it is. Gives it as it is now, if it is one. */
  update(sessionId: string, participantId: string, state: Json | undefined): Participant | undefined {
    const own = this.watched.get(sessionId)?.own;
    const before = own?.get(participantId);
    if (!own || !before || state === undefined) return before;
    const participant = { ...before, state };
    own.show(participant);
    return participant;
  }

  /** The socket left. Does nothing for one that is no participant. */
  leave(sessionId: string, participantId: string): void {
    const watched = this.watched.get(sessionId);
    if (!watched?.own.get(participantId)) return;
    this.count(-1);
    if (!watched.own.remove(participantId)) watched.copy.version = UNREAD;
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
    return isFull || watched.own.isUnshown(self.participantId) ? others : [...others, self];
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
    for (const participantId of watched.own.ids()) this.leave(sessionId, participantId);
    this.forgetIfDone(watched);
  }

  /** The feed says what changed. */
  hear(sessionId: string, change: PresenceChange): void {
    const watched = this.watched.get(sessionId);
    if (!watched?.isOpen) return;
    if (!watched.reading) this.apply(watched, change);
    // What is beyond leaves a gap, which the next change or check finds.
    else if (watched.kept.length < KEPT_CHANGES_MAX) watched.kept.push(change);
  }

  /** Version of what this node has; to be asked before Redis is. */
  versionOf(sessionId: string): number {
    return this.watched.get(sessionId)?.copy.version ?? UNREAD;
  }

  /** Redis is at `found`, and this node was at `before` when Redis was asked. */
  checked(sessionId: string, before: number, found: number): void {
    const watched = this.watched.get(sessionId);
    if (!watched?.isOpen) return;
    // Who showed less since then has made room.
    watched.own.tryAgain(RETRIES_PER_CHECK);
    // Where a change came meanwhile, the next check tells.
    if (watched.copy.version === before && found !== before) void this.read(watched);
  }

  /** Writes that all of this node left. The sockets must have been closed. */
  async close(): Promise<void> {
    this.lives.stop();
    await Promise.all([...this.watched.values()].map(({ own }) => own.close()));
    await this.lives.leave();
  }

  private watch(sessionId: string): Watched {
    const existing = this.watched.get(sessionId);
    if (existing) return existing;
    const { store, nodeId, logger, time } = this.options;
    const onWritten = () => this.forgetIfDone(watched);
    const own = new OwnParticipants(sessionId, { store, nodeId, logger, time, inTurn: this.inTurn, onWritten });
    const watched: Watched = { sessionId, own, copy: new PresenceCopy(), isOpen: false, reading: undefined, kept: [] };
    this.watched.set(sessionId, watched);
    return watched;
  }

  private forgetIfDone(watched: Watched): void {
    if (watched.isOpen || !watched.own.isDone || this.watched.get(watched.sessionId) !== watched) return;
    this.watched.delete(watched.sessionId);
  }

  // ---- From Redis ---------------------------------------------------------------------------------------------------

  /** Reads the whole; who asks while a read is under way is given that one. */
  private read(watched: Watched): Promise<void> {
    watched.reading ??= this.inTurn(() => this.readLiving(watched.sessionId))
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

  /** All who are shown but those of nodes that are gone, which nobody else may have taken out yet. */
  private async readLiving(sessionId: string): Promise<WholePresence> {
    const { version, shown } = await this.options.store.read(sessionId);
    const gone = await this.lives.goneOf(new Set(shown.map(({ node }) => node)));
    if (gone.size === 0) return { version, shown };
    this.takeOut(
      sessionId,
      shown.filter(({ node }) => gone.has(node)),
    );
    return { version, shown: shown.filter(({ node }) => !gone.has(node)) };
  }

  private replace(watched: Watched, whole: WholePresence): void {
    if (!watched.isOpen) return;
    this.tell(watched, watched.copy.replace(whole));
    watched.own.compare(watched.copy.of(this.options.nodeId).map(({ participant }) => participant.participantId));
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
      if (watched.own.get(participantId)) watched.own.write(participantId);
    }
  }

  private tell({ sessionId, own }: Watched, { joined, left, updated }: Difference): void {
    if (joined.length + left.length + updated.length === 0) return;
    for (const sink of this.options.sinks) {
      sink.tell(sessionId, 'presence:updated', { sessionId, joined, left, updated });
    }
    // As many as left may have made room.
    own.tryAgain(left.length);
  }

  // ---- Other nodes --------------------------------------------------------------------------------------------------

  private otherNodes(): Set<string> {
    const nodes = new Set<string>();
    for (const { copy } of this.watched.values()) copy.addNodes(nodes);
    nodes.delete(this.options.nodeId);
    return nodes;
  }

  /** Takes the participants of nodes that are gone out of every session that is open here; whoever comes later does too. */
  private removeGone(nodes: readonly string[]): void {
    for (const { sessionId, copy } of this.watched.values()) {
      const ghosts = nodes.flatMap((node) => copy.of(node));
      if (ghosts.length > 0) this.takeOut(sessionId, ghosts);
    }
  }

  private takeOut(sessionId: string, ghosts: readonly Shown[]): void {
    const changes = ghosts.map(({ node, participant: { participantId } }) => ({
      node,
      participantId,
      participant: null,
    }));
    this.inTurn(() => this.options.store.change(sessionId, changes)).catch((error: unknown) =>
      this.options.logger.debug({ err: error }, 'a gone node is still shown'),
    );
  }

  private count(more: number): void {
    this.participantCount += more;
    this.options.metrics.participants.set(this.participantCount);
  }
}
