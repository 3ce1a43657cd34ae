// When the token of an open socket ends: the client is warned before, by this server's clock, and the socket is closed then.

/** How long before the end the client is warned, milliseconds; at half of what is left where that is shorter. */
const WARNING_MS = 60_000;
/** Who comes with less left than this is not warned, milliseconds: there is no time for another token. */
const WARNED_FROM_MS = 2000;
/** Timers hold no more, milliseconds; a token that lives longer outlives the connection's patience anyway. */
const TIMER_MAX_MS = 2 ** 31 - 1;

/** Calls `warn` before `expiresAt` (milliseconds since 1970, or `Infinity`) and `end` at it, unless the result is called. */
export function watchExpiry(expiresAt: number, warn: () => void, end: () => void): () => void {
  if (expiresAt === Infinity) return () => undefined;
  const leftMs = expiresAt - Date.now();
  const after = (ms: number, work: () => void) => setTimeout(work, Math.min(ms, TIMER_MAX_MS)).unref();
  const warning = leftMs < WARNED_FROM_MS ? undefined : after(Math.max(leftMs - WARNING_MS, leftMs / 2), warn);
  const ending = after(leftMs, end);
  return () => {
    clearTimeout(warning);
    clearTimeout(ending);
  };
}
