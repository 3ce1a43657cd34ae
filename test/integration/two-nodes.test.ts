// Two server processes on one Redis: what the queue and the feed promise holds across nodes.
import { expect } from 'chai';
import fastJsonPatch from 'fast-json-patch';
import type { Redis } from 'ioredis';
import { startAttune, type Attune } from '../support/attune.js';
import { startDataRedis, type DataRedis } from '../support/data-redis.js';
import { request } from '../support/http.js';
import type { RedisProxy } from '../support/proxy.js';
import { range } from '../support/range.js';
import { expectAcknowledged, expectOrderly, expectSoundLog, readLog, wholeLog } from '../support/session-log.js';
import { expectError, freshId, type Wire } from '../support/shapes.js';
import { closeSockets, connect, type TestSocket } from '../support/socket.js';
import { until } from '../support/until.js';
import { abandonWriters, acknowledgements, finalValues, startWriter } from '../support/writer.js';

const without = ({ duplicate: _duplicate, ...rest }: Wire): Wire => rest;

describe('two nodes on one Redis', () => {
  let redis: DataRedis;
  let direct: Redis;
  let a: Attune;
  let b: Attune;
  before(async () => {
    redis = await startDataRedis();
    direct = redis.direct();
    const start = () => startAttune({ redisUrl: redis.url, env: wholeLog });
    [a, b] = await Promise.all([start(), start()]);
  });
  after(async () => {
    await Promise.all([a?.destroy(), b?.destroy()]);
    direct?.disconnect();
    await redis?.stop();
  });
  afterEach(abandonWriters);
  afterEach(closeSockets);

  const both = () => [a, b] as const;
  async function opened(settings: Wire = {}): Promise<string> {
    const socket = await connect(a.url);
    return (await socket.ok('session:open', { sessionId: freshId('q'), settings })).session.id;
  }
  async function joined(node: Attune, sessionId: string, more: Wire = {}): Promise<{ socket: TestSocket; from: Wire }> {
    const socket = await connect(node.url);
    const { session: from } = await socket.ok('session:join', { sessionId, ...more });
    return { socket, from };
  }
  async function reached(socket: TestSocket, sessionId: string, revision: number): Promise<void> {
    await until(() => socket.events.some(({ body }) => body?.sessionId === sessionId && body.revision === revision), {
      what: `revision ${revision} at an observer`,
    });
  }

  describe('order', () => {
    it('[Q1] 300 concurrent updates over both nodes: each acknowledged once, each observer sees 1..n once in order', async () => {
      const sessionId = await opened();
      const observers = await Promise.all([a, b, a, b].map((node) => joined(node, sessionId)));
      const deltas = await Promise.all([a, b].map((node) => joined(node, sessionId, { body: 'delta' })));
      const writers = await Promise.all(range(0, 5).map((i) => connect(both()[i % 2 ? 1 : 0].url)));
      const sent = writers.flatMap((socket, who) =>
        range(1, 50).map((n) => ({ socket, updateId: `w${who}-${n}`, key: `w${who}`, value: n })),
      );
      const acks = await Promise.all(
        sent.map(async ({ socket, updateId, key, value }) => ({
          updateId,
          holds: ({ settings }: Wire) => settings[key] === value,
          ...(await socket.ok('settings:update', { sessionId, updateId, merge: { [key]: value } })),
        })),
      );
      expect(acks.map(({ revision }) => revision).sort((x, y) => x - y)).to.deep.equal(range(2, 301));
      const log = await readLog(direct, sessionId);
      expect(log).to.have.length(301);
      expectSoundLog(log);
      expectAcknowledged(log, acks);
      // What one socket sent is in the order in which it sent it.
      for (const who of range(0, 5)) {
        const own = acks.filter(({ updateId }) => updateId.startsWith(`w${who}-`)).map(({ revision }) => revision);
        expect(own).to.deep.equal([...own].sort((x, y) => x - y));
      }
      const { settings } = log.at(-1)!.body;
      for (const who of range(0, 5)) expect(settings[`w${who}`]).to.equal(50);
      for (const { socket, from } of observers) {
        await reached(socket, sessionId, 301);
        const seen = expectOrderly(socket, from, log);
        expect(seen).to.deep.include({ commits: 300, snapshots: [], revision: 301, settings });
      }
      for (const { socket, from } of deltas) {
        await reached(socket, sessionId, 301);
        let own = from.settings;
        let at = from.settingsRevision;
        for (const body of socket.bodies('settings:updated')) {
          expect(body.from).to.equal(at);
          own = fastJsonPatch.applyPatch(structuredClone(own), body.delta, true).newDocument;
          at = body.settingsRevision;
        }
        expect(own).to.deep.equal(settings);
      }
    });

    it('[Q2] one updateId given to both nodes at once is one commit, and both answers are the same but for duplicate', async () => {
      const sessionId = await opened();
      const [one, other] = await Promise.all(both().map((node) => connect(node.url)));
      const requests = (n: number): [string, Wire][] => [
        ['settings:update', { sessionId, updateId: `s${n}`, merge: { [`k${n}`]: n } }],
        ['message:add', { sessionId, updateId: `m${n}`, message: { role: 'user', content: `message ${n}` } }],
        ['session:describe', { sessionId, updateId: `d${n}`, title: `title ${n}` }],
        ['settings:update', { sessionId, updateId: `p${n}`, patch: [{ op: 'add', path: `/list${n}`, value: [n] }] }],
      ];
      for (const n of range(1, 15)) {
        for (const [event, body] of requests(n)) {
          const answers = await Promise.all([one!.ok(event, body), other!.ok(event, body)]);
          expect(
            answers.map(({ duplicate }) => duplicate),
            event,
          ).to.have.members([false, true]);
          expect(without(answers[0]), event).to.deep.equal(without(answers[1]));
        }
      }
      const log = await readLog(direct, sessionId);
      expectSoundLog(log);
      expect(log).to.have.length(1 + 15 * 4);
      await other!.refused('settings:update', { sessionId, updateId: 's1', merge: { k1: 'other' } }, 'INVALID_REQUEST');
    });

    it('[Q3] of two updates with the same ifRevision, one on each node, exactly one is committed', async () => {
      const sessionId = await opened({ n: 0 });
      const sockets = await Promise.all(both().map((node) => connect(node.url)));
      const won = [0, 0];
      let revision = 1;
      for (const n of range(1, 60)) {
        // Each node is first every other time, else the one that still holds the lease would always win.
        const order = n % 2 === 0 ? [0, 1] : [1, 0];
        const answers: Wire[] = [];
        await Promise.all(
          order.map(async (who) => {
            const merge = { n, by: who };
            answers[who] = await sockets[who]!.call('settings:update', { sessionId, merge, ifRevision: revision });
          }),
        );
        const winner = answers.findIndex(({ ok }) => ok);
        const loser = answers.find(({ ok }) => !ok);
        expect(
          answers.filter(({ ok }) => ok),
          JSON.stringify(answers),
        ).to.have.length(1);
        expectError(loser.error, 'REVISION_CONFLICT');
        expect(loser.error.details.settings.by).to.equal(winner);
        expect(loser.error.details.revision).to.equal(answers[winner].revision);
        expect(answers[winner].revision).to.equal(revision + 1);
        won[winner]! += 1;
        ({ revision } = answers[winner]);
      }
      expect(Math.min(...won), `races won ${won.join(' : ')}`).to.be.above(0);
    });

    it('[Q4] a join, session:get or GET right after an acknowledgement by the other node is never older than it', async () => {
      const sessionId = await opened();
      const [one, other] = await Promise.all(both().map((node) => connect(node.url)));
      const stays = await joined(b, sessionId);
      for (const n of range(1, 300)) {
        const [writer, reader, node] = n % 50 < 25 ? [one!, other!, b] : [other!, one!, a];
        const { revision } = await writer.ok('settings:update', { sessionId, merge: { n } });
        const read =
          n % 3 === 0
            ? (await reader.ok('session:get', { sessionId })).session
            : n % 3 === 1
              ? (await reader.ok('session:join', { sessionId })).session
              : (await request('GET', `${node.url}/v1/sessions/${sessionId}`)).body;
        expect(read.revision).to.be.at.least(revision);
        expect(read.settings.n).to.equal(n);
        // Every other time the room on `a` is made anew by the next join.
        if (n % 4 === 1) await reader.ok('session:leave', { sessionId });
      }
      const log = await readLog(direct, sessionId);
      await reached(stays.socket, sessionId, 301);
      expect(expectOrderly(stays.socket, stays.from, log)).to.deep.include({ commits: 300, snapshots: [] });
    });
  });

  describe('the queue', () => {
    it('[Q5] a full queue refuses with OVERLOADED; what the same socket sent behind is refused too, and tried again it is in order', async function () {
      this.timeout(30_000);
      const sessionId = await opened();
      const socket = await connect(a.url);
      const last = 3000;
      const send = (n: number) =>
        socket.call('message:add', { sessionId, updateId: `u${n}`, message: { role: 'user', content: `${n}` } });
      // Redis stands still for less than a command may take, so that nothing leaves the queue meanwhile.
      await direct.call('CLIENT', 'PAUSE', '1000', 'ALL');
      const answers = await Promise.all(range(1, last).map(send));
      const refused = answers.findIndex(({ ok }) => !ok);
      expect(refused, 'the queue was never full').to.be.at.least(1500);
      expect(expectError(answers[refused].error).code).to.equal('OVERLOADED');
      for (const [at, answer] of answers.entries()) {
        if (at < refused) expect(answer.ok, `update ${at + 1}`).to.equal(true);
        else if (!answer.ok) expectError(answer.error, ['OVERLOADED', 'UNAVAILABLE']);
        else expect.fail(`update ${at + 1} was taken though ${refused + 1}, before it, was refused`);
      }
      const retryAfterMs = answers[refused].error.retryAfterMs as number;
      expect(retryAfterMs).to.be.above(0);
      const again = await Promise.all(range(refused + 1, last).map(send));
      for (const answer of again) expect(answer.ok, JSON.stringify(answer)).to.equal(true);
      const log = await readLog(direct, sessionId);
      expectSoundLog(log);
      expect(log.slice(1).map(({ body }) => Number(body.message.content))).to.deep.equal(range(1, last));
    });

    it('[Q6] a session that is flooded on both nodes does not stop the updates of another', async function () {
      this.timeout(30_000);
      const [flooded, calm] = [await opened(), await opened()];
      const flooders = await Promise.all(range(0, 3).map((i) => connect(both()[i % 2 ? 1 : 0].url)));
      const [one, other] = await Promise.all(both().map((node) => connect(node.url)));
      let outstanding = 0;
      let taken = 0;
      let flooding = true;
      const floods = flooders.map(async (socket, who) => {
        for (let n = 1; flooding; n += 1) {
          outstanding += 200;
          await Promise.all(
            range(1, 200).map(async (k) => {
              await socket.ok('settings:update', { sessionId: flooded, merge: { [`f${who}`]: n * k } });
              taken += 1;
            }),
          );
          outstanding -= 200;
        }
      });
      await until(() => outstanding >= 800, { what: 'the flood' });
      let mostBefore = 0;
      for (const n of range(1, 40)) {
        const socket = n % 2 === 0 ? one! : other!;
        const before = taken;
        await socket.ok('settings:update', { sessionId: calm, merge: { n } });
        mostBefore = Math.max(mostBefore, taken - before);
        expect(outstanding, 'the flood goes on').to.be.at.least(200);
      }
      flooding = false;
      await Promise.all(floods);
      // Whatever waits when it comes may be decided before it, and what comes meanwhile not for long.
      expect(mostBefore, 'updates of the flood that were taken before one of the calm session').to.be.below(2 * 800);
      expectSoundLog(await readLog(direct, calm));
    });

    it('[Q12] two nodes that write one session without a pause both get on: none is refused, none waits for the other to end', async function () {
      this.timeout(30_000);
      const sessionId = await opened();
      const writers = range(0, 3).map((i) =>
        startWriter({ name: `w${i}`, sessionId, url: () => both()[i % 2 ? 1 : 0].url }),
      );
      await until(() => writers.every(({ writes }) => writes.length > 100), {
        deadlineMs: 20_000,
        what: '100 acknowledgements for each writer',
      });
      await Promise.all(writers.map((writer) => writer.stop()));
      const counts = writers.map(({ writes }) => writes.length);
      const told = writers.flatMap(({ writes }) => writes.flatMap((write) => write.told));
      expect(told.filter((one) => one !== 'ok')).to.deep.equal([]);
      const shares = [0, 1].map((node) => counts[node]! + counts[node + 2]!);
      expect(Math.min(...shares) / Math.max(...shares), `acknowledged by each: ${shares.join(', ')}`).to.be.above(0.1);
      const log = await readLog(direct, sessionId);
      expectSoundLog(log);
      for (const writer of writers) expectAcknowledged(log, writer.acknowledged());
    });
  });

  describe('failures in the middle of a lane', () => {
    let proxy: RedisProxy;
    let far: Attune;
    before(async () => {
      proxy = await redis.proxy();
      far = await startAttune({ redisUrl: proxy.url, env: wholeLog });
    });
    after(async () => {
      await far?.destroy();
      await proxy?.close();
    });

    it('[Q7] when an update fails and may be retried, those of its socket behind it fail too, others are not touched, and the retry is not overtaken', async () => {
      const sessionId = await opened();
      const [socket, bystander] = await Promise.all([connect(far.url), connect(far.url)]);
      const send = (who: TestSocket, n: number) =>
        who.call('message:add', { sessionId, updateId: `u${n}`, message: { role: 'user', content: `${n}` } });
      expect((await send(socket, 1)).ok).to.equal(true);
      const hold = proxy.hold('attune-data', 'fromRedis');
      const first = send(socket, 2);
      // Redis has executed it; the answer will not come.
      await until(async () => (await readLog(direct, sessionId)).length === 3, { what: 'the commit in Redis' });
      const behind = range(3, 20).map((n) => send(socket, n));
      const apart = send(bystander, 100);
      const late: Promise<Wire>[] = [];
      const failed = first.then((answer) => {
        // In the same turn: an update that was not sent before, and then the retry.
        late.push(send(socket, 21), send(socket, 2));
        return answer;
      });
      // All of them wait in the queue when an event sent after them is answered.
      await Promise.all([socket, bystander].map((one) => one.refused('no:such:event', {}, 'INVALID_REQUEST')));
      expect(proxy.cut('attune-data')).to.be.above(0);
      hold.release();
      const unknown = expectError((await failed).error, 'OUTCOME_UNKNOWN');
      expect(unknown.details.updateId).to.equal('u2');
      for (const answer of await Promise.all(behind)) expectError(answer.error, 'UNAVAILABLE');
      expect((await apart).ok, 'the update of another socket').to.equal(true);
      const [overtaking, retried] = await Promise.all(late);
      expectError(overtaking.error, 'UNAVAILABLE');
      expect(retried).to.deep.include({ ok: true, duplicate: true, revision: 3 });
      for (const answer of await Promise.all(range(3, 21).map((n) => send(socket, n)))) {
        expect(answer).to.include({ ok: true, duplicate: false });
      }
      const log = await readLog(direct, sessionId);
      expectSoundLog(log);
      const own = log.map(({ body }) => Number(body.message?.content)).filter((n) => n >= 1 && n <= 21);
      expect(own).to.deep.equal(range(1, 21));
    });
  });

  describe('seen on the other node', () => {
    it('[Q8] a delete reaches the rooms of the other node, which end; the session made again is a new life for both', async () => {
      const sessionId = await opened({ life: 1 });
      const [one, other] = [await joined(a, sessionId), await joined(b, sessionId)];
      // Both nodes know the session when it goes.
      for (const n of range(1, 4)) {
        await (n % 2 === 0 ? one : other).socket.ok('settings:update', { sessionId, merge: { n } });
      }
      const { revision } = await one.socket.ok('session:delete', { sessionId });
      for (const { socket, from } of [one, other]) {
        const gone = await socket.next('session:deleted');
        expect(gone).to.deep.include({ sessionId, epoch: from.epoch, revision, reason: 'deleted' });
      }
      await other.socket.refused('settings:update', { sessionId, merge: { n: 9 } }, 'SESSION_NOT_FOUND');
      await other.socket.refused('session:join', { sessionId }, 'SESSION_NOT_FOUND');
      const made = (await other.socket.ok('session:open', { sessionId, settings: { life: 2 } })).session;
      expect(made.revision).to.equal(1);
      expect(made.epoch).to.not.equal(one.from.epoch);
      const ack = await one.socket.ok('settings:update', { sessionId, merge: { n: 10 } });
      expect(ack).to.deep.include({ epoch: made.epoch, revision: 2 });
      expect(ack.settings).to.deep.include({ life: 2, n: 10 });
      // The rooms had ended: nobody was told of the new life.
      expect(one.socket.events.at(-1)?.event).to.equal('session:deleted');
      expect(other.socket.events.at(-1)?.event).to.equal('session:deleted');
    });

    it('[Q9] an import that replaces a session gives its room on the other node a snapshot, and the room goes on from it', async () => {
      const sessionId = await opened({ from: 'client' });
      const { socket, from } = await joined(b, sessionId);
      for (const n of range(1, 5)) await socket.ok('settings:update', { sessionId, merge: { n } });
      const message = { id: 'm1', role: 'user', content: 'imported' };
      const line = JSON.stringify({ id: sessionId, settings: { from: 'import' }, messages: [message] });
      const answer = await request('POST', `${a.url}/v1/import?existing=replace`, {
        headers: { 'content-type': 'application/x-ndjson' },
        body: `${line}\n`,
      });
      expect(answer.body).to.deep.include({ taken: 0, replaced: 1, skipped: 0, refused: 0 });
      const told = await socket.next('session:snapshot');
      expect(told).to.include({ sessionId, reason: 'replaced' });
      expect(told.session).to.deep.include({
        id: sessionId,
        revision: 2,
        messageCount: 1,
        settings: { from: 'import' },
      });
      expect(told.session.epoch).to.not.equal(from.epoch);
      for (const node of both()) {
        const writer = await connect(node.url);
        const ack = await writer.ok('settings:update', { sessionId, merge: { node: node.port } });
        const seen = await socket.next('settings:updated', ({ epoch }) => epoch === told.session.epoch);
        expect(seen).to.deep.include({ revision: ack.revision, settings: { from: 'import', node: node.port } });
      }
      const rejoined = await socket.ok('session:join', { sessionId, cursor: { epoch: from.epoch, revision: 3 } });
      expect(rejoined.resumed, 'a cursor of the old life').to.equal(undefined);
      expect(rejoined.session.revision).to.equal(4);
    });
  });

  describe('a node that leaves', () => {
    for (const how of ['SIGTERM', 'SIGKILL'] as const) {
      const rule =
        how === 'SIGTERM'
          ? '[Q10] SIGTERM under load: clients are told, nothing acknowledged is lost, it ends with 0, and the other node goes on'
          : '[Q11] kill -9 under load: nothing acknowledged is lost, each update is committed once, and the other node goes on';
      it(rule, async function () {
        this.timeout(30_000);
        const sessionId = await opened();
        const leaving = await startAttune({ redisUrl: redis.url, env: wholeLog });
        try {
          const stays = await joined(b, sessionId);
          const leaves = await joined(leaving, sessionId);
          let isGone = false;
          const writers = range(1, 6).map((n) =>
            startWriter({ name: `w${n}`, sessionId, url: () => (n % 2 === 0 && !isGone ? leaving.url : b.url) }),
          );
          await acknowledgements(writers, 200);
          isGone = true;
          if (how === 'SIGKILL') await leaving.kill();
          else {
            expect(await leaving.stop()).to.equal(0);
            expect(leaves.socket.bodies('server:draining')).to.have.length(1);
          }
          await acknowledgements(writers, 200);
          await Promise.all(writers.map((writer) => writer.stop()));
          const { session } = await stays.socket.ok('session:get', { sessionId });
          await reached(stays.socket, sessionId, session.revision);
          const log = await readLog(direct, sessionId);
          expectSoundLog(log);
          const seen = expectOrderly(stays.socket, stays.from, log);
          expect(seen).to.deep.include({ snapshots: [], revision: session.revision, settings: session.settings });
          for (const writer of writers) expectAcknowledged(log, writer.acknowledged());
          expect(session.settings).to.deep.include(finalValues(writers));
          expect(writers.flatMap(({ writes }) => writes.flatMap(({ told }) => told))).to.not.include('INTERNAL');
        } finally {
          await leaving.destroy();
        }
      });
    }
  });
});
