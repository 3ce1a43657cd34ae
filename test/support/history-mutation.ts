// A way to make a right history wrong, and what of a run may be changed so.
import type { Entry, Ok, SessionTruth, Update } from './history-entries.js';
import { indexHistory } from './history-entries.js';
import { pick, type Random, type Run } from './history-model.js';
import type { Invariant } from './history.js';
import type { LoggedCommit } from './session-log.js';
import type { Wire } from './shapes.js';

export interface Mutation {
  name: string;
  finds: Invariant;
  /** Changes the run in place; false where it holds nothing that this could be done to. */
  mutate: (run: Run, random: Random) => boolean;
}

/** Behind the last entry of a run, nanoseconds. */
export const LATER_NS = 100_000_000_000n;

export type Kind<K extends Entry['kind']> = Extract<Entry, { kind: K }>;
export const ofKind = <K extends Entry['kind']>(run: Run, kind: K) =>
  run.history.filter((entry): entry is Kind<K> => entry.kind === kind);
export const drop = (run: Run, entry: Entry) => run.history.splice(run.history.indexOf(entry), 1).length === 1;

/** The log of a session as file and stream both have it, changed. */
export function changeLog({ truth }: Run, sessionId: string, change: (log: LoggedCommit[]) => void): void {
  const one = truth.find((session) => session.sessionId === sessionId) as Changeable;
  const first = one.stream[0]!.revision;
  const [log] = one.file as [LoggedCommit[]];
  change(log);
  one.stream = structuredClone(log.filter(({ revision }) => revision >= first));
}
export type Changeable = SessionTruth & { stream: LoggedCommit[]; file: LoggedCommit[][] };
export const logOf = ({ truth }: Run, sessionId: string) => truth.find((one) => one.sessionId === sessionId)!.file![0]!;
/** Whether Redis kept a position. */
export function isInLog(run: Run, { sessionId, epoch, revision }: Wire): boolean {
  return !indexHistory([], run.truth).sessions.get(sessionId)!.isLost(epoch, revision);
}
/** A session of the run, and a place in its log with at least so many entries before and behind. */
export function place(
  run: Run,
  random: Random,
  before: number,
  behind: number,
): { id: string; at: number } | undefined {
  const one = pick(random, run.truth)!;
  const room = logOf(run, one.sessionId).length - before - behind;
  return room > 0 ? { id: one.sessionId, at: before + Math.floor(random() * room) } : undefined;
}
export function inLog(
  run: Run,
  random: Random,
  change: (log: LoggedCommit[], at: number) => void,
  before = 1,
): boolean {
  const where = place(run, random, before, 2);
  if (where) changeLog(run, where.id, (log) => change(log, where.at));
  return where !== undefined;
}

/** An update of the run that fits, picked. */
export function update(run: Run, random: Random, fits: (one: Update) => boolean): Update | undefined {
  const index = indexHistory(run.history, run.truth);
  const all = [...index.sessions.values()].flatMap(({ updates }) => updates);
  return pick(
    random,
    all.filter((one) => one.event !== 'session:open' && fits(one)),
  );
}
export const okOf = ({ attempts }: Update) => attempts.map(({ end }) => end).find((end) => end?.kind === 'ok');
/** Whether the commit of an update was not removed from the stream since. */
export const isKept = ({ truth }: Run, { sessionId, logged }: Update) =>
  logged.length === 1 &&
  logged[0]!.commit.revision >= truth.find((one) => one.sessionId === sessionId)!.stream[0]!.revision;
export const isSettings = ({ event, logged }: Update) => event === 'settings:update' && logged.length === 1;

/** Appends a commit to a log, with the position, fence and settings that belong there. */
export function append(log: LoggedCommit[], body: Wire): void {
  const last = log.at(-1)!;
  const revision = last.revision + 1;
  const settings = log.findLast((one) => one.body.settings)!.body.settings;
  const { epoch } = last.body;
  const whole = { ...body, epoch, revision, settings: { ...settings, ...body.request?.merge } };
  log.push({ revision, event: body.event, fence: last.fence, body: whole });
}

/** What a socket was sent: two commits or snapshots that follow each other on one socket. */
export function neighbours(run: Run, random: Random, fits: (a: Wire, b: Wire) => boolean) {
  const last = new Map<string, Kind<'commit'>>();
  const found: [Kind<'commit'>, Kind<'commit'>][] = [];
  for (const entry of run.history) {
    if (entry.kind === 'snapshot' || entry.kind === 'disconnect') last.delete(entry.socket);
    if (entry.kind !== 'commit') continue;
    const before = last.get(entry.socket);
    if (before && fits(before, entry)) found.push([before, entry]);
    last.set(entry.socket, entry);
  }
  return pick(random, found);
}
export const isLatest = ({ socket }: Wire) => /^r[01]#/.test(socket);
/** A commit that its socket got, and that was neither its last one nor before a snapshot. */
export const followed = (run: Run, random: Random, fits: (a: Wire, b: Wire) => boolean) =>
  neighbours(run, random, fits)?.[0];

/** A commit at the end of a socket that is there to the last. */
export function lastSeen(run: Run, random: Random): Kind<'commit'> | undefined {
  const last = new Map<string, Entry>();
  for (const entry of run.history) {
    if ('socket' in entry && entry.kind !== 'invoke') last.set(entry.socket, entry);
  }
  return pick(
    random,
    [...last.values()].filter((entry) => entry.kind === 'commit'),
  );
}

export function moveToEnd(run: Run, entries: readonly (Entry | undefined)[]): void {
  const end = run.history.at(-1)!.at;
  for (const [n, entry] of entries.entries()) if (entry) entry.at = end + LATER_NS + BigInt(n);
}

/** The answer to a read or join that gives a document of a session that was changed before. */
export const documents = (run: Run): Ok[] =>
  ofKind(run, 'ok').filter(({ answer }) => answer.session?.revision > 2 && answer.created === undefined);
export const resumes = (run: Run): Ok[] => ofKind(run, 'ok').filter(({ answer }) => answer.commits?.length > 1);
export const isSettingsEntry = ({ body }: LoggedCommit) => body.event === 'settings:updated';
