// A client on a slow line sends on before it hears of a refusal: none of that may overtake what it tries again.
import { expect } from 'chai';
import { Redis } from 'ioredis';
import { Manager } from 'socket.io-client';
import { startAttune, type Attune } from '../support/attune.js';
import { startRedisProxy, type RedisProxy } from '../support/proxy.js';
import { startRedis, type TestRedis } from '../support/redis.js';
import { metric, readLog } from '../support/session-log.js';
import { expectError, freshId, type Wire } from '../support/shapes.js';
import { closeSockets, connect, recorder, type TestSocket } from '../support/socket.js';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.js';
import { until } from '../support/until.js';

const RATE = 20;
/** Longer than a server that hears nothing holds back what comes, milliseconds. */
const WAITED_MS = 150;

describe('a slow line', () => {
  let redis: TestRedis;
  let direct: Redis;
  let toRedis: RedisProxy;
  let attune: Attune;
  let line: TcpProxy;
  const managers = new Set<Manager>();
  before(async () => {
    redis = await startRedis();
    direct = new Redis(redis.url);
    toRedis = await startRedisProxy(redis.port);
    attune = await startAttune({ redisUrl: toRedis.url, env: { RATE_CALLS_PER_S: String(RATE) } });
  });
  after(async () => {
    await attune?.destroy();
    await toRedis?.close();
    direct?.disconnect();
    await redis?.stop();
  });
  beforeEach(async () => {
    line = await startTcpProxy(attune.port);
  });
  afterEach(async () => {
    closeSockets();
    for (const manager of managers) manager._close();
    managers.clear();
    await line?.close();
  });

  /** A socket in a namespace for more tabs, the second one of its connection. */
  async function tab(): Promise<TestSocket> {
    const manager = new Manager(line.url, { transports: ['websocket'], reconnection: false, autoConnect: false });
    managers.add(manager);
    const sockets = ['/', '/~1'].map((name) => {
      const raw = manager.socket(name);
      raw.auth = { protocol: 1 };
      return recorder(raw.connect());
    });
    await until(() => sockets.every(({ raw }) => raw.connected));
    return sockets[1]!;
  }
  const add = (socket: TestSocket, sessionId: string, id: string): Promise<Wire> =>
    socket.call('message:add', { sessionId, updateId: id, message: { role: 'user', content: id } });
  const contents = async (sessionId: string): Promise<string[]> =>
    (await readLog(direct, sessionId)).slice(1).map(({ body }) => body.message.content as string);

  /** `refuse` has A refused; the answer waits on the line while B is sent and decided. Gives both answers. */
  async function overtaken(socket: TestSocket, sessionId: string, refuse: () => Promise<Wire>): Promise<[Wire, Wire]> {
    line.treat('fromServer', { hold: true });
    const a = refuse();
    await until(() => line.held('fromServer') > 0, { what: 'the refusal on the line' });
    const refusedAt = performance.now();
    await until(() => performance.now() > refusedAt + WAITED_MS);
    const refusals = await metric(attune.url, 'attune_refusals_total');
    const b = add(socket, sessionId, 'b');
    const isDecided = async () =>
      (await metric(attune.url, 'attune_refusals_total')) > refusals || (await contents(sessionId)).includes('b');
    await until(isDecided, { what: 'the end of B at the server' });
    line.release();
    return Promise.all([a, b]);
  }
  /** A is tried again, then B; others are taken behind them. */
  async function inOrder(socket: TestSocket, sessionId: string): Promise<void> {
    for (const id of ['a', 'b', 'c']) await until(async () => (await add(socket, sessionId, id)).ok, { what: id });
    expect((await contents(sessionId)).filter((content) => content.length === 1)).to.deep.equal(['a', 'b', 'c']);
  }

  for (const [name, open] of [
    ['a socket', () => connect(line.url)],
    ['a tab of a shared connection', tab],
  ] as const) {
    it(`[Q13] behind an update whose outcome is unknown, ${name} overtakes nothing`, async () => {
      const socket = await open();
      const sessionId = freshId('slow');
      await socket.ok('session:open', { sessionId });
      const [a, b] = await overtaken(socket, sessionId, async () => {
        const held = toRedis.hold('attune-data', 'toRedis');
        const answer = add(socket, sessionId, 'a');
        await until(() => held.bytes().includes(sessionId), { what: 'the update on its way to Redis' });
        toRedis.cut('attune-data');
        held.release();
        return answer;
      });
      expectError(a.error, ['OUTCOME_UNKNOWN', 'UNAVAILABLE']);
      expectError(b.error, 'UNAVAILABLE');
      await inOrder(socket, sessionId);
    });

    it(`[Q13] behind a call above the rate, ${name} overtakes nothing`, async () => {
      const socket = await open();
      const sessionId = freshId('slow');
      await socket.ok('session:open', { sessionId });
      const [a, b] = await overtaken(socket, sessionId, async () => {
        for (let n = 0; n < 3 * RATE; n += 1) socket.send('session:get', { sessionId });
        return add(socket, sessionId, 'a');
      });
      expectError(a.error, 'RATE_LIMITED');
      expectError(b.error, 'RATE_LIMITED');
      await inOrder(socket, sessionId);
    });
  }

  it('[Q13] who has heard of the refusal and does not try again is taken again, also over long polling', async () => {
    for (const transports of [['websocket'], ['polling']]) {
      const socket = await connect(line.url, {}, { transports });
      const sessionId = freshId('slow');
      await socket.ok('session:open', { sessionId });
      const asked = Array.from({ length: 3 * RATE }, () => socket.call('session:get', { sessionId }));
      expect((await Promise.all(asked)).some(({ ok }) => !ok)).to.equal(true);
      await until(async () => (await add(socket, sessionId, 'x')).ok, { what: `a call over ${transports[0]}` });
    }
  });
});
