// The checks of one session's log and writes: I1 to I6 and I13. Pure.
import { isDeepStrictEqual } from 'node:util';
import { isOfSettings, type Fail, type Logged, type Ok, type SessionIndex, type Update } from './history-entries.js';
import type { Report } from './history.js';
import type { LoggedCommit } from './session-log.js';
import type { Wire } from './shapes.js';

/** Checks what one session's writers were told, and its log itself. */
export function checkWrites(session: SessionIndex, report: Report): void {
  checkRevisions(session, report);
  checkCopies(session, report);
  for (const update of session.updates) {
    checkAcknowledged(session, update, report);
    checkOnce(update, report);
    checkRefused(update, report);
    checkGuard(session, update, report);
  }
  checkAsked(session, report);
  checkRealTime(session, report);
  checkFences(session, report);
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

/** I1: the stream and the append-only file say the same. */
function checkCopies({ truth: { sessionId, stream, file } }: SessionIndex, report: Report): void {
  if (file === undefined) return;
  const written = file.at(-1) ?? [];
  for (let at = 0; at < Math.max(stream.length, written.length); at += 1) {
    if (isDeepStrictEqual(stream[at], written[at])) continue;
    const revisions = [stream[at], written[at]].flatMap((one) => (one ? [one.revision] : []));
    report('I1', `stream and append-only file differ from entry ${at + 1} on`, { sessionId, revisions });
    return;
  }
}

const oksOf = ({ attempts }: Update): Ok[] => attempts.flatMap(({ end }) => (end?.kind === 'ok' ? [end] : []));
/** An open that found the session made no commit. */
const isCommit = ({ event }: Update, { answer }: Ok): boolean => event !== 'session:open' || answer.created === true;

/** I2: every ok is in the log at its revision, with its value. Every write of a run changes something. */
function checkAcknowledged(session: SessionIndex, update: Update, report: Report): void {
  const { sessionId, updateId } = update;
  for (const ok of oksOf(update).filter((one) => isCommit(update, one))) {
    const { epoch, revision } = ok.answer;
    const found = session.exactly(epoch, revision)?.commit;
    const about = { sessionId, entries: [ok], revisions: [revision as number] };
    const isThere = found?.body.updateId === updateId;
    if (isThere && fits(update, found) && says(ok, found)) continue;
    const elsewhere = update.logged.map(({ commit }) => commit.revision);
    const where = elsewhere.length > 0 ? `is at revision ${elsewhere.join(', ')}` : 'is not in the log';
    const text = isThere ? `${updateId} has another value in the log` : `${updateId} ${where}`;
    report('I2', `acknowledged at ${epoch}:${revision}, ${text}`, about);
  }
}

/** Whether an answer tells what the commit holds, as far as it tells it. */
function says({ answer }: Ok, { body }: LoggedCommit): boolean {
  return (['settings', 'message'] as const).every(
    (name) => answer[name] === undefined || isDeepStrictEqual(answer[name], body[name]),
  );
}

/** I3: an update id is in the log once at most, and all its answers are the same but for `duplicate`. */
function checkOnce(update: Update, report: Report): void {
  const { sessionId, updateId, logged } = update;
  const revisions = logged.map(({ commit }) => commit.revision);
  if (logged.length > 1) report('I3', `${updateId} is in the log ${logged.length} times`, { sessionId, revisions });
  const [first, ...others] = oksOf(update);
  if (!first) return;
  const bare = ({ answer: { duplicate: _duplicate, ...rest } }: Ok): Wire => rest;
  const other = others.find((one) => !isDeepStrictEqual(bare(one), bare(first)));
  if (other) report('I3', `two answers to ${updateId} differ`, { sessionId, entries: [first, other], revisions });
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
function checkAsked({ truth: { sessionId }, logged }: SessionIndex, report: Report): void {
  let settings: Wire = {};
  for (const { commit, update } of logged) {
    const { revision, body } = commit;
    const about = { sessionId, revisions: [revision] };
    if (!update) report('I4', `nobody asked for ${body.updateId}, which is in the log`, about);
    else if (!fits(update, commit)) {
      const entries = update.attempts.map(({ invoke }) => invoke);
      report('I4', `${body.updateId} is not in the log as it was asked for`, { ...about, entries });
    }
    if (body.settings === undefined) continue;
    if (body.event === 'settings:updated' && !isDeepStrictEqual(folded(settings, body), body.settings)) {
      report('I4', `the settings are not those before with ${body.updateId} in them`, about);
    }
    settings = body.settings;
  }
}

/** The settings after a commit; where it is neither a merge nor a replacement its own are taken. */
function folded(before: Wire, { request, settings }: Wire): Wire {
  if (request.replace !== undefined) return request.replace;
  return request.merge === undefined ? settings : merged(before, request.merge);
}

/** RFC 7396. */
function merged(before: Wire, patch: Wire): Wire {
  if (!isObject(patch)) return patch;
  const after: Wire = isObject(before) ? { ...before } : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete after[name];
    else after[name] = merged(after[name], value);
  }
  return after;
}
const isObject = (value: unknown): boolean => typeof value === 'object' && value !== null && !Array.isArray(value);

/** Whether a commit is what the update asked for. */
export function fits({ event, request }: Pick<Update, 'event' | 'request'>, { body }: LoggedCommit): boolean {
  switch (event) {
    case 'session:open':
      return body.event === 'session:created';
    case 'settings:update': {
      const { replace, settings = replace, merge, patch } = request;
      const asked = settings !== undefined ? { replace: settings } : merge !== undefined ? { merge } : { patch };
      return body.event === 'settings:updated' && isDeepStrictEqual(body.request, asked);
    }
    case 'message:add':
      return body.event === 'message:added' && isDeepStrictEqual({ ...body.message, ...request.message }, body.message);
    case 'session:describe':
      return body.event === 'session:described' && (request.title === undefined || body.title === request.title);
    default:
      return body.event === 'session:cleared';
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
  if (!there) return session.isLost(epoch, revision);
  if (there.notBefore > answeredAt) return false;
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
