// What a workload is to main: how to run it once against a server, and how its figures are combined and judged.
import type { ClientProcess } from '../client-process.js';
import type { ErrorCounts } from '../error-counts.js';
import type { PartName } from '../load/parts.js';

export interface RunContext {
  url: string;
  /** Length of the measured window. */
  windowMs: number;
  /** Which of the interleaved runs this is, from 0, and how many there are. */
  round: number;
  rounds: number;
  /** Starts a client process; main ends those that are left when the run is over. */
  client: <N extends PartName>(part: N) => ClientProcess<N>;
}

/** Figures of one run by the key of their measure. NaN where there is none. */
export interface RunResult {
  values: Record<string, number>;
  errors: ErrorCounts;
  /** For the JSON report alone. */
  details?: unknown;
}

export interface Measure {
  key: string;
  label: string;
  /** How the runs become one figure. */
  combine: 'median' | 'sum' | 'max';
  /** Digits after the point in the table. */
  digits: number;
  wanted?: Wanted;
}

/** What the project asks of ours, in words and as a predicate. */
export interface Wanted {
  text: string;
  /** Without a figure of the literal design it cannot be judged. */
  needsLiteral: boolean;
  holds: (ours: number, literal: number) => boolean;
}

/** Ours is at least `factor` times the literal design's figure. */
export function timesLiteral(factor: number): Wanted {
  return { text: `≥ ${factor}× literal`, needsLiteral: true, holds: (ours, literal) => ours >= factor * literal };
}

/** Ours is at most the literal design's figure divided by `divisor`. */
export function fractionOfLiteral(divisor: number): Wanted {
  return { text: `≤ 1/${divisor} of literal`, needsLiteral: true, holds: (ours, literal) => ours <= literal / divisor };
}

export const wantedZero: Wanted = { text: '0', needsLiteral: false, holds: (ours) => ours === 0 };

export interface Workload {
  name: string;
  about: string;
  measures: Measure[];
  run(context: RunContext): Promise<RunResult>;
}

/** Before each measured window the same load runs uncounted for so long. */
export const warmupMs = 1_000;

/** Above this share of busy time a client process may be what limits the figure. */
export const clientBusyMax = 0.9;

/** The measure that every workload carries: how busy the busiest client process was, in percent. */
export const clientBusyMeasure: Measure = {
  key: 'clientBusyPercent',
  label: 'busiest client process, %',
  combine: 'max',
  digits: 0,
};

/** Added to every workload: a disk that was slower for one design than for the other spoils the comparison. */
export const fsyncMeasure: Measure = {
  key: 'fsyncP50Ms',
  label: 'fsync p50 just before, ms',
  combine: 'median',
  digits: 2,
};

export function busiest(...clients: { busy: number }[]): number {
  return 100 * Math.max(...clients.map((client) => client.busy));
}
