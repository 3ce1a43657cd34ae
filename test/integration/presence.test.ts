// Presence over two server processes on one Redis: who is there, what each shows, and what faults do to it.
import { expect } from 'chai';
import type { Redis } from 'ioredis';
import { startAttune, type Attune } from '../support/attune.js';
import { startDataRedis, type DataRedis } from '../support/data-redis.js';
import { joinPresent, type Present } from '../support/present.js';
import type { RedisProxy } from '../support/proxy.js';
import { range } from '../support/range.js';
import { keysOf, metric, readLog } from '../support/session-log.js';
import { freshId, type Wire } from '../support/shapes.js';
import { closeSockets, connect } from '../support/socket.js';
import { until } from '../support/until.js';

const KIB = 1024;
/** A state of exactly so many bytes of JSON. */
const stateOf = (bytes: number) => ({ s: 'x'.repeat(bytes - '{"s":""}'.length) });
/** A node that says nothing for so long is gone, milliseconds. */
const NODE_TTL_MS = 5000;
/** The promise about killed nodes, milliseconds. */
const GHOSTS_MS = 10_000;

describe('presence', () => {
  let redis: DataRedis;
  let direct: Redis;
  let proxy: RedisProxy;
  let near: Attune;
  /** Speaks to Redis through the proxy. */
  let far: Attune;
  before(async () => {
    redis = await startDataRedis();
    direct = redis.direct();
    direct.on('error', () => undefined);
    proxy = await redis.proxy();
    [near, far] = await Promise.all([startAttune({ redisUrl: redis.url }), startAttune({ redisUrl: proxy.url })]);
  });
  after(async () => {
    await Promise.all([near?.destroy(), far?.destroy()]);
    await proxy?.close();
    direct?.disconnect();
    await redis?.stop();
  });
  afterEach(closeSockets);
  afterEach(() => proxy.frames('attune-feed', undefined));

  async function made(): Promise<string> {
    const socket = await connect(near.url);
    return (await socket.ok('session:open', { sessionId: freshId('pr') })).session.id;
  }
  async function present(node: Attune, clientId: string, sessionId: string, more: Wire = {}): Promise<Present> {
    return joinPresent(await connect(node.url, { clientId }), clientId, sessionId, more);
  }

  describe('what it says', () => {
    it('[PR1] a join answers with all who are there, itself among them; the others, and itself, are told', async () => {
      const sessionId = await made();
      const a = await present(near, 'a', sessionId);
      expect(a.ack.participants).to.have.length(1);
      expect(a.self).to.deep.include({ userId: 'anonymous', kind: 'tab', state: {} });
      const b = await joinPresent(await connect(near.url, { clientId: 'b', kind: 'bot' }), 'b', sessionId);
      await until(() => b.heard().some(({ joined }) => joined.some((one: Wire) => one.clientId === 'b')));
      await a.sees({ a: {}, b: {} });
      await b.sees({ a: {}, b: {} });
      expect(b.self.kind).to.equal('bot');
      expect(a.everybody().find(({ clientId }) => clientId === 'b')).to.deep.equal(b.self);
      expect(b.self.participantId).to.not.equal(b.socket.raw.id);
    });

    it('[PR2] the state is what a join or presence:update gave last: any JSON, null too, {} where none was given', async () => {
      const sessionId = await made();
      const watcher = await present(near, 'w', sessionId);
      const a = await present(far, 'a', sessionId, { presence: { cursor: 1, tags: [] } });
      expect(a.self.state).to.deep.equal({ cursor: 1, tags: [] });
      await watcher.sees({ w: {}, a: { cursor: 1, tags: [] } });
      for (const state of [null, 'typing', [1, { deep: [] }], 1.5, false, {}]) {
        expect(await a.socket.ok('presence:update', { sessionId, state })).to.deep.equal({ ok: true });
        await watcher.sees({ w: {}, a: state });
        await a.sees({ w: {}, a: state });
      }
      expect((await present(near, 'n', sessionId, { presence: null })).self.state).to.equal(null);
    });

    it('[PR3] who joins again is the same participant, and shows the same unless it says otherwise', async () => {
      const sessionId = await made();
      const watcher = await present(far, 'w', sessionId);
      const first = await present(near, 'a', sessionId, { presence: { n: 1 } });
      const again = await joinPresent(first.socket, 'a', sessionId, { delivery: 'latest' });
      expect(again.self).to.deep.equal(first.self);
      const other = await joinPresent(first.socket, 'a', sessionId, { presence: { n: 2 } });
      expect(other.self).to.deep.equal({ ...first.self, state: { n: 2 } });
      await watcher.sees({ w: {}, a: { n: 2 } });
      await first.socket.ok('session:leave', { sessionId });
      await watcher.sees({ w: {} });
      const new_ = await joinPresent(first.socket, 'a', sessionId);
      expect(new_.self.participantId).to.not.equal(first.self.participantId);
      expect(new_.self.state).to.deep.equal({});
    });

    it('[PR4] presence:update needs a join and a state of at most 4 KiB that is JSON; a join with a wrong one enters nothing', async () => {
      const sessionId = await made();
      const socket = await connect(near.url, { clientId: 'a' });
      await socket.refused('presence:update', { sessionId, state: {} }, 'INVALID_REQUEST');
      const deep = JSON.parse(`${'['.repeat(33)}${']'.repeat(33)}`) as Wire;
      const forbidden = JSON.parse('{"a":{"__proto__":1}}') as Wire;
      for (const [state, code] of [
        [stateOf(4 * KIB + 1), 'TOO_LARGE'],
        [deep, 'INVALID_REQUEST'],
        [forbidden, 'INVALID_REQUEST'],
      ] as const) {
        await socket.refused('session:join', { sessionId, presence: state }, code);
        await socket.refused('presence:update', { sessionId, state }, code);
      }
      const watcher = await present(near, 'w', sessionId);
      expect(watcher.ack.participants).to.have.length(1);
      const a = await joinPresent(socket, 'a', sessionId, { presence: stateOf(4 * KIB) });
      await socket.refused('presence:update', { sessionId }, 'INVALID_REQUEST');
      await socket.refused('presence:update', { sessionId, state: stateOf(4 * KIB + 1) }, 'TOO_LARGE');
      await watcher.sees({ w: {}, a: stateOf(4 * KIB) });
      // An update right behind its join, which it did not wait for, belongs to it.
      const early = await connect(near.url, { clientId: 'e' });
      early.send('session:join', { sessionId });
      await early.ok('presence:update', { sessionId, state: { early: true } });
      await a.sees({ w: {}, a: stateOf(4 * KIB), e: { early: true } });
    });

    it('[PR5] who leaves, disconnects or closes is gone at once, and nobody is told of a session that is over', async () => {
      const sessionId = await made();
      const watcher = await present(far, 'w', sessionId);
      const all = await Promise.all(['a', 'b', 'c'].map((id) => present(near, id, sessionId)));
      await watcher.sees({ w: {}, a: {}, b: {}, c: {} });
      await all[0]!.socket.ok('session:leave', { sessionId });
      all[1]!.socket.close();
      all[2]!.socket.raw.io.engine.close();
      await watcher.sees({ w: {} });
      const { length } = watcher.heard();
      await watcher.socket.ok('session:delete', { sessionId });
      await watcher.socket.next('session:deleted');
      await until(async () => (await direct.exists(keysOf(sessionId).presence)) === 0);
      await watcher.socket.refused('presence:update', { sessionId, state: 1 }, 'INVALID_REQUEST');
      const next = await joinPresent(watcher.socket, 'w', sessionId, { create: true });
      expect(next.ack.participants).to.have.length(1);
      expect(
        watcher
          .heard()
          .slice(length)
          .flatMap(({ left }) => left),
      ).to.deep.equal([]);
    });

    it('[PR6] it is the same on every node, and who comes late is told of all who are there', async () => {
      const sessionId = await made();
      const early = await Promise.all(
        range(1, 12).map((n) => present(n % 2 ? near : far, `c${n}`, sessionId, { presence: { n } })),
      );
      const states = Object.fromEntries(range(1, 12).map((n) => [`c${n}`, { n }]));
      for (const one of early) await one.sees(states);
      const late = await Promise.all([present(near, 'x', sessionId), present(far, 'y', sessionId)]);
      for (const { ack } of late) expect(ack.participants.length).to.be.at.least(13);
      for (const one of [...early, ...late]) await one.sees({ ...states, x: {}, y: {} });
      await Promise.all(early.map(({ socket }, i) => socket.ok('presence:update', { sessionId, state: { n: -i } })));
      const after = Object.fromEntries(range(1, 12).map((n) => [`c${n}`, { n: 1 - n }]));
      for (const one of [...early, ...late]) await one.sees({ ...after, x: {}, y: {} });
    });

    it('[PR7] one client in two sockets is two participants, as after a reconnection that its server has not noticed', async () => {
      const sessionId = await made();
      const watcher = await present(near, 'w', sessionId);
      const sockets = await Promise.all([near, far].map((node) => connect(node.url, { clientId: 'same' })));
      const acks = [];
      for (const socket of sockets) acks.push(await socket.ok('session:join', { sessionId }));
      const same = () => watcher.everybody().filter(({ clientId }) => clientId === 'same');
      await until(() => same().length === 2);
      sockets[0]!.close();
      await until(() => same().length === 1);
      expect(acks[1].participants.map((one: Wire) => one.participantId)).to.include(same()[0].participantId);
    });

    it('[PR8] it is no commit: no revision, nothing in the log, nothing left when all are gone, and an end in any case', async () => {
      const sessionId = await made();
      const a = await present(near, 'a', sessionId);
      for (const n of range(1, 5)) await a.socket.ok('presence:update', { sessionId, state: { n } });
      await a.sees({ a: { n: 5 } });
      expect(await direct.pttl(keysOf(sessionId).presence)).to.be.above(0);
      expect((await a.socket.ok('session:get', { sessionId })).session).to.deep.equal(a.ack.session);
      expect(await readLog(direct, sessionId)).to.have.length(1);
      a.socket.close();
      await until(async () => (await direct.exists(keysOf(sessionId).presence)) === 0);
    });
  });

  describe('many', () => {
    it('[PR10] 200 that join and leave at once are a few events, and everybody knows everybody', async () => {
      const sessionId = await made();
      const watchers = [await present(near, 'near', sessionId), await present(far, 'far', sessionId)];
      const sockets = await Promise.all(
        range(1, 200).map((n) => connect((n % 2 ? near : far).url, { clientId: `s${n}` })),
      );
      const storm = await Promise.all(sockets.map((socket, i) => joinPresent(socket, `s${i + 1}`, sessionId)));
      const states = Object.fromEntries(range(1, 200).map((n) => [`s${n}`, {}]));
      for (const one of [...watchers, storm[0]!, storm[199]!]) {
        await one.sees({ ...states, near: {}, far: {} }, { deadlineMs: 10_000 });
      }
      const joins = watchers[0]!.heard().length;
      for (const { socket } of storm) socket.close();
      for (const one of watchers) await one.sees({ near: {}, far: {} }, { deadlineMs: 10_000 });
      // Each node writes at most every 50 ms; one event for each participant would be 200 and 200.
      expect(joins, 'events of the joins').to.be.below(80);
      expect(watchers[0]!.heard().length - joins, 'events of the leaves').to.be.below(80);
    });

    it('[PR10] one that changes all the time is told of every 50 ms at most, and its last state always', async () => {
      const sessionId = await made();
      const watcher = await present(far, 'w', sessionId);
      const a = await present(near, 'a', sessionId);
      await watcher.sees({ w: {}, a: {} });
      const before = watcher.heard().length;
      const beganAt = performance.now();
      for (const n of range(1, 300)) await a.socket.ok('presence:update', { sessionId, state: { n } });
      await watcher.sees({ w: {}, a: { n: 300 } });
      const pauses = (performance.now() - beganAt) / 50;
      // One at once, one for each pause, and one whose pause began before.
      expect(watcher.heard().length - before).to.be.at.most(Math.ceil(pauses) + 2);
    });

    it('[PR11] who came and left before it could be written was never there', async () => {
      const sessionId = await made();
      const watcher = await present(near, 'w', sessionId);
      const a = await present(far, 'a', sessionId);
      await watcher.sees({ w: {}, a: {} });
      const held = proxy.hold('attune-presence', 'toRedis');
      // The first change is on its way; what follows waits for it.
      await a.socket.ok('presence:update', { sessionId, state: { n: 0 } });
      await until(() => held.bytes().includes(a.self.participantId));
      const passers = await Promise.all(range(1, 5).map(() => connect(far.url, { clientId: 'passer' })));
      for (const socket of passers) await socket.ok('session:join', { sessionId });
      for (const n of range(1, 20)) await a.socket.ok('presence:update', { sessionId, state: { n } });
      for (const socket of passers) await socket.ok('session:leave', { sessionId });
      held.release();
      await watcher.sees({ w: {}, a: { n: 20 } });
      const entries = watcher.heard().flatMap(({ joined, updated }) => [...joined, ...updated]);
      expect(entries.filter(({ clientId }) => clientId === 'passer')).to.deep.equal([]);
      expect(entries.filter(({ clientId }) => clientId === 'a').map(({ state }) => state)).to.deep.equal([
        {},
        { n: 0 },
        { n: 20 },
      ]);
    });

    it('[PR36] changes of 200 sessions at once reach Redis 64 at a time, and all of them soon', async () => {
      const ids = await Promise.all(range(1, 200).map(() => made()));
      const socket = await connect(far.url, { clientId: 'a' });
      await Promise.all(ids.map((sessionId) => socket.ok('session:join', { sessionId })));
      const hasState = async (json: string) => {
        const shown = await Promise.all(ids.map((sessionId) => direct.hvals(keysOf(sessionId).presence)));
        return shown.every((values) => values.some((value) => value.includes(json)));
      };
      await until(() => hasState('"state":{}'), { what: 'all in Redis' });
      const held = proxy.hold('attune-presence', 'toRedis');
      const underWay = () => held.bytes().match(/evalsha/gi)?.length ?? 0;
      await Promise.all(ids.map((sessionId) => socket.ok('presence:update', { sessionId, state: { n: 1 } })));
      await until(() => underWay() >= 64, { what: 'the first writes' });
      // One more answer: what could be written by then was.
      await socket.ok('presence:update', { sessionId: ids[0]!, state: { n: 1 } });
      const most = underWay();
      held.release();
      expect(most).to.equal(64);
      await until(() => hasState('"state":{"n":1}'), { what: 'all changes in Redis' });
    });

    it('[PR12] 512 KiB of a session are shown: whoever is beyond is in the room unseen, until there is room', async () => {
      const sessionId = await made();
      const sockets = await Promise.all(range(1, 140).map((n) => connect(near.url, { clientId: `s${n}` })));
      for (const socket of sockets) await socket.ok('session:join', { sessionId, presence: stateOf(4 * KIB) });
      const watcher = await connect(far.url, { clientId: 'w' });
      const watched = async () => {
        const { participants } = await watcher.ok('session:join', { sessionId, presence: stateOf(4 * KIB) });
        return participants.filter(({ clientId }: Wire) => clientId !== 'w') as Wire[];
      };
      let shown: Wire[] = [];
      await until(async () => (shown = await watched()).length >= 110);
      const bytes = Buffer.byteLength(shown.map((one) => JSON.stringify(one)).join(''));
      expect(bytes).to.be.at.most(512 * KIB);
      expect(shown.length).to.be.below(140);
      const unseen = sockets.find((_, i) => shown.every(({ clientId }) => clientId !== `s${i + 1}`))!;
      await watcher.ok('settings:update', { sessionId, merge: { n: 1 } });
      await unseen.next('settings:updated');
      for (const socket of sockets.slice(0, 40)) socket.close();
      await until(async () => (await watched()).length === 100, { what: 'that all who are left are shown' });
    });
  });

  describe('faults', () => {
    it('[PR20] a Redis that is slow holds up neither joins nor commits; all is told later', async () => {
      const sessionId = await made();
      const watcher = await present(near, 'w', sessionId);
      const held = proxy.hold('attune-presence', 'toRedis');
      const a = await present(far, 'a', sessionId, { presence: { n: 1 } });
      await a.socket.ok('settings:update', { sessionId, merge: { n: 1 } });
      await a.socket.next('settings:updated');
      expect(Object.keys(a.states())).to.deep.equal(['a']);
      await a.socket.ok('presence:update', { sessionId, state: { n: 2 } });
      held.release();
      await watcher.sees({ w: {}, a: { n: 2 } });
      await a.sees({ w: {}, a: { n: 2 } });
    });

    it('[PR21] publications that are lost are made good by the check', async () => {
      const sessionId = await made();
      const a = await present(far, 'a', sessionId);
      const b = await present(near, 'b', sessionId);
      await a.sees({ a: {}, b: {} });
      let lost = 0;
      proxy.frames('attune-feed', (frame) => {
        const isPresence = frame.includes('smessage') && frame.includes('"presence"');
        lost += isPresence ? 1 : 0;
        return isPresence ? [] : [frame];
      });
      const c = await present(near, 'c', sessionId);
      await b.socket.ok('presence:update', { sessionId, state: { n: 1 } });
      await a.sees({ a: {}, b: { n: 1 }, c: {} });
      c.socket.close();
      await a.sees({ a: {}, b: { n: 1 } });
      expect(lost).to.be.above(0);
    });

    it('[PR22] what Redis loses is written again: the presence of one session, and all of it', async () => {
      const sessionId = await made();
      const all = [await present(near, 'a', sessionId, { presence: { n: 1 } }), await present(far, 'b', sessionId)];
      for (const one of all) await one.sees({ a: { n: 1 }, b: {} });
      await direct.del(keysOf(sessionId).presence);
      const inRedis = async () => (await direct.hlen(keysOf(sessionId).presence)) === 4;
      await until(inRedis, { what: 'both in Redis again' });
      for (const one of all) await one.sees({ a: { n: 1 }, b: {} });
      const late = await present(near, 'c', sessionId);
      await late.sees({ a: { n: 1 }, b: {}, c: {} });
      await direct.flushall();
      await late.socket.next('session:deleted');
      const again = await joinPresent(late.socket, 'c', sessionId, { create: true });
      expect(again.ack.participants).to.have.length(1);
    });

    it('[PR23] when Redis is killed and started again everybody is there as before', async () => {
      const sessionId = await made();
      const all = [await present(near, 'a', sessionId), await present(far, 'b', sessionId)];
      for (const one of all) await one.sees({ a: {}, b: {} });
      await redis.kill();
      await all[0]!.socket.ok('presence:update', { sessionId, state: { said: 'while Redis was away' } });
      all[1]!.socket.send('presence:update', { sessionId, state: 2 });
      await redis.restart();
      for (const one of all) await one.sees({ a: { said: 'while Redis was away' }, b: 2 }, { deadlineMs: GHOSTS_MS });
    });
  });

  describe('a long outage', () => {
    it('[PR35] when Redis comes back after a long time, whoever opens a session is shown all who are in it', async function () {
      this.timeout(30_000);
      const sessionId = await made();
      const there = await present(far, 'there', sessionId);
      await until(async () => (await direct.hlen(keysOf(sessionId).presence)) === 3, {
        what: 'the participant in Redis',
      });
      await redis.kill();
      const killedAt = performance.now();
      await until(() => performance.now() > killedAt + NODE_TTL_MS, { deadlineMs: 2 * NODE_TTL_MS });
      // Its node is the last to come back: until then it has given no sign of life.
      const held = proxy.hold('attune-presence', 'toRedis');
      await redis.restart();
      expect(await direct.keys('*{nodes}*'), 'signs of life').to.have.length.at.most(1);
      const opener = await connect(near.url, { clientId: 'opener' });
      const ack = await until(
        async () => {
          const answer = await opener.call('session:join', { sessionId });
          return answer.ok ? answer : false;
        },
        { deadlineMs: GHOSTS_MS, what: 'the join' },
      );
      held.release();
      expect(ack.participants.map((one: Wire) => one.clientId)).to.have.members(['there', 'opener']);
      await there.sees({ there: {}, opener: {} });
    });
  });

  describe('nodes', () => {
    let third: Attune;
    beforeEach(async () => {
      third = await startAttune({ redisUrl: redis.url });
    });
    afterEach(() => third?.destroy());

    it('[PR30] the participants of a killed node leave within 10 s, also where somebody opens the session later', async () => {
      const [sessionId, lonely] = [await made(), await made()];
      const watcher = await present(near, 'w', sessionId);
      await present(third, 'a', sessionId);
      await present(third, 'b', lonely);
      await watcher.sees({ w: {}, a: {} });
      await third.kill();
      const killedAt = performance.now();
      const later = await present(far, 'l', lonely);
      await later.sees({ l: {} }, { deadlineMs: GHOSTS_MS });
      await watcher.sees({ w: {} }, { deadlineMs: GHOSTS_MS - (performance.now() - killedAt) });
    });

    it('[PR34] who opens a session is shown nobody of a node that is gone, though nobody was there to see it go', async function () {
      this.timeout(30_000);
      const sessionId = await made();
      const ghost = await present(third, 'ghost', sessionId);
      await until(async () => (await direct.hlen(keysOf(sessionId).presence)) === 3, { what: 'the ghost in Redis' });
      const living = (await direct.keys('*{nodes}*')).length;
      await third.kill();
      await until(async () => (await direct.keys('*{nodes}*')).length < living, {
        deadlineMs: 2 * NODE_TTL_MS,
        what: 'the end of its sign of life',
      });
      for (const node of [near, far]) {
        // A visit too short for a look at who lives.
        const visitor = await present(node, 'visitor', sessionId);
        await visitor.socket.ok('session:leave', { sessionId });
        const told = visitor.heard().flatMap(({ joined, updated }) => [...joined, ...updated]);
        const shown = [...visitor.ack.participants, ...told].map(({ participantId }) => participantId);
        expect(shown).to.not.include(ghost.self.participantId);
        visitor.socket.close();
        await until(async () => (await direct.exists(keysOf(sessionId).presence)) === 0, { what: 'nobody in Redis' });
      }
    });

    it('[PR31] those of a node that is stopped by SIGTERM leave at once', async () => {
      const sessionId = await made();
      const watcher = await present(near, 'w', sessionId);
      await present(third, 'a', sessionId);
      await watcher.sees({ w: {}, a: {} });
      await third.stop();
      await watcher.sees({ w: {} }, { deadlineMs: 1000 });
    });

    it('[PR32] a node that was paused is taken for gone, and shows its participants again when it goes on', async () => {
      const sessionId = await made();
      const watcher = await present(near, 'w', sessionId);
      const a = await present(third, 'a', sessionId, { presence: { n: 1 } });
      await watcher.sees({ w: {}, a: { n: 1 } });
      third.process.kill('SIGSTOP');
      try {
        await watcher.sees({ w: {} }, { deadlineMs: GHOSTS_MS });
      } finally {
        third.process.kill('SIGCONT');
      }
      await watcher.sees({ w: {}, a: { n: 1 } });
      expect(watcher.everybody().find(({ clientId }) => clientId === 'a')).to.deep.equal(a.self);
      await a.sees({ w: {}, a: { n: 1 } });
      await a.socket.ok('presence:update', { sessionId, state: { n: 2 } });
      await watcher.sees({ w: {}, a: { n: 2 } });
    });

    it('[PR33] the metrics say how many participants a node has', async () => {
      const sessionId = await made();
      const all = await Promise.all(range(1, 3).map((n) => present(third, `c${n}`, sessionId)));
      expect(await metric(third.url, 'attune_participants')).to.equal(3);
      for (const { socket } of all) socket.close();
      await until(async () => (await metric(third.url, 'attune_participants')) === 0);
    });
  });
});
