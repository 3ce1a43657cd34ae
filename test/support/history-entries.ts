// What clients of a fault test did and saw, what is true, and both arranged for the checks of history.ts. Pure, no I/O.
import type { LoggedCommit } from './session-log.js';
import type { Wire } from './shapes.js';

/** Nanoseconds of the monotonic clock that the processes of one machine share: `process.hrtime.bigint()`. */
export type Nanoseconds = bigint;

/** One thing that happened at a client. What one socket wrote down is in its order. */
export type Entry = Connect | Disconnect | Invoke | Ok | Fail | Info | CommitSeen | SnapshotSeen | Mark;

interface Happened {
  at: Nanoseconds;
}
export interface Connect extends Happened {
  kind: 'connect';
  socket: string;
  node: string;
}
export interface Disconnect extends Happened {
  kind: 'disconnect';
  socket: string;
}
/** A request was sent. A retry under the same update id is an attempt of its own. */
export interface Invoke extends Happened {
  kind: 'invoke';
  socket: string;
  attempt: string;
  event: string;
  request: Wire;
}
export interface Ok extends Happened {
  kind: 'ok';
  attempt: string;
  answer: Wire;
}
/** The answer is an error that says that it certainly did not happen. */
export interface Fail extends Happened {
  kind: 'fail';
  attempt: string;
  error: Wire;
}
/** No answer, or one that leaves open what happened. */
export interface Info extends Happened {
  kind: 'info';
  attempt: string;
  why: string;
}
/** `body` is that of the event, and has its name in `event`. */
export interface CommitSeen extends Happened {
  kind: 'commit';
  socket: string;
  body: Wire;
}
/** A snapshot that was not asked for: the body of `session:snapshot`. */
export interface SnapshotSeen extends Happened {
  kind: 'snapshot';
  socket: string;
  body: Wire;
}
/**
 * What the test did: a fault begins, its effect was seen, Redis is back, the fault is healed; `end`: nobody writes any
 * more, and the readers were given the time that they may take.
 */
export interface Mark extends Happened {
  kind: 'mark';
  what: 'fault' | 'effect' | 'back' | 'heal' | 'end';
  text: string;
}

/** What is true of one session at the end of a run. */
export interface SessionTruth {
  sessionId: string;
  /** That of the document now. */
  epoch: string;
  /** The log of the session's present life as the stream has it, in the stream's order. */
  stream: readonly LoggedCommit[];
  /** The log's limits were low: the stream may hold no more than the end of what it held. */
  isTrimmed?: boolean;
  /**
   * The logs of all its lives as the append-only file's bytes give them, oldest first, with what clears and removed
   * messages took out of the stream; absent where it was not read.
   */
  file?: readonly (readonly LoggedCommit[])[];
}

/** One commit of the log. */
export interface Logged {
  commit: LoggedCommit;
  life: number;
  /** Its place among all commits of the session, over all lives. */
  place: number;
  /** What asked for it, where something did. */
  update: Update | undefined;
  /** The newest commit of settings before it in its life, 0 for none. */
  settingsBefore: number;
  /** It cannot have been committed before: the last time at which it or a commit in front of it was first asked for. */
  notBefore: Nanoseconds;
  /** How many commits of its life up to it, itself included, are none of settings. */
  others: number;
}

export interface Attempt {
  invoke: Invoke;
  end: Ok | Fail | Info | undefined;
}

/** A write with all its attempts. */
export interface Update {
  sessionId: string;
  updateId: string;
  event: string;
  request: Wire;
  attempts: Attempt[];
  /** Of the first attempt that may have committed it; of the first where none may. */
  invokedAt: Nanoseconds;
  /** Of the first `ok`. */
  answeredAt: Nanoseconds | undefined;
  /** Where the log has it; normally one entry or none. */
  logged: Logged[];
}

/** One session's log and updates, arranged. */
export interface SessionIndex {
  truth: SessionTruth;
  lives: readonly (readonly LoggedCommit[])[];
  logged: Logged[];
  updates: Update[];
  /** The commit at a position; an epoch that has no commit of its own belongs to the last life. */
  at(epoch: string, revision: number): Logged | undefined;
  /** As at(), where the epoch of the commit is that one, too. */
  exactly(epoch: string, revision: number): Logged | undefined;
  /**
   * Whether Redis lost this position when it began another epoch: there is no such revision, or one of a later epoch, and
   * the log went on since.
   */
  isLost(epoch: string, revision: number): boolean;
}

/** A history by session and attempt, its entries in the order of time. */
export interface Index {
  entries: readonly Entry[];
  sessions: ReadonlyMap<string, SessionIndex>;
  attempts: ReadonlyMap<string, Attempt>;
}

/** Whether a commit gives the settings another revision. */
export function isOfSettings({ body }: LoggedCommit): boolean {
  return body.event === 'settings:updated' || body.event === 'session:created';
}

/** The requests that write. */
const WRITES = new Set([
  'session:open',
  'settings:update',
  'settings:restore',
  'message:add',
  'message:update',
  'message:delete',
  'session:describe',
  'session:clear',
]);

/** Whether an `ok` to a write tells of a commit of its own: what changed nothing made none. */
export function isCommit({ event }: Pick<Update, 'event'>, { answer }: Ok): boolean {
  if (event === 'session:open') return answer.created === true;
  return event === 'session:clear' ? answer.removed !== 0 : answer.changedPaths?.length !== 0;
}

/** Arranges a history; sessions that `truth` does not name are left out. */
export function indexHistory(history: readonly Entry[], truth: readonly SessionTruth[]): Index {
  const entries = [...history].sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0));
  const attempts = new Map<string, Attempt>();
  for (const entry of entries) {
    if (entry.kind === 'invoke') attempts.set(entry.attempt, { invoke: entry, end: undefined });
    if (entry.kind !== 'ok' && entry.kind !== 'fail' && entry.kind !== 'info') continue;
    const attempt = attempts.get(entry.attempt);
    if (attempt && attempt.end === undefined) attempt.end = entry;
    else throw new Error(`${entry.attempt} ended ${attempt ? 'twice' : 'and never began'}: that is no history`);
  }
  const updates = updatesOf([...attempts.values()]);
  const sessions = new Map(truth.map((one) => [one.sessionId, indexSession(one, updates)]));
  return { entries, sessions, attempts };
}

function updatesOf(attempts: readonly Attempt[]): Map<string, Update> {
  const updates = new Map<string, Update>();
  for (const attempt of attempts) {
    const { event, request, at } = attempt.invoke;
    if (!WRITES.has(event)) continue;
    const { sessionId, updateId } = request;
    const key = JSON.stringify([sessionId, updateId]);
    let update = updates.get(key);
    if (!update) {
      const invokedAt = at;
      update = { sessionId, updateId, event, request, attempts: [], invokedAt, answeredAt: undefined, logged: [] };
      updates.set(key, update);
    }
    const { end } = attempt;
    // A refusal that is certain leaves it to the attempts after it.
    if (update.attempts.every((one) => one.end?.kind === 'fail') && end?.kind !== 'fail') update.invokedAt = at;
    update.attempts.push(attempt);
    if (end?.kind === 'ok' && (update.answeredAt === undefined || end.at < update.answeredAt)) {
      update.answeredAt = end.at;
    }
  }
  return updates;
}

function indexSession(truth: SessionTruth, updates: ReadonlyMap<string, Update>): SessionIndex {
  const lives = truth.file ?? [truth.stream];
  const logged: Logged[] = [];
  const byRevision = lives.map(() => new Map<number, Logged>());
  const lifeOf = new Map<string, number>();
  let notBefore = 0n;
  for (const [life, log] of lives.entries()) {
    let settingsBefore = 0;
    let others = 0;
    for (const commit of log) {
      const update = updates.get(JSON.stringify([truth.sessionId, commit.body.updateId]));
      if (!isOfSettings(commit)) others += 1;
      if (update && update.invokedAt > notBefore) notBefore = update.invokedAt;
      const one: Logged = { commit, life, place: logged.length, update, settingsBefore, notBefore, others };
      if (isOfSettings(commit)) settingsBefore = commit.revision;
      logged.push(one);
      byRevision[life]?.set(commit.revision, one);
      lifeOf.set(commit.body.epoch, life);
      update?.logged.push(one);
    }
  }
  const at = (epoch: string, revision: number) => byRevision[lifeOf.get(epoch) ?? lives.length - 1]?.get(revision);
  const exactly = (epoch: string, revision: number) => {
    const one = at(epoch, revision);
    return one?.commit.body.epoch === epoch ? one : undefined;
  };
  const epochs = [...new Set(logged.map(({ commit }) => commit.body.epoch as string))];
  const isLost = (epoch: string, revision: number) => {
    const there = at(epoch, revision)?.commit.body.epoch;
    if (there === undefined) return epoch !== truth.epoch;
    return epochs.includes(epoch) && epochs.indexOf(epoch) < epochs.indexOf(there);
  };
  const own = [...updates.values()].filter(({ sessionId }) => sessionId === truth.sessionId);
  return { truth, lives, logged, updates: own, at, exactly, isLost };
}
