// Pauses between attempts: longer each time, and never the same for two clients.

/** The pause before the next attempt, milliseconds: after `attempts` that failed, from the first pause to the longest, less
 * a random half of it; at least `atLeastMs`. */
export const pauseMs = (attempts: number, [firstMs, mostMs]: readonly [number, number], atLeastMs = 0): number =>
  Math.max(atLeastMs, Math.min(mostMs, firstMs * 2 ** attempts) * (0.5 + Math.random() / 2));
