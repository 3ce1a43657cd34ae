// The rate of one caller, by a clock that is moved by hand.
import { expect } from 'chai';
import { AttuneError } from '../../client-sdk/protocol/errors.js';
import { RateLimit } from '../../server/api/rate-limit.js';
import { takeTime, type ManualTime } from '../support/manual-time.js';

/** Calls per second. */
const RATE = 50;

describe('the rate of a caller', () => {
  let time: ManualTime;
  let hasHeard: boolean;
  let limit: RateLimit;
  beforeEach(() => {
    time = takeTime();
    hasHeard = true;
    limit = new RateLimit(RATE, 'calls', () => hasHeard);
    for (let n = 0; n < 2 * RATE; n += 1) limit.take();
  });
  afterEach(() => time.restore());

  it('[V7] a call above it is refused, and all for 100 ms, though some would be allowed meanwhile', () => {
    for (let leftMs = 100; leftMs > 0; leftMs -= 20) {
      expect(() => limit.take())
        .to.throw(AttuneError)
        .that.includes({ code: 'RATE_LIMITED', retryAfterMs: leftMs });
      time.pass(20);
    }
    for (let n = 0; n < 5; n += 1) limit.take();
    expect(() => limit.take()).to.throw('at most 50 calls a second');
  });

  it('[V7] whoever has not heard of it is refused for longer', () => {
    hasHeard = false;
    for (const ms of [0, 100, 10_000]) {
      time.pass(ms);
      expect(() => limit.take()).to.throw(AttuneError);
    }
    hasHeard = true;
    limit.take();
  });
});
