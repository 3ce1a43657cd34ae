// Latencies: kept cheaply where they are taken (a client process), summed up where they are reported (main).
import { createHistogram } from 'node:perf_hooks';

const initialCapacity = 16_384;
const microsecondsPerMs = 1000;
const figures = 3;

/** A growing list of durations in microseconds. */
export class Samples {
  private values = new Uint32Array(initialCapacity);
  private length = 0;

  pushMs(durationMs: number): void {
    if (this.length === this.values.length) {
      const larger = new Uint32Array(this.length * 2);
      larger.set(this.values);
      this.values = larger;
    }
    this.values[this.length++] = Math.max(1, Math.round(durationMs * microsecondsPerMs));
  }

  /** A copy of what was taken, in microseconds. */
  toArray(): Uint32Array {
    return this.values.slice(0, this.length);
  }
}

export interface LatencySummary {
  count: number;
  p50Ms: number;
  p99Ms: number;
  maxMs: number;
}

/** Joins the samples of several processes (microseconds). Without any sample all figures are NaN. */
export function summarize(parts: Uint32Array[]): LatencySummary {
  const histogram = createHistogram({ figures });
  for (const part of parts) for (const microseconds of part) histogram.record(microseconds);
  if (histogram.count === 0) return { count: 0, p50Ms: Number.NaN, p99Ms: Number.NaN, maxMs: Number.NaN };
  return {
    count: histogram.count,
    p50Ms: histogram.percentile(50) / microsecondsPerMs,
    p99Ms: histogram.percentile(99) / microsecondsPerMs,
    maxMs: histogram.max / microsecondsPerMs,
  };
}

/** The middle value; of an even number of values the lower of the two in the middle, so it is one that was measured. */
export function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? Number.NaN;
}
