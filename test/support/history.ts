// The history checker: holds what clients did and saw against the log, invariant by invariant. Pure: no I/O, no clock.
import type { Attempt, Entry, Index, Ok, SessionTruth } from './history-entries.js';
import { indexHistory } from './history-entries.js';
import { checkReaders } from './history-readers.js';
import { checkWrites } from './history-writes.js';

export type * from './history-entries.js';

export type Invariant = `I${1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 | 11 | 12 | 13 | 14 | 15}`;

/** Something that should not be. */
export interface Violation {
  invariant: Invariant;
  text: string;
  sessionId?: string;
  /** The entries of the history that contradict the log or each other. */
  entries: Entry[];
  /** The revisions that it is about. */
  revisions: number[];
}

export type Report = (
  invariant: Invariant,
  text: string,
  about?: { sessionId?: string; entries?: (Entry | undefined)[]; revisions?: number[] },
) => void;

export interface CheckOptions {
  /** `ok` answers to writes that a run needs before its fault and after its end, default 200. */
  okAtEachEnd?: number;
  /** How long a reader may be behind what was answered, or behind it since the fault was healed; default 3,000 ms. */
  convergeMs?: number;
  /** Within which time after Redis is back those who were given what it lost have a snapshot; default 5,000 ms. */
  snapshotMs?: number;
  /** Within which time after each heal a write is answered `ok`; default 3,000 ms. */
  firstOkMs?: number;
  /**
   * Redis may lose what was acknowledged where it begins another epoch, as after a failover: that is counted in place of a
   * violation of I2. Default false.
   */
  mayLose?: boolean;
}

export interface Verdict {
  /** `invalid`: the run proves nothing (I15), which is a failure. */
  verdict: 'holds' | 'violated' | 'invalid';
  violations: Violation[];
  /** Writes answered `ok` before the first fault, and after the last was healed. */
  okBefore: number;
  okAfter: number;
  /** Acknowledgements of what Redis lost; 0 but with `mayLose`. */
  lost: number;
}

const OK_AT_EACH_END = 200;
const CONVERGE_MS = 3_000;
const SNAPSHOT_MS = 5_000;
const FIRST_OK_MS = 3_000;
const NS_PER_MS = 1_000_000;
/** Violations that describeVerdict() spells out. */
const DESCRIBED_MAX = 12;

/** Checks a run's history against the truth. O(n log n) in the entries and commits. */
export function checkHistory(
  history: readonly Entry[],
  truth: readonly SessionTruth[],
  options: CheckOptions = {},
): Verdict {
  const { okAtEachEnd = OK_AT_EACH_END, convergeMs = CONVERGE_MS, snapshotMs = SNAPSHOT_MS } = options;
  const { firstOkMs = FIRST_OK_MS, mayLose = false } = options;
  const violations: Violation[] = [];
  const report: Report = (invariant, text, { sessionId, entries = [], revisions = [] } = {}) => {
    const known = entries.filter((entry) => entry !== undefined);
    violations.push({ invariant, text, ...(sessionId === undefined ? {} : { sessionId }), entries: known, revisions });
  };
  const index = indexHistory(history, truth);
  let lost = 0;
  for (const session of index.sessions.values()) lost += checkWrites(session, report, mayLose);
  checkReaders(index, report, { convergeMs, snapshotMs });
  checkFirstOk(index, report, firstOkMs);
  const counts = checkValidity(index, report, okAtEachEnd);
  const verdict = violations.some(({ invariant }) => invariant !== 'I15')
    ? 'violated'
    : violations.length > 0
      ? 'invalid'
      : 'holds';
  return { verdict, violations, lost, ...counts };
}

/** The verdict as text for a test's failure: how many violations of each invariant, and the first of them in full. */
export function describeVerdict({ verdict, violations, okBefore, okAfter, lost }: Verdict): string {
  const counts = new Map<string, number>();
  for (const { invariant } of violations) counts.set(invariant, (counts.get(invariant) ?? 0) + 1);
  const shown = violations.slice(0, DESCRIBED_MAX).map(({ invariant, text, sessionId, entries, revisions }) => {
    const where = [sessionId, revisions.length > 0 ? `revision ${revisions.join(', ')}` : ''].filter(Boolean).join(' ');
    return [`${invariant} ${where}: ${text}`, ...entries.map((entry) => `    ${inWords(entry)}`)].join('\n');
  });
  const summary = [...counts].map(([invariant, count]) => `${invariant} × ${count}`).join(', ');
  const oks = `ok before the fault ${okBefore}, after ${okAfter}${lost > 0 ? `, ${lost} lost` : ''}`;
  return [`${verdict}; ${oks}; ${summary || 'no violation'}`, ...shown].join('\n');
}

function inWords(entry: Entry): string {
  return JSON.stringify(entry, (_key, value: unknown) => (typeof value === 'bigint' ? String(value) : value));
}

/** Attempts of writes that were answered `ok`, with the answer. */
function answeredWrites({ sessions }: Index): { attempt: Attempt; end: Ok }[] {
  const updates = [...sessions.values()].flatMap((session) => session.updates);
  return updates.flatMap(({ attempts }) =>
    attempts.flatMap((attempt) => (attempt.end?.kind === 'ok' ? [{ attempt, end: attempt.end }] : [])),
  );
}

/** I14: after each heal a write is answered in time, where nothing new went wrong and the run was not over before. */
function checkFirstOk(index: Index, report: Report, firstOkMs: number): void {
  const marks = index.entries.filter((entry) => entry.kind === 'mark');
  const patience = BigInt(Math.round(firstOkMs * NS_PER_MS));
  const answered = answeredWrites(index).map(({ end }) => end);
  answered.sort((a, b) => (a.at < b.at ? -1 : 1));
  for (const heal of marks.filter(({ what }) => what === 'heal')) {
    const deadline = heal.at + patience;
    const over =
      marks.find(({ what, at }) => at > heal.at && (what === 'fault' || what === 'end')) ?? index.entries.at(-1)!;
    const first = answered.find(({ at }) => at > heal.at);
    if (over.at <= deadline || (first && first.at <= deadline)) continue;
    report('I14', `no write was answered ok for ${firstOkMs} ms after the fault was healed`, {
      entries: [heal, first],
    });
  }
}

/** I15: enough was answered before and after the fault, and the fault had an effect. */
function checkValidity(index: Index, report: Report, okAtEachEnd: number): { okBefore: number; okAfter: number } {
  const marks = index.entries.filter((entry) => entry.kind === 'mark');
  const faultAt = marks.find(({ what }) => what === 'fault')?.at;
  const healAt = marks.findLast(({ what }) => what === 'heal')?.at;
  const answered = answeredWrites(index);
  const okBefore = answered.filter(({ end }) => faultAt !== undefined && end.at < faultAt).length;
  const okAfter = answered.filter(({ attempt }) => healAt !== undefined && attempt.invoke.at > healAt).length;
  if (okBefore < okAtEachEnd) report('I15', `only ${okBefore} of ${okAtEachEnd} ok before the fault`);
  if (okAfter < okAtEachEnd) report('I15', `only ${okAfter} of ${okAtEachEnd} ok after it was healed`);
  if (!marks.some(({ what }) => what === 'effect')) report('I15', 'no effect of the fault was seen');
  return { okBefore, okAfter };
}
