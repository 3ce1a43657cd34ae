// The data Redis does not answer for a time, under load: one short run of each fault. `npm run test:faults` runs them in full.
import { nodesAndRedisKilled, redisHung, redisKilled, repliesLost } from './faults/redis-lost.js';
import { holds } from './holds.js';

describe('a data Redis that does not answer for a time', function () {
  this.timeout(120_000);

  it('[FD1] kill -9, again and again', () => holds(redisKilled));
  it('[FD2] kill -9 of nodes and Redis together', () => holds(nodesAndRedisKilled));
  it('[FD6] replies lost after their execution', () => holds(repliesLost));
  it('[FD7] it hangs, and one session is flooded', () => holds(redisHung));
});
