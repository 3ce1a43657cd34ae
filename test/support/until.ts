// Polling with a deadline: how tests wait. It never sleeps for longer than one poll.
import { setTimeout as delay } from 'node:timers/promises';

export interface UntilOptions {
  /** How long to try, default 5,000 ms. */
  deadlineMs?: number;
  /** Pause between two tries, default 15 ms. */
  everyMs?: number;
  /** What is waited for, for the error's text. */
  what?: string;
}

/**
 * Calls `probe` until it gives something other than false, null or undefined, and resolves with that.
 * A probe that throws counts as "not yet"; its last error is the cause of the error thrown at the deadline.
 */
export async function until<T>(
  probe: () => T | Promise<T>,
  options: UntilOptions = {},
): Promise<Exclude<T, false | null | undefined>> {
  const { deadlineMs = 5_000, everyMs = 15, what = 'the condition' } = options;
  const endsAt = performance.now() + deadlineMs;
  let failure: unknown;
  for (;;) {
    try {
      const value = await probe();
      if (value !== false && value !== null && value !== undefined)
        return value as Exclude<T, false | null | undefined>;
      failure = undefined;
    } catch (error) {
      failure = error;
    }
    if (performance.now() >= endsAt) {
      const because = failure instanceof Error ? `: ${failure.message}` : '';
      throw new Error(`waited ${deadlineMs} ms in vain for ${what}${because}`, { cause: failure });
    }
    await delay(everyMs);
  }
}
