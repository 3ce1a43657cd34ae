// Time of a test's own: Date.now, performance.now, setTimeout and clearTimeout as globals, moved by hand. Only for code that
// runs in the test's process and waits for nothing real.

/** A real timer that is to wait longer runs at once, milliseconds: so do those here. */
const TIMER_MAX_MS = 2 ** 31 - 1;

export interface ManualTime {
  /** Milliseconds since 1970. */
  readonly now: number;
  /** How many timers wait. */
  readonly waiting: number;
  /** Moves on by so many milliseconds and runs what is due, in order. */
  pass(ms: number): void;
  /** Gives the real ones back. */
  restore(): void;
}

/** Takes the globals until `restore()`. */
export function takeTime(startMs = Date.UTC(2026, 10, 22)): ManualTime {
  const real = { setTimeout: globalThis.setTimeout, clearTimeout: globalThis.clearTimeout };
  const realNow = { date: Date.now, monotonic: performance.now.bind(performance) };
  let now = startMs;
  interface Timer {
    readonly at: number;
    readonly run: () => void;
    unref(): Timer;
  }
  /** In the order in which they were made. */
  const timers = new Set<Timer>();
  const next = () => [...timers].sort((one, other) => one.at - other.at)[0];
  globalThis.setTimeout = ((run: () => void, ms = 0) => {
    const timer: Timer = { at: now + (ms > TIMER_MAX_MS ? 1 : ms), run, unref: () => timer };
    timers.add(timer);
    return timer;
  }) as never;
  globalThis.clearTimeout = ((timer: Timer) => void timers.delete(timer)) as never;
  Date.now = () => now;
  performance.now = () => now - startMs;
  return {
    get now() {
      return now;
    },
    get waiting() {
      return timers.size;
    },
    pass(ms) {
      const end = now + ms;
      for (let due = next(); due && due.at <= end; due = next()) {
        timers.delete(due);
        now = Math.max(now, due.at);
        due.run();
      }
      now = end;
    },
    restore() {
      Object.assign(globalThis, real);
      Date.now = realNow.date;
      performance.now = realNow.monotonic;
    },
  };
}
