// Ways to make commits and the answers to writes wrong, each with the invariant that has to find it.
import { indexHistory, type Update } from './history-entries.js';
import { pick, type Run } from './history-model.js';
import {
  type Mutation,
  ofKind,
  changeLog,
  logOf,
  place,
  update,
  okOf,
  isInLog,
  isKept,
  isSettings,
  append,
  lastSeen,
  moveToEnd,
  documents,
  isSettingsEntry,
} from './history-mutation.js';
import type { Wire } from './shapes.js';

/** Asks for an update again at the end of the run, with this answer. */
function retry(
  run: Run,
  { attempts }: Update,
  end: { kind: 'ok'; answer: Wire } | { kind: 'fail'; error: Wire },
): void {
  const { at } = run.history.at(-1)!;
  run.history.push({ ...attempts[0]!.invoke, at: at + 1n, attempt: 'again' });
  run.history.push({ ...end, at: at + 2n, attempt: 'again' });
}

/** What tells most of what each request asks for. */
const ASKED: Readonly<Record<string, string>> = {
  'settings:update': 'merge',
  'settings:restore': 'toRevision',
  'message:add': 'message',
  'message:update': 'append',
  'message:delete': 'messageId',
  'session:describe': 'title',
};

/** Changes what was asked for, false where it is nothing that a commit tells of. */
function askAnother({ event, request }: Update): boolean {
  const name = ASKED[event];
  const value = name === undefined ? undefined : request[name];
  if (name === undefined || value === undefined) return false;
  request[name] = typeof value === 'object' ? { ...value, content: 'another' } : `another ${value}`;
  return true;
}

export const mutationsOfWrites: readonly Mutation[] = [
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
      const one = update(run, random, (u) => okOf(u) !== undefined && u.logged.length === 1);
      if (one) okOf(one)!.answer.revision -= 1;
      return one !== undefined;
    },
  },
  {
    name: 'an answer tells another value than the log has',
    finds: 'I2',
    mutate(run, random) {
      const one = update(run, random, (u) => okOf(u) !== undefined && isKept(run, u));
      const answer = one && okOf(one)!.answer;
      const told = ['settings', 'message', 'title', 'metadata', 'removed'].filter((name) => answer?.[name]);
      const name = pick(random, told);
      if (name === undefined) return false;
      const value = answer[name];
      answer[name] = typeof value === 'object' ? { ...value, other: 1 } : `${value} other`;
      return true;
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
      const one = update(run, random, (u) => okOf(u) !== undefined && isSettings(u) && isKept(run, u));
      if (!one) return false;
      retry(run, one, { kind: 'ok', answer: { ...okOf(one)!.answer, duplicate: true, updatedAt: 'another' } });
      return true;
    },
  },
  {
    name: 'a retry is told that there was nothing to change',
    finds: 'I3',
    mutate(run, random) {
      const one = update(run, random, (u) => isSettings(u) && isKept(run, u));
      const { body } = logOf(run, one?.sessionId ?? run.truth[0]!.sessionId).at(-1)!;
      const answer = { ok: true, duplicate: false, epoch: body.epoch, revision: body.revision, changedPaths: [] };
      if (one) retry(run, one, { kind: 'ok', answer });
      return one !== undefined;
    },
  },
  {
    name: 'a retry is refused over its own commit',
    finds: 'I3',
    mutate(run, random) {
      const one = update(run, random, (u) => isSettings(u) && u.request.ifRevision !== undefined);
      const { epoch, revision } = one?.logged[0]?.commit.body ?? {};
      const details = { epoch, revision, settingsRevision: revision };
      if (one) retry(run, one, { kind: 'fail', error: { code: 'REVISION_CONFLICT', details } });
      return one !== undefined;
    },
  },
  {
    name: 'a commit is seen with another value',
    finds: 'I4',
    mutate(run, random) {
      const one = pick(
        random,
        ofKind(run, 'commit').filter((entry) => isInLog(run, entry.body)),
      );
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
      return one !== undefined && askAnother(one);
    },
  },
  ...Object.entries(ASKED).map(([event, of]): Mutation => {
    return {
      name: `${event} does something else than was asked for`,
      finds: 'I4',
      mutate(run, random) {
        const one = update(
          run,
          random,
          (u) => u.event === event && u.logged.length === 1 && u.request[of] !== undefined,
        );
        return one !== undefined && askAnother(one);
      },
    };
  }),
  {
    name: 'a restore brings other settings than there were',
    finds: 'I4',
    mutate(run, random) {
      const isFold = (u: Update) => {
        const first = run.truth.find(({ sessionId }) => sessionId === u.sessionId)!.stream[0]!.revision;
        const set = logOf(run, u.sessionId).findLast((l) => l.body.settings && l.revision <= u.request.toRevision);
        return set !== undefined && set.revision >= first;
      };
      const one = update(run, random, (u) => u.event === 'settings:restore' && u.logged.length === 1 && isFold(u));
      const { revision } = one?.logged[0]?.commit ?? {};
      if (!one || !revision) return false;
      changeLog(run, one.sessionId, (log) => {
        log[revision - 1]!.body.settings = { ...log[revision - 1]!.body.settings, other: 1 };
      });
      return true;
    },
  },
  {
    name: 'a clear removes another number of messages than there were',
    finds: 'I4',
    mutate(run, random) {
      const one = update(run, random, (u) => u.event === 'session:clear' && u.logged.length === 1);
      if (one) changeLog(run, one.sessionId, (log) => (log[one.logged[0]!.commit.revision - 1]!.body.removed += 1));
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
      const { revision, body } = later.commit;
      Object.assign(one.error.details, { epoch: body.epoch, settingsRevision: revision, revision });
      return true;
    },
  },
];
