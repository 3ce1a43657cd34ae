// The data Redis is gone for a time, under load: one short run of each fault. `npm run test:faults` runs them in full.
import { redisKilled } from './faults/redis-lost.js';
import { holds } from './holds.js';

describe('a data Redis that is gone for a time', function () {
  this.timeout(120_000);
  it('[FD1] kill -9, again and again', () => holds(redisKilled));
});
