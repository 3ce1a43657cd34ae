// What a run's history says of times and errors: how long answers took, which errors were told, how old readers were. Pure.
import {
  indexHistory,
  type Attempt,
  type Entry,
  type Index,
  type Nanoseconds,
  type SessionTruth,
} from './history-entries.js';

const NS_PER_MS = 1_000_000;
const ms = (from: Nanoseconds, to: Nanoseconds): number => Number(to - from) / NS_PER_MS;

/** One request and its end. */
export interface Answer {
  readonly event: string;
  readonly sessionId: string;
  readonly updateId: string | undefined;
  /** The node's URL. */
  readonly node: string;
  readonly end: 'ok' | 'fail' | 'info';
  /** The error's code, or why there was no answer; '' for `ok`. */
  readonly code: string;
  readonly invokedAt: Nanoseconds;
  readonly endedAt: Nanoseconds;
  readonly tookMs: number;
}

export interface Measures {
  readonly faultAt: Nanoseconds;
  readonly healAt: Nanoseconds;
  /** Every request that ended, in the order of the ends. */
  readonly answers: readonly Answer[];
  /** Those of writes, that were asked for at the fault or later. */
  readonly writesSinceFault: readonly Answer[];
  /** Writes answered `ok` between fault and heal. */
  readonly okDuring: number;
  /** From the heal to the first `ok` of a write asked for after it, milliseconds. */
  readonly firstOkMs: number;
  /** The share of writes since the fault whose end was an error, or no answer. */
  readonly errorShare: number;
  /** The longest time that a request since the fault took, milliseconds. */
  readonly longestMs: number;
  /** Requests that never ended. */
  readonly pending: number;
  /** Codes of errors since the fault, but REVISION_CONFLICT, and how many of each. */
  readonly codes: Readonly<Record<string, number>>;
  /** How long a commit that was answered took at most to reach a reader that was connected all the while, milliseconds. */
  readonly stalenessMs: number;
}

/** Measures a history. */
export function measure(history: readonly Entry[], truth: readonly SessionTruth[]): Measures {
  const index = indexHistory(history, truth);
  const marks = index.entries.filter((entry) => entry.kind === 'mark');
  const faultAt = marks.find(({ what }) => what === 'fault')?.at ?? 0n;
  const healAt = marks.findLast(({ what }) => what === 'heal')?.at ?? 0n;
  const nodes = new Map(
    index.entries.flatMap((entry) => (entry.kind === 'connect' ? [[entry.socket, entry.node]] : [])),
  );
  const all = [...index.attempts.values()];
  const answers = all
    .flatMap((attempt) => answerOf(attempt, nodes) ?? [])
    .sort((a, b) => (a.endedAt < b.endedAt ? -1 : 1));
  const since = answers.filter(({ invokedAt }) => invokedAt >= faultAt);
  const writesSinceFault = since.filter(({ updateId }) => updateId !== undefined);
  const errors = writesSinceFault.filter(({ end, code }) => end !== 'ok' && code !== 'REVISION_CONFLICT');
  const codes: Record<string, number> = {};
  for (const { code } of since) {
    if (code !== '' && code !== 'REVISION_CONFLICT') codes[code] = (codes[code] ?? 0) + 1;
  }
  const oks = answers.filter(({ end, updateId }) => end === 'ok' && updateId !== undefined);
  const first = oks.find(({ invokedAt }) => invokedAt > healAt);
  return {
    faultAt,
    healAt,
    answers,
    writesSinceFault,
    okDuring: oks.filter(({ endedAt }) => endedAt > faultAt && endedAt < healAt).length,
    firstOkMs: first ? ms(healAt, first.endedAt) : Infinity,
    errorShare: writesSinceFault.length > 0 ? errors.length / writesSinceFault.length : 0,
    longestMs: Math.max(0, ...since.map(({ tookMs }) => tookMs)),
    pending: all.filter(({ end }) => end === undefined).length,
    codes,
    stalenessMs: stalenessOf(index),
  };
}

function answerOf({ invoke, end }: Attempt, nodes: ReadonlyMap<string, string>): Answer | undefined {
  if (!end) return undefined;
  const { event, request, socket, at } = invoke;
  const code = end.kind === 'fail' ? end.error.code : end.kind === 'info' ? end.why : '';
  return {
    event,
    sessionId: request.sessionId,
    updateId: request.updateId,
    node: nodes.get(socket) ?? '',
    end: end.kind,
    code,
    invokedAt: at,
    endedAt: end.at,
    tookMs: ms(at, end.at),
  };
}

/** The longest that any answered commit took to any reader that had joined before and stayed until it came. */
function stalenessOf(index: Index): number {
  let longest = 0;
  for (const session of index.sessions.values()) {
    const answered = session.logged
      .flatMap(({ update, place }) => (update?.answeredAt === undefined ? [] : [{ at: update.answeredAt, place }]))
      .sort((a, b) => a.place - b.place);
    for (const trail of trailsOf(index, session.truth.sessionId)) {
      let next = 0;
      for (const { at, epoch, revision } of trail) {
        const place = session.at(epoch, revision)?.place ?? -1;
        for (; next < answered.length && answered[next]!.place <= place; next += 1) {
          if (answered[next]!.at > trail[0]!.at) longest = Math.max(longest, ms(answered[next]!.at, at));
        }
      }
    }
  }
  return longest;
}

interface Arrival {
  at: Nanoseconds;
  epoch: string;
  revision: number;
}

/** Where each socket was in a session, from each join on. */
function trailsOf({ entries, attempts }: Index, sessionId: string): Arrival[][] {
  const open = new Map<string, Arrival[]>();
  const all: Arrival[][] = [];
  for (const entry of entries) {
    if (entry.kind === 'ok') {
      const { event, request, socket } = attempts.get(entry.attempt)!.invoke;
      if (event !== 'session:join' || request.sessionId !== sessionId) continue;
      const { epoch, revision } = entry.answer.session ?? entry.answer;
      const trail = [{ at: entry.at, epoch, revision }];
      open.set(socket, trail);
      all.push(trail);
    } else if (entry.kind === 'commit' && entry.body.sessionId === sessionId) {
      open.get(entry.socket)?.push({ at: entry.at, epoch: entry.body.epoch, revision: entry.body.revision });
    } else if (entry.kind === 'snapshot' && entry.body.sessionId === sessionId) {
      const { epoch, revision } = entry.body.session;
      open.get(entry.socket)?.push({ at: entry.at, epoch, revision });
    } else if (entry.kind === 'disconnect') open.delete(entry.socket);
  }
  return all;
}
