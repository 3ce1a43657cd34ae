// Redis loses what it holds, or holds something else: no reader is left behind or misled.
import { expect } from 'chai';
import { farAndNear, isPublication, MENDED_MS, reached, updateN } from '../support/far-and-near.js';
import { expectProblem, request } from '../support/http.js';
import { range } from '../support/range.js';
import { expectOrderly, expectSoundLog, keysOf, readLog } from '../support/session-log.js';
import { expectError, type Wire } from '../support/shapes.js';
import { connect } from '../support/socket.js';
import { until } from '../support/until.js';
import { acknowledgements, startWriter } from '../support/writer.js';

describe('a Redis that loses data', () => {
  const nodes = farAndNear();
  const { joined, opened } = nodes;
  const CURSORS = [1, 3, 5];

  it("[F5] a session's log deleted by hand: live readers go on, an old cursor is given the document, no other session notices", async () => {
    const { socket: writer, sessionId } = await opened();
    const other = await opened();
    const [observer, apart] = [await joined(nodes.far, sessionId), await joined(nodes.far, other.sessionId)];
    for (const n of range(1, 6)) await updateN(writer, sessionId, n);
    await reached(observer.socket, sessionId, 7);
    expect(await nodes.direct.del(keysOf(sessionId).log)).to.equal(1);
    for (const n of range(7, 9)) await updateN(writer, sessionId, n);
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
    await updateN(other.socket, other.sessionId, 1);
    await reached(apart.socket, other.sessionId, 2);
    expect(apart.socket.events.map(({ event }) => event)).to.deep.equal(['settings:updated']);
  });

  it("[F6] a session's log deleted while the feed is cut off: the room is given a snapshot, reason gap", async () => {
    const { socket: writer, sessionId } = await opened();
    const observer = await joined(nodes.far, sessionId);
    nodes.proxy.frames('attune-feed', (frame) => (isPublication(frame) ? [] : [frame]));
    // Its check must not come in between, or it would be given the commits.
    const hold = nodes.proxy.hold('attune-data', 'toRedis');
    await Promise.all(range(1, 3).map((n) => updateN(writer, sessionId, n)));
    await nodes.direct.del(keysOf(sessionId).log);
    hold.release();
    const told = await observer.socket.next('session:snapshot', undefined, MENDED_MS);
    nodes.proxy.frames('attune-feed', undefined);
    expect(told.reason).to.equal('gap');
    const { session } = await writer.ok('session:get', { sessionId });
    expect(told.session).to.deep.equal(session);
    await updateN(writer, sessionId, 4);
    await reached(observer.socket, sessionId, 5);
    expect(observer.socket.events.map(({ event }) => event)).to.deep.equal(['session:snapshot', 'settings:updated']);
  });

  it("[F7] a session's document deleted by hand is session:deleted, reason lost, and SESSION_NOT_FOUND; it can be made again", async () => {
    const { socket: writer, sessionId } = await opened();
    const other = await opened();
    const observers = [await joined(nodes.far, sessionId), await joined(nodes.near, sessionId)];
    const apart = await joined(nodes.far, other.sessionId);
    await writer.ok('message:add', { sessionId, message: { id: 'm1', role: 'user', content: 'gone' } });
    for (const n of range(1, 3)) await updateN(writer, sessionId, n);
    await nodes.direct.del(keysOf(sessionId).doc);
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
    await updateN(writer, sessionId, 10);
    expect((await writer.ok('message:list', { sessionId })).messages).to.deep.equal([]);
    expectSoundLog(await readLog(nodes.direct, sessionId));
    await updateN(other.socket, other.sessionId, 1);
    await reached(apart.socket, other.sessionId, 2);
    expect(apart.socket.events.map(({ event }) => event)).to.deep.equal(['settings:updated']);
  });

  it('[F8] a key that holds something else is refused with a typed error and left alone; other sessions go on', async () => {
    for (const key of ['doc', 'log', 'ids', 'messages', 'history'] as const) {
      const { socket: writer, sessionId } = await opened();
      const other = await opened();
      const observer = await joined(nodes.far, other.sessionId);
      await writer.ok('message:add', { sessionId, updateId: 'm', message: { id: 'm', role: 'user', content: 'm' } });
      const name = keysOf(sessionId)[key];
      const was = await nodes.direct.dumpBuffer(name);
      await nodes.direct.set(name, 'not ours');
      const answer = await writer.call('settings:update', { sessionId, merge: { n: 1 } });
      expect(answer.ok, key).to.equal(false);
      expectError(answer.error);
      expect(await nodes.direct.get(name), key).to.equal('not ours');
      await updateN(other.socket, other.sessionId, 1);
      await reached(observer.socket, other.sessionId, 2);
      // Put back, it works again.
      await nodes.direct.restore(name, 0, was, 'REPLACE');
      const { revision } = await until(() => updateN(writer, sessionId, 2), { what: `a write after ${key} is whole` });
      expect(revision, key).to.equal(3);
      expectSoundLog(await readLog(nodes.direct, sessionId));
    }
  });

  it('[V9] a session whose document is of a foreign type is SESSION_NOT_FOUND on every way, and it is left alone', async () => {
    const { socket, sessionId } = await opened(nodes.near);
    await socket.ok('message:add', { sessionId, message: { id: 'm', role: 'user', content: 'm' } });
    const { doc } = keysOf(sessionId);
    await nodes.direct.del(doc);
    await nodes.direct.set(doc, 'not ours');
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
    const url = `${nodes.near.url}/v1/sessions/${sessionId}`;
    const patched = await request('PATCH', `${url}/settings`, { body: { model: 'x' } });
    for (const answer of [await request('GET', url), patched, await request('DELETE', url)]) {
      expectProblem(answer, 'SESSION_NOT_FOUND');
    }
    expect(await nodes.direct.get(doc)).to.equal('not ours');
  });

  it('[F9] FLUSHALL: every room is session:deleted, reason lost, and the ids can be used anew', async () => {
    const sessions = await Promise.all(range(1, 5).map(() => opened()));
    const rooms = await Promise.all(
      sessions.flatMap(({ sessionId }) => [joined(nodes.far, sessionId), joined(nodes.near, sessionId)]),
    );
    for (const { socket, sessionId } of sessions) await updateN(socket, sessionId, 1);
    await nodes.direct.flushall();
    for (const { socket, from } of rooms) {
      const gone = await socket.next('session:deleted', undefined, MENDED_MS);
      expect(gone).to.deep.include({ sessionId: from.id, epoch: from.epoch, reason: 'lost' });
    }
    for (const { socket, sessionId } of sessions) {
      await socket.refused('settings:update', { sessionId, merge: { n: 2 } }, 'SESSION_NOT_FOUND');
      expect((await socket.ok('session:open', { sessionId })).session.revision).to.equal(1);
      expect((await updateN(socket, sessionId, 3)).revision).to.equal(2);
    }
    const { sessions: listed } = (await (await fetch(`${nodes.far.url}/v1/sessions`)).json()) as Wire;
    expect(listed.map(({ id }: Wire) => id).sort()).to.deep.equal(sessions.map(({ sessionId }) => sessionId).sort());
  });

  it('[F10] SCRIPT FLUSH under load: no client gets an error', async () => {
    const { sessionId } = await opened();
    const observer = await joined(nodes.far, sessionId);
    const both = [nodes.near, nodes.far];
    const writers = range(1, 4).map((n) => startWriter({ name: `w${n}`, sessionId, url: () => both[n % 2]!.url }));
    for (let flushes = 0; flushes < 20; flushes += 1) {
      await nodes.direct.script('FLUSH');
      await acknowledgements(writers, 20);
    }
    await Promise.all(writers.map((writer) => writer.stop()));
    const told = writers.flatMap(({ writes }) => writes.flatMap((write) => write.told));
    expect(told.length).to.be.at.least(400);
    expect(told.filter((one) => one !== 'ok')).to.deep.equal([]);
    const log = await readLog(nodes.direct, sessionId);
    expectSoundLog(log);
    await reached(observer.socket, sessionId, log.length);
    expect(expectOrderly(observer.socket, observer.from, log)).to.deep.include({ snapshots: [] });
  });

  it('[F11] Redis started anew: its rooms are given a snapshot, reason epoch, old cursors too, and revisions go on', async function () {
    this.timeout(30_000);
    const { socket: writer, sessionId } = await opened();
    const observers = [
      await joined(nodes.far, sessionId),
      await joined(nodes.near, sessionId),
      await joined(nodes.near, sessionId, { delivery: 'latest', body: 'delta' }),
    ];
    for (const n of range(1, 20)) await updateN(writer, sessionId, n);
    for (const { socket } of observers) await reached(socket, sessionId, 21);
    await nodes.redis.restart();
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
      const again = await connect(nodes.near.url);
      const cursor = { epoch: observers[0]!.from.epoch, revision };
      const reply = await again.ok('session:join', { sessionId, cursor });
      expect(reply.resumed, `cursor at ${revision} of the old epoch`).to.equal(undefined);
      expect(reply.session).to.deep.equal(told[0].session);
    }
    const ack = await updateN(writer, sessionId, 21);
    expect(ack).to.deep.include({ epoch: told[0].session.epoch, revision: 22 });
    const guarded = { sessionId, merge: { n: 0 }, ifEpoch: observers[0]!.from.epoch };
    await writer.refused('settings:update', guarded, 'REVISION_CONFLICT');
    for (const { socket } of observers) await reached(socket, sessionId, 22);
    const log = await readLog(nodes.direct, sessionId);
    expectSoundLog(log);
    for (const { socket, from } of observers.slice(0, 2)) {
      expect(expectOrderly(socket, from, log)).to.include({ revision: 22, commits: 21 });
    }
    expect(new Set(log.map(({ body }) => body.epoch))).to.have.length(2);
  });
});
