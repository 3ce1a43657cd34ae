// Token buckets. Ours, because the answer must be there in the same turn: whoever awaits between the arrival of an
// update and its place in the queue lets two updates of one socket change places.
import { AttuneError } from '../../client-sdk/protocol/errors.js';

/** Once a call was refused, all are for at least so long, milliseconds, and until the caller has heard of it. */
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
  /** The first of those that are refused together. */
  private refusal: AttuneError | undefined;
  private readonly hasHeard: (refusal: AttuneError) => boolean;

  /** `what` is limited, for the refusal's text; `hasHeard` says whether the caller had heard of a refusal before this call. */
  constructor(perSecond: number, what = 'calls', hasHeard: (refusal: AttuneError) => boolean = () => true) {
    this.perSecond = perSecond;
    this.what = what;
    this.hasHeard = hasHeard;
    this.tokens = perSecond * BURST_S;
  }

  /** Takes one token; throws RATE_LIMITED with the time until there is one again. */
  take(): void {
    const now = performance.now();
    this.tokens = Math.min(this.perSecond * BURST_S, this.tokens + ((now - this.filledAt) / 1000) * this.perSecond);
    this.filledAt = now;
    // What the caller sent behind a refused call must not be carried out before its retry.
    if (this.refusal && now >= this.refusesUntil && this.hasHeard(this.refusal)) this.refusal = undefined;
    if (this.refusal || this.tokens < 1) {
      if (!this.refusal)
        this.refusesUntil = now + Math.max(((1 - this.tokens) / this.perSecond) * 1000, REFUSAL_MIN_MS);
      const retryAfterMs = Math.max(Math.ceil(this.refusesUntil - now), 1);
      const refusal = new AttuneError('RATE_LIMITED', `at most ${this.perSecond} ${this.what} a second`, {
        retryAfterMs,
      });
      this.refusal ??= refusal;
      throw refusal;
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
