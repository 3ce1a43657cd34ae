// The end of a token, by a clock that is moved by hand.
import { expect } from 'chai';
import { watchExpiry } from '../../server/api/token-expiry.js';
import { takeTime, type ManualTime } from '../support/manual-time.js';

const SECOND_MS = 1000;
const DAY_MS = 24 * 3600 * SECOND_MS;

describe('the end of a token', () => {
  let time: ManualTime;
  let happened: string[];
  const watch = (leftMs: number) =>
    watchExpiry(
      time.now + leftMs,
      () => happened.push('end'),
      () => happened.push('warning'),
    );

  beforeEach(() => {
    time = takeTime();
    happened = [];
  });
  afterEach(() => time.restore());

  for (const days of [1, 24, 25, 60, 400]) {
    it(`[B3] after ${days} days is a minute after its warning, and nothing is before`, () => {
      watch(days * DAY_MS);
      time.pass(days * DAY_MS - 61 * SECOND_MS);
      expect(happened).to.deep.equal([]);
      time.pass(2 * SECOND_MS);
      expect(happened).to.deep.equal(['warning']);
      time.pass(58 * SECOND_MS);
      expect(happened).to.deep.equal(['warning']);
      time.pass(SECOND_MS);
      expect(happened).to.deep.equal(['warning', 'end']);
      expect(time.waiting).to.equal(0);
    });
  }

  it('[A17] that is near is warned of half way, and not at all where no time is left for another', () => {
    watch(30 * SECOND_MS);
    time.pass(15 * SECOND_MS);
    expect(happened).to.deep.equal(['warning']);
    watch(SECOND_MS);
    time.pass(SECOND_MS);
    expect(happened).to.deep.equal(['warning', 'end']);
  });

  it('[B3] is waited for by nobody where the watch was given up, also after a long time, or there is none', () => {
    const unwatch = watch(60 * DAY_MS);
    time.pass(30 * DAY_MS);
    expect(time.waiting).to.equal(2);
    unwatch();
    watch(Infinity);
    expect(time.waiting).to.equal(0);
  });
});
