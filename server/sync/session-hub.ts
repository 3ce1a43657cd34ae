// The hub: on this node, every session with local readers. It keeps each one's document by applying commits in revision
// order, gives each commit to the readers once, mends gaps from the log, and lets readers in without a gap.
// Nothing reaches a reader except what came back from Redis, by feed or by read.
import type { Logger } from 'pino';
import { AttuneError } from '../../client-sdk/protocol/errors.js';
import type { Commit, Cursor, SessionDocument } from '../../client-sdk/protocol/messages.js';
import type { Metrics } from '../metrics.js';
import type { CommitFeed, FeedMessage } from '../redis/commit-feed.js';
import type { ReadReply, SessionStore } from '../redis/session-store.js';
import { pause, type Time, type Timer } from '../time.js';
import { EpochChanges } from './epoch-changes.js';
import type { Presence } from './presence.js';
import type { Signals } from './signals.js';
import { noTail, Room, type Audience, type Sink, type Tail } from './room.js';

/** A round of the check of all revisions takes this plus up to half as much again, milliseconds. */
const CHECK_MS = 1000;
/** Sessions checked in one go. */
const CHECK_SESSIONS = 16;
/**
 * After the feed was away all rooms are checked at once, but with this pause after each CHECK_SESSIONS of them, half of it
 * at least, milliseconds: every node does so at that moment, and writers come back as well.
 */
const REGAIN_PAUSE_MS = 12;
/** A reader that finds its room ended tries again so often: each time is another end of the session. */
const JOIN_ATTEMPTS_MAX = 5;
/** A reader waits so long at most to learn who else is there, milliseconds: it enters all the same, and is told later. */
const PRESENCE_WAIT_MS = 50;

/** What a reader has on entering: the document, or the commits after its cursor. */
export interface Entry {
  readonly document: SessionDocument;
  /** `null`: the reader takes the document; else it takes these, oldest first, and is where the document is. */
  readonly resumed: Commit[] | null;
}

export interface SessionHubOptions {
  store: SessionStore;
  feed: (onGap: (sessionIds: string[]) => void) => CommitFeed;
  /** All who deliver to readers: sockets, event streams. */
  sinks: readonly Sink[];
  /** Who is in each session. */
  presence: Presence;
  signals: Signals;
  /** This node's own wishes come back by the feed too. */
  nodeId: string;
  /** Another node waits for the lease of a session. */
  onWanted: (sessionId: string) => void;
  metrics: Metrics;
  logger: Logger;
  time: Time;
}

export class SessionHub {
  private readonly rooms = new Map<string, Room>();
  private readonly options: SessionHubOptions;
  private readonly store: SessionStore;
  private readonly feed: CommitFeed;
  private readonly epochChanges: EpochChanges;
  private checking: Timer | undefined;
  /** Sessions whose feed was away, until they were looked at. */
  private readonly missed = new Set<string>();
  private isRegaining = false;
  private closed = false;

  constructor(options: SessionHubOptions) {
    this.options = options;
    this.store = options.store;
    this.epochChanges = new EpochChanges(options);
    this.feed = options.feed((sessionIds) => void this.regain(sessionIds));
    void this.checkForEver();
  }

  /** Lets a reader in. `enter` is called in the same turn as the reader's place in the order of commits is fixed: it
   * must add the reader to its sink at once. Every commit after `entry.document` will reach it. Rejects with
   * SESSION_NOT_FOUND or UNAVAILABLE, and then `enter` was not called.
   */
  async join(
    sessionId: string,
    audience: Audience,
    cursor: Cursor | null,
    enter: (entry: Entry) => void,
  ): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      const entered = await this.tryJoin(sessionId, audience, cursor, enter);
      if (entered) return;
      // The room ended while this reader waited: what its own read would say is for the next room to find out.
      if (attempt === JOIN_ATTEMPTS_MAX) throw new AttuneError('UNAVAILABLE', 'the session keeps changing its life');
    }
  }

  /** As {@link join}; false where the room was over before the reader could enter, though the session may exist. */
  private async tryJoin(
    sessionId: string,
    audience: Audience,
    cursor: Cursor | null,
    enter: (entry: Entry) => void,
  ): Promise<boolean> {
    const room = this.open(sessionId);
    room.pin();
    try {
      await room.subscribed;
      const isPresenceKnown = room.over ? Promise.resolve() : this.options.presence.open(sessionId);
      // Reads are sent after the subscription and after the reader asked: no write acknowledged before is missed.
      const isNew = room.document === null;
      if (isNew) await this.refresh(room, 'join');
      await this.within(isPresenceKnown, PRESENCE_WAIT_MS);
      const tail = cursor ? await this.readTail(room, cursor) : null;
      if (!tail && !isNew) await this.refresh(room, 'join');
      const { document } = room;
      if (room.absent) throw new AttuneError('SESSION_NOT_FOUND', 'there is no such session');
      if (!document || room.over) return false;
      room.flushHeld();
      enter({ document, resumed: cursor && room.since(cursor, tail) });
      room.members[audience] += 1;
      return true;
    } catch (error) {
      if (error instanceof AttuneError) throw error;
      throw new AttuneError('UNAVAILABLE', 'Redis does not answer', { cause: error });
    } finally {
      room.unpin();
      this.closeIfEmpty(room);
    }
  }

  /** Takes a reader out that had entered as `audience`. Does nothing where the room is over. */
  leave(sessionId: string, audience: Audience): void {
    const room = this.rooms.get(sessionId);
    if (!room || room.members[audience] === 0) return;
    room.members[audience] -= 1;
    this.closeIfEmpty(room);
  }

  /** Whether this node hears the feed of a session. */
  hears(sessionId: string): boolean {
    return this.rooms.get(sessionId)?.document != null;
  }

  /** The sessions that have a reader on this node. */
  sessionIds(): string[] {
    return [...this.rooms.keys()];
  }

  async close(): Promise<void> {
    this.closed = true;
    this.options.time.clearTimeout(this.checking);
    for (const room of this.rooms.values()) this.end(room);
    this.epochChanges.close();
    await this.feed.close();
  }

  private open(sessionId: string): Room {
    const existing = this.rooms.get(sessionId);
    if (existing) return existing;
    const { sinks, metrics, time } = this.options;
    const room = new Room(sessionId, sinks, metrics, time);
    room.listener = (message) => this.hear(room, message);
    room.subscribed = this.feed.subscribe(sessionId, room.listener);
    room.subscribed.catch(() => undefined);
    this.rooms.set(sessionId, room);
    metrics.rooms.set(this.rooms.size);
    return room;
  }

  private closeIfEmpty(room: Room): void {
    if (!room.isPinned() && !room.hasMembers()) this.end(room);
  }

  private end(room: Room): void {
    if (room.over) return;
    room.over = true;
    room.stop();
    this.feed.unsubscribe(room.sessionId, room.listener);
    if (this.rooms.get(room.sessionId) === room) this.rooms.delete(room.sessionId);
    this.options.presence.end(room.sessionId);
    this.options.metrics.rooms.set(this.rooms.size);
  }

  /** What the feed says. Out of order, doubled or after a gap is all the same: the revision decides. */
  private hear(room: Room, message: FeedMessage): void {
    if (room.over) return;
    if (message.wanted !== undefined) {
      if (message.wanted !== this.options.nodeId) this.options.onWanted(room.sessionId);
      return;
    }
    if (message.presence) return this.options.presence.hear(room.sessionId, message.presence);
    if (message.signal) return this.options.signals.hear(message.signal);
    const { document } = room;
    if (!document || room.repairing) {
      // The read under way does not contain it for certain: it is looked at again when the read is in.
      room.keep(message);
      return;
    }
    if (message.epoch !== document.epoch || message.replaced) {
      void this.repair(room, message.replaced ? 'replaced' : 'epoch');
      return;
    }
    this.apply(room, message.commits ?? [], message.size);
    if (room.gap) void this.repair(room, 'gap');
  }

  /** Gives the room what it lacks; commits it has are dropped, and after a gap `room.gap` is set. */
  private apply(room: Room, commits: readonly Commit[], size: number): void {
    for (const commit of commits) {
      if (room.over || !room.document || commit.revision <= room.document.revision) continue;
      if (commit.revision !== room.document.revision + 1 || commit.epoch !== room.document.epoch) {
        room.gap = true;
        return;
      }
      if (commit.event === 'session:deleted') {
        room.deliverDeletion(commit);
        this.end(room);
        return;
      }
      room.deliver(commit, size / commits.length);
    }
  }

  /**
   * A read that is sent now or later, shared by all who ask before it is sent, and folded into the room: what the room
   * lacks is delivered. Rejects when Redis does not answer.
   */
  private refresh(room: Room, cause: string): Promise<void> {
    room.nextRead ??= (async () => {
      await room.read?.catch(() => undefined);
      room.read = room.nextRead;
      room.nextRead = undefined;
      if (cause !== 'join') this.options.metrics.repairs.inc({ cause });
      room.repairing = true;
      room.gap = false;
      try {
        const reply = await this.store.read(room.sessionId, room.document, { tail: true });
        this.fold(room, reply);
      } finally {
        room.repairing = false;
        this.hearKept(room);
      }
    })();
    return room.nextRead;
  }

  private async repair(room: Room, cause: string): Promise<void> {
    try {
      await this.refresh(room, cause);
    } catch (error) {
      this.options.logger.debug({ err: error, cause }, 'a room could not be repaired yet; the next check tries again');
    }
  }

  private hearKept(room: Room): void {
    for (const message of room.takeKept()) this.hear(room, message);
  }

  private fold(room: Room, reply: ReadReply): void {
    if (room.over) return;
    switch (reply.kind) {
      case 'same':
        return;
      case 'tail':
        this.apply(room, reply.commits, reply.bytes);
        return;
      case 'absent':
        room.absent = true;
        if (room.document) {
          room.deliverLoss(new Date(this.options.time.now()).toISOString());
          this.epochChanges.told('lost');
        }
        this.end(room);
        return;
      case 'state':
        this.foldState(room, reply.stored.state.document);
        return;
      default:
        reply satisfies never;
    }
  }

  private foldState(room: Room, document: SessionDocument): void {
    const before = room.document;
    if (!before) {
      room.document = document;
      return;
    }
    if (before.epoch === document.epoch && document.revision <= before.revision) return;
    const sameLife = before.epoch.split('-', 1)[0] === document.epoch.split('-', 1)[0];
    const reason = before.epoch === document.epoch ? 'gap' : sameLife ? 'epoch' : 'replaced';
    room.replace(document, reason);
    if (reason === 'epoch') this.epochChanges.told('snapshot');
  }

  /** The commits after a reader's cursor, folded into the room; `null` where only the document can serve it. */
  private async readTail(room: Room, cursor: Cursor): Promise<Tail | null> {
    const reply = await this.store.read(room.sessionId, cursor, { tail: true });
    const { document } = room;
    if (!document || room.repairing) return null;
    if (reply.kind === 'same')
      return cursor.epoch === document.epoch && cursor.revision <= document.revision ? noTail : null;
    if (reply.kind !== 'tail' || reply.cursor.epoch !== document.epoch) return null;
    this.apply(room, reply.commits, reply.bytes);
    if (room.gap) return null;
    return reply;
  }

  /**
   * Compares every room with Redis, round after round: bounds what a lost publication can cost. A round is spread over its
   * time: all rooms at once would hold up the updates that come meanwhile.
   */
  private async checkForEver(): Promise<void> {
    while (!this.closed) {
      const rooms = [...this.rooms.values()].filter((room) => room.document !== null);
      const roundMs = CHECK_MS * (1 + this.options.time.random() / 2);
      const slices = Math.max(1, Math.ceil(rooms.length / CHECK_SESSIONS));
      for (let i = 0; i < slices && !this.closed; i += 1) {
        await this.check(rooms.slice(i * CHECK_SESSIONS, (i + 1) * CHECK_SESSIONS), 'check');
        await this.pause(roundMs / slices);
      }
    }
  }

  /** The feed of these was away: what their rooms missed is read where they missed something, and not of all at once. */
  private async regain(sessionIds: readonly string[]): Promise<void> {
    for (const id of sessionIds) this.missed.add(id);
    if (this.isRegaining) return;
    this.isRegaining = true;
    const { time } = this.options;
    while (this.missed.size > 0 && !this.closed) {
      const some = [...this.missed].slice(0, CHECK_SESSIONS);
      // Whoever is missed again while it is looked at is looked at again.
      for (const id of some) this.missed.delete(id);
      const rooms = some.flatMap((id) => this.rooms.get(id) ?? []);
      await this.check(rooms, 'reconnected');
      await pause(time, REGAIN_PAUSE_MS * (0.5 + time.random() / 2));
    }
    this.isRegaining = false;
  }

  private async check(rooms: readonly Room[], cause: string): Promise<void> {
    if (rooms.length === 0 || !this.store.ready) return;
    try {
      const { presence } = this.options;
      const versions = rooms.map((room) => presence.versionOf(room.sessionId));
      const found = await this.store.check(rooms.map((room) => room.sessionId));
      for (const [i, room] of rooms.entries()) {
        const place = found[i];
        if (place && !room.over) presence.checked(room.sessionId, versions[i]!, place.presence);
      }
      const behind = rooms.filter((room, at) => !room.over && differs(room.document, found[at]));
      await Promise.all(behind.map((room) => this.repair(room, cause)));
    } catch (error) {
      this.options.logger.debug({ err: error }, 'a check of revisions did not finish');
    }
  }

  private pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.checking = this.options.time.setTimeout(resolve, ms);
      this.checking.unref();
    });
  }

  /** Waits for what never rejects, but not longer than `ms`. */
  private async within(known: Promise<void>, ms: number): Promise<void> {
    const { time } = this.options;
    let timer: Timer | undefined;
    await Promise.race([known, new Promise<void>((resolve) => (timer = time.setTimeout(resolve, ms)))]);
    time.clearTimeout(timer);
  }
}

/** Whether Redis is at another place than the room, or ahead of it. (The feed may have been faster than the check.) */
function differs(document: SessionDocument | null, found: Cursor | null | undefined): boolean {
  if (!document || found === undefined) return false;
  return found === null || found.epoch !== document.epoch || found.revision > document.revision;
}
