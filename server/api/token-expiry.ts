// When the token of an open socket or stream ends: whoever can be is warned before, by this server's clock, and it is closed
// then.

/** How long before the end the client is warned, milliseconds; at half of what is left where that is shorter. */
const WARNING_MS = 60_000;
/** Who comes with less left than this is not warned, milliseconds: there is no time for another token. */
const WARNED_FROM_MS = 2000;
/** Timers hold no more, milliseconds; what is due later is waited for in several. */
const TIMER_MAX_MS = 2 ** 31 - 1;

/**
 * Calls `warn`, where there is one, before `expiresAt` (milliseconds since 1970, or `Infinity`) and `end` at it, unless the
 * result is called.
 */
export function watchExpiry(expiresAt: number, end: () => void, warn?: () => void): () => void {
  if (expiresAt === Infinity) return () => undefined;
  const leftMs = expiresAt - Date.now();
  const warnsAt = expiresAt - Math.min(WARNING_MS, leftMs / 2);
  const stops = [at(expiresAt, end)];
  if (warn && leftMs >= WARNED_FROM_MS) stops.push(at(warnsAt, warn));
  return () => {
    for (const stop of stops) stop();
  };
}

/** Calls `work` at `time`, milliseconds since 1970, unless the result is called. */
function at(time: number, work: () => void): () => void {
  let timer: NodeJS.Timeout;
  const wait = () => {
    const leftMs = time - Date.now();
    timer = leftMs > TIMER_MAX_MS ? setTimeout(wait, TIMER_MAX_MS) : setTimeout(work, leftMs);
    timer.unref();
  };
  wait();
  return () => clearTimeout(timer);
}
