// Token buckets. Ours, because the answer must be there in the same turn: whoever awaits between the arrival of an
// update and its place in the queue lets two updates of one socket change places.
import { AttuneError } from '../../client-sdk/protocol/errors.js';

/** Once a call was refused, all are for at least so long, milliseconds. */
const REFUSAL_MIN_MS = 100;
/** A bucket may be filled up to so many seconds of its rate. */
const BURST_S = 2;
/** Callers whose rate is remembered. */
const CALLERS_MAX = 10_000;

export class RateLimit {
  private readonly perSecond: number;
  private readonly what: string;
  private tokens: number;
  private filledAt = performance.now();
  private refusesUntil = -Infinity;

  /** `what` is limited, for the refusal's text. */
  constructor(perSecond: number, what = 'calls') {
    this.perSecond = perSecond;
    this.what = what;
    this.tokens = perSecond * BURST_S;
  }

  /** Takes one token; throws RATE_LIMITED with the time until there is one again. */
  take(): void {
    const now = performance.now();
    this.tokens = Math.min(this.perSecond * BURST_S, this.tokens + ((now - this.filledAt) / 1000) * this.perSecond);
    this.filledAt = now;
    if (this.tokens < 1 || now < this.refusesUntil) {
      // What the caller sent behind a refused call must not be carried out before its retry.
      if (now >= this.refusesUntil) {
        this.refusesUntil = now + Math.max(((1 - this.tokens) / this.perSecond) * 1000, REFUSAL_MIN_MS);
      }
      const retryAfterMs = Math.ceil(this.refusesUntil - now);
      throw new AttuneError('RATE_LIMITED', `at most ${this.perSecond} ${this.what} a second`, { retryAfterMs });
    }
    this.tokens -= 1;
  }
}

/** The buckets of many callers, by name; beyond a number of callers all start afresh. */
export class RateLimits {
  private readonly limits = new Map<string, RateLimit>();
  private readonly make: () => RateLimit;

  constructor(make: () => RateLimit) {
    this.make = make;
  }

  /** As {@link RateLimit.take}, of the bucket of `caller`. */
  take(caller: string): void {
    if (this.limits.size > CALLERS_MAX) this.limits.clear();
    const limit = this.limits.get(caller) ?? this.make();
    this.limits.set(caller, limit);
    limit.take();
  }
}
