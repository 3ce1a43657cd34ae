// Time of a test's own: Date.now, setTimeout and clearTimeout as globals, moved by hand. Only for code that runs in the
// test's process and waits for nothing real.

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
  const real = { setTimeout: globalThis.setTimeout, clearTimeout: globalThis.clearTimeout, now: Date.now };
  let now = startMs;
  let made = 0;
  const timers = new Map<number, { at: number; run: () => void }>();
  const next = () => [...timers].sort(([a, one], [b, other]) => one.at - other.at || a - b)[0];
  globalThis.setTimeout = ((run: () => void, ms = 0) => {
    timers.set((made += 1), { at: now + ms, run });
    return made;
  }) as never;
  globalThis.clearTimeout = ((id: number) => void timers.delete(id)) as never;
  Date.now = () => now;
  return {
    get now() {
      return now;
    },
    get waiting() {
      return timers.size;
    },
    pass(ms) {
      const end = now + ms;
      for (let due = next(); due && due[1].at <= end; due = next()) {
        timers.delete(due[0]);
        now = Math.max(now, due[1].at);
        due[1].run();
      }
      now = end;
    },
    restore() {
      Object.assign(globalThis, { setTimeout: real.setTimeout, clearTimeout: real.clearTimeout });
      Date.now = real.now;
    },
  };
}
