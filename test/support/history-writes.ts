// The checks of one session's log and writes: I1 to I6 and I13. Pure.
import { isDeepStrictEqual } from 'node:util';
import {
  isCommit,
  isOfSettings,
  type Fail,
  type Logged,
  type Ok,
  type SessionIndex,
  type Update,
} from './history-entries.js';
import { foldOf } from './history-fold.js';
import type { Report } from './history.js';
import type { Wire } from './shapes.js';

/**
 * Checks what one session's writers were told, and its log itself. With `mayLose` Redis may have lost what it acknowledged
 * where it began another epoch; returns how many answers that were.
 */
export function checkWrites(session: SessionIndex, report: Report, mayLose: boolean): number {
  checkRevisions(session, report);
  checkCopies(session, report);
  let lost = 0;
  for (const update of session.updates) {
    lost += checkAcknowledged(session, update, report, mayLose);
    checkOnce(session, update, report);
    checkAgain(session, update, report);
    checkRefused(update, report);
    checkGuard(session, update, report);
  }
  checkAsked(session, report);
  checkRealTime(session, report);
  checkFences(session, report);
  return lost;
}

/** I1: each life's log is 1..n. */
function checkRevisions({ truth: { sessionId }, lives }: SessionIndex, report: Report): void {
  for (const log of lives) {
    for (const [at, { revision, body }] of log.entries()) {
      if (revision === at + 1 && body.revision === revision) continue;
      const text = `revision ${revision} (its body says ${body.revision}) stands where ${at + 1} belongs`;
      report('I1', text, { sessionId, revisions: [at + 1, revision] });
      break;
    }
  }
}

/** I1: the stream and the append-only file say the same, but for what a clear or a removed message took out of the stream. */
function checkCopies(session: SessionIndex, report: Report): void {
  const { sessionId, stream, file, isTrimmed } = session.truth;
  if (file === undefined) return;
  const keptFrom = Math.max(foldOf(session).keptFrom, isTrimmed ? (stream[0]?.revision ?? Infinity) : 1);
  const written = (file.at(-1) ?? []).filter(({ revision }) => revision >= keptFrom);
  for (let at = 0; at < Math.max(stream.length, written.length); at += 1) {
    if (isDeepStrictEqual(stream[at], written[at])) continue;
    const revisions = [stream[at], written[at]].flatMap((one) => (one ? [one.revision] : []));
    report('I1', `stream and append-only file differ from entry ${at + 1} on`, { sessionId, revisions });
    return;
  }
}

const oksOf = ({ attempts }: Update): Ok[] => attempts.flatMap(({ end }) => (end?.kind === 'ok' ? [end] : []));

/** I2: every ok is in the log at its revision, with its value. Returns how many may be lost. */
function checkAcknowledged(session: SessionIndex, update: Update, report: Report, mayLose: boolean): number {
  const { sessionId, updateId } = update;
  let lost = 0;
  for (const ok of oksOf(update).filter((one) => isCommit(update, one))) {
    const { epoch, revision } = ok.answer;
    const found = session.exactly(epoch, revision);
    const about = { sessionId, entries: [ok], revisions: [revision as number] };
    const isThere = found?.commit.body.updateId === updateId;
    if (isThere && !foldOf(session).misfits.has(found) && says(session, ok, found)) continue;
    if (mayLose && !found && session.isLost(epoch, revision)) {
      lost += 1;
      continue;
    }
    const elsewhere = update.logged.map(({ commit }) => commit.revision);
    const where = elsewhere.length > 0 ? `is at revision ${elsewhere.join(', ')}` : 'is not in the log';
    const text = isThere ? `${updateId} has another value in the log` : `${updateId} ${where}`;
    report('I2', `acknowledged at ${epoch}:${revision}, ${text}`, about);
  }
  return lost;
}

/** What an answer may tell of its commit. */
const TOLD = ['settings', 'settingsRevision', 'changedPaths', 'message', 'title', 'metadata', 'removed'] as const;

/** Whether an answer tells what the commit holds, as far as it tells it. */
function says(session: SessionIndex, { answer }: Ok, { commit }: Logged): boolean {
  if (answer.duplicate && isRemoved(session, commit.revision)) return true;
  return TOLD.every((name) => answer[name] === undefined || isDeepStrictEqual(answer[name], commit.body[name]));
}

/** What a clear or a removed message took out of the log cannot be told again. */
const isRemoved = (session: SessionIndex, revision: number) => revision < foldOf(session).keptFrom;

/**
 * I3: an update id is in the log once at most, and all its answers are the same but for `duplicate`. What Redis lost when
 * it began another epoch is done again.
 */
function checkOnce(session: SessionIndex, update: Update, report: Report): void {
  const { sessionId, updateId, logged } = update;
  const revisions = logged.map(({ commit }) => commit.revision);
  if (logged.length > 1) report('I3', `${updateId} is in the log ${logged.length} times`, { sessionId, revisions });
  const [first, ...others] = oksOf(update).filter(({ answer }) => !session.isLost(answer.epoch, answer.revision));
  if (!first) return;
  const { epoch, revision } = first.answer;
  const bare = ({ answer: { duplicate: _duplicate, ...rest } }: Ok): Wire =>
    isRemoved(session, revision) ? { epoch: rest.epoch, revision: rest.revision } : rest;
  const other = others.find((one) => !isDeepStrictEqual(bare(one), bare(first)));
  if (other)
    report('I3', `two answers to ${updateId} (${epoch}:${revision}) differ`, {
      sessionId,
      entries: [first, other],
      revisions,
    });
}

/** I3: what is in the log is neither told to have changed nothing, nor refused over itself or what came after it. */
function checkAgain(session: SessionIndex, update: Update, report: Report): void {
  const { sessionId, updateId, logged, attempts } = update;
  const [one] = logged;
  if (!one) return;
  const { revision } = one.commit;
  for (const { end } of attempts) {
    const about = { sessionId, entries: [end], revisions: [revision] };
    if (end?.kind === 'ok' && !isCommit(update, end) && !isRemoved(session, revision)) {
      const isTold = update.event !== 'session:open' && !session.isLost(end.answer.epoch, end.answer.revision);
      if (isTold) report('I3', `${updateId} was told that it changed nothing, and it did`, about);
    }
    if (end?.kind !== 'fail' || end.error.code !== 'REVISION_CONFLICT') continue;
    const { epoch, revision: refusedAt } = end.error.details;
    const there = session.isLost(epoch, refusedAt) ? undefined : session.at(epoch, refusedAt);
    if (there && there.place >= one.place) report('I3', `${updateId} was refused when it was in the log`, about);
  }
}

/** I4: what ended in a certain error, each time it was tried, is not in the log. */
function checkRefused({ sessionId, updateId, attempts, logged }: Update, report: Report): void {
  const [found] = logged;
  if (!found || !attempts.every(({ end }) => end?.kind === 'fail')) return;
  const entries = attempts.map(({ end }) => end);
  const revisions = [found.commit.revision];
  report('I4', `${updateId} was refused for certain and is in the log`, { sessionId, entries, revisions });
}

/** I4: each commit was asked for, and does what was asked. */
function checkAsked(session: SessionIndex, report: Report): void {
  const { sessionId } = session.truth;
  const { misfits, unfolded } = foldOf(session);
  for (const one of session.logged) {
    const { revision, body } = one.commit;
    const about = { sessionId, revisions: [revision] };
    if (!one.update) report('I4', `nobody asked for ${body.updateId}, which is in the log`, about);
    else if (misfits.has(one)) {
      const entries = one.update.attempts.map(({ invoke }) => invoke);
      report('I4', `${body.updateId} is not in the log as it was asked for`, { ...about, entries });
    }
    if (unfolded.has(one)) report('I4', `the settings are not those before with ${body.updateId} in them`, about);
  }
}

/** I5: what was answered before another was asked for is before it in the log. */
function checkRealTime({ truth: { sessionId }, updates }: SessionIndex, report: Report): void {
  const placed = updates.flatMap((update) => {
    const { logged, invokedAt, answeredAt = NEVER } = update;
    return logged[0] ? [{ update, invokedAt, answeredAt, ...placeOf(logged[0]) }] : [];
  });
  const answered = placed.toSorted((a, b) => (a.answeredAt < b.answeredAt ? -1 : 1));
  placed.sort((a, b) => (a.invokedAt < b.invokedAt ? -1 : 1));
  let newest: (typeof placed)[number] | undefined;
  let at = 0;
  for (const later of placed) {
    for (; at < answered.length && answered[at]!.answeredAt < later.invokedAt; at += 1) {
      if (!newest || answered[at]!.place > newest.place) newest = answered[at];
    }
    if (!newest || newest.place < later.place) continue;
    const text = `${newest.update.updateId} was answered before ${later.update.updateId} was asked for, and comes after it`;
    const entries = [oksOf(newest.update)[0], later.update.attempts[0]?.invoke];
    report('I5', text, { sessionId, entries, revisions: [newest.revision, later.revision] });
  }
}

const NEVER = 2n ** 63n;
const placeOf = ({ place, commit: { revision } }: Logged) => ({ place, revision });

/** I6: `ifRevision` refused what it should, and only that. */
function checkGuard(session: SessionIndex, update: Update, report: Report): void {
  const { sessionId, updateId, request, attempts, logged } = update;
  const { ifRevision } = request;
  if (ifRevision === undefined) return;
  for (const { commit, settingsBefore } of logged) {
    if (settingsBefore <= ifRevision && ifRevision < commit.revision) continue;
    const text = `${updateId} was to find settings of revision ${ifRevision} at most, and found ${settingsBefore}`;
    const entries = attempts.map(({ end }) => end);
    report('I6', text, { sessionId, entries, revisions: [settingsBefore, commit.revision] });
  }
  for (const { end } of attempts) {
    if (end?.kind !== 'fail' || end.error.code !== 'REVISION_CONFLICT' || isConflict(session, ifRevision, end))
      continue;
    const { settingsRevision } = end.error.details;
    const text = `${updateId} was refused for revision ${settingsRevision}, which is no such commit after ${ifRevision}`;
    report('I6', text, { sessionId, entries: [end], revisions: [settingsRevision] });
  }
}

/** Whether a conflict tells of a position that may have been there before the answer, and that refuses what was asked. */
function isConflict(session: SessionIndex, ifRevision: number, { at: answeredAt, error }: Fail): boolean {
  const { epoch, revision, settingsRevision } = error.details;
  const there = session.at(epoch, revision);
  if (session.isLost(epoch, revision)) return true;
  if (!there || there.notBefore > answeredAt) return false;
  const settingsThere = isOfSettings(there.commit) ? revision : there.settingsBefore;
  return settingsRevision === settingsThere && (ifRevision < settingsThere || ifRevision > revision);
}

/** I13: fencing tokens never decrease along the log of a life. */
function checkFences({ truth: { sessionId }, lives }: SessionIndex, report: Report): void {
  for (const log of lives) {
    let fence = 0;
    for (const commit of log) {
      if (commit.fence < fence) {
        const text = `token ${commit.fence} comes after ${fence}`;
        report('I13', text, { sessionId, revisions: [commit.revision] });
      }
      fence = commit.fence;
    }
  }
}
