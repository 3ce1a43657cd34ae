// Ways to make a right history wrong, each with the invariant that has to find it.
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
const LATER_NS = 100_000_000_000n;

type Kind<K extends Entry['kind']> = Extract<Entry, { kind: K }>;
const ofKind = <K extends Entry['kind']>(run: Run, kind: K) =>
  run.history.filter((entry): entry is Kind<K> => entry.kind === kind);
const drop = (run: Run, entry: Entry) => run.history.splice(run.history.indexOf(entry), 1).length === 1;

/** The log of a session as stream and file both have it, changed. */
function changeLog({ truth }: Run, sessionId: string, change: (log: LoggedCommit[]) => void): void {
  const one = truth.find((session) => session.sessionId === sessionId) as Changeable;
  for (const log of [one.stream, ...one.file]) change(log);
}
type Changeable = SessionTruth & { stream: LoggedCommit[]; file: LoggedCommit[][] };
const logOf = ({ truth }: Run, sessionId: string) => truth.find((one) => one.sessionId === sessionId)!.stream;
/** A session of the run, and a place in its log with at least so many entries before and behind. */
function place(run: Run, random: Random, before: number, behind: number): { id: string; at: number } | undefined {
  const one = pick(random, run.truth)!;
  const room = one.stream.length - before - behind;
  return room > 0 ? { id: one.sessionId, at: before + Math.floor(random() * room) } : undefined;
}
function inLog(run: Run, random: Random, change: (log: LoggedCommit[], at: number) => void, before = 1): boolean {
  const where = place(run, random, before, 2);
  if (where) changeLog(run, where.id, (log) => change(log, where.at));
  return where !== undefined;
}

/** An update of the run that fits, picked. */
function update(run: Run, random: Random, fits: (one: Update) => boolean): Update | undefined {
  const index = indexHistory(run.history, run.truth);
  const all = [...index.sessions.values()].flatMap(({ updates }) => updates);
  return pick(
    random,
    all.filter((one) => one.event !== 'session:open' && fits(one)),
  );
}
const okOf = ({ attempts }: Update) => attempts.map(({ end }) => end).find((end) => end?.kind === 'ok');
const isSettings = ({ event, logged }: Update) => event === 'settings:update' && logged.length === 1;

/** Appends a commit to a log, with the position, fence and settings that belong there. */
function append(log: LoggedCommit[], body: Wire): void {
  const last = log.at(-1)!;
  const revision = last.revision + 1;
  const settings = log.findLast((one) => one.body.settings)!.body.settings;
  const { epoch } = last.body;
  const whole = { ...body, epoch, revision, settings: { ...settings, ...body.request?.merge } };
  log.push({ revision, event: body.event, fence: last.fence, body: whole });
}

/** What a socket was sent: two commits or snapshots that follow each other on one socket. */
function neighbours(run: Run, random: Random, fits: (a: Wire, b: Wire) => boolean) {
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
const isLatest = ({ socket }: Wire) => /^r[01]#/.test(socket);
/** A commit that its socket got, and that was neither its last one nor before a snapshot. */
const followed = (run: Run, random: Random, fits: (a: Wire, b: Wire) => boolean) => neighbours(run, random, fits)?.[0];

/** A commit at the end of a socket that is there to the last. */
function lastSeen(run: Run, random: Random): Kind<'commit'> | undefined {
  const last = new Map<string, Entry>();
  for (const entry of run.history) {
    if ('socket' in entry && entry.kind !== 'invoke') last.set(entry.socket, entry);
  }
  return pick(
    random,
    [...last.values()].filter((entry) => entry.kind === 'commit'),
  );
}

function moveToEnd(run: Run, entries: readonly (Entry | undefined)[]): void {
  const end = run.history.at(-1)!.at;
  for (const [n, entry] of entries.entries()) if (entry) entry.at = end + LATER_NS + BigInt(n);
}

/** The answer to a read or join that gives a document of a session that was changed before. */
const documents = (run: Run): Ok[] =>
  ofKind(run, 'ok').filter(({ answer }) => answer.session?.revision > 2 && answer.created === undefined);
const resumes = (run: Run): Ok[] => ofKind(run, 'ok').filter(({ answer }) => answer.commits?.length > 1);

export const mutations: readonly Mutation[] = [
  {
    name: 'a log entry is missing',
    finds: 'I1',
    mutate: (run, random) => inLog(run, random, (log, at) => log.splice(at, 1)),
  },
  {
    name: 'a log entry is there twice',
    finds: 'I1',
    mutate: (run, random) => inLog(run, random, (log, at) => log.splice(at, 0, log[at]!)),
  },
  {
    name: 'two log entries are swapped',
    finds: 'I1',
    mutate: (run, random) => inLog(run, random, (log, at) => log.splice(at, 2, log[at + 1]!, log[at]!)),
  },
  {
    name: 'the body of a log entry says another revision',
    finds: 'I1',
    mutate: (run, random) => inLog(run, random, (log, at) => (log[at]!.body.revision += 1)),
  },
  {
    name: 'the append-only file ends before the stream',
    finds: 'I1',
    mutate({ truth }, random) {
      const { stream, file } = pick(random, truth) as Changeable;
      file[0]!.pop();
      return stream.length > 1;
    },
  },
  {
    name: 'the append-only file has another body than the stream',
    finds: 'I1',
    mutate({ truth }, random) {
      const { stream, file } = pick(random, truth) as Changeable;
      stream.at(-1)!.body = { ...file[0]!.at(-1)!.body, at: 'another' };
      return true;
    },
  },
  {
    name: 'the newest commit was acknowledged and is lost',
    finds: 'I2',
    mutate(run, random) {
      const one = update(run, random, (u) => okOf(u) !== undefined && u.logged.length === 1);
      if (!one) return false;
      changeLog(run, one.sessionId, (log) => log.splice(one.logged[0]!.commit.revision - 1));
      return true;
    },
  },
  {
    name: 'an answer names another revision',
    finds: 'I2',
    mutate(run, random) {
      const one = update(run, random, (u) => okOf(u) !== undefined);
      if (one) okOf(one)!.answer.revision -= 1;
      return one !== undefined;
    },
  },
  {
    name: 'an answer has other settings or another message than the log',
    finds: 'I2',
    mutate(run, random) {
      const one = update(run, random, (u) => okOf(u) !== undefined);
      const answer = one && okOf(one)!.answer;
      if (answer?.message) answer.message.content = 'another';
      else if (answer) answer.settings = { ...answer.settings, other: 1 };
      return answer !== undefined;
    },
  },
  {
    name: 'an acknowledged update has another value in the log',
    finds: 'I2',
    mutate(run, random) {
      const one = update(run, random, (u) => okOf(u) !== undefined && isSettings(u));
      if (!one) return false;
      changeLog(run, one.sessionId, (log) => {
        log[one.logged[0]!.commit.revision - 1]!.body.request = { merge: { other: 1 } };
      });
      return true;
    },
  },
  {
    name: 'an update id is in the log twice',
    finds: 'I3',
    mutate(run, random) {
      const one = update(run, random, isSettings);
      if (one) changeLog(run, one.sessionId, (log) => append(log, one.logged[0]!.commit.body));
      return one !== undefined;
    },
  },
  {
    name: 'a second answer to an update id differs from the first',
    finds: 'I3',
    mutate(run, random) {
      const one = update(run, random, (u) => okOf(u) !== undefined && isSettings(u));
      if (!one) return false;
      const { at, invoke } = { at: run.history.at(-1)!.at, invoke: one.attempts[0]!.invoke };
      const answer = { ...okOf(one)!.answer, duplicate: true, updatedAt: 'another' };
      run.history.push({ ...invoke, at: at + 1n, attempt: 'again' });
      run.history.push({ kind: 'ok', at: at + 2n, attempt: 'again', answer });
      return true;
    },
  },
  {
    name: 'a commit is seen with another value',
    finds: 'I4',
    mutate(run, random) {
      const one = pick(random, ofKind(run, 'commit'));
      if (one) one.body.updateId = 'another';
      return one !== undefined;
    },
  },
  {
    name: 'a commit is seen that the log does not have',
    finds: 'I4',
    mutate(run, random) {
      const one = lastSeen(run, random);
      if (!one) return false;
      const body = {
        ...one.body,
        revision: one.body.revision + 1,
        epoch: logOf(run, one.body.sessionId).at(-1)!.body.epoch,
      };
      run.history.push({ ...one, at: run.history.at(-1)!.at + 1n, body });
      return true;
    },
  },
  {
    name: 'a commit is seen before it was asked for',
    finds: 'I4',
    mutate(run, random) {
      const one = update(run, random, (u) => u.logged.length === 1);
      const seen = ofKind(run, 'commit').find(({ body }) => body.updateId === one?.updateId);
      if (!one || !seen) return false;
      moveToEnd(
        run,
        one.attempts.flatMap(({ invoke, end }) => [invoke, end]),
      );
      return true;
    },
  },
  {
    name: 'a document holds what was asked for later',
    finds: 'I4',
    mutate(run, random) {
      const one = update(run, random, (u) => u.logged.length === 1);
      const { revision } = one?.logged[0]?.commit ?? { revision: 0 };
      const holds = (session: Wire) => session.id === one?.sessionId && session.revision >= revision;
      if (!one || !documents(run).some(({ answer }) => holds(answer.session))) return false;
      moveToEnd(
        run,
        one.attempts.flatMap(({ invoke, end }) => [invoke, end]),
      );
      run.history = run.history.filter(({ kind }) => kind !== 'commit' && kind !== 'snapshot');
      return true;
    },
  },
  {
    name: 'the log has what nobody asked for',
    finds: 'I4',
    mutate(run, random) {
      const { id } = place(run, random, 1, 0)!;
      const body = {
        ...logOf(run, id).at(-1)!.body,
        updateId: 'nobody',
        event: 'settings:updated',
        request: { merge: { x: 1 } },
      };
      changeLog(run, id, (log) => append(log, body));
      return true;
    },
  },
  {
    name: 'the log has another value than what was asked for, and nobody was answered',
    finds: 'I4',
    mutate(run, random) {
      const one = update(run, random, (u) => okOf(u) === undefined && u.logged.length === 1);
      if (one?.request.message) one.request.message.content = 'another';
      else if (one) one.request.merge = { other: 1 };
      return one !== undefined;
    },
  },
  {
    name: 'what was refused for certain is in the log',
    finds: 'I4',
    mutate(run, random) {
      const one = update(
        run,
        random,
        (u) => u.event === 'settings:update' && u.attempts.every(({ end }) => end?.kind === 'fail'),
      );
      if (!one) return false;
      const { updateId, request } = one;
      const body = { ...logOf(run, one.sessionId).at(-1)!.body, event: 'settings:updated', updateId };
      changeLog(run, one.sessionId, (log) => append(log, { ...body, request: { merge: request.merge } }));
      return true;
    },
  },
  {
    name: 'an update does not leave the settings that were before it',
    finds: 'I4',
    mutate(run, random) {
      const one = update(run, random, isSettings);
      if (!one) return false;
      changeLog(run, one.sessionId, (log) => {
        log[one.logged[0]!.commit.revision - 1]!.body.settings = one.request.merge;
      });
      return true;
    },
  },
  {
    name: 'an update was answered before one that is in front of it was asked for',
    finds: 'I5',
    mutate(run, random) {
      const index = indexHistory(run.history, run.truth);
      const id = pick(random, run.truth)!.sessionId;
      const placed = index.sessions.get(id)!.logged;
      const first = placed.findIndex(({ update: u }, at) => at > 0 && u !== undefined && at < placed.length - 1);
      const behind = placed.slice(first + 1).some(({ update: u }) => u?.answeredAt !== undefined);
      if (first < 0 || !behind) return false;
      moveToEnd(
        run,
        placed[first]!.update!.attempts.flatMap(({ invoke, end }) => [invoke, end]),
      );
      return true;
    },
  },
  {
    name: 'ifRevision let newer settings pass',
    finds: 'I6',
    mutate(run, random) {
      const guarded = (u: Update) => u.request.ifRevision > 1 && okOf(u) !== undefined && u.logged.length === 1;
      const one = update(run, random, guarded);
      if (one) one.request.ifRevision = one.logged[0]!.settingsBefore - 1;
      return one !== undefined;
    },
  },
  {
    name: 'ifRevision refused where the settings were no newer',
    finds: 'I6',
    mutate(run, random) {
      const conflict = (u: Update) =>
        u.attempts.some(({ end }) => end?.kind === 'fail' && end.error.code === 'REVISION_CONFLICT');
      const one = update(run, random, conflict);
      if (one)
        one.request.ifRevision = one.attempts.flatMap(({ end }) =>
          end?.kind === 'fail' ? (end.error.details?.settingsRevision ?? []) : [],
        )[0];
      return one !== undefined;
    },
  },
  {
    name: 'ifRevision refused for a commit that was asked for later',
    finds: 'I6',
    mutate(run, random) {
      const fails = ofKind(run, 'fail').filter(({ error }) => error.code === 'REVISION_CONFLICT');
      const one = pick(random, fails);
      const index = indexHistory(run.history, run.truth);
      const session = one && index.sessions.get(index.attempts.get(one.attempt)!.invoke.request.sessionId)!;
      const later = session?.logged.find((l) => isSettingsEntry(l.commit) && l.update && l.update.invokedAt > one!.at);
      if (!one || !later) return false;
      Object.assign(one.error.details, { settingsRevision: later.commit.revision, revision: later.commit.revision });
      return true;
    },
  },
  {
    name: 'a read is older than what was answered before it',
    finds: 'I7',
    mutate(run, random) {
      const one = pick(random, documents(run));
      const index = indexHistory(run.history, run.truth);
      if (!one) return false;
      const asked = index.attempts.get(one.attempt)!.invoke;
      const older = documents(run).find(
        ({ answer }) =>
          answer.session.id === one.answer.session.id && answer.session.revision < one.answer.session.revision,
      );
      const answered = index.sessions
        .get(one.answer.session.id)!
        .updates.some(
          (u) =>
            u.answeredAt !== undefined &&
            u.answeredAt < asked.at &&
            u.logged[0] &&
            older &&
            u.logged[0].commit.revision > older.answer.session.revision,
        );
      if (answered) one.answer.session = older!.answer.session;
      return answered;
    },
  },
  {
    name: 'a conflict names settings that were no longer the newest',
    finds: 'I7',
    mutate(run, random) {
      const fails = ofKind(run, 'fail').filter(({ error }) => error.details?.settingsRevision > 1);
      const index = indexHistory(run.history, run.truth);
      const one = pick(random, fails);
      const { invoke } = (one && index.attempts.get(one.attempt)) ?? {};
      if (!one || !invoke) return false;
      const session = index.sessions.get(invoke.request.sessionId)!;
      const newest = session.updates.findLast(({ answeredAt }) => answeredAt !== undefined && answeredAt < invoke.at);
      const before = newest?.logged[0]?.settingsBefore;
      if (!before) return false;
      Object.assign(one.error.details, { revision: before, settingsRevision: before });
      return true;
    },
  },
  {
    name: 'a read is older than what another read gave before',
    finds: 'I7',
    mutate(run) {
      const [older] = documents(run);
      if (!older) return false;
      const { id, revision } = older.answer.session;
      const newer = documents(run).find(({ answer: { session } }) => session.id === id && session.revision > revision);
      if (!newer) return false;
      const { at, attempt } = { at: run.history.at(-1)!.at, attempt: 'late' };
      const invoke = {
        kind: 'invoke',
        socket: 'x',
        attempt,
        event: 'session:get',
        request: { sessionId: id },
      } as const;
      run.history.push({ ...invoke, at: at + 1n }, { kind: 'ok', at: at + 2n, attempt, answer: older.answer });
      // No write was answered: only the reads know.
      for (const [n, entry] of run.history.entries()) {
        const isWrite = entry.kind === 'ok' && entry.answer.duplicate !== undefined && !entry.answer.created;
        if (isWrite) run.history[n] = { kind: 'info', at: entry.at, attempt: entry.attempt, why: 'no answer' };
      }
      return true;
    },
  },
  {
    name: 'a resume is older than what was answered before it',
    finds: 'I7',
    mutate(run, random) {
      const index = indexHistory(run.history, run.truth);
      const short = resumes(run).filter(({ attempt, answer }) => {
        const { invoke } = index.attempts.get(attempt)!;
        const newest = index.sessions.get(invoke.request.sessionId)!.at(answer.epoch, answer.revision);
        return newest?.update?.answeredAt !== undefined && newest.update.answeredAt < invoke.at;
      });
      const one = pick(random, short);
      if (!one) return false;
      one.answer.commits.pop();
      one.answer.revision -= 1;
      return true;
    },
  },
  {
    name: 'a document has other settings than the log makes',
    finds: 'I7',
    mutate(run, random) {
      const one = pick(random, documents(run));
      if (one) one.answer.session.settings = { ...one.answer.session.settings, other: 1 };
      return one !== undefined;
    },
  },
  {
    name: 'a snapshot has another count of messages than the log makes',
    finds: 'I7',
    mutate(run, random) {
      const one = pick(random, ofKind(run, 'snapshot'));
      if (one) one.body.session.messageCount += 1;
      return one !== undefined;
    },
  },
  {
    name: 'a reader is not given a commit',
    finds: 'I8',
    mutate(run, random) {
      const one = followed(run, random, (a) => !isLatest(a));
      return one !== undefined && drop(run, one);
    },
  },
  {
    name: 'a reader is given a commit twice',
    finds: 'I8',
    mutate(run, random) {
      const one = pick(random, ofKind(run, 'commit'));
      if (one) run.history.splice(run.history.indexOf(one), 0, { ...one });
      return one !== undefined;
    },
  },
  {
    name: 'a reader is given two commits in the wrong order',
    finds: 'I8',
    mutate(run, random) {
      const two = neighbours(run, random, () => true);
      if (two) [two[0].body, two[1].body] = [two[1].body, two[0].body];
      return two !== undefined;
    },
  },
  {
    name: 'a reader is given a snapshot older than what it has',
    finds: 'I8',
    mutate(run, random) {
      const two = neighbours(run, random, () => true);
      const older = documents(run).find(
        ({ answer: { session } }) =>
          session.id === two?.[0].body.sessionId &&
          session.epoch === two?.[0].body.epoch &&
          session.revision < two![0].body.revision,
      );
      if (!two || !older) return false;
      const body = { sessionId: older.answer.session.id, session: older.answer.session, reason: 'gap' };
      run.history.splice(run.history.indexOf(two[0]) + 1, 0, {
        kind: 'snapshot',
        at: two[0].at,
        socket: two[0].socket,
        body,
      });
      return true;
    },
  },
  {
    name: 'a reader is given the commits of another epoch without a snapshot',
    finds: 'I8',
    mutate(run, random) {
      const told = ofKind(run, 'snapshot').filter((entry) => {
        const next = run.history.find((one) => 'socket' in one && one.socket === entry.socket && one.at > entry.at);
        return entry.body.reason === 'epoch' && next?.kind === 'commit';
      });
      const one = pick(random, told);
      return one !== undefined && drop(run, one);
    },
  },
  {
    name: 'nobody is told of the epoch that is now',
    finds: 'I10',
    mutate({ truth }, random) {
      pick(random, truth)!.epoch = 'another';
      return true;
    },
  },
  {
    name: 'a reader of `latest` is not given a message',
    finds: 'I8',
    mutate(run, random) {
      const one = followed(run, random, (a) => isLatest(a) && a.body.event === 'message:added');
      return one !== undefined && drop(run, one);
    },
  },
  {
    name: 'a reader of `latest` is given a message before the settings that were held back',
    finds: 'I8',
    mutate(run, random) {
      const held = (a: Wire, b: Wire) => a.body.event === 'settings:updated' && b.body.event === 'message:added';
      const one = followed(run, random, (a, b) => isLatest(a) && held(a, b));
      return one !== undefined && drop(run, one);
    },
  },
  {
    name: 'a resume begins with the cursor again',
    finds: 'I9',
    mutate(run, random) {
      const one = pick(random, resumes(run));
      const first = one && logOf(run, one.answer.commits[0].sessionId)[one.answer.commits[0].revision - 2];
      if (first) one.answer.commits.unshift(first.body);
      return first !== undefined;
    },
  },
  {
    name: 'a resume has a hole',
    finds: 'I9',
    mutate(run, random) {
      const one = pick(random, resumes(run));
      one?.answer.commits.shift();
      return one !== undefined;
    },
  },
  {
    name: 'a resume says that it reaches further than it does',
    finds: 'I9',
    mutate(run, random) {
      const one = pick(
        random,
        resumes(run)
          .filter(({ answer }) => !answer.commits.some(({ event }: Wire) => event === 'settings:updated'))
          .concat(resumes(run)),
      );
      one?.answer.commits.pop();
      return one !== undefined;
    },
  },
  {
    name: 'the last commit never reaches a reader',
    finds: 'I10',
    mutate(run, random) {
      const one = lastSeen(run, random);
      return one !== undefined && drop(run, one);
    },
  },
  {
    name: 'the last commit reaches a reader too late',
    finds: 'I10',
    mutate(run, random) {
      const one = lastSeen(run, random);
      const isAnswered =
        one && update(run, random, (u) => u.updateId === one.body.updateId && u.answeredAt !== undefined);
      if (isAnswered) moveToEnd(run, [one, run.history.at(-1)]);
      return isAnswered !== undefined;
    },
  },
  {
    name: 'a commit reaches a socket that has not joined',
    finds: 'I11',
    mutate(run, random) {
      const one = pick(random, ofKind(run, 'commit'));
      if (one) run.history.push({ ...one, at: run.history.at(-1)!.at, socket: 'stranger#1' });
      return one !== undefined;
    },
  },
  {
    name: 'a snapshot reaches a socket that has not joined',
    finds: 'I11',
    mutate(run, random) {
      const one = pick(random, ofKind(run, 'snapshot'));
      if (one) run.history.push({ ...one, at: run.history.at(-1)!.at, socket: 'stranger#1' });
      return one !== undefined;
    },
  },
  {
    name: 'a fencing token is smaller than the one before',
    finds: 'I13',
    mutate: (run, random) => inLog(run, random, (log, at) => (log[at]!.fence = log[at - 1]!.fence - 1)),
  },
  {
    name: 'too few answers before the fault',
    finds: 'I15',
    mutate(run) {
      const fault = ofKind(run, 'mark').find(({ what }) => what === 'fault')!;
      fault.at = run.history[0]!.at;
      return true;
    },
  },
  {
    name: 'too few answers after the fault',
    finds: 'I15',
    mutate(run) {
      const heal = ofKind(run, 'mark').find(({ what }) => what === 'heal')!;
      heal.at = run.history.at(-1)!.at;
      return true;
    },
  },
  {
    name: 'no effect of the fault',
    finds: 'I15',
    mutate: (run) =>
      drop(
        run,
        ofKind(run, 'mark').find(({ what }) => what === 'effect')!,
      ),
  },
];

const isSettingsEntry = ({ body }: LoggedCommit) => body.event === 'settings:updated';
