// Leases under faults: a holder that sleeps or speaks late, lock servers that die or hang. Fence and revision decide.
import { expect } from 'chai';
import { Redis } from 'ioredis';
import { LEASE_TTL_MS, LEASE_WAIT_MAX_MS } from '../../server/redis/lease.js';
import { runAttune, startAttune, type Attune } from '../support/attune.js';
import { startDataRedis, type DataRedis } from '../support/data-redis.js';
import { request } from '../support/http.js';
import type { RedisProxy } from '../support/proxy.js';
import { range } from '../support/range.js';
import { startRedis, type TestRedis } from '../support/redis.js';
import {
  expectAcknowledged,
  expectOrderly,
  expectSoundLog,
  keysOf,
  metric,
  readLog,
  wholeLog,
} from '../support/session-log.js';
import { expectError, freshId, type Wire } from '../support/shapes.js';
import { closeSockets, connect, type TestSocket } from '../support/socket.js';
import { until } from '../support/until.js';
import { abandonWriters, acknowledgements, finalValues, startWriter } from '../support/writer.js';

/** What is asserted of a time is this many times what is aimed at. */
const GENEROUS = 10;

describe('leases under faults', () => {
  let redis: DataRedis;
  let direct: Redis;
  before(async () => {
    redis = await startDataRedis();
    direct = redis.direct();
  });
  after(async () => {
    direct?.disconnect();
    await redis?.stop();
  });
  /** What a test or a group started, ended after it in reverse order. */
  const started: { destroy(): Promise<unknown> }[] = [];
  afterEach(async () => {
    abandonWriters();
    closeSockets();
    for (const one of started.splice(0).reverse()) await one.destroy();
  });
  async function attune(redisUrl: string, env: Record<string, string> = {}): Promise<Attune> {
    const one = await startAttune({ redisUrl, env: { ...wholeLog, ...env } });
    started.push(one);
    return one;
  }
  async function opened(node: Attune): Promise<{ socket: TestSocket; sessionId: string }> {
    const socket = await connect(node.url);
    const { session } = await socket.ok('session:open', { sessionId: freshId('l') });
    return { socket, sessionId: session.id };
  }
  async function joined(node: Attune, sessionId: string): Promise<{ socket: TestSocket; from: Wire }> {
    const socket = await connect(node.url);
    return { socket, from: (await socket.ok('session:join', { sessionId })).session };
  }
  const update = (socket: TestSocket, sessionId: string, n: number, updateId?: string): Promise<Wire> =>
    socket.call('settings:update', { sessionId, merge: { n }, ...(updateId && { updateId }) });
  /** Sends an update until it is acknowledged, always under the same id. */
  const updated = (socket: TestSocket, sessionId: string, n: number, updateId: string): Promise<Wire> =>
    until(
      async () => {
        const answer = await update(socket, sessionId, n, updateId);
        return answer.ok && answer;
      },
      { deadlineMs: 10_000, what: `the acknowledgement of ${updateId}` },
    );
  async function reached(socket: TestSocket, revision: number): Promise<void> {
    const has = ({ body }: { body: Wire }) => (body.revision ?? body.session?.revision) >= revision;
    const state = () =>
      socket.raw.disconnected ? 'cut off' : `at ${JSON.stringify(socket.events.at(-1)?.body.revision)}`;
    await until(() => socket.events.some(has), { what: `revision ${revision} at an observer` }).catch(
      (error: Error) => {
        throw new Error(`${error.message}: it is ${state()}`, { cause: error });
      },
    );
  }

  describe('a holder that is late', () => {
    let proxy: RedisProxy;
    /** Speaks to Redis through the proxy. */
    let far: Attune;
    let near: Attune;
    // For each test: a node leaves lock servers alone for a while that did not answer.
    beforeEach(async () => {
      proxy = await redis.proxy();
      started.push({ destroy: () => proxy.close() });
      [far, near] = await Promise.all([attune(proxy.url), attune(redis.url)]);
    });

    it('[L1] a holder stopped past the end of its lease: others write on, its late commit is refused, and it goes on in order', async function () {
      this.timeout(60_000);
      const { sessionId } = await opened(near);
      const observers = [await joined(near, sessionId), await joined(far, sessionId)];
      const sleepers = range(1, 3).map((n) =>
        startWriter({ name: `far${n}`, sessionId, url: () => far.url, settingsOnly: true }),
      );
      await acknowledgements(sleepers, 200);
      expect(await direct.exists(keysOf(sessionId).lock), 'the lease is held').to.equal(1);
      // First the one way: the answer to a commit that is past must come, or no further one is sent.
      const said = proxy.hold('attune-data', 'toRedis');
      await until(() => /"updateId":"far\d/.test(said.bytes()), { everyMs: 1, what: 'a commit on its way' });
      const heard = proxy.hold('attune-data', 'fromRedis');
      process.kill(far.pid, 'SIGSTOP');
      const stoppedAt = performance.now();
      const writers = range(1, 3).map((n) => startWriter({ name: `near${n}`, sessionId, url: () => near.url }));
      await acknowledgements(writers, 1, 20_000);
      const waitedMs = performance.now() - stoppedAt;
      expect(waitedMs, 'milliseconds until others wrote').to.be.below((LEASE_WAIT_MAX_MS + 500) * GENEROUS);
      await acknowledgements(writers, 200);
      await until(() => performance.now() - stoppedAt > LEASE_TTL_MS, { deadlineMs: 10_000, what: 'its TTL' });
      const before = (await readLog(direct, sessionId)).length;
      said.release();
      // Redis itself says what became of the commit that comes now, while its sender still sleeps.
      await until(() => /STALE|FENCED/.test(heard.bytes()), { what: 'the refusal of the late commit' });
      expect(heard.bytes()).to.not.include('COMMITTED');
      heard.release();
      process.kill(far.pid, 'SIGCONT');
      await acknowledgements(sleepers, 100);
      await acknowledgements(writers, 100);
      await Promise.all([...sleepers, ...writers].map((writer) => writer.stop()));
      const log = await readLog(direct, sessionId);
      expect(log.length).to.be.above(before);
      expectSoundLog(log);
      for (const writer of [...sleepers, ...writers]) expectAcknowledged(log, writer.acknowledged());
      const settings = log.findLast(({ body }) => body.settings)?.body.settings;
      expect(settings).to.deep.include(finalValues([...sleepers, ...writers]));
      for (const { socket, from } of observers) {
        await reached(socket, log.length);
        expect(expectOrderly(socket, from, log)).to.include({ revision: log.length, rolledBack: 0 });
      }
    });

    for (const between of [true, false]) {
      const rule = between
        ? '[L2] a commit that reaches Redis late, after another was committed, is refused; its retry is committed once'
        : '[L3] a commit that reaches Redis late, with nothing in between, counts; its retry is told the same, as a duplicate';
      it(rule, async function () {
        this.timeout(30_000);
        const { socket, sessionId } = await opened(far);
        for (const n of range(1, 5)) expect((await update(socket, sessionId, n)).ok).to.equal(true);
        const [said, heard] = [proxy.hold('attune-data', 'toRedis'), proxy.hold('attune-data', 'fromRedis')];
        const late = update(socket, sessionId, 100, 'late');
        await until(() => said.bytes().includes('"updateId":"late"'), { what: 'the commit on its way' });
        expectError((await late).error, 'OUTCOME_UNKNOWN');
        const other = await connect(near.url);
        if (between) expect((await updated(other, sessionId, 6, 'between')).revision).to.equal(7);
        said.release();
        await until(() => /STALE|FENCED|COMMITTED/.test(heard.bytes()), { what: 'what Redis said to the late commit' });
        heard.release();
        expect(heard.bytes()).to.match(between ? /STALE|FENCED/ : /COMMITTED/);
        const retried = await updated(socket, sessionId, 100, 'late');
        expect(retried).to.include({ revision: between ? 8 : 7, duplicate: !between });
        const log = await readLog(direct, sessionId);
        expectSoundLog(log);
        expect(log.filter(({ body }) => body.updateId === 'late').map(({ revision }) => revision)).to.deep.equal([
          retried.revision,
        ]);
      });
    }

    it('[L4] a lock whose release never arrives changes no answer, and another node writes on', async () => {
      const { socket, sessionId } = await opened(far);
      for (const n of range(1, 5)) expect((await update(socket, sessionId, n)).ok).to.equal(true);
      await socket.ok('session:join', { sessionId });
      expect((await update(socket, sessionId, 6)).ok).to.equal(true);
      const hold = proxy.hold('attune-lock', 'toRedis');
      const other = await connect(near.url);
      const began = performance.now();
      expect(await update(other, sessionId, 7)).to.include({ ok: true, revision: 8 });
      expect(performance.now() - began).to.be.below(LEASE_WAIT_MAX_MS * GENEROUS);
      for (const n of range(8, 20)) expect((await update(n % 2 ? socket : other, sessionId, n)).ok).to.equal(true);
      hold.release();
      for (const n of range(21, 30)) expect((await update(n % 2 ? socket : other, sessionId, n)).ok).to.equal(true);
      const log = await readLog(direct, sessionId);
      expectSoundLog(log);
      expect(log.map(({ body }) => body.settings.n).slice(1)).to.deep.equal(range(1, 30));
    });

    it('[L5] each handover of the lease brings a larger fencing token, and the log keeps the one each commit was made under', async () => {
      const { socket, sessionId } = await opened(near);
      const other = await connect(far.url);
      for (const n of range(1, 30)) {
        expect((await update(Math.ceil(n / 3) % 2 ? socket : other, sessionId, n)).ok).to.equal(true);
      }
      const log = await readLog(direct, sessionId);
      expectSoundLog(log);
      const newestOf = (block: number) => log[block * 3]!.fence;
      for (const block of range(2, 10)) expect(newestOf(block), `block ${block}`).to.be.above(newestOf(block - 1));
      expect(Number(await direct.hget(keysOf(sessionId).doc, 'fence'))).to.be.at.least(log.at(-1)!.fence);
    });
  });

  describe('lock servers', () => {
    let locks: TestRedis[];
    beforeEach(async () => {
      locks = await Promise.all(range(1, 3).map(() => startRedis({ config: ['--appendonly', 'no'] })));
      for (const lock of locks) started.push({ destroy: () => lock.stop() });
    });
    const env = () => ({ LOCK_REDIS_URLS: locks.map(({ url }) => url).join(',') });
    const bypasses = (node: Attune) => metric(node.url, 'attune_lease_bypasses_total', 'reason="lost"');
    const taken = (node: Attune) => metric(node.url, 'attune_leases_taken_total');

    it('[L6] an even number of lock servers is refused at start, with the name of the variable', async () => {
      const two = locks.slice(0, 2).map(({ url }) => url);
      const ended = await runAttune({ redisUrl: redis.url, env: { LOCK_REDIS_URLS: two.join(',') } });
      expect(ended.status).to.be.a('number').that.is.above(0);
      expect(ended.stderr).to.match(/LOCK_REDIS_URLS.*odd number/);
    });

    it('[L7] one of three lock servers killed, and back empty: no error, and leases are still taken', async () => {
      const node = await attune(redis.url, env());
      const sessions = await Promise.all(range(1, 10).map(() => opened(node)));
      const writeAll = async (n: number) => {
        const answers = await Promise.all(sessions.map(({ socket, sessionId }) => update(socket, sessionId, n)));
        for (const answer of answers) expect(answer.ok, JSON.stringify(answer)).to.equal(true);
      };
      await writeAll(1);
      await locks[0]!.kill();
      const before = await taken(node);
      const fresh = await Promise.all(range(1, 10).map(() => opened(node)));
      for (const { socket, sessionId } of fresh) expect((await update(socket, sessionId, 1)).ok).to.equal(true);
      for (const n of range(2, 5)) await writeAll(n);
      expect(await taken(node)).to.be.above(before);
      await locks[0]!.restart();
      for (const n of range(6, 8)) await writeAll(n);
      expect(await bypasses(node)).to.equal(0);
    });

    it('[L8] all lock servers killed: two nodes write on without an error and both get on; the metric says so', async function () {
      this.timeout(40_000);
      // One of them has the longer way to Redis.
      const proxy = await redis.proxy();
      started.push({ destroy: () => proxy.close() });
      const [one, other] = await Promise.all([attune(redis.url, env()), attune(proxy.url, env())]);
      const { sessionId } = await opened(one);
      const observer = await joined(other, sessionId);
      const writers = range(0, 3).map((n) =>
        startWriter({ name: `w${n}`, sessionId, url: () => (n % 2 ? other : one).url }),
      );
      await acknowledgements(writers, 100);
      const before = (await bypasses(one)) + (await bypasses(other));
      await Promise.all(locks.map((lock) => lock.kill()));
      const counts = writers.map(({ writes }) => writes.length);
      await until(() => writers.every(({ writes }, n) => writes.length > counts[n]! + 50), {
        deadlineMs: 20_000,
        what: '50 more acknowledgements for each writer',
      });
      await Promise.all(writers.map((writer) => writer.stop()));
      expect((await bypasses(one)) + (await bypasses(other))).to.be.above(before);
      const told = writers.flatMap(({ writes }) => writes.flatMap((write) => write.told));
      expect(told.filter((answer) => answer !== 'ok')).to.deep.equal([]);
      const log = await readLog(direct, sessionId);
      expectSoundLog(log);
      for (const writer of writers) expectAcknowledged(log, writer.acknowledged());
      await reached(observer.socket, log.length);
      expect(expectOrderly(observer.socket, observer.from, log)).to.deep.include({ snapshots: [] });
    });

    it('[L9] all lock servers hang: updates are still acknowledged; when they answer again, leases are taken again', async function () {
      this.timeout(40_000);
      const node = await attune(redis.url, env());
      const before = await opened(node);
      expect((await update(before.socket, before.sessionId, 1)).ok).to.equal(true);
      for (const { pid } of locks) process.kill(pid, 'SIGSTOP');
      const began = performance.now();
      const fresh = await Promise.all(range(1, 5).map(() => opened(node)));
      for (const { socket, sessionId } of [before, ...fresh]) {
        for (const n of range(2, 5)) expect((await update(socket, sessionId, n)).ok).to.equal(true);
      }
      expect(performance.now() - began, 'milliseconds for all of it').to.be.below(300 * GENEROUS);
      expect(await bypasses(node)).to.be.above(0);
      for (const { pid } of locks) process.kill(pid, 'SIGCONT');
      const had = await taken(node);
      await until(
        async () => {
          const { socket, sessionId } = await opened(node);
          expect((await update(socket, sessionId, 1)).ok).to.equal(true);
          return (await taken(node)) > had;
        },
        { deadlineMs: 15_000, everyMs: 100, what: 'a lease over the lock servers' },
      );
    });

    it('[V8] with Redis out of memory and locks elsewhere an update is not committed, and clear and delete work', async () => {
      const node = await attune(redis.url, { LOCK_REDIS_URLS: locks[0]!.url });
      const lockClient = new Redis(locks[0]!.url);
      started.push({ destroy: async () => lockClient.disconnect() });
      const [{ socket, sessionId }, held] = [await opened(node), await opened(node)];
      for (const content of ['a', 'b', 'c'])
        await socket.ok('message:add', { sessionId, message: { role: 'user', content } });
      const lockOf = (id: string) => keysOf(id).lock;
      // This node has no lease any more: it must take one while memory is full.
      const idle = async () => (await lockClient.exists(lockOf(sessionId), lockOf(held.sessionId))) === 0;
      await until(idle, { what: 'the end of the leases' });
      const { session } = await socket.ok('session:get', { sessionId });
      await direct.config('SET', 'maxmemory', '1mb');
      try {
        await socket.refused('settings:update', { sessionId, merge: { model: 'x' } }, 'UNAVAILABLE');
        expect((await socket.ok('session:get', { sessionId })).session).to.deep.equal(session);
        const other = await connect(node.url);
        expect(await other.ok('session:clear', { sessionId })).to.include({ removed: 3 });
        const url = `${node.url}/v1/sessions/`;
        await until(idle, { what: 'the end of the leases' });
        expect((await request('DELETE', url + sessionId)).status).to.equal(204);
        // A lock that somebody holds who has died, and whom nobody can ask for it.
        await lockClient.set(lockOf(held.sessionId), 'another', 'PX', 10_000);
        expect((await request('DELETE', url + held.sessionId)).status).to.equal(204);
      } finally {
        await direct.config('SET', 'maxmemory', '0');
      }
      for (const id of [sessionId, held.sessionId])
        await socket.refused('session:get', { sessionId: id }, 'SESSION_NOT_FOUND');
    });

    it('[L10] that the lock servers are lost, and that they are back, is logged once, however many sessions find it out', async function () {
      this.timeout(40_000);
      const node = await attune(redis.url, env());
      const socket = await connect(node.url);
      const sessions = await Promise.all(range(1, 50).map(() => opened(node)));
      const writeAll = (n: number) => Promise.all(sessions.map(({ sessionId }) => update(socket, sessionId, n)));
      const logged = (what: string) => node.stderr().split(what).length - 1;
      // Hanging, they keep all sessions waiting at once.
      for (const { pid } of locks) process.kill(pid, 'SIGSTOP');
      // What a lease still holds is written without the lock servers.
      await until(
        async () => {
          for (const answer of await writeAll(performance.now())) expect(answer.ok).to.equal(true);
          return logged('the lock servers do not answer') > 0;
        },
        { deadlineMs: 10_000, everyMs: 100, what: 'the line about lost lock servers' },
      );
      for (const { pid } of locks) process.kill(pid, 'SIGCONT');
      await until(
        async () => {
          await writeAll(performance.now());
          return logged('the lock servers answer again') > 0;
        },
        { deadlineMs: 20_000, everyMs: 100, what: 'the line about their return' },
      );
      await writeAll(1);
      expect(logged('the lock servers do not answer')).to.equal(1);
      expect(logged('the lock servers answer again')).to.equal(1);
    });
  });
});
