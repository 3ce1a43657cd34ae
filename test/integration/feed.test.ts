// The feed may lose, double and swap what it says, and Redis may lose what it holds: no reader is left behind or misled.
import { expect } from 'chai';
import { Redis } from 'ioredis';
import { startAttune, type Attune } from '../support/attune.js';
import { startRedisProxy, type RedisProxy } from '../support/proxy.js';
import { startRedis, type TestRedis } from '../support/redis.js';
import { expectOrderly, expectSoundLog, keysOf, metric, readLog, wholeLog } from '../support/session-log.js';
import { expectError, freshId, type Wire } from '../support/shapes.js';
import { closeSockets, connect, type TestSocket } from '../support/socket.js';
import { until } from '../support/until.js';
import { abandonWriters, acknowledgements, startWriter } from '../support/writer.js';

const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);
/** How long a room may be behind before the check must have found it: generous, the check comes every 1.0–1.5 s. */
const MENDED_MS = 5000;
const isPublication = (frame: Buffer) => frame.includes('smessage') && frame.includes('"commits"');

describe('the feed under faults', () => {
  let redis: TestRedis;
  let direct: Redis;
  let proxy: RedisProxy;
  /** Speaks to Redis through the proxy. */
  let far: Attune;
  let near: Attune;
  before(async () => {
    redis = await startRedis();
    direct = new Redis(redis.url);
    direct.on('error', () => undefined);
    proxy = await startRedisProxy(redis.port);
    [far, near] = await Promise.all([
      startAttune({ redisUrl: proxy.url, env: wholeLog }),
      startAttune({ redisUrl: redis.url, env: wholeLog }),
    ]);
  });
  after(async () => {
    await Promise.all([far?.destroy(), near?.destroy()]);
    await proxy?.close();
    direct?.disconnect();
    await redis?.stop();
  });
  afterEach(abandonWriters);
  afterEach(closeSockets);
  afterEach(() => proxy.frames('attune-feed', undefined));

  async function opened(more: Wire = {}): Promise<{ socket: TestSocket; sessionId: string }> {
    const socket = await connect(near.url);
    const { session } = await socket.ok('session:open', { sessionId: freshId('f'), ...more });
    return { socket, sessionId: session.id };
  }
  async function joined(node: Attune, sessionId: string, more: Wire = {}): Promise<{ socket: TestSocket; from: Wire }> {
    const socket = await connect(node.url);
    const { session: from } = await socket.ok('session:join', { sessionId, ...more });
    return { socket, from };
  }
  const update = (socket: TestSocket, sessionId: string, n: number): Promise<Wire> =>
    socket.ok('settings:update', { sessionId, merge: { n } });
  /** Resolves when the socket has been given that revision, by its commit or a snapshot. */
  async function reached(socket: TestSocket, sessionId: string, revision: number): Promise<void> {
    const has = ({ body }: { body: Wire }) =>
      body?.sessionId === sessionId && (body.revision ?? body.session?.revision) >= revision;
    await until(() => socket.events.some(has), { deadlineMs: MENDED_MS, what: `revision ${revision} at an observer` });
  }

  it('[T11] a join that made a session which is gone again is OUTCOME_UNKNOWN with the id of the update', async () => {
    const [joiner, other] = [await connect(far.url), await connect(near.url)];
    for (const own of [undefined, 'mine']) {
      const sessionId = freshId('f');
      const held = proxy.hold('attune-feed', 'toRedis');
      const joining = joiner.refused('session:join', { sessionId, create: true, updateId: own }, 'OUTCOME_UNKNOWN');
      await until(async () => (await other.call('session:delete', { sessionId })).ok, { what: 'the deletion' });
      held.release();
      const { updateId } = (await joining).details;
      expect(updateId).to.be.a('string').with.length.above(0);
      if (own !== undefined) expect(updateId).to.equal(own);
      const again = await joiner.ok('session:open', { sessionId, updateId });
      expect(again).to.include({ duplicate: true, created: true });
    }
  });

  describe('that loses messages', () => {
    it('[F1] a publication that is lost, with none after it, is delivered once by the next check', async () => {
      const { socket: writer, sessionId } = await opened();
      const observer = await joined(far, sessionId);
      await update(writer, sessionId, 1);
      await reached(observer.socket, sessionId, 2);
      let dropped = 0;
      proxy.frames('attune-feed', (frame) => {
        if (!isPublication(frame)) return [frame];
        dropped += 1;
        return [];
      });
      const before = await metric(far.url, 'attune_feed_repairs_total', 'cause="check"');
      await update(writer, sessionId, 2);
      await until(() => dropped === 1, { what: 'the loss' });
      await reached(observer.socket, sessionId, 3);
      proxy.frames('attune-feed', undefined);
      expect(await metric(far.url, 'attune_feed_repairs_total', 'cause="check"')).to.be.at.least(before + 1);
      await update(writer, sessionId, 3);
      await reached(observer.socket, sessionId, 4);
      const seen = expectOrderly(observer.socket, observer.from, await readLog(direct, sessionId));
      expect(seen).to.deep.include({ commits: 3, snapshots: [] });
    });

    it('[F2] a fifth of the publications lost, a fifth doubled, a fifth late: each observer sees every revision once, in order', async function () {
      this.timeout(30_000);
      const { sessionId } = await opened();
      const observers = [
        await joined(far, sessionId),
        await joined(far, sessionId, { body: 'delta' }),
        await joined(near, sessionId),
      ];
      const latest = await joined(far, sessionId, { delivery: 'latest' });
      const did = { lost: 0, doubled: 0, late: 0 };
      let kept: Buffer | undefined;
      let count = 0;
      proxy.frames('attune-feed', (frame) => {
        if (!isPublication(frame)) return [frame];
        count += 1;
        const after = kept ? [Buffer.from(kept)] : [];
        kept = undefined;
        if (count % 5 === 0) did.lost += 1;
        if (count % 5 === 0) return after;
        if (count % 5 === 2) did.doubled += 1;
        if (count % 5 === 2) return [frame, frame, ...after];
        if (count % 5 !== 3) return [frame, ...after];
        did.late += 1;
        kept = Buffer.from(frame);
        return after;
      });
      const writers = range(1, 4).map((n) => startWriter({ name: `w${n}`, sessionId, url: () => near.url }));
      await acknowledgements(writers, 500);
      await Promise.all(writers.map((writer) => writer.stop()));
      const log = await readLog(direct, sessionId);
      expectSoundLog(log);
      for (const { socket } of [...observers, latest]) await reached(socket, sessionId, log.length);
      for (const [name, times] of Object.entries(did)) expect(times, name).to.be.at.least(10);
      for (const { socket, from } of [observers[0]!, observers[2]!]) {
        const seen = expectOrderly(socket, from, log);
        const settings = log.findLast(({ body }) => body.settings)?.body.settings;
        expect(seen).to.deep.include({ commits: log.length - 1, snapshots: [], settings });
      }
      const revisions = observers[1]!.socket.events.map(({ body }) => body.revision);
      expect(revisions, 'with deltas').to.deep.equal(range(2, log.length));
      expect(expectOrderly(latest.socket, latest.from, log, { latest: true }).revision).to.equal(log.length);
    });

    it('[F3] the feed cut again and again while 500 updates are written: each revision once, in order, or a snapshot', async function () {
      this.timeout(30_000);
      const { sessionId } = await opened();
      const observers = await Promise.all([joined(far, sessionId), joined(far, sessionId), joined(near, sessionId)]);
      const writers = range(1, 2).map((n) => startWriter({ name: `w${n}`, sessionId, url: () => near.url }));
      let cuts = 0;
      let enough = false;
      const cutting = (async () => {
        while (!enough) {
          // As soon as it is back and has heard something.
          const had = observers[0].socket.events.length;
          await until(() => enough || observers[0].socket.events.length > had, { deadlineMs: MENDED_MS, what: 'news' });
          if (!enough && (await until(() => enough || proxy.cut('attune-feed')))) cuts += 1;
        }
      })();
      await acknowledgements(writers, 500, 20_000);
      await until(() => cuts >= 8, { deadlineMs: 15_000, what: 'eight cuts' });
      enough = true;
      await cutting;
      await Promise.all(writers.map((writer) => writer.stop()));
      const log = await readLog(direct, sessionId);
      expectSoundLog(log);
      for (const { socket, from } of observers) {
        await reached(socket, sessionId, log.length);
        const seen = expectOrderly(socket, from, log);
        expect(seen).to.include({ revision: log.length, rolledBack: 0 });
        expect(seen.settings).to.deep.equal(log.findLast(({ body }) => body.settings)?.body.settings);
      }
      expect(await metric(far.url, 'attune_feed_repairs_total', 'cause="reconnected"')).to.be.at.least(1);
    });

    it('[F4] what the log does not hold any more when a room was cut off from the feed is a snapshot, reason gap', async () => {
      const small = await startAttune({ redisUrl: redis.url, env: { LOG_COMMITS_MAX: '10' } });
      try {
        const writer = await connect(small.url);
        const { session } = await writer.ok('session:open', { sessionId: freshId('f') });
        const observer = await joined(far, session.id);
        proxy.frames('attune-feed', (frame) => (isPublication(frame) ? [] : [frame]));
        await Promise.all(range(1, 60).map((n) => update(writer, session.id, n)));
        const told = await observer.socket.next('session:snapshot', undefined, MENDED_MS);
        proxy.frames('attune-feed', undefined);
        expect(told.reason).to.equal('gap');
        await update(writer, session.id, 61);
        await reached(observer.socket, session.id, 62);
        const kept = await readLog(direct, session.id);
        expect(kept.map(({ revision }) => revision)).to.deep.equal(range(53, 62));
        const { epoch } = session;
        const resume = (revision: number) =>
          observer.socket.ok('session:join', { sessionId: session.id, cursor: { epoch, revision } });
        const reached52 = await resume(52);
        expect(reached52).to.include({ resumed: true, revision: 62 });
        expect(reached52.commits.map(({ revision }: Wire) => revision)).to.deep.equal(range(53, 62));
        const trimmed = await resume(51);
        expect(trimmed.resumed).to.equal(undefined);
        expect(trimmed.session.revision).to.equal(62);
      } finally {
        await small.destroy();
      }
    });
  });

  it('[F12] a join or a resume right after an acknowledgement is not older than it, though the feed loses everything', async () => {
    const { socket: writer, sessionId } = await opened();
    const { socket: reader } = await joined(far, sessionId);
    // Another reader, so that the room stays.
    await joined(far, sessionId);
    proxy.frames('attune-feed', (frame) => (isPublication(frame) ? [] : [frame]));
    for (const n of range(1, 100)) {
      const { epoch, revision } = await update(writer, sessionId, n);
      if (n % 2 === 0) {
        const { session } = await reader.ok('session:join', { sessionId });
        expect(session).to.deep.include({ epoch, revision });
        expect(session.settings.n).to.equal(n);
      } else {
        const cursor = { epoch, revision: Math.max(1, revision - 3) };
        const resumed = await reader.ok('session:join', { sessionId, cursor });
        const expected = range(cursor.revision + 1, revision);
        expect(resumed).to.include({ resumed: true, revision });
        expect(resumed.commits.map((commit: Wire) => commit.revision)).to.deep.equal(expected);
      }
    }
  });

  describe('and a Redis that loses data', () => {
    const CURSORS = [1, 3, 5];

    it("[F5] a session's log deleted by hand: live readers go on, an old cursor is given the document, no other session notices", async () => {
      const { socket: writer, sessionId } = await opened();
      const other = await opened();
      const [observer, apart] = [await joined(far, sessionId), await joined(far, other.sessionId)];
      for (const n of range(1, 6)) await update(writer, sessionId, n);
      await reached(observer.socket, sessionId, 7);
      expect(await direct.del(keysOf(sessionId).log)).to.equal(1);
      for (const n of range(7, 9)) await update(writer, sessionId, n);
      await reached(observer.socket, sessionId, 10);
      expect(observer.socket.bodies('settings:updated').map(({ revision }) => revision)).to.deep.equal(range(2, 10));
      for (const revision of CURSORS) {
        const cursor = { epoch: observer.from.epoch, revision };
        const again = await writer.ok('session:join', { sessionId, cursor });
        expect(again.resumed).to.equal(undefined);
        expect(again.session).to.deep.include({ revision: 10 });
      }
      const cursor = { epoch: observer.from.epoch, revision: 8 };
      const resumed = await writer.ok('session:join', { sessionId, cursor });
      expect(resumed.commits.map(({ revision }: Wire) => revision)).to.deep.equal([9, 10]);
      await update(other.socket, other.sessionId, 1);
      await reached(apart.socket, other.sessionId, 2);
      expect(apart.socket.events.map(({ event }) => event)).to.deep.equal(['settings:updated']);
    });

    it("[F6] a session's log deleted while the feed is cut off: the room is given a snapshot, reason gap", async () => {
      const { socket: writer, sessionId } = await opened();
      const observer = await joined(far, sessionId);
      proxy.frames('attune-feed', (frame) => (isPublication(frame) ? [] : [frame]));
      // Its check must not come in between, or it would be given the commits.
      const hold = proxy.hold('attune-data', 'toRedis');
      await Promise.all(range(1, 3).map((n) => update(writer, sessionId, n)));
      await direct.del(keysOf(sessionId).log);
      hold.release();
      const told = await observer.socket.next('session:snapshot', undefined, MENDED_MS);
      proxy.frames('attune-feed', undefined);
      expect(told.reason).to.equal('gap');
      const { session } = await writer.ok('session:get', { sessionId });
      expect(told.session).to.deep.equal(session);
      await update(writer, sessionId, 4);
      await reached(observer.socket, sessionId, 5);
      expect(observer.socket.events.map(({ event }) => event)).to.deep.equal(['session:snapshot', 'settings:updated']);
    });

    it("[F7] a session's document deleted by hand is session:deleted, reason lost, and SESSION_NOT_FOUND; it can be made again", async () => {
      const { socket: writer, sessionId } = await opened();
      const other = await opened();
      const observers = [await joined(far, sessionId), await joined(near, sessionId)];
      const apart = await joined(far, other.sessionId);
      await writer.ok('message:add', { sessionId, message: { id: 'm1', role: 'user', content: 'gone' } });
      for (const n of range(1, 3)) await update(writer, sessionId, n);
      await direct.del(keysOf(sessionId).doc);
      for (const { socket } of observers) {
        const gone = await socket.next('session:deleted', undefined, MENDED_MS);
        expect(gone).to.include({ sessionId, reason: 'lost' });
      }
      await writer.refused('settings:update', { sessionId, merge: { n: 9 } }, 'SESSION_NOT_FOUND');
      await writer.refused('session:get', { sessionId }, 'SESSION_NOT_FOUND');
      await writer.refused('session:join', { sessionId }, 'SESSION_NOT_FOUND');
      const made = await writer.ok('session:open', { sessionId, settings: { life: 2 } });
      expect(made).to.include({ created: true });
      expect(made.session).to.deep.include({ revision: 1, messageCount: 0 });
      expect(made.session.epoch).to.not.equal(observers[0]!.from.epoch);
      await update(writer, sessionId, 10);
      expect((await writer.ok('message:list', { sessionId })).messages).to.deep.equal([]);
      expectSoundLog(await readLog(direct, sessionId));
      await update(other.socket, other.sessionId, 1);
      await reached(apart.socket, other.sessionId, 2);
      expect(apart.socket.events.map(({ event }) => event)).to.deep.equal(['settings:updated']);
    });

    it('[F8] a key that holds something else is refused with a typed error and left alone; other sessions go on', async () => {
      for (const key of ['doc', 'log', 'ids', 'messages', 'history'] as const) {
        const { socket: writer, sessionId } = await opened();
        const other = await opened();
        const observer = await joined(far, other.sessionId);
        await writer.ok('message:add', { sessionId, updateId: 'm', message: { id: 'm', role: 'user', content: 'm' } });
        const name = keysOf(sessionId)[key];
        const was = await direct.dumpBuffer(name);
        await direct.set(name, 'not ours');
        const answer = await writer.call('settings:update', { sessionId, merge: { n: 1 } });
        expect(answer.ok, key).to.equal(false);
        expectError(answer.error);
        expect(await direct.get(name), key).to.equal('not ours');
        await update(other.socket, other.sessionId, 1);
        await reached(observer.socket, other.sessionId, 2);
        // Put back, it works again.
        await direct.restore(name, 0, was, 'REPLACE');
        const { revision } = await until(() => update(writer, sessionId, 2), { what: `a write after ${key} is whole` });
        expect(revision, key).to.equal(3);
        expectSoundLog(await readLog(direct, sessionId));
      }
    });

    it('[F9] FLUSHALL: every room is session:deleted, reason lost, and the ids can be used anew', async () => {
      const sessions = await Promise.all(range(1, 5).map(() => opened()));
      const rooms = await Promise.all(
        sessions.flatMap(({ sessionId }) => [joined(far, sessionId), joined(near, sessionId)]),
      );
      for (const { socket, sessionId } of sessions) await update(socket, sessionId, 1);
      await direct.flushall();
      for (const { socket, from } of rooms) {
        const gone = await socket.next('session:deleted', undefined, MENDED_MS);
        expect(gone).to.deep.include({ sessionId: from.id, epoch: from.epoch, reason: 'lost' });
      }
      for (const { socket, sessionId } of sessions) {
        await socket.refused('settings:update', { sessionId, merge: { n: 2 } }, 'SESSION_NOT_FOUND');
        expect((await socket.ok('session:open', { sessionId })).session.revision).to.equal(1);
        expect((await update(socket, sessionId, 3)).revision).to.equal(2);
      }
      const { sessions: listed } = (await (await fetch(`${far.url}/v1/sessions`)).json()) as Wire;
      expect(listed.map(({ id }: Wire) => id).sort()).to.deep.equal(sessions.map(({ sessionId }) => sessionId).sort());
    });

    it('[F10] SCRIPT FLUSH under load: no client gets an error', async () => {
      const { sessionId } = await opened();
      const observer = await joined(far, sessionId);
      const nodes = [near, far];
      const writers = range(1, 4).map((n) => startWriter({ name: `w${n}`, sessionId, url: () => nodes[n % 2]!.url }));
      for (let flushes = 0; flushes < 20; flushes += 1) {
        await direct.script('FLUSH');
        await acknowledgements(writers, 20);
      }
      await Promise.all(writers.map((writer) => writer.stop()));
      const told = writers.flatMap(({ writes }) => writes.flatMap((write) => write.told));
      expect(told.length).to.be.at.least(400);
      expect(told.filter((one) => one !== 'ok')).to.deep.equal([]);
      const log = await readLog(direct, sessionId);
      expectSoundLog(log);
      await reached(observer.socket, sessionId, log.length);
      expect(expectOrderly(observer.socket, observer.from, log)).to.deep.include({ snapshots: [] });
    });

    it('[F11] Redis started anew: its rooms are given a snapshot, reason epoch, old cursors too, and revisions go on', async function () {
      this.timeout(30_000);
      const { socket: writer, sessionId } = await opened();
      const observers = [
        await joined(far, sessionId),
        await joined(near, sessionId),
        await joined(near, sessionId, { delivery: 'latest', body: 'delta' }),
      ];
      for (const n of range(1, 20)) await update(writer, sessionId, n);
      for (const { socket } of observers) await reached(socket, sessionId, 21);
      await redis.restart();
      const told: Wire[] = [];
      for (const { socket } of observers) told.push(await socket.next('session:snapshot', undefined, MENDED_MS));
      for (const one of told) {
        expect(one).to.deep.equal(told[0]);
        expect(one.reason).to.equal('epoch');
        expect(one.session.epoch).to.not.equal(observers[0]!.from.epoch);
        expect(one.session).to.deep.include({ revision: 21, settingsRevision: 21 });
        expect(one.session.settings.n).to.equal(20);
      }
      for (const revision of [1, 20, 21, 22, 1000]) {
        const again = await connect(near.url);
        const cursor = { epoch: observers[0]!.from.epoch, revision };
        const reply = await again.ok('session:join', { sessionId, cursor });
        expect(reply.resumed, `cursor at ${revision} of the old epoch`).to.equal(undefined);
        expect(reply.session).to.deep.equal(told[0].session);
      }
      const ack = await update(writer, sessionId, 21);
      expect(ack).to.deep.include({ epoch: told[0].session.epoch, revision: 22 });
      const guarded = { sessionId, merge: { n: 0 }, ifEpoch: observers[0]!.from.epoch };
      await writer.refused('settings:update', guarded, 'REVISION_CONFLICT');
      for (const { socket } of observers) await reached(socket, sessionId, 22);
      const log = await readLog(direct, sessionId);
      expectSoundLog(log);
      for (const { socket, from } of observers.slice(0, 2)) {
        expect(expectOrderly(socket, from, log)).to.include({ revision: 22, commits: 21 });
      }
      expect(new Set(log.map(({ body }) => body.epoch))).to.have.length(2);
    });
  });
});
