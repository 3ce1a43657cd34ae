// The history checker: holds what clients did and saw against the log, invariant by invariant. Pure: no I/O, no clock.
import type { Entry, Index, SessionTruth } from './history-entries.js';
import { indexHistory } from './history-entries.js';
import { checkReaders } from './history-readers.js';
import { checkWrites } from './history-writes.js';

export type * from './history-entries.js';

export type Invariant = `I${1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 | 11 | 13 | 15}`;

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
}

export interface Verdict {
  /** `invalid`: the run proves nothing (I15), which is a failure. */
  verdict: 'holds' | 'violated' | 'invalid';
  violations: Violation[];
  /** Writes answered `ok` before the first fault, and after the last was healed. */
  okBefore: number;
  okAfter: number;
}

const OK_AT_EACH_END = 200;
const CONVERGE_MS = 3_000;
/** Violations that describeVerdict() spells out. */
const DESCRIBED_MAX = 12;

/** Checks a run's history against the truth. O(n log n) in the entries and commits. */
export function checkHistory(
  history: readonly Entry[],
  truth: readonly SessionTruth[],
  options: CheckOptions = {},
): Verdict {
  const { okAtEachEnd = OK_AT_EACH_END, convergeMs = CONVERGE_MS } = options;
  const violations: Violation[] = [];
  const report: Report = (invariant, text, { sessionId, entries = [], revisions = [] } = {}) => {
    const known = entries.filter((entry) => entry !== undefined);
    violations.push({ invariant, text, ...(sessionId === undefined ? {} : { sessionId }), entries: known, revisions });
  };
  const index = indexHistory(history, truth);
  for (const session of index.sessions.values()) checkWrites(session, report);
  checkReaders(index, report, convergeMs);
  const counts = checkValidity(index, report, okAtEachEnd);
  const verdict = violations.some(({ invariant }) => invariant !== 'I15')
    ? 'violated'
    : violations.length > 0
      ? 'invalid'
      : 'holds';
  return { verdict, violations, ...counts };
}

/** The verdict as text for a test's failure: how many violations of each invariant, and the first of them in full. */
export function describeVerdict({ verdict, violations, okBefore, okAfter }: Verdict): string {
  const counts = new Map<string, number>();
  for (const { invariant } of violations) counts.set(invariant, (counts.get(invariant) ?? 0) + 1);
  const shown = violations.slice(0, DESCRIBED_MAX).map(({ invariant, text, sessionId, entries, revisions }) => {
    const where = [sessionId, revisions.length > 0 ? `revision ${revisions.join(', ')}` : ''].filter(Boolean).join(' ');
    return [`${invariant} ${where}: ${text}`, ...entries.map((entry) => `    ${inWords(entry)}`)].join('\n');
  });
  const summary = [...counts].map(([invariant, count]) => `${invariant} × ${count}`).join(', ');
  return [`${verdict}; ok before the fault ${okBefore}, after ${okAfter}; ${summary || 'no violation'}`, ...shown].join(
    '\n',
  );
}

function inWords(entry: Entry): string {
  return JSON.stringify(entry, (_key, value: unknown) => (typeof value === 'bigint' ? String(value) : value));
}

/** I15: enough was answered before and after the fault, and the fault had an effect. */
function checkValidity(
  { entries, attempts, sessions }: Index,
  report: Report,
  okAtEachEnd: number,
): { okBefore: number; okAfter: number } {
  const marks = entries.filter((entry) => entry.kind === 'mark');
  const faultAt = marks.find(({ what }) => what === 'fault')?.at;
  const healAt = marks.findLast(({ what }) => what === 'heal')?.at;
  const written = new Set([...sessions.values()].flatMap(({ updates }) => updates.flatMap((one) => one.attempts)));
  let okBefore = 0;
  let okAfter = 0;
  for (const attempt of attempts.values()) {
    if (attempt.end?.kind !== 'ok' || !written.has(attempt)) continue;
    if (faultAt !== undefined && attempt.end.at < faultAt) okBefore += 1;
    if (healAt !== undefined && attempt.invoke.at > healAt) okAfter += 1;
  }
  if (okBefore < okAtEachEnd) report('I15', `only ${okBefore} of ${okAtEachEnd} ok before the fault`);
  if (okAfter < okAtEachEnd) report('I15', `only ${okAfter} of ${okAtEachEnd} ok after it was healed`);
  if (!marks.some(({ what }) => what === 'effect')) report('I15', 'no effect of the fault was seen');
  return { okBefore, okAfter };
}
