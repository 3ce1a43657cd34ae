// Time and chance as the server's logic takes them: what it reads here it can be given by a simulation, too. It owns no
// timer; it only names what the process has.

/** A timer under way. */
export interface Timer {
  /** The process may end before it is due. */
  unref(): unknown;
}

/** Clocks, timers and chance. Each function stands for itself: it may be handed on without its object. */
export interface Time {
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Milliseconds that never go back, from any beginning. */
  readonly monotonic: () => number;
  /** From 0 up to 1. */
  readonly random: () => number;
  readonly setTimeout: (run: () => void, ms: number) => Timer;
  readonly clearTimeout: (timer: Timer | undefined) => void;
  readonly setInterval: (run: () => void, ms: number) => Timer;
  readonly clearInterval: (timer: Timer) => void;
  /** After this turn of the event loop. */
  readonly setImmediate: (run: () => void) => void;
}

/** The process's own. The globals are looked up at each call: tests replace them. */
export const realTime: Time = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  random: () => Math.random(),
  setTimeout: (run, ms) => setTimeout(run, ms),
  clearTimeout: (timer) => clearTimeout(timer as NodeJS.Timeout | undefined),
  setInterval: (run, ms) => setInterval(run, ms),
  clearInterval: (timer) => clearInterval(timer as NodeJS.Timeout),
  setImmediate: (run) => void setImmediate(run),
};

/** Resolves `ms` later. */
export function pause({ setTimeout: wait }: Time, ms: number): Promise<void> {
  return new Promise((resolve) => void wait(resolve, ms));
}
