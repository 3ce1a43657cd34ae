// What still works, and how soon the rest is refused, while a part is away; and that nothing comes back as a herd.
import { expect } from 'chai';
import { Redis } from 'ioredis';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect as connectTcp } from 'node:net';
import { startAttune, type Attune } from '../support/attune.js';
import { freshSession } from '../support/clients.js';
import { request, type Answer } from '../support/http.js';
import { startRedis, type TestRedis } from '../support/redis.js';
import type { Wire } from '../support/shapes.js';
import { closeSockets, connect } from '../support/socket.js';
import { until } from '../support/until.js';

/** Rooms of one node when Redis comes back, and how long all of them take at least: the pauses add up to more. */
const HERD_ROOMS = 1000;
const HERD_MS = 200;

/** How long Redis hangs under calls, a round of which comes so often, milliseconds. */
const HUNG_MS = 2500;
const ROUND_MS = 100;
/** What a call may take while Redis is away: what is promised. Ten times as much is asserted, and waited for. */
const REFUSED_MS = 2000;
const WAIT_MS = 30_000;
/** What may be said then. */
const HUNG_CODES = new Set<string>(['UNAVAILABLE', 'OUTCOME_UNKNOWN', 'OVERLOADED']);

const codeOf = async (ack: Promise<Wire>): Promise<string> => {
  const { ok, error } = await ack;
  return ok ? 'ok' : error.code;
};
const statusOf = async (answer: Promise<Answer>): Promise<string> => {
  const { status, body } = await answer;
  return body?.code ?? String(status);
};

/** Clients that come at once: more than Node lets wait where nothing else is said. */
const LINE = 2000;

/** How often each command was called since this Redis was started. */
async function commandsOf(redis: Redis): Promise<Record<string, number>> {
  const stats = (await redis.info('commandstats')).matchAll(/cmdstat_(evalsha|ssubscribe):calls=(\d+)/g);
  return Object.fromEntries([...stats].map(([, name, calls]) => [name!, Number(calls)]));
}

describe('while a part is away', () => {
  let redis: TestRedis;
  let direct: Redis;
  const nodes = new Set<Attune>();
  before(async () => {
    redis = await startRedis();
    direct = new Redis(redis.url, { retryStrategy: () => 5, maxRetriesPerRequest: null });
    direct.on('error', () => undefined);
  });
  afterEach(async () => {
    closeSockets();
    await Promise.all([...nodes].map((node) => node.destroy()));
    nodes.clear();
  });
  after(async () => {
    direct?.disconnect();
    await redis?.stop();
  });
  async function node(): Promise<Attune> {
    const started = await startAttune({ redisUrl: redis.url });
    nodes.add(started);
    return started;
  }

  it('[DG1] when Redis is back its rooms are looked at a few at a time, and none more often than it needs', async function () {
    this.timeout(60_000);
    const { url } = await node();
    const socket = await connect(url);
    const ids = Array.from({ length: HERD_ROOMS }, () => freshSession('herd'));
    for (let i = 0; i < ids.length; i += 50) {
      const some = ids.slice(i, i + 50);
      await Promise.all(some.map((sessionId) => socket.ok('session:join', { sessionId, create: true })));
    }
    const arrivals: number[] = [];
    socket.raw.on('session:snapshot', () => arrivals.push(performance.now()));
    await redis.restart();
    await until(() => arrivals.length >= ids.length, { deadlineMs: 20_000, what: 'a snapshot for each room' });
    const tookMs = arrivals.at(-1)! - arrivals[0]!;
    const calls = await commandsOf(direct);
    console.log(`      ${ids.length} rooms in ${tookMs.toFixed(0)} ms: ${JSON.stringify(calls)}`);
    // It takes longer on a machine that is slow, never less.
    expect(tookMs).to.be.above(HERD_MS);
    expect(socket.bodies('session:snapshot')).to.have.length(ids.length);
    // A check, a read, presence, and rounds of the check meanwhile.
    expect(calls['evalsha']! / ids.length).to.be.below(12);
    expect(calls['ssubscribe']).to.equal(ids.length);
  });

  it('[DG2] while Redis hangs every way is refused within 2 s, nothing is answered from a copy, and the queues are bounded', async function () {
    this.timeout(90_000);
    const { url } = await node();
    const [reader, writer] = await Promise.all([connect(url), connect(url)]);
    const sessionId = freshSession('hung');
    await reader.ok('session:join', { sessionId, create: true });
    const asked: { way: string; code: string; tookMs: number }[] = [];
    const pending: Promise<void>[] = [];
    const ask = (way: string, answer: Promise<string>) => {
      const from = performance.now();
      pending.push(answer.then((code) => void asked.push({ way, code, tookMs: performance.now() - from })));
    };
    process.kill(redis.pid, 'SIGSTOP');
    try {
      const endsAt = performance.now() + HUNG_MS;
      for (let n = 1; performance.now() < endsAt; n += 1) {
        ask('write', codeOf(writer.call('settings:update', { sessionId, merge: { n } }, WAIT_MS)));
        ask(
          'other write',
          codeOf(writer.call('settings:update', { sessionId: `${sessionId}-2`, merge: { n } }, WAIT_MS)),
        );
        ask('get', codeOf(reader.call('session:get', { sessionId }, WAIT_MS)));
        ask('list', codeOf(reader.call('message:list', { sessionId }, WAIT_MS)));
        ask('join', codeOf(reader.call('session:join', { sessionId }, WAIT_MS)));
        ask(
          'first join',
          codeOf(reader.call('session:join', { sessionId: `${sessionId}-${n}`, create: true }, WAIT_MS)),
        );
        ask('HTTP get', statusOf(request('GET', `${url}/v1/sessions/${sessionId}`)));
        ask('HTTP put', statusOf(request('PUT', `${url}/v1/sessions/${sessionId}-3`)));
        ask('HTTP list', statusOf(request('GET', `${url}/v1/sessions`)));
        ask('HTTP events', statusOf(request('GET', `${url}/v1/sessions/${sessionId}/events`)));
        // The next round comes while this one waits.
        const next = performance.now() + ROUND_MS;
        await until(() => performance.now() > next);
      }
      await Promise.all(pending);
    } finally {
      process.kill(redis.pid, 'SIGCONT');
    }
    const slowest = new Map<string, number>();
    for (const { way, tookMs } of asked) slowest.set(way, Math.max(slowest.get(way) ?? 0, tookMs));
    console.log(`      ${[...slowest].map(([way, ms]) => `${way} ${ms.toFixed(0)} ms`).join(', ')}`);
    const codes = new Set(asked.map(({ code }) => code));
    expect([...codes].filter((code) => !HUNG_CODES.has(code))).to.deep.equal([]);
    expect(Math.max(...slowest.values())).to.be.below(10 * REFUSED_MS);
    await until(async () => (await writer.call('settings:update', { sessionId, merge: { after: true } })).ok, {
      deadlineMs: 10_000,
    });
  });

  it('[DG3] clients that come all at once wait in line until the node takes them', async function () {
    const somaxconn = Number(readFileSync('/proc/sys/net/core/somaxconn', 'utf8'));
    const count = Math.min(LINE, Math.floor(somaxconn / 2));
    const busy = await node();
    process.kill(busy.pid, 'SIGSTOP');
    const comers = Array.from({ length: count }, () => connectTcp(busy.port, '127.0.0.1'));
    try {
      await Promise.all(comers.map((comer) => once(comer, 'connect')));
    } finally {
      process.kill(busy.pid, 'SIGCONT');
      for (const comer of comers) comer.destroy();
    }
  });
});
