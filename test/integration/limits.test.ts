// What ends or refuses a caller though the call itself is fine: rates, tokens that run out, a broken session, limits.
import type { Socket } from 'node:net';
import { expect } from 'chai';
import type { Redis } from 'ioredis';
import { SignJWT } from 'jose';
import { startAttune, type Attune } from '../support/attune.js';
import { startDataRedis, type DataRedis } from '../support/data-redis.js';
import { isRunning } from '../support/child.js';
import { closeStreams, openEvents, request } from '../support/http.js';
import { rawConnection } from '../support/raw-connection.js';
import { metric, wholeLog } from '../support/session-log.js';
import { expectError, freshId } from '../support/shapes.js';
import { closeSockets, connect } from '../support/socket.js';
import { until } from '../support/until.js';

/** How long after its end a token still counts, seconds. */
const TOLERANCE_S = 5;
/** Calls per second of the node that lets more through, twice as many at once: one more each millisecond. */
const RATE = 1000;
/** Calls behind those: it takes a node far longer than that to refuse them. */
const BEHIND = 2000;
/** Who was refused for it is refused for so long at least, milliseconds. */
const REFUSED_MS = 100;
const SECRET = 'a secret that is used by tests and by nothing else';

function tokenFor(seconds: number): Promise<string> {
  const exp = Math.floor(Date.now() / 1000) + seconds;
  const claims = { sub: 'u', exp, sessions: [{ match: '*', role: 'owner' }] };
  return new SignJWT(claims).setProtectedHeader({ alg: 'HS256' }).sign(new TextEncoder().encode(SECRET));
}

describe('limits', () => {
  let attune: Attune;
  let redis: DataRedis;
  let direct: Redis;
  before(async () => {
    redis = await startDataRedis();
    direct = redis.direct();
    const env = { RATE_CALLS_PER_S: '20', LOG_BYTES_MAX: '20000', LOG_COMMITS_MAX: '50', AUTH_SECRET: SECRET };
    attune = await startAttune({ env, redisUrl: redis.url });
  });
  after(async () => {
    direct?.disconnect();
    await attune?.destroy();
    await redis?.stop();
  });
  afterEach(closeSockets);
  afterEach(closeStreams);

  it('[B1] calls above the rate are RATE_LIMITED with the time to wait, and after it are taken again', async () => {
    const socket = await connect(attune.url, { token: await tokenFor(60) });
    const sessionId = freshId('rate');
    await socket.ok('session:open', { sessionId });
    const acks = await Promise.all(Array.from({ length: 100 }, () => socket.call('session:get', { sessionId })));
    const limited = acks.filter((ack) => !ack.ok);
    expect(limited.length).to.be.within(10, 90);
    for (const { error } of limited) expectError(error, 'RATE_LIMITED');
    expect(limited[0].error.retryAfterMs).to.be.greaterThan(0);
    await until(async () => (await socket.call('session:get', { sessionId })).ok, { what: 'the rate to allow a call' });
    const other = await connect(attune.url, { token: await tokenFor(60) });
    await other.ok('session:get', { sessionId });
  });

  it('[B2] a session whose keys hold something else is INTERNAL, and no other notices', async () => {
    const socket = await connect(attune.url, { token: await tokenFor(60) });
    const [broken, whole] = [freshId('broken'), freshId('whole')];
    await socket.ok('session:open', { sessionId: broken });
    await socket.ok('session:open', { sessionId: whole });
    const [key] = await direct.keys(`*:${broken}:log`);
    await direct.del(key!);
    await direct.set(key!, 'not a stream');
    const error = await socket.refused('settings:update', { sessionId: broken, merge: { model: 'x' } }, 'INTERNAL');
    expect(JSON.stringify(error)).to.not.include(key!).and.not.include('.js:');
    await socket.ok('settings:update', { sessionId: whole, merge: { model: 'x' } });
    expect(await direct.get(key!)).to.equal('not a stream');
  });

  it('[B3] a token that runs out ends calls, the socket and the event stream', async () => {
    // Five seconds of clock tolerance have passed for it but for one and a half.
    const token = await tokenFor(-3);
    const owner = await connect(attune.url, { token: await tokenFor(60) });
    const sessionId = freshId('expiry');
    await owner.ok('session:open', { sessionId });
    const socket = await connect(attune.url, { token });
    await socket.ok('session:join', { sessionId });
    const stream = await openEvents(`${attune.url}/v1/sessions/${sessionId}/events`, {
      authorization: `Bearer ${token}`,
    });
    await until(() => socket.raw.disconnected, { deadlineMs: 8000, what: 'the end of the socket' });
    await until(async () => (await stream.next()) === null, { deadlineMs: 8000, what: 'the end of the stream' });
    const answer = await request('GET', `${attune.url}/v1/sessions/${sessionId}`, {
      headers: { authorization: `Bearer ${token}` },
    });
    expect(answer.status).to.equal(401);
    await owner.ok('settings:update', { sessionId, merge: { model: 'after' } });
    expect(socket.bodies('settings:updated')).to.have.length(0);
  });

  it('[B4] the log keeps LOG_BYTES_MAX and LOG_COMMITS_MAX; a cursor behind it gets the document', async () => {
    const socket = await connect(attune.url, { token: await tokenFor(60) });
    const sessionId = freshId('log');
    const { epoch } = await socket.ok('session:open', { sessionId });
    const resumed = async (revision: number) =>
      (await socket.ok('session:join', { sessionId, cursor: { epoch, revision } })).resumed === true;
    const add = async (content: string) => {
      await until(
        async () => (await socket.call('message:add', { sessionId, message: { role: 'user', content } })).ok,
        {
          what: 'the rate to allow a call',
          deadlineMs: 8000,
        },
      );
    };
    for (let n = 0; n < 6; n += 1) await add('x'.repeat(5000));
    const [key] = await direct.keys(`*:${sessionId}:log`);
    const entries = await direct.xrange(key!, '-', '+');
    const bytes = entries.reduce((sum, [, fields]) => sum + fields[5]!.length, 0);
    expect(bytes).to.be.within(10_000, 20_000);
    expect(entries.at(-1)![0]).to.equal('7-0');
    expect(await resumed(1)).to.equal(false);
    expect(await resumed(6)).to.equal(true);
  });

  it('[B5] one session flooded by one socket is refused with OVERLOADED, and what is behind is not decided before', async () => {
    const plain = await startAttune({ redisUrl: redis.url, env: { REDIS_KEY_PREFIX: 'flood' } });
    try {
      const socket = await connect(plain.url);
      const sessionId = freshId('flood');
      await socket.ok('session:open', { sessionId });
      const filler = 'x'.repeat(2000);
      const asked = Array.from({ length: 6000 }, (_, n) =>
        socket.call('settings:update', { sessionId, merge: { options: { n, filler } } }, 20_000),
      );
      const acks = await Promise.all(asked);
      const refused = acks.findIndex((ack) => !ack.ok);
      expect(refused, 'nothing was refused').to.be.greaterThan(0);
      expectError(acks[refused].error, 'OVERLOADED');
      for (const { error } of acks.filter((ack) => !ack.ok)) expectError(error, ['OVERLOADED', 'UNAVAILABLE']);
      const revisions = acks.filter((ack) => ack.ok).map((ack) => ack.revision as number);
      expect(revisions).to.deep.equal([...revisions].sort((a, b) => a - b));
      const { session } = await socket.ok('session:get', { sessionId });
      expect(session.revision).to.equal(revisions.at(-1));
    } finally {
      await plain.destroy();
    }
  });

  describe('at 1,000 calls a second', () => {
    let guarded: Attune;
    before(async () => {
      const env = { ...wholeLog, AUTH_SECRET: SECRET, RATE_CALLS_PER_S: String(RATE) };
      guarded = await startAttune({ redisUrl: redis.url, env });
    });
    after(() => guarded?.destroy());

    it('[V3] an event stream whose token runs out while nobody reads it harms nobody', async () => {
      const expiresAt = Math.floor(Date.now() / 1000) - 2;
      const token = await tokenFor(-2);
      const writer = await connect(guarded.url, { token: await tokenFor(600) });
      const sessionId = freshId('v');
      await writer.ok('session:open', { sessionId });
      const cutBefore = await metric(guarded.url, 'attune_slow_readers_cut_total');
      const content = 'x'.repeat(250_000);
      const streams: Socket[] = [];
      const path = `/v1/sessions/${sessionId}/events`;
      // The later it was opened the less it leaves unread: those between too little to notice and enough to be cut are it.
      for (const _ of Array.from({ length: 30 })) {
        const stream = await rawConnection(guarded.port, [
          `GET ${path} HTTP/1.1`,
          `Host: 127.0.0.1:${guarded.port}`,
          `Authorization: Bearer ${token}`,
        ]);
        const [head] = await new Promise<Buffer[]>((resolve) => {
          stream.once('data', (...read) => resolve(read));
        });
        stream.pause();
        expect(head!.toString()).to.match(/^HTTP\/1.1 200 /);
        streams.push(stream);
        await writer.ok('message:add', { sessionId, message: { role: 'user', content } });
      }
      expect(Date.now(), 'streams were opened in time').to.be.lessThan((expiresAt + TOLERANCE_S) * 1000);
      await until(() => Date.now() > (expiresAt + TOLERANCE_S) * 1000 + 100, { what: 'the end of the token' });
      const cut = (await metric(guarded.url, 'attune_slow_readers_cut_total')) - cutBefore;
      expect(cut, 'streams that left too much unread').to.be.within(1, streams.length - 4);
      await writer.ok('message:add', { sessionId, message: { role: 'user', content: 'after' } });
      await writer.ok('settings:update', { sessionId, merge: { model: 'after' } });
      expect(isRunning(guarded.process), guarded.stderr()).to.equal(true);
      for (const stream of streams) stream.destroy();
    });

    it('[V7] what a socket sends behind a RATE_LIMITED call is refused too, until the time to retry', async () => {
      const socket = await connect(guarded.url, { token: await tokenFor(600) });
      const sessionId = freshId('v');
      await socket.ok('session:open', { sessionId });
      // Sent before anything is answered: none of them can be a retry, though the rate would allow some meanwhile.
      const asked = Array.from({ length: 2 * RATE + BEHIND }, () => socket.call('session:get', { sessionId }, 20_000));
      const acks = await Promise.all(asked);
      const first = acks.findIndex((ack) => !ack.ok);
      expect(first, 'calls of a full bucket').to.be.within(2 * RATE - 1, acks.length - 2);
      expectError(acks[first]?.error, 'RATE_LIMITED');
      expect(acks.slice(first).filter((ack) => ack.ok)).to.deep.equal([]);
      expect(acks[first]!.error.retryAfterMs).to.be.at.least(REFUSED_MS);
      await until(async () => (await socket.call('session:get', { sessionId })).ok, { what: 'the time to retry' });
    });
  });
});
