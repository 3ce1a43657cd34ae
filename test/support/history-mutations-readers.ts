// Ways to make the reads and what readers are given wrong, each with the invariant that has to find it.
import { indexHistory, type Entry } from './history-entries.js';
import { pick } from './history-model.js';
import {
  type Mutation,
  ofKind,
  drop,
  isInLog,
  logOf,
  update,
  neighbours,
  isLatest,
  followed,
  lastSeen,
  moveToEnd,
  documents,
  resumes,
} from './history-mutation.js';
import type { Wire } from './shapes.js';

export const mutationsOfReaders: readonly Mutation[] = [
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
      const one = pick(
        random,
        ofKind(run, 'snapshot').filter(({ body }) => isInLog(run, { ...body.session, sessionId: body.sessionId })),
      );
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
    name: 'a reader keeps what Redis lost',
    finds: 'I12',
    mutate(run, random) {
      const one = pick(
        random,
        ofKind(run, 'commit').filter((entry) => !isInLog(run, entry.body)),
      );
      if (!one) return false;
      // Nothing more comes, and it stays for long enough.
      const isLater = (entry: Entry) => 'socket' in entry && entry.socket === one.socket && entry.at > one.at;
      run.history = run.history.filter((entry) => !isLater(entry));
      const asked = new Set(ofKind(run, 'invoke').map(({ attempt }) => attempt));
      run.history = run.history.filter((entry) => !('attempt' in entry) || asked.has(entry.attempt));
      moveToEnd(run, [run.history.at(-1)]);
      return true;
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
];
