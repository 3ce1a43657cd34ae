// SIGTERM on real nodes: who is told what, what is finished, what is left behind, and how the clients of the SDK get over it.
import { expect } from 'chai';
import { Redis } from 'ioredis';
import type { ClientError } from '../../client-sdk/index.js';
import { startAttune, type Attune } from '../support/attune.js';
import { startBalancer, type Balancer } from '../support/balancer.js';
import { clientOf, closeClients, freshSession, recorded, synchronized } from '../support/clients.js';
import { expectProblem, request } from '../support/http.js';
import { startRedis, type TestRedis } from '../support/redis.js';
import { expectSoundLog, readLog, wholeLog } from '../support/session-log.js';
import { closeSockets, connect, type TestSocket } from '../support/socket.js';
import { until } from '../support/until.js';

/** A leaving node's clients that move when they are told to. */
const MOVING_SOCKETS = 60;
/** Nodes of a rolling restart, clients of the SDK before them, and sessions that they share. */
const NODES = 3;
const CLIENTS = 12;
const SESSIONS = 3;
/** Each client writes so often, milliseconds. */
const WRITE_EVERY_MS = 4;
/** Acknowledgements before each step of it. */
const ENOUGH = 100;
/** What a node may need to leave: what is promised, and ten times as much is asserted. */
const LEAVE_MS = 5000;

describe('a node that leaves', () => {
  let redis: TestRedis;
  let direct: Redis;
  const nodes = new Set<Attune>();
  before(async () => {
    redis = await startRedis();
    direct = new Redis(redis.url);
  });
  afterEach(async () => {
    closeClients();
    closeSockets();
    await Promise.all([...nodes].map((node) => node.destroy()));
    nodes.clear();
  });
  after(async () => {
    direct?.disconnect();
    await redis?.stop();
  });

  async function node(env: Record<string, string> = wholeLog): Promise<Attune> {
    const started = await startAttune({ redisUrl: redis.url, env });
    nodes.add(started);
    return started;
  }

  /** Goes when its time has come, as the SDK does; resolves with why the connection ended. */
  async function moves(socket: TestSocket): Promise<{ afterMs: number; why: string }> {
    const { raw } = socket;
    const ended = new Promise<string>((resolve) => void raw.once('disconnect', resolve));
    const { reconnectAfterMs: afterMs } = (await socket.next('server:draining')) as { reconnectAfterMs: number };
    setTimeout(() => raw.disconnect(), afterMs);
    const why = await ended;
    return { afterMs, why };
  }

  it('[LV1] each client goes at a time of its own, and none that goes is cut off before; the node ends once all have gone', async () => {
    const leaving = await node();
    const sockets = await Promise.all(Array.from({ length: MOVING_SOCKETS }, () => connect(leaving.url)));
    const moved = Promise.all(sockets.map(moves));
    expect(await leaving.stop()).to.equal(0);
    const times = await moved;
    expect(times.map(({ why }) => why)).to.deep.equal(times.map(() => 'io client disconnect'));
    expect(new Set(times.map(({ afterMs }) => afterMs)).size, 'different times').to.be.above(MOVING_SOCKETS / 4);
  });

  it('[LV2] until it goes a client is still told of commits and may read; its updates are UNAVAILABLE; one that stays is closed', async () => {
    const [leaving, stays] = await Promise.all([node(), node()]);
    const sessionId = freshSession('leave');
    const writer = await connect(stays.url);
    await writer.ok('session:open', { sessionId });
    // So many that there is time to ask something before the last of them is to go.
    const sockets = await Promise.all(Array.from({ length: 300 }, () => connect(leaving.url)));
    const [reader] = sockets as [TestSocket];
    await reader.ok('session:join', { sessionId });
    const ended = leaving.stop();
    await reader.next('server:draining');
    const refused = reader.refused('settings:update', { sessionId, merge: { n: 2 } }, 'UNAVAILABLE');
    const [refusal, commit] = await Promise.all([
      refused,
      writer.ok('settings:update', { sessionId, merge: { n: 1 } }),
    ]);
    expect(refusal).to.include({ outcome: 'not-committed', retry: 'after-delay' });
    await reader.next('settings:updated', ({ revision }) => revision === commit.revision);
    expect((await reader.ok('session:get', { sessionId })).session.settings.n).to.equal(1);
    expect(await ended).to.equal(0);
    await until(() => sockets.every(({ raw }) => !raw.connected), { what: 'the end of all connections' });
  });

  it('[LV3] a call over HTTP that was taken is answered, though it takes longer than all else', async () => {
    const own = await startRedis();
    try {
      const leaving = await startAttune({ redisUrl: own.url });
      nodes.add(leaving);
      const url = `${leaving.url}/v1/sessions/slow`;
      expect((await request('PUT', url)).status).to.equal(201);
      process.kill(own.pid, 'SIGSTOP');
      const answer = request('GET', url);
      // It was taken by the time that a call after it is answered.
      await request('GET', `${leaving.url}/livez`);
      const ended = leaving.stop();
      expectProblem(await answer, 'UNAVAILABLE', 503);
      process.kill(own.pid, 'SIGCONT');
      expect(await ended).to.equal(0);
    } finally {
      await own.stop();
    }
  });

  it('[LV4] it leaves no lease behind: the next node takes its own at once', async () => {
    const locks = await startRedis();
    const onLocks = new Redis(locks.url);
    try {
      const env = { LOCK_REDIS_URLS: locks.url };
      const [leaving, stays] = await Promise.all([node(env), node(env)]);
      const [a, b] = await Promise.all([connect(leaving.url), connect(stays.url)]);
      const ids = Array.from({ length: 20 }, () => freshSession('lease'));
      // Joined, a node keeps the lease for a while after the last update.
      for (const sessionId of ids) await a.ok('session:join', { sessionId, create: true });
      await Promise.all(ids.map((sessionId) => a.ok('settings:update', { sessionId, merge: { n: 1 } })));
      expect(await onLocks.dbsize(), 'leases that are held').to.be.above(0);
      expect(await leaving.stop()).to.equal(0);
      expect(await onLocks.dbsize(), 'leases left behind').to.equal(0);
      await Promise.all(ids.map((sessionId) => b.ok('settings:update', { sessionId, merge: { n: 2 } })));
      expect((await request('GET', `${stays.url}/metrics`)).text).to.not.match(/lease_bypasses_total\{.*\} [1-9]/);
    } finally {
      onLocks.disconnect();
      await locks.stop();
    }
  });

  it('[LV5] a rolling restart of all nodes under load: clients of the SDK see no error, and nothing is lost or doubled', async function () {
    this.timeout(120_000);
    const running = await Promise.all(Array.from({ length: NODES }, () => node()));
    const balancer = await startBalancer(running.map(({ port }) => port));
    try {
      const ids = Array.from({ length: SESSIONS }, () => freshSession('roll'));
      const load = startLoad(balancer, ids);
      try {
        await load.more(ENOUGH);
        for (const [i, leaving] of [...running].entries()) {
          const startedAt = performance.now();
          expect(await leaving.stop()).to.equal(0);
          const tookMs = performance.now() - startedAt;
          console.log(`      node ${i + 1} left in ${tookMs.toFixed(0)} ms`);
          expect(tookMs).to.be.below(10 * LEAVE_MS);
          running[i] = await node();
          balancer.use(running.map(({ port }) => port));
          await load.more(ENOUGH);
        }
      } finally {
        await load.stop();
      }
      expect(load.failures.map(String)).to.deep.equal([]);
      for (const { client, sessions } of load.clients) {
        expect(client.status).to.equal('connected');
        for (const session of sessions) expect(session.getSnapshot().error).to.equal(null);
      }
      for (const sessionId of ids) {
        const log = await readLog(direct, sessionId);
        expectSoundLog(log);
        const committed = log.map(({ body }) => body.updateId as string);
        expect(committed).to.include.members(load.acknowledged(sessionId));
        const states = load.clients.flatMap(({ sessions }) =>
          sessions.filter(({ id }) => id === sessionId).map((session) => session.getSnapshot()),
        );
        for (const { settings, revision } of states) {
          expect(revision).to.equal(states[0]!.revision);
          expect(settings).to.deep.equal(states[0]!.settings);
        }
      }
    } finally {
      await balancer.close();
    }
  });

  /** Clients of the SDK that write without a pause, each to all of the sessions in turn. */
  function startLoad(balancer: Balancer, ids: readonly string[]) {
    const failures: ClientError[] = [];
    const acknowledged = new Map<string, string[]>(ids.map((id) => [id, []]));
    const writes: Promise<void>[] = [];
    let count = 0;
    const clients = Array.from({ length: CLIENTS }, (_, c) => {
      const client = clientOf(balancer.url, { clientId: `sdk-${c}` });
      const sessions = ids.map((id) => client.session(id, { create: true }));
      for (const session of sessions) recorded((listener) => session.on('commit', listener));
      return { client, sessions };
    });
    const writing = setInterval(() => {
      const { sessions } = clients[count % CLIENTS]!;
      const session = sessions[Math.floor(count / CLIENTS) % ids.length]!;
      const updateId = `u-${(count += 1)}`;
      const write = session.update({ [`n${count % 40}`]: count }, { updateId }).then(
        () => void acknowledged.get(session.id)!.push(updateId),
        (error: ClientError) => void failures.push(error),
      );
      writes.push(write);
    }, WRITE_EVERY_MS);
    const total = () => [...acknowledged.values()].reduce((sum, all) => sum + all.length, 0);
    return {
      clients,
      failures,
      acknowledged: (id: string) => acknowledged.get(id)!,
      async more(wanted: number) {
        const goal = total() + wanted;
        await until(() => total() >= goal, { deadlineMs: 20_000, what: `${wanted} acknowledgements` });
      },
      async stop() {
        clearInterval(writing);
        await Promise.all(writes);
        for (const { sessions } of clients) for (const session of sessions) await synchronized(session);
        await until(
          () =>
            ids.every((_, s) => new Set(clients.map(({ sessions }) => sessions[s]!.getSnapshot().revision)).size === 1),
          { what: 'all clients at the same revision' },
        );
      },
    };
  }
});
