// What went wrong once and must not again: ways to end the process, and what one caller or one fault could do to others.
import { readFileSync } from 'node:fs';
import { connect as connectTcp, type Socket as TcpSocket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import fastJsonPatch from 'fast-json-patch';
import { Redis } from 'ioredis';
import { SignJWT } from 'jose';
import { startAttune, type Attune } from '../support/attune.js';
import { isRunning } from '../support/child.js';
import { expectProblem, request } from '../support/http.js';
import { startRedisProxy, type Hold, type RedisProxy } from '../support/proxy.js';
import { startRedis, type TestRedis } from '../support/redis.js';
import { expectOrderly, expectSoundLog, keysOf, metric, readLog, wholeLog } from '../support/session-log.js';
import { expectError, freshId, type Wire } from '../support/shapes.js';
import { closeSockets, connect, type TestSocket } from '../support/socket.js';
import { until } from '../support/until.js';
import { abandonWriters, acknowledgements, startWriter } from '../support/writer.js';

const SECRET = 'a secret that is used by tests and by nothing else';
/** How long after its end a token still counts, seconds. */
const TOLERANCE_S = 5;
/** Calls per second of the node with auth: twice as many at once. */
const RATE = 50;
/** Who was refused for it is refused for so long at least, milliseconds. */
const REFUSED_MS = 100;
const MiB = 1024 * 1024;

const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);

/** A token of `role` on all sessions that was or will be over at `expiresAt`, seconds since 1970. */
function tokenOf(role: string, expiresAt: number): Promise<string> {
  const claims = { sub: role, exp: expiresAt, sessions: [{ match: '*', role }] };
  return new SignJWT(claims).setProtectedHeader({ alg: 'HS256' }).sign(new TextEncoder().encode(SECRET));
}
const nowS = (): number => Math.floor(Date.now() / 1000);
const asOf = (role: string): Promise<string> => tokenOf(role, nowS() + 600);

/** A raw connection that keeps its side open whatever the other does. */
async function rawConnection(port: number, head: readonly string[]): Promise<TcpSocket> {
  const socket = connectTcp({ port, host: '127.0.0.1', allowHalfOpen: true });
  socket.on('error', () => undefined);
  await new Promise<void>((resolve) => {
    socket.once('connect', resolve);
  });
  socket.write([...head, '', ''].join('\r\n'));
  return socket;
}

/** Resident memory of a process, bytes. */
function residentBytes(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;
}

async function expectAlive(node: Attune): Promise<void> {
  expect(isRunning(node.process), `the server ended:\n${node.stderr()}`).to.equal(true);
  expect((await request('GET', `${node.url}/livez`)).status).to.equal(200);
}

describe('regressions', () => {
  let redis: TestRedis;
  let direct: Redis;
  let locks: TestRedis;
  let lockClient: Redis;
  let proxy: RedisProxy;
  /** Speaks to Redis through the proxy. */
  let far: Attune;
  let near: Attune;
  /** With tokens and a low rate. */
  let guarded: Attune;
  before(async () => {
    [redis, locks] = await Promise.all([startRedis(), startRedis()]);
    direct = new Redis(redis.url);
    direct.on('error', () => undefined);
    lockClient = new Redis(locks.url);
    proxy = await startRedisProxy(redis.port);
    const env = { ...wholeLog, LOCK_REDIS_URLS: locks.url };
    [far, near, guarded] = await Promise.all([
      startAttune({ redisUrl: proxy.url, env }),
      startAttune({ redisUrl: redis.url, env }),
      startAttune({ redisUrl: redis.url, env: { ...env, AUTH_SECRET: SECRET, RATE_CALLS_PER_S: String(RATE) } }),
    ]);
  });
  after(async () => {
    await Promise.all([far?.destroy(), near?.destroy(), guarded?.destroy()]);
    await proxy?.close();
    direct?.disconnect();
    lockClient?.disconnect();
    await Promise.all([redis?.stop(), locks?.stop()]);
  });
  afterEach(abandonWriters);
  afterEach(closeSockets);
  afterEach(() => {
    for (const one of holds.splice(0)) one.release();
  });

  const holds: Hold[] = [];
  /** Holds back what Redis says to the far node on connections of this name, at most until the end of the test. */
  function hold(name: string): Hold {
    const made = proxy.hold(name, 'fromRedis');
    holds.push(made);
    return made;
  }
  async function opened(node: Attune, settings: Wire = {}): Promise<{ socket: TestSocket; sessionId: string }> {
    const socket = await connect(node.url);
    const { session } = await socket.ok('session:open', { sessionId: freshId('v'), settings });
    return { socket, sessionId: session.id };
  }
  async function joined(node: Attune, sessionId: string, more: Wire = {}): Promise<{ socket: TestSocket; from: Wire }> {
    const socket = await connect(node.url);
    const { session: from } = await socket.ok('session:join', { sessionId, ...more });
    return { socket, from };
  }
  async function reached(socket: TestSocket, sessionId: string, revision: number): Promise<void> {
    const has = ({ body }: { body: Wire }) =>
      body?.sessionId === sessionId && (body.revision ?? body.session?.revision) >= revision;
    await until(() => socket.events.some(has), { what: `revision ${revision} at an observer` });
  }

  describe('the process', () => {
    it('[V1] a join whose creation is too large, sent behind another join, is refused with its own error', async () => {
      const { socket, sessionId } = await opened(near);
      const [first, second] = await Promise.all([
        socket.call('session:join', { sessionId }),
        socket.call('session:join', { sessionId, create: true, metadata: { x: 'y'.repeat(9000) } }),
      ]);
      expect(first.ok).to.equal(true);
      expectError(second.error, 'TOO_LARGE');
      await expectAlive(near);
      await socket.ok('session:get', { sessionId });
    });

    it('[V1] a join that may not create, sent behind others, is refused with its own error', async () => {
      const viewer = await connect(guarded.url, { token: await asOf('viewer') });
      const sessionId = freshId('v');
      // Joins of one session take turns: the creation is refused long before the turn of its join.
      const before = range(1, 40).map(() => viewer.call('session:join', { sessionId }));
      const last = await viewer.call('session:join', { sessionId, create: true });
      expectError(last.error, 'FORBIDDEN');
      for (const { error } of await Promise.all(before)) expectError(error, 'SESSION_NOT_FOUND');
      await expectAlive(guarded);
    });

    it('[V2] the feed cut while it subscribes again, over and over: the server lives and no observer misses a revision', async () => {
      const { sessionId } = await opened(near);
      const observers = [await joined(near, sessionId), await joined(near, sessionId), await joined(far, sessionId)];
      const { socket: crowd } = await joined(near, sessionId);
      await Promise.all(range(1, 400).map(() => crowd.ok('session:join', { sessionId: freshId('v'), create: true })));
      const writer = startWriter({ name: 'w', sessionId, url: () => near.url, settingsOnly: true });
      await acknowledgements([writer], 20);
      // Whoever subscribes is cut at once: also between two channels of the same 400.
      let kills = 0;
      const endsAt = performance.now() + 1500;
      while (performance.now() < endsAt && isRunning(near.process)) {
        kills += Number(await direct.call('CLIENT', 'KILL', 'TYPE', 'pubsub'));
      }
      await expectAlive(near);
      expect(kills).to.be.at.least(10);
      await acknowledgements([writer], 20);
      await writer.stop();
      const log = await readLog(direct, sessionId);
      expectSoundLog(log);
      for (const { socket, from } of observers) {
        await reached(socket, sessionId, log.length);
        expect(expectOrderly(socket, from, log)).to.include({ revision: log.length, rolledBack: 0 });
      }
    });

    it('[V2] a feed whose subscriptions Redis refused for a time is subscribed again soon after', async () => {
      const { sessionId } = await opened(near);
      await joined(near, sessionId);
      const { channel } = keysOf(sessionId);
      const subscribed = async () => ((await direct.call('PUBSUB', 'SHARDCHANNELS')) as string[]).includes(channel);
      expect(await subscribed()).to.equal(true);
      const refusals = async () =>
        Number(/cmdstat_ssubscribe:.*rejected_calls=(\d+)/.exec(await direct.info('commandstats'))?.[1]);
      const before = await refusals();
      await direct.call('ACL', 'SETUSER', 'default', 'resetchannels');
      try {
        await until(async () => (await refusals()) > before, { what: 'a refused subscription' });
      } finally {
        await direct.call('ACL', 'SETUSER', 'default', 'allchannels');
      }
      await until(subscribed, { what: 'the subscription' });
    });

    it('[V3] an event stream whose token runs out while nobody reads it harms nobody', async function () {
      const expiresAt = nowS() - 2;
      const token = await tokenOf('viewer', expiresAt);
      const writer = await connect(guarded.url, { token: await asOf('owner') });
      const sessionId = freshId('v');
      await writer.ok('session:open', { sessionId });
      const cutBefore = await metric(guarded.url, 'attune_slow_readers_cut_total');
      const content = 'x'.repeat(250_000);
      const streams: TcpSocket[] = [];
      const path = `/v1/sessions/${sessionId}/events`;
      // The later it was opened the less it leaves unread: those between too little to notice and enough to be cut are it.
      for (const _ of range(1, 30)) {
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
      await expectAlive(guarded);
      for (const stream of streams) stream.destroy();
    });

    it('[V4] many changes under one long key cost no more than the settings: paths are bounded and name what is above', async () => {
      const key = 'k'.repeat(30_000);
      const names = range(1, 2500).map((n) => `a${n.toString(36)}`);
      const settings = (n: number): Wire => ({ [key]: Object.fromEntries(names.map((name) => [name, n])) });
      const { socket, sessionId } = await opened(near, settings(0));
      const full = await joined(near, sessionId);
      const delta = await joined(near, sessionId, { body: 'delta' });
      const before = residentBytes(near.pid);
      let most = before;
      for (const n of range(1, 20)) {
        const asked = performance.now();
        const ack = await socket.ok('settings:update', { sessionId, merge: settings(n) });
        expect(performance.now() - asked, 'milliseconds').to.be.below(1000);
        expect(ack.changedPaths).to.deep.equal([`/${key}`]);
        expect(ack.settings[key].a1).to.equal(n);
        most = Math.max(most, residentBytes(near.pid));
      }
      expect((most - before) / MiB, 'growth of memory, MiB').to.be.below(200);
      for (const { socket: reader } of [full, delta]) await reached(reader, sessionId, 21);
      for (const { changedPaths } of full.socket.bodies('settings:updated'))
        expect(changedPaths).to.deep.equal([`/${key}`]);
      let own = delta.from.settings;
      for (const body of delta.socket.bodies('settings:updated')) {
        own = fastJsonPatch.applyPatch(structuredClone(own), body.delta, true).newDocument;
      }
      const { session } = await socket.ok('session:get', { sessionId });
      expect(own).to.deep.equal(session.settings);
      expect(session.settings[key].a1).to.equal(20);
    });

    it('[V12] the connection of a refused origin is closed though its peer keeps it open', async () => {
      const paths = ['/socket.io/?EIO=4&transport=websocket', '/elsewhere'];
      const connections = await Promise.all(
        paths.map((path) =>
          rawConnection(near.port, [
            `GET ${path} HTTP/1.1`,
            `Host: 127.0.0.1:${near.port}`,
            'Origin: http://evil.example',
            'Connection: Upgrade',
            'Upgrade: websocket',
            'Sec-WebSocket-Version: 13',
            'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
          ]),
        ),
      );
      const closed = connections.map((socket) => {
        let isClosed = false;
        let text = '';
        socket.on('data', (bytes: Buffer) => (text += bytes.toString()));
        socket.on('error', () => (isClosed = true));
        return { socket, text: () => text, isClosed: () => isClosed };
      });
      for (const { socket, text, isClosed } of closed) {
        await until(() => text().includes('\r\n\r\n'), { what: 'the refusal' });
        expect(text()).to.match(/^HTTP\/1.1 403 /);
        // What is sent to a closed connection is answered with a reset.
        await until(() => isClosed() || (socket.write('x'), false), { what: 'the end of the connection' });
        socket.destroy();
      }
    });
  });

  describe('faults of Redis', () => {
    it('[V5] an update that waits while Redis is started anew within half a second is acknowledged', async () => {
      const { socket, sessionId } = await opened(near);
      const other = await connect(near.url);
      await redis.kill();
      await until(async () => (await request('GET', `${near.url}/readyz`)).status === 503, { what: 'the loss' });
      const asked = performance.now();
      const waiting = Promise.all([
        socket.ok('settings:update', { sessionId, updateId: 'one', merge: { one: 1 } }),
        other.ok('settings:update', { sessionId, updateId: 'two', merge: { two: 2 } }),
        other.ok('message:add', { sessionId, updateId: 'three', message: { role: 'user', content: '3' } }),
      ]);
      waiting.catch(() => undefined);
      await until(() => performance.now() - asked > 400, { what: 'Redis to be away for a while' });
      await redis.restart();
      expect((await waiting).map(({ revision }) => revision)).to.have.members([2, 3, 4]);
      const log = await readLog(direct, sessionId);
      expectSoundLog(log);
      expect(log.map(({ body }) => body.updateId)).to.include.members(['one', 'two', 'three']);
      await until(async () => (await request('GET', `${near.url}/readyz`)).status === 200, { what: 'readiness' });
      await until(async () => (await request('GET', `${far.url}/readyz`)).status === 200, { what: 'readiness' });
    });

    it('[V8] with Redis out of memory and locks elsewhere an update is not committed, and clear and delete work', async () => {
      const { socket, sessionId } = await opened(near);
      const held = await opened(near);
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
        const other = await connect(near.url);
        expect(await other.ok('session:clear', { sessionId })).to.include({ removed: 3 });
        const url = `${near.url}/v1/sessions/`;
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

    it('[V9] a session whose document is of a foreign type is SESSION_NOT_FOUND on every way, and it is left alone', async () => {
      const { socket, sessionId } = await opened(near);
      await socket.ok('message:add', { sessionId, message: { id: 'm', role: 'user', content: 'm' } });
      const { doc } = keysOf(sessionId);
      await direct.del(doc);
      await direct.set(doc, 'not ours');
      const calls: [string, Wire][] = [
        ['settings:update', { merge: { model: 'x' } }],
        ['settings:restore', { toRevision: 1 }],
        ['session:describe', { title: 'x' }],
        ['message:add', { message: { role: 'user', content: 'x' } }],
        ['message:update', { messageId: 'm', content: 'x' }],
        ['message:delete', { messageId: 'm' }],
        ['session:clear', {}],
        ['session:delete', {}],
        ['session:get', {}],
        ['session:join', {}],
        ['settings:history', {}],
        ['message:list', {}],
      ];
      for (const [event, body] of calls) {
        const ack = await socket.call(event, { sessionId, ...body });
        expect(ack.error?.code, event).to.equal('SESSION_NOT_FOUND');
      }
      const url = `${near.url}/v1/sessions/${sessionId}`;
      const patched = await request('PATCH', `${url}/settings`, { body: { model: 'x' } });
      for (const answer of [await request('GET', url), patched, await request('DELETE', url)]) {
        expectProblem(answer, 'SESSION_NOT_FOUND');
      }
      expect(await direct.get(doc)).to.equal('not ours');
    });

    it('[V6] a join asked for after a deletion and a new creation were acknowledged finds the session', async () => {
      const { socket: writer, sessionId } = await opened(near);
      const [early, late] = [await joined(far, sessionId), await joined(far, sessionId)];
      for (const _ of range(1, 10)) {
        // The read of a join is answered as of before, the deletion is heard, and then somebody else joins.
        const reads = hold('attune-data');
        const news = hold('attune-feed');
        const first = early.socket.call('session:join', { sessionId });
        await until(() => reads.bytes().includes('SAME'), { what: 'the read', everyMs: 2 });
        await writer.ok('session:delete', { sessionId });
        const { session } = await writer.ok('session:open', { sessionId });
        await until(() => news.bytes().includes('session:deleted'), { what: 'the news', everyMs: 2 });
        const second = late.socket.call('session:join', { sessionId });
        news.release();
        // Its refusal says that the server has taken what was sent to it before.
        await late.socket.refused('no:such:event', {}, 'INVALID_REQUEST');
        reads.release();
        for (const ack of await Promise.all([second, first])) {
          expect(ack.error).to.equal(undefined);
          expect(ack.session).to.deep.include({ epoch: session.epoch, revision: 1 });
        }
      }
    });
  });

  describe('limits', () => {
    it('[V7] what a socket sends behind a RATE_LIMITED update is refused too, until the time to retry', async () => {
      const socket = await connect(guarded.url, { token: await asOf('owner') });
      const sessionId = freshId('v');
      await socket.ok('session:open', { sessionId });
      const sent: { at: number; answeredAt: number; ack: Wire }[] = [];
      const send = async (n: number) => {
        const at = performance.now();
        const ack = await socket.call('settings:update', { sessionId, merge: { n } });
        sent[n] = { at, answeredAt: performance.now(), ack };
      };
      const asked = range(0, 2 * RATE).map(send);
      // A token comes every 20 ms: some come while these are sent, one behind the other.
      const endsAt = performance.now() + 80;
      while (performance.now() < endsAt) {
        asked.push(send(asked.length));
        await delay(1);
      }
      await Promise.all(asked);
      const first = sent.findIndex(({ ack }) => !ack.ok);
      expectError(sent[first]?.ack.error, 'RATE_LIMITED');
      const behind = sent.slice(first + 1).filter(({ answeredAt }) => answeredAt < sent[first]!.at + REFUSED_MS);
      expect(behind.length, 'answered within that time').to.be.above(0);
      expect(behind.filter(({ ack }) => ack.ok)).to.deep.equal([]);
      expect(sent[first]!.ack.error.retryAfterMs).to.be.at.least(REFUSED_MS);
      await until(async () => (await socket.call('settings:update', { sessionId, merge: { n: 0 } })).ok);
    });

    it('[V10] HEAD of an event stream and of an export is answered at once', async () => {
      const { sessionId } = await opened(far);
      const url = `${far.url}/v1/sessions/${sessionId}/events`;
      const head = (at: string) => fetch(at, { method: 'HEAD', signal: AbortSignal.timeout(1000) });
      const events = await head(url);
      expect(events.status).to.equal(200);
      expect(events.headers.get('content-type')).to.match(/^text\/event-stream\b/);
      expect((await head(`${far.url}/v1/sessions/${freshId('v')}/events`)).status).to.equal(404);
      // No session need be read for it.
      hold('attune-bulk');
      const exported = await head(`${far.url}/v1/export`);
      expect(exported.status).to.equal(200);
      expect(exported.headers.get('content-type')).to.match(/^application\/jsonl\b/);
    });

    it('[V10] a line of an import that nests without end is refused at once, and what comes after it is taken', async () => {
      const id = freshId('v');
      const open = '['.repeat(5 * MiB);
      const lines = [open, `${open}${']'.repeat(5 * MiB)}`, JSON.stringify({ id, messages: [] })];
      const before = residentBytes(near.pid);
      const asked = performance.now();
      const { body } = await request('POST', `${near.url}/v1/import`, { body: lines.join('\n') });
      expect(performance.now() - asked, 'milliseconds').to.be.below(2000);
      expect((residentBytes(near.pid) - before) / MiB, 'growth of memory, MiB').to.be.below(200);
      expect(body).to.include({ taken: 1, refused: 2 });
      for (const { reason } of body.refusals) expect(reason).to.match(/nests deeper than \d+ levels/);
    });

    it('[V10] nothing is before the first revision', async () => {
      const { socket, sessionId } = await opened(near);
      await socket.ok('message:add', { sessionId, message: { role: 'user', content: 'x' } });
      const history = await socket.ok('settings:history', { sessionId, before: 0 });
      expect(history.versions).to.deep.equal([]);
      expect(history.next).to.equal(undefined);
      expect((await socket.ok('message:list', { sessionId, before: 0 })).messages).to.deep.equal([]);
      const { versions } = await socket.ok('settings:history', { sessionId });
      expect(versions).to.have.length(1);
      const url = `${near.url}/v1/sessions/${sessionId}/settings/history?before=0`;
      expect((await request('GET', url)).body.versions).to.deep.equal([]);
    });

    describe('exports', () => {
      const ids = range(1, 4).map(() => freshId('large'));
      const exportUrl = () => `${far.url}/v1/export?${ids.map((id) => `id=${id}`).join('&')}`;
      const linesOf = (text: string) =>
        text
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line) as Wire);
      before(async () => {
        const content = 'x'.repeat(200_000);
        const messages = range(1, 10).map(() => ({ role: 'user', content }));
        const body = ids.map((id) => JSON.stringify({ id, messages })).join('\n');
        expect((await request('POST', `${far.url}/v1/import`, { body })).body.taken).to.equal(4);
      });

      it('[V11] no small update waits behind exports of large sessions', async () => {
        const { socket, sessionId } = await opened(far);
        let isDone = false;
        const exported = Promise.all(range(1, 4).map(() => request('GET', exportUrl()))).finally(() => (isDone = true));
        let updates = 0;
        while (!isDone) await socket.ok('settings:update', { sessionId, merge: { n: (updates += 1) } });
        for (const { text } of await exported) expect(linesOf(text).map(({ id }) => id)).to.deep.equal(ids);
        // A Redis that needs long to hand a session out.
        const reads = hold('attune-bulk');
        const standing = request('GET', exportUrl());
        await until(() => reads.bytes().includes('SESSION'), { what: 'a session on its way' });
        await socket.ok('settings:update', { sessionId, merge: { n: 0 } });
        reads.release();
        expect(linesOf((await standing).text)).to.have.length(4);
      });

      it('[V11] of five transfers at once the fifth is OVERLOADED, and the others end well', async () => {
        const reads = hold('attune-bulk');
        const four = range(1, 4).map(() => request('GET', exportUrl()));
        // Each reads four sessions.
        await until(() => reads.bytes().split('SESSION').length > 16, { what: 'four exports' });
        expectProblem(await request('GET', exportUrl()), 'OVERLOADED');
        expectProblem(await request('POST', `${far.url}/v1/import`, { body: '' }), 'OVERLOADED');
        reads.release();
        for (const { status, text } of await Promise.all(four)) {
          expect(status).to.equal(200);
          expect(linesOf(text)).to.have.length(4);
        }
        expect((await request('GET', exportUrl())).status).to.equal(200);
      });
    });
  });
});
