// The checks of what readers were given: I4 and I7 to I12, socket by socket. Pure.
import { isDeepStrictEqual } from 'node:util';
import type {
  CommitSeen,
  Disconnect,
  Entry,
  Fail,
  Index,
  Invoke,
  Logged,
  Mark,
  Nanoseconds,
  Ok,
  SessionIndex,
} from './history-entries.js';
import { isCommit, isOfSettings } from './history-entries.js';
import { foldOf } from './history-fold.js';
import type { Report } from './history.js';
import type { Wire } from './shapes.js';

const NS_PER_MS = 1_000_000;

/** A socket in a session, from its join to its end. */
interface Reader {
  socket: string;
  session: SessionIndex;
  latest: boolean;
  epoch: string;
  revision: number;
  /** Epochs that it has left for another. */
  left: Set<string>;
  joinedAt: Nanoseconds;
  endedAt: Nanoseconds | undefined;
  /** When it had reached which place of the log. */
  trail: { at: Nanoseconds; place: number; entry: Entry }[];
  /** It was given what Redis then lost, and no snapshot since. */
  unkept: Unkept | undefined;
}

/** A position that Redis lost, given to a reader; and when that one was given another. */
interface Unkept {
  readonly reader: Reader;
  readonly entry: Entry;
  readonly revision: number;
  toldAt: Nanoseconds | undefined;
}

/** Checks everything that any socket was sent, that nobody stayed behind, and that nobody kept what Redis lost. */
export function checkReaders(index: Index, report: Report, within: { convergeMs: number; snapshotMs: number }): void {
  const walk = new ReaderWalk(index, report);
  for (const entry of index.entries) walk.take(entry);
  checkConvergence(index, walk.all(), report, within.convergeMs);
  checkRolledBack(index, walk.unkept, report, within.snapshotMs);
  for (const session of index.sessions.values()) checkFreshness(session, walk.reads, report);
}

/** A request that was told where the session is. */
interface Read {
  session: SessionIndex;
  invoke: Invoke;
  end: Ok | Fail;
  place: number;
}

/** Goes through a history in the order of time, and knows where each reader is. */
class ReaderWalk {
  readonly reads: Read[] = [];
  readonly unkept: Unkept[] = [];
  private readonly ended: Reader[] = [];
  private readonly readers = new Map<string, Reader>();
  private readonly index: Index;
  private readonly report: Report;

  constructor(index: Index, report: Report) {
    this.index = index;
    this.report = report;
  }

  take(entry: Entry): void {
    if (entry.kind === 'ok') this.answered(entry);
    else if (entry.kind === 'fail') this.refused(entry);
    else if (entry.kind === 'commit') this.commitSeen(entry);
    else if (entry.kind === 'snapshot') this.snapshotSeen(entry.socket, entry, entry.body.session);
    else if (entry.kind === 'disconnect') this.disconnected(entry);
  }

  private answered(ok: Ok): void {
    const { invoke } = this.index.attempts.get(ok.attempt)!;
    const { event, request } = invoke;
    const session = this.index.sessions.get(request.sessionId);
    if (!session) return;
    if (event === 'session:leave') return this.end(invoke.socket, request.sessionId, ok.at);
    const isRead = event === 'session:get' || event === 'session:join';
    // Who is told that there was nothing to change is told where the session is, as a read is; a duplicate where it was.
    const isUnchanged = request.updateId !== undefined && !isCommit(invoke, ok) && !ok.answer.duplicate;
    const { epoch, revision } = ok.answer.session ?? ok.answer;
    if (isRead || isUnchanged) this.told(session, invoke, ok, { epoch, revision });
    if (!isRead) return;
    if (ok.answer.session) this.checkDocument(session, ok, ok.answer.session);
    if (event === 'session:join') this.joined(session, invoke, ok);
  }

  /** A conflict tells where the session is, as a read does. */
  private refused(end: Fail): void {
    const { invoke } = this.index.attempts.get(end.attempt)!;
    const session = this.index.sessions.get(invoke.request.sessionId);
    if (!session || end.error.code !== 'REVISION_CONFLICT') return;
    this.told(session, invoke, end, end.error.details);
  }

  private told(session: SessionIndex, invoke: Invoke, end: Ok | Fail, { epoch, revision }: Wire): void {
    if (session.isLost(epoch, revision)) return;
    this.reads.push({ session, invoke, end, place: session.at(epoch, revision)?.place ?? -1 });
  }

  private joined(session: SessionIndex, { socket, request }: Invoke, ok: Ok): void {
    const { sessionId } = session.truth;
    this.end(socket, sessionId, ok.at);
    const { resumed, session: document, commits = [] } = ok.answer;
    const { epoch, revision } = resumed ? request.cursor : document;
    const reader: Reader = {
      socket,
      session,
      latest: request.delivery === 'latest',
      epoch,
      revision,
      left: new Set(),
      joinedAt: ok.at,
      endedAt: undefined,
      trail: [],
      unkept: undefined,
    };
    this.readers.set(keyOf(socket, sessionId), reader);
    if (!resumed) this.given(reader, ok);
    for (const body of commits) this.step(reader, ok, body, 'I9');
    const isWhole = !resumed || (reader.revision === ok.answer.revision && ok.answer.epoch === epoch);
    if (!isWhole) {
      const text = `a resume from ${epoch}:${revision} to ${ok.answer.epoch}:${ok.answer.revision} ends at ${reader.revision}`;
      this.report('I9', text, { sessionId, entries: [ok], revisions: [reader.revision] });
      reader.revision = ok.answer.revision;
    }
    this.arrived(reader, ok);
  }

  private commitSeen(entry: CommitSeen): void {
    const { sessionId, epoch, revision } = entry.body;
    if (!this.index.sessions.has(sessionId)) return;
    const reader = this.readers.get(keyOf(entry.socket, sessionId));
    if (!reader) {
      const text = `${entry.socket} is not in the session and was given ${epoch}:${revision}`;
      return this.report('I11', text, { sessionId, entries: [entry], revisions: [revision] });
    }
    this.step(reader, entry, entry.body, 'I8');
    this.arrived(reader, entry);
  }

  /** One commit: it is the log's (I4), and the next one (I8, or I9 where a resume brought it). */
  private step(reader: Reader, entry: CommitSeen | Ok, body: Wire, order: 'I8' | 'I9'): void {
    const { session } = reader;
    const { sessionId, epoch, revision } = body;
    const about = { sessionId, entries: [entry], revisions: [reader.revision, revision] };
    const found = session.exactly(epoch, revision);
    // Where Redis lost a commit that some had seen, what comes after it is of another epoch.
    const isLost = !found && epoch !== session.truth.epoch;
    if (!isLost && (!found || !isDeepStrictEqual(body, found.commit.body))) {
      this.report('I4', `${epoch}:${revision} was seen, and the log ${found ? 'has another' : 'has it not'}`, about);
    }
    if (found && found.notBefore > entry.at) {
      this.report('I4', `${epoch}:${revision} was seen before it was asked for`, about);
    }
    const mayJump = order === 'I8' && reader.latest;
    const isInOrder = isNext(reader, body, mayJump ? found : undefined) || (mayJump && isLost && isAhead(reader, body));
    if (epoch !== reader.epoch || !isInOrder) {
      const text = `${reader.socket} was at ${reader.epoch}:${reader.revision} and was given ${epoch}:${revision}`;
      this.report(order, text, about);
    }
    reader.epoch = epoch;
    reader.revision = revision;
    if (isLost) this.isUnkept(reader, entry);
  }

  /** A reader was given a whole document: what it had before does not matter any more. */
  private given(reader: Reader, entry: Entry): void {
    if (reader.unkept) reader.unkept.toldAt = entry.at;
    reader.unkept = undefined;
    if (reader.session.isLost(reader.epoch, reader.revision)) this.isUnkept(reader, entry);
  }

  private isUnkept(reader: Reader, entry: Entry): void {
    if (reader.unkept) return;
    reader.unkept = { reader, entry, revision: reader.revision, toldAt: undefined };
    this.unkept.push(reader.unkept);
  }

  private snapshotSeen(socket: string, entry: Entry, document: Wire): void {
    const { id: sessionId, epoch, revision } = document;
    const session = this.index.sessions.get(sessionId);
    if (!session) return;
    const about = { sessionId, entries: [entry], revisions: [revision as number] };
    const reader = this.readers.get(keyOf(socket, sessionId));
    if (!reader) {
      return this.report('I11', `${socket} is not in the session and was given a snapshot`, about);
    }
    this.checkDocument(session, entry, document);
    const isBack = epoch === reader.epoch ? revision < reader.revision : reader.left.has(epoch);
    if (isBack) {
      const text = `${socket} was at ${reader.epoch}:${reader.revision} and was given the snapshot ${epoch}:${revision}`;
      this.report('I8', text, about);
    }
    if (epoch !== reader.epoch) reader.left.add(reader.epoch);
    Object.assign(reader, { epoch, revision });
    this.given(reader, entry);
    this.arrived(reader, entry);
  }

  /** I7: a document is the fold of the log at its position. */
  private checkDocument(session: SessionIndex, entry: Entry, document: Wire): void {
    const { id: sessionId, epoch, revision } = document;
    const found = session.at(epoch, revision);
    if (session.isLost(epoch, revision)) return;
    if (found && found.notBefore > entry.at) {
      const text = `the document at ${epoch}:${revision} was given before all of it was asked for`;
      this.report('I4', text, { sessionId, entries: [entry], revisions: [revision] });
    }
    const expected = found && foldOf(session).documents[found.place];
    const { epoch: _epoch, ...given } = document;
    if (expected && isDeepStrictEqual(given, expected)) return;
    const text = `the document given at ${epoch}:${revision} is not what the log makes of it`;
    this.report('I7', text, { sessionId, entries: [entry], revisions: [revision] });
  }

  private arrived(reader: Reader, entry: Entry): void {
    const place = reader.session.at(reader.epoch, reader.revision)?.place;
    if (place !== undefined) reader.trail.push({ at: entry.at, place, entry });
  }

  private disconnected({ socket, at }: Disconnect): void {
    for (const reader of this.readers.values()) {
      if (reader.socket === socket) this.end(socket, reader.session.truth.sessionId, at);
    }
  }

  private end(socket: string, sessionId: string, at: Nanoseconds): void {
    const reader = this.readers.get(keyOf(socket, sessionId));
    if (!reader) return;
    reader.endedAt = at;
    this.ended.push(reader);
    this.readers.delete(keyOf(socket, sessionId));
  }

  /** Every reader that ever was. */
  all(): Reader[] {
    return [...this.ended, ...this.readers.values()];
  }
}

const keyOf = (socket: string, sessionId: string) => JSON.stringify([socket, sessionId]);

/** Where Redis lost what it jumped over, nobody knows what that was. */
const isAhead = (reader: Reader, { event, revision }: Wire) =>
  event === 'settings:updated' && revision > reader.revision;

/** Whether this commit may follow where the reader is: the next one, or one that it may jump to over commits of settings. */
function isNext(reader: Reader, { revision }: Wire, jumpTo: Logged | undefined): boolean {
  if (revision === reader.revision + 1) return true;
  if (!jumpTo || revision <= reader.revision) return false;
  const others = reader.session.at(reader.epoch, reader.revision)?.others ?? 0;
  return isOfSettings(jumpTo.commit) && jumpTo.others === others;
}

/** I7: no read is older than a write that was answered, or what another read gave, before it was asked for. */
function checkFreshness(session: SessionIndex, all: readonly Read[], report: Report): void {
  const { sessionId } = session.truth;
  const reads = all.filter((read) => read.session === session);
  const given = reads.map(({ end, place }) => ({ answeredAt: end.at, place }));
  const known = byAnswer([...answeredWrites(session), ...given]);
  reads.sort((a, b) => (a.invoke.at < b.invoke.at ? -1 : 1));
  let newest = -1;
  let at = 0;
  for (const { invoke, end, place } of reads) {
    for (; at < known.length && known[at]!.answeredAt < invoke.at; at += 1) newest = Math.max(newest, known[at]!.place);
    if (place >= newest) continue;
    const revisions = [session.logged[place]?.commit.revision ?? 0, session.logged[newest]!.commit.revision];
    report('I7', 'a read is older than what was answered before it', { sessionId, entries: [invoke, end], revisions });
  }
}

interface Answered {
  answeredAt: Nanoseconds;
  place: number;
}
const byAnswer = (all: Answered[]) => all.sort((a, b) => (a.answeredAt < b.answeredAt ? -1 : 1));

/** What was answered `ok` and is in the log, in the order of the answers. */
function answeredWrites({ logged }: SessionIndex): Answered[] {
  const answered = logged.flatMap(({ update, place }) => {
    return update?.answeredAt === undefined ? [] : [{ answeredAt: update.answeredAt, place }];
  });
  return byAnswer(answered);
}

/** I10: what was answered reaches each reader in time, and at the end each is where the log ends. */
function checkConvergence(index: Index, ended: readonly Reader[], report: Report, convergeMs: number): void {
  const marks = index.entries.filter((entry) => entry.kind === 'mark');
  const healedAt = marks.findLast(({ what }) => what === 'heal')?.at ?? 0n;
  const end = marks.findLast(({ what }) => what === 'end');
  const patience = BigInt(Math.round(convergeMs * NS_PER_MS));
  const closedAt = index.entries.at(-1)?.at ?? 0n;
  for (const reader of ended) {
    const { session, trail, socket } = reader;
    const { sessionId } = session.truth;
    const until = reader.endedAt ?? closedAt;
    let owed = -1;
    let at = 0;
    let had = -1;
    for (const { answeredAt, place } of answeredWrites(session)) {
      const deadline = (answeredAt > healedAt ? answeredAt : healedAt) + patience;
      if (deadline > until) break;
      if (deadline < reader.joinedAt) continue;
      owed = Math.max(owed, place);
      for (; at < trail.length && trail[at]!.at <= deadline; at += 1) had = trail[at]!.place;
      if (had >= owed) continue;
      const revisions = [session.logged[had]?.commit.revision ?? 0, session.logged[owed]!.commit.revision];
      const text = `${socket} was behind by more than ${convergeMs} ms`;
      report('I10', text, { sessionId, entries: [trail[at - 1]?.entry], revisions });
      break;
    }
    const last = trail.at(-1)?.place ?? -1;
    const isThere = last === session.logged.length - 1 && reader.epoch === session.truth.epoch;
    if (!end || reader.endedAt !== undefined || isThere) continue;
    const revisions = [session.logged[last]?.commit.revision ?? 0, session.logged.at(-1)?.commit.revision ?? 0];
    const text = `${socket} is not where the log ends at the end`;
    report('I10', text, { sessionId, entries: [trail.at(-1)?.entry, end], revisions });
  }
}

/** I12: who was given what Redis then lost is given a snapshot in time after Redis is back. */
function checkRolledBack(index: Index, all: readonly Unkept[], report: Report, snapshotMs: number): void {
  const returns = index.entries.filter((entry) => entry.kind === 'mark' && isReturn(entry));
  const patience = BigInt(Math.round(snapshotMs * NS_PER_MS));
  const closedAt = index.entries.at(-1)?.at ?? 0n;
  for (const { reader, entry, revision, toldAt } of all) {
    if (returns.length === 0) return;
    const back = returns.find(({ at }) => at > entry.at) ?? entry;
    const deadline = back.at + patience;
    const until = reader.endedAt ?? closedAt;
    if (until <= deadline || (toldAt !== undefined && toldAt <= deadline)) continue;
    const { sessionId } = reader.session.truth;
    const text = `${reader.socket} was given what Redis then lost, and no snapshot for ${snapshotMs} ms after Redis was back`;
    report('I12', text, { sessionId, entries: [entry, back], revisions: [revision] });
  }
}

const isReturn = ({ what }: Mark) => what === 'back' || what === 'heal';
