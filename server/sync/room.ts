// A room: one session's document on this node, its recent commits, and how each commit is put for each audience.
// It delivers what the hub gives it, in the order given; it never reads and never waits.
import type {
  Commit,
  Cursor,
  SessionDocument,
  SettingsCommit,
  SnapshotReason,
} from '../../client-sdk/protocol/messages.js';
import { RESUME_BYTES_MAX } from '../../client-sdk/protocol/limits.js';
import type { Metrics } from '../metrics.js';
import type { FeedMessage } from '../redis/commit-feed.js';
import { deltaOf } from '../session/settings-rules.js';
import { applyCommit } from '../session/state.js';
import type { Time, Timer } from '../time.js';

/** How a reader wants settings commits: all or the latest, whole or as a change. */
export const audiences = ['every-full', 'every-delta', 'latest-full', 'latest-delta'] as const;
export type Audience = (typeof audiences)[number];

/** Delivers to readers. An event is given to each reader of the audience that entered before. */
export interface Sink {
  emit(sessionId: string, audience: Audience, event: string, body: object): void;
  /** Presence and signals: to every reader who takes them, but for one socket. */
  tell(sessionId: string, event: 'presence:updated' | 'signal', body: object, exceptSocketId?: string): void;
  /** The session is over: its readers are let go. */
  end(sessionId: string): void;
}

/** Pause between two settings events of a `latest` reader, milliseconds: about what a person can see. */
const LATEST_EVERY_MS = 16;
/** Commits that a room keeps for readers that enter while they arrive. */
const RECENT_COMMITS_MAX = 128;
/** Their size, bytes. */
const RECENT_BYTES_MAX = 256 * 1024;
/** Publications kept while a read is under way; more are found by the next check. */
const KEPT_MESSAGES_MAX = 256;
/** Their size, characters. */
const KEPT_CHARS_MAX = 4 * 1024 * 1024;

/** Commits after a reader's cursor, as they were read. */
export interface Tail {
  readonly commits: readonly Commit[];
  readonly bytes: number;
}
export const noTail: Tail = { commits: [], bytes: 0 };

export class Room {
  readonly sessionId: string;
  readonly members: Record<Audience, number> = {
    'every-full': 0,
    'every-delta': 0,
    'latest-full': 0,
    'latest-delta': 0,
  };
  private pins = 0;
  document: SessionDocument | null = null;
  over = false;
  /** A read found no session. */
  absent = false;
  subscribed: Promise<void> = Promise.resolve();
  listener: (message: FeedMessage) => void = () => undefined;
  /** The read under way, and the one that follows it. */
  read: Promise<void> | undefined;
  nextRead: Promise<void> | undefined;
  repairing = false;
  gap = false;
  private readonly sinks: readonly Sink[];
  private readonly metrics: Metrics;
  private readonly time: Time;
  private readonly recent: { commit: Commit; bytes: number }[] = [];
  private recentBytes = 0;
  private kept: FeedMessage[] = [];
  private keptChars = 0;
  private held: { commit: SettingsCommit; body: object; delta: object } | null = null;
  private latestTimer: Timer | undefined;
  private latestSentAt = -Infinity;

  constructor(sessionId: string, sinks: readonly Sink[], metrics: Metrics, time: Time) {
    this.sessionId = sessionId;
    this.sinks = sinks;
    this.metrics = metrics;
    this.time = time;
  }

  /** A reader is about to enter: the room stays, and remembers its commits from now on. */
  pin(): void {
    this.pins += 1;
  }

  unpin(): void {
    this.pins -= 1;
    if (this.pins === 0) this.forgetRecent();
  }

  isPinned(): boolean {
    return this.pins > 0;
  }

  hasMembers(): boolean {
    return audiences.some((audience) => this.members[audience] > 0);
  }

  /** The next commit: applied, remembered and emitted. The hub has compared its revision. */
  deliver(commit: Commit, bytes: number): void {
    const before = this.document!;
    this.document = applyCommit(before, commit);
    this.remember(commit, bytes);
    this.metrics.delivered.inc();
    const { event, ...body } = commit;
    if (commit.event !== 'settings:updated') {
      this.flushHeld();
      this.emitAll(event, body);
      return;
    }
    const wantsDelta = this.members['every-delta'] + this.members['latest-delta'] > 0;
    const delta = wantsDelta ? deltaBody(commit, before) : body;
    this.emit('every-full', event, body);
    this.emit('every-delta', event, delta);
    this.deliverLatest(commit, body, delta);
  }

  deliverDeletion({ event, ...body }: Commit): void {
    this.flushHeld();
    this.emitAll(event, body);
    for (const sink of this.sinks) sink.end(this.sessionId);
  }

  /** The session is gone and nobody deleted it. */
  deliverLoss(at: string): void {
    const { id: sessionId, epoch, revision, updatedBy: by } = this.document!;
    this.deliverDeletion({ event: 'session:deleted', sessionId, epoch, revision, at, by, reason: 'lost' });
  }

  /** The readers are given the document in place of the commits they did not see. */
  replace(document: SessionDocument, reason: SnapshotReason): void {
    this.held = null;
    this.document = document;
    this.forgetRecent();
    this.metrics.snapshots.inc({ reason });
    this.emitAll('session:snapshot', { sessionId: this.sessionId, session: document, reason });
  }

  /**
   * The commits after a cursor, oldest first, from a tail that was read and what arrived since; `null` where they are not
   * all known or are too much.
   */
  since(cursor: Cursor, tail: Tail | null): Commit[] | null {
    const document = this.document!;
    if (cursor.epoch !== document.epoch || cursor.revision > document.revision) return null;
    const commits = new Map<number, Commit>();
    for (const commit of tail?.commits ?? []) commits.set(commit.revision, commit);
    let bytes = tail?.bytes ?? 0;
    for (const { commit, bytes: size } of this.recent) {
      if (commit.revision <= cursor.revision || commits.has(commit.revision)) continue;
      commits.set(commit.revision, commit);
      bytes += size;
    }
    if (bytes > RESUME_BYTES_MAX) return null;
    const missed: Commit[] = [];
    for (let revision = cursor.revision + 1; revision <= document.revision; revision += 1) {
      const commit = commits.get(revision);
      if (!commit) return null;
      missed.push(commit);
    }
    return missed;
  }

  /** Keeps a publication until the read under way is in. */
  keep(message: FeedMessage): void {
    if (this.kept.length >= KEPT_MESSAGES_MAX || this.keptChars + message.size > KEPT_CHARS_MAX) {
      this.gap = true;
      return;
    }
    this.kept.push(message);
    this.keptChars += message.size;
  }

  takeKept(): FeedMessage[] {
    const kept = this.kept;
    this.kept = [];
    this.keptChars = 0;
    return kept;
  }

  /** Sends a settings event that was held back, if there is one: before any later commit, and before a reader enters. */
  flushHeld(): void {
    this.time.clearTimeout(this.latestTimer);
    this.latestTimer = undefined;
    const { held } = this;
    if (!held) return;
    this.held = null;
    this.emitLatest(held.body, held.delta);
  }

  stop(): void {
    this.time.clearTimeout(this.latestTimer);
    this.held = null;
    this.kept = [];
  }

  private deliverLatest(commit: SettingsCommit, body: object, delta: object): void {
    if (this.members['latest-full'] + this.members['latest-delta'] === 0) return;
    const wait = this.latestSentAt + LATEST_EVERY_MS - this.time.monotonic();
    if (!this.held && wait <= 0) {
      this.emitLatest(body, delta);
      return;
    }
    // Several in one event: a delta reader is given the whole settings, for its delta would begin too late.
    this.held = { commit, body, delta: this.held ? wholeBody(commit) : delta };
    this.latestTimer ??= this.time.setTimeout(() => this.flushHeld(), Math.max(wait, 1));
  }

  private emitLatest(body: object, delta: object): void {
    this.latestSentAt = this.time.monotonic();
    this.emit('latest-full', 'settings:updated', body);
    this.emit('latest-delta', 'settings:updated', delta);
  }

  private emitAll(event: string, body: object): void {
    for (const audience of audiences) this.emit(audience, event, body);
  }

  private emit(audience: Audience, event: string, body: object): void {
    if (this.members[audience] === 0) return;
    for (const sink of this.sinks) sink.emit(this.sessionId, audience, event, body);
  }

  private forgetRecent(): void {
    this.recent.length = 0;
    this.recentBytes = 0;
  }

  /** Only for readers that are about to enter: what came before a reader asked is in what it reads. */
  private remember(commit: Commit, bytes: number): void {
    if (this.pins === 0) return;
    this.recent.push({ commit, bytes });
    this.recentBytes += bytes;
    while (this.recent.length > RECENT_COMMITS_MAX || this.recentBytes > RECENT_BYTES_MAX) {
      this.recentBytes -= this.recent.shift()?.bytes ?? 0;
    }
  }
}

function deltaBody(commit: SettingsCommit, before: SessionDocument): object {
  const { event: _event, settings, request: _request, ...base } = commit;
  return { ...base, delta: deltaOf(commit.changedPaths, before.settings, settings), from: before.settingsRevision };
}

function wholeBody(commit: SettingsCommit): object {
  const { event: _event, request: _request, ...body } = commit;
  return body;
}
