// Signals over two server processes on one Redis, from sockets and over HTTP, to sockets and event streams.
import { randomBytes } from 'node:crypto';
import { expect } from 'chai';
import type { Redis } from 'ioredis';
import { SignJWT } from 'jose';
import { startAttune, type Attune } from '../support/attune.js';
import { startDataRedis, type DataRedis } from '../support/data-redis.js';
import {
  closeStreams,
  expectProblem,
  openEvents,
  request,
  type EventStream,
  type StreamEvent,
} from '../support/http.js';
import { joinPresent } from '../support/present.js';
import { range } from '../support/range.js';
import { metric } from '../support/session-log.js';
import { freshId, type Wire } from '../support/shapes.js';
import { closeSockets, connect, type TestSocket } from '../support/socket.js';
import { until } from '../support/until.js';

const KIB = 1024;
/** The server's limit of signals per second; twice as many at once. */
const SIGNALS_PER_S = 200;

describe('signals', () => {
  let redis: DataRedis;
  let direct: Redis;
  let near: Attune;
  let far: Attune;
  before(async () => {
    redis = await startDataRedis();
    direct = redis.direct();
    direct.on('error', () => undefined);
    [near, far] = await Promise.all([startAttune({ redisUrl: redis.url }), startAttune({ redisUrl: redis.url })]);
  });
  after(async () => {
    await Promise.all([near?.destroy(), far?.destroy()]);
    direct?.disconnect();
    await redis?.stop();
  });
  afterEach(closeSockets);
  afterEach(closeStreams);

  async function made(): Promise<string> {
    const socket = await connect(near.url);
    return (await socket.ok('session:open', { sessionId: freshId('sg') })).session.id;
  }
  async function joined(
    node: Attune,
    sessionId: string,
    clientId: string,
  ): Promise<{ socket: TestSocket; id: string }> {
    const { socket, self } = await joinPresent(await connect(node.url, { clientId }), clientId, sessionId);
    return { socket, id: self.participantId };
  }
  const post = (node: Attune, sessionId: string, body: unknown) =>
    request('POST', `${node.url}/v1/sessions/${sessionId}/signals`, { body });
  const nextOf = async (stream: EventStream, event: string): Promise<StreamEvent> => {
    for (;;) {
      const next = await stream.next();
      expect(next, `the stream ended before ${event}`).to.not.equal(null);
      if (next!.event === event) return next!;
    }
  };

  it('[SG1] a signal reaches every socket in the room on every node but the one that sent it', async () => {
    const sessionId = await made();
    const sender = await joined(near, sessionId, 'sender');
    const others = [await joined(near, sessionId, 'n'), await joined(far, sessionId, 'f')];
    const latest = await connect(far.url);
    await latest.ok('session:join', { sessionId, delivery: 'latest', body: 'delta' });
    const stranger = await connect(near.url);
    for (const data of [{ n: 1 }, null, 'text', [1, [2]], 0]) {
      expect(await sender.socket.ok('signal', { sessionId, type: 'typing', data })).to.deep.equal({ ok: true });
      for (const socket of [...others.map((one) => one.socket), latest]) {
        const body = await socket.next('signal');
        const from = { userId: 'anonymous', clientId: 'sender', kind: 'tab' };
        expect(body).to.deep.equal({ sessionId, type: 'typing', data, from, participantId: sender.id });
      }
    }
    await others[1]!.socket.ok('signal', { sessionId, type: 'x'.repeat(64), data: {} });
    expect((await sender.socket.next('signal')).participantId).to.equal(others[1]!.id);
    expect(sender.socket.bodies('signal')).to.have.length(1);
    expect(stranger.bodies('signal')).to.deep.equal([]);
  });

  it('[SG2] it needs a join, a type of 1 to 64 characters, and data of at most 16 KiB that is JSON', async () => {
    const sessionId = await made();
    const { socket } = await joined(near, sessionId, 'a');
    const reader = await joined(far, sessionId, 'b');
    const stranger = await connect(near.url);
    await stranger.refused('signal', { sessionId, type: 't', data: 1 }, 'INVALID_REQUEST');
    for (const wrong of [{ type: '', data: 1 }, { type: 'x'.repeat(65), data: 1 }, { data: 1 }, { type: 't' }]) {
      await socket.refused('signal', { sessionId, ...wrong }, 'INVALID_REQUEST');
    }
    const most = 'x'.repeat(16 * KIB - 2);
    await socket.refused('signal', { sessionId, type: 't', data: `${most}x` }, 'TOO_LARGE');
    const deep = JSON.parse(`${'['.repeat(33)}${']'.repeat(33)}`) as Wire;
    await socket.refused('signal', { sessionId, type: 't', data: deep }, 'INVALID_REQUEST');
    await socket.ok('signal', { sessionId, type: 't', data: most });
    expect((await reader.socket.next('signal')).data).to.equal(most);
    await socket.ok('session:leave', { sessionId });
    await socket.refused('signal', { sessionId, type: 't', data: 1 }, 'INVALID_REQUEST');
    // One right behind a join that was not waited for belongs to it.
    socket.send('session:join', { sessionId });
    await socket.ok('signal', { sessionId, type: 'early', data: 1 });
    await reader.socket.next('signal', ({ type }) => type === 'early');
  });

  it('[SG3] those of one sender stay in order on every node', async () => {
    const sessionId = await made();
    const sender = await joined(near, sessionId, 'sender');
    const readers = [await joined(near, sessionId, 'n'), await joined(far, sessionId, 'f')];
    await Promise.all(
      range(1, SIGNALS_PER_S).map((n) => sender.socket.ok('signal', { sessionId, type: 'token', data: n })),
    );
    for (const { socket } of readers) {
      await until(() => socket.bodies('signal').length === SIGNALS_PER_S, { what: 'all signals' });
      expect(socket.bodies('signal').map(({ data }) => data)).to.deep.equal(range(1, SIGNALS_PER_S));
    }
  });

  it('[SG4] above the rate they are RATE_LIMITED with the time to wait, and nothing else of the socket is', async () => {
    const sessionId = await made();
    const { socket } = await joined(near, sessionId, 'a');
    const other = await joined(near, sessionId, 'b');
    const acks = await Promise.all(
      range(1, 4 * SIGNALS_PER_S).map((data) => socket.call('signal', { sessionId, type: 't', data })),
    );
    const refused = acks.filter(({ ok }) => !ok).map(({ error }) => error);
    expect(acks.length - refused.length).to.be.at.least(2 * SIGNALS_PER_S);
    expect(refused.length).to.be.above(0);
    for (const error of refused) {
      expect(error.code).to.equal('RATE_LIMITED');
      expect(error.retryAfterMs).to.be.above(0);
    }
    await socket.ok('presence:update', { sessionId, state: 1 });
    await socket.ok('settings:update', { sessionId, merge: { n: 1 } });
    await other.socket.ok('signal', { sessionId, type: 't', data: 1 });
    await until(async () => (await socket.call('signal', { sessionId, type: 't', data: 0 })).ok, {
      what: 'a signal that is taken again',
    });
  });

  it('[SG5] nothing of a signal stays: no commit, no key, nothing for those who come later', async () => {
    const sessionId = await made();
    const { socket } = await joined(near, sessionId, 'a');
    const reader = await joined(far, sessionId, 'b');
    const secret = `s${randomBytes(12).toString('hex')}`;
    await socket.ok('signal', { sessionId, type: 't', data: secret });
    expect((await reader.socket.next('signal')).data).to.equal(secret);
    const late = await connect(far.url);
    const { session } = await late.ok('session:join', { sessionId });
    expect(session.revision).to.equal(1);
    for (const key of await direct.keys('*')) {
      // A key may have ended since it was listed.
      expect((await direct.dumpBuffer(key))?.includes(secret) ?? false, key).to.equal(false);
    }
    expect(late.bodies('signal')).to.deep.equal([]);
  });

  it('[SG6] POST …/signals is 202; its author is who called, and participantId is left out', async () => {
    const sessionId = await made();
    const readers = [await joined(near, sessionId, 'n'), await joined(far, sessionId, 'f')];
    const before = await metric(near.url, 'attune_signals_total', 'http');
    expect((await post(near, sessionId, { type: 'token', data: 'x' })).status).to.equal(202);
    const from = { userId: 'anonymous', clientId: 'http', kind: 'service' };
    for (const { socket } of readers) {
      expect(await socket.next('signal')).to.deep.equal({ sessionId, type: 'token', data: 'x', from });
    }
    expect(await metric(near.url, 'attune_signals_total', 'http')).to.equal(before + 1);
    expectProblem(await post(near, freshId('none'), { type: 't', data: 1 }), 'SESSION_NOT_FOUND');
    expectProblem(await post(near, sessionId, { data: 1 }), 'INVALID_REQUEST');
    expectProblem(await post(near, sessionId, { type: 't', data: 'x'.repeat(16 * KIB) }), 'TOO_LARGE');
    const many = await Promise.all(
      range(1, 3 * SIGNALS_PER_S).map((data) => post(far, sessionId, { type: 't', data })),
    );
    const limited = many.filter(({ status }) => status !== 202);
    for (const answer of limited) expectProblem(answer, 'RATE_LIMITED');
    // What was refused was not relayed, and nothing else was lost.
    const taken = many.length - limited.length;
    for (const { socket } of readers) await until(() => socket.bodies('signal').length === taken + 1);
  });

  it('[SG7] an event stream with signals=1 begins with all who are there, then has presence and signals without ids', async () => {
    const sessionId = await made();
    const sender = await joined(near, sessionId, 'sender');
    const url = `${far.url}/v1/sessions/${sessionId}/events`;
    const [stream, plain] = [await openEvents(`${url}?signals=1`), await openEvents(url)];
    const first = await stream.next();
    expect(first?.event).to.equal('session:snapshot');
    const presence = await stream.next();
    expect(presence).to.include({ event: 'presence:updated', id: undefined });
    expect(presence!.data).to.deep.include({ sessionId, left: [], updated: [] });
    expect(presence!.data.joined.map((one: Wire) => one.participantId)).to.deep.equal([sender.id]);
    await sender.socket.ok('presence:update', { sessionId, state: { n: 1 } });
    const updated = await nextOf(stream, 'presence:updated');
    expect(updated.id).to.equal(undefined);
    expect(updated.data.updated[0]).to.deep.include({ participantId: sender.id, state: { n: 1 } });
    await sender.socket.ok('signal', { sessionId, type: 't', data: { text: 'a\n\nb' } });
    const signal = await nextOf(stream, 'signal');
    expect(signal.id).to.equal(undefined);
    expect(signal.data).to.deep.include({ sessionId, type: 't', data: { text: 'a\n\nb' }, participantId: sender.id });
    await sender.socket.ok('settings:update', { sessionId, merge: { n: 1 } });
    expect((await nextOf(stream, 'settings:updated')).id).to.match(/:2$/);
    // The other stream has the commits alone, and no reader of a stream is a participant.
    expect((await plain.next())?.event).to.equal('session:snapshot');
    expect((await plain.next())?.event).to.equal('settings:updated');
    expect((await sender.socket.ok('session:join', { sessionId })).participants).to.have.length(1);
  });

  it('[SG8] while Redis is away they are UNAVAILABLE, and afterwards they are relayed', async () => {
    const sessionId = await made();
    const sender = await joined(near, sessionId, 'sender');
    const reader = await joined(far, sessionId, 'reader');
    await redis.kill();
    await sender.socket.refused('signal', { sessionId, type: 't', data: 1 }, 'UNAVAILABLE');
    expectProblem(await post(near, sessionId, { type: 't', data: 1 }), 'UNAVAILABLE');
    await redis.restart();
    await until(async () => (await sender.socket.call('signal', { sessionId, type: 'again', data: 1 })).ok);
    // The reader's node may hear the feed a little later.
    await until(
      async () =>
        (await sender.socket.ok('signal', { sessionId, type: 'again', data: 2 })) &&
        reader.socket.bodies('signal').some(({ type }) => type === 'again'),
      { everyMs: 50 },
    );
  });
});

describe('presence and signals with tokens', () => {
  const secret = randomBytes(24).toString('hex');
  let attune: Attune;
  before(async () => {
    attune = await startAttune({ env: { AUTH_SECRET: secret } });
  });
  after(() => attune?.destroy());
  afterEach(closeSockets);

  const token = (role: string) =>
    new SignJWT({ name: `the ${role}`, kind: 'bot', sessions: [{ match: '*', role }] })
      .setProtectedHeader({ alg: 'HS256' })
      .setSubject(role)
      .setExpirationTime('1h')
      .sign(new TextEncoder().encode(secret));
  const as = async (role: string) => connect(attune.url, { token: await token(role), clientId: role });

  it('[SG9] a viewer sees and is seen, but shows and says nothing; a member does, under the name of the token', async () => {
    const owner = await as('owner');
    const { session } = await owner.ok('session:open', {});
    const sessionId = session.id as string;
    const viewer = await as('viewer');
    const watching = await joinPresent(viewer, 'viewer', sessionId, { presence: { n: 1 } });
    expect(watching.self.state).to.deep.equal({});
    await viewer.refused('presence:update', { sessionId, state: 1 }, 'FORBIDDEN');
    await viewer.refused('signal', { sessionId, type: 't', data: 1 }, 'FORBIDDEN');
    const member = await joinPresent(await as('member'), 'member', sessionId, { presence: { n: 1 } });
    expect(member.self).to.include({ userId: 'member', name: 'the member', kind: 'bot' });
    await member.sees({ viewer: {}, member: { n: 1 } });
    await watching.sees({ viewer: {}, member: { n: 1 } });
    await member.socket.ok('signal', { sessionId, type: 't', data: 1 });
    const { from } = await viewer.next('signal');
    expect(from).to.deep.equal({ userId: 'member', clientId: 'member', kind: 'bot', name: 'the member' });
    const call = async (role: string) =>
      request('POST', `${attune.url}/v1/sessions/${sessionId}/signals`, {
        body: { type: 't', data: 2 },
        headers: { authorization: `Bearer ${await token(role)}` },
      });
    expectProblem(await call('viewer'), 'FORBIDDEN');
    expect((await call('member')).status).to.equal(202);
    expect((await member.socket.next('signal')).data).to.equal(2);
  });
});
