// How often each error code was answered.

export type ErrorCounts = Record<string, number>;

/** Adds one to `counts[code]`. */
export function countError(counts: ErrorCounts, code: string): void {
  counts[code] = (counts[code] ?? 0) + 1;
}

/** The sums by code. */
export function addErrors(parts: ErrorCounts[]): ErrorCounts {
  const sum: ErrorCounts = {};
  for (const part of parts) for (const [code, count] of Object.entries(part)) sum[code] = (sum[code] ?? 0) + count;
  return sum;
}
