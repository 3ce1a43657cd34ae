// Turns: a limited number of calls at a time, the others in line, first come, first served. It never gives one up.

/** Calls `step` when it has its turn, and settles as it does. */
export type InTurn = <T>(step: () => Promise<T>) => Promise<T>;

/** A line of which at most `most` have their turn at the same time. Who calls bounds how many wait. */
export function createTurns(most: number): InTurn {
  const waiting: (() => void)[] = [];
  let taken = 0;
  return async (step) => {
    // Who ends hands its turn to the next: nobody who comes in between takes it.
    if (taken >= most) await new Promise<void>((resolve) => waiting.push(resolve));
    else taken += 1;
    try {
      return await step();
    } finally {
      const next = waiting.shift();
      if (next) next();
      else taken -= 1;
    }
  };
}
