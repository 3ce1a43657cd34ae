// The data Redis does not answer for a time, under load: one short run of each fault. `npm run test:faults` runs them in full.
import { Redis } from 'ioredis';
import { expect } from 'chai';
import { startAttune } from '../support/attune.js';
import { startRedis } from '../support/redis.js';
import { connect } from '../support/socket.js';
import { until } from '../support/until.js';
import { nodesAndRedisKilled, redisHung, redisKilled, repliesLost } from './faults/redis-lost.js';
import { holds } from './holds.js';

describe('a data Redis that does not answer for a time', function () {
  this.timeout(120_000);

  it('[FD1] kill -9, again and again', () => holds(redisKilled));
  it('[FD2] kill -9 of nodes and Redis together', () => holds(nodesAndRedisKilled));
  it('[FD6] replies lost after their execution', () => holds(repliesLost));
  it('[FD7] it hangs, and one session is flooded', () => holds(redisHung));

  it('[FD10] one that loads its data is asked again and again, and is used once it is ready', async () => {
    // Each key takes a millisecond to load, and Redis looks after its connections meanwhile.
    const keys = 800;
    const slow = { 'key-load-delay': '1000', 'loading-process-events-interval-bytes': '1024' };
    const redis = await startRedis({ config: Object.entries(slow).flatMap(([name, value]) => [`--${name}`, value]) });
    const server = await startAttune({ redisUrl: redis.url });
    const direct = new Redis({ port: redis.port, retryStrategy: () => 10, enableReadyCheck: false });
    direct.on('error', () => undefined);
    try {
      await direct.mset(Object.fromEntries(Array.from({ length: keys }, (_, n) => [`key${n}`, 'x'])));
      await direct.bgrewriteaof();
      const isRewritten = async () => /aof_base_size:[1-9]/.test(await direct.info('persistence'));
      await until(isRewritten, { what: 'the rewritten file' });
      await redis.restart();
      // No script has run yet: those who asked so far are connections that wait.
      const asked = Number(/cmdstat_info:calls=(\d+)/.exec(await direct.info('commandstats'))?.[1]);
      const socket = await connect(server.url);
      await until(async () => (await socket.call('session:open', { sessionId: 'loaded' })).ok, { what: 'a write' });
      socket.close();
      // By Redis's own guess, which is a second at first, each of its five connections would ask about once.
      expect(asked).to.be.above(15);
    } finally {
      direct.disconnect();
      await server.destroy();
      await redis.stop();
    }
  });

  it('[FD11] while it is away nobody asks for locks', async () => {
    const redis = await startRedis();
    const lock = await startRedis();
    const server = await startAttune({ redisUrl: redis.url, env: { LOCK_REDIS_URLS: lock.url } });
    const direct = new Redis(lock.url);
    const asked = async () => Number(/cmdstat_evalsha:calls=(\d+)/.exec(await direct.info('commandstats'))?.[1] ?? 0);
    try {
      const socket = await connect(server.url);
      await socket.ok('session:open', { sessionId: 'away' });
      await redis.kill();
      // What was on its way when Redis ended may have another answer; then the node knows that it is away.
      const update = (n: number) => socket.call('settings:update', { sessionId: 'away', merge: { n } });
      await until(async () => (await update(0)).error?.code === 'UNAVAILABLE', { what: 'a refusal' });
      const before = await asked();
      for (let n = 1; n <= 2; n += 1) {
        await socket.refused('settings:update', { sessionId: 'away', merge: { n } }, 'UNAVAILABLE');
      }
      // Each of the two would ask about 80 times in the time that it waits.
      expect((await asked()) - before).to.be.below(10);
    } finally {
      direct.disconnect();
      await server.destroy();
      await Promise.all([redis.stop(), lock.stop()]);
    }
  });
});
