// Black-box tests of what a room is sent, and of how a join says what it wants of it, from the contract alone.
import { expect } from 'chai';
import fastJsonPatch from 'fast-json-patch';
import { request } from '../support/http.js';
import { oneServer } from '../support/one-server.js';
import { range } from '../support/range.js';
import { closeRawSockets, openRaw } from '../support/raw-socket.js';
import { caughtUp, commitsSeen, revisionsOf } from '../support/room.js';
import { metric } from '../support/session-log.js';
import {
  expectAuthor,
  expectBase,
  expectRevision,
  expectSession,
  expectTime,
  freshId,
  type Wire,
} from '../support/shapes.js';
import type { TestSocket } from '../support/socket.js';
import { until } from '../support/until.js';

const applyDelta = (settings: Wire, delta: Wire): Wire =>
  fastJsonPatch.applyPatch(structuredClone(settings), delta, true).newDocument;

describe('rooms over Socket.IO', () => {
  const { client, opened, server } = oneServer();
  afterEach(closeRawSockets);

  describe('what a room is sent', () => {
    it('[C24] is each commit after the join once, in order, without a gap, whoever writes and whenever one joins', async () => {
      const [early, late, ...writers] = await Promise.all(range(1, 5).map(() => client()));
      const { id: sessionId } = await opened(early as TestSocket);
      await early?.ok('session:join', { sessionId });
      const write = (socket: TestSocket, who: number, n: number) =>
        n % 5 === 0
          ? socket.ok('message:add', { sessionId, message: { role: 'user', content: `${who}.${n}` } })
          : socket.ok('settings:update', { sessionId, merge: { options: { [`w${who}`]: n } } });
      const acks = writers.flatMap((socket, who) => range(1, 40).map((n) => write(socket, who, n)));
      const joined = await late?.ok('session:join', { sessionId });
      const revisions = revisionsOf(await Promise.all(acks));
      expect(new Set(revisions).size, 'each write has a revision of its own').to.equal(120);
      await caughtUp(early as TestSocket, sessionId);
      expect(revisionsOf(commitsSeen(early as TestSocket, sessionId))).to.deep.equal(range(2, 121));
      const from = joined.session.revision;
      if (from < 121) await caughtUp(late as TestSocket, sessionId);
      expect(revisionsOf(commitsSeen(late as TestSocket, sessionId))).to.deep.equal(range(from + 1, 121));
    });

    it('[C25] carries the commit base and reaches the writer too', async () => {
      const socket = await client({ clientId: 'tab-z', kind: 'tab' });
      const { id: sessionId, epoch } = await opened(socket);
      await socket.ok('session:join', { sessionId });
      const ack = await socket.ok('settings:update', { sessionId, merge: { model: 'own' }, updateId: 'mine' });
      const told = expectBase(await socket.next('settings:updated'), { sessionId, epoch, updateId: 'mine' });
      expect(told.revision).to.equal(ack.revision);
      expectAuthor(told.by, { userId: 'anonymous', clientId: 'tab-z', kind: 'tab' });
    });

    it('[C26] includes writes that asked for no acknowledgement', async () => {
      const [writer, reader] = [await client(), await client()];
      const { id: sessionId } = await opened(writer);
      await reader.ok('session:join', { sessionId });
      writer.send('settings:update', { sessionId, merge: { model: 'silent' } });
      expect((await reader.next('settings:updated')).settings.model).to.equal('silent');
    });

    it('[C31] is nothing of other sessions', async () => {
      const [writer, reader] = [await client(), await client()];
      const [one, two] = [await opened(writer), await opened(writer)];
      await reader.ok('session:join', { sessionId: one.id });
      await writer.ok('settings:update', { sessionId: two.id, merge: { model: 'secret' } });
      await writer.ok('settings:update', { sessionId: one.id, merge: { model: 'open' } });
      expect((await reader.next('settings:updated')).sessionId).to.equal(one.id);
      expect(reader.events).to.have.length(1);
    });

    it('[C33] forgets from the log what a clear or a deleted message removed', async () => {
      const [writer, reader] = [await client(), await client()];
      const { id: sessionId, epoch } = await opened(writer);
      for (const id of ['deleted', 'cleared']) {
        await writer.ok('message:add', { sessionId, message: { id, role: 'user', content: `SECRET ${id}` } });
        await writer.ok('message:update', { sessionId, messageId: id, append: ' SECRET too' });
      }
      await writer.ok('message:delete', { sessionId, messageId: 'deleted' });
      const cursor = { epoch, revision: 1 };
      const partly = JSON.stringify(await reader.ok('session:join', { sessionId, cursor }));
      expect(partly).to.not.include('SECRET deleted');
      await writer.ok('session:clear', { sessionId });
      const ack = await reader.ok('session:join', { sessionId, cursor });
      expect(JSON.stringify(ack)).to.not.include('SECRET');
      expect(ack.revision ?? ack.session.revision).to.equal(7);
    });

    it('[C34] begins, for a cursor before the first commit, with session:created', async () => {
      const socket = await client({ clientId: 'maker' });
      const session = await opened(socket, { settings: { model: 'first' }, title: 'T', metadata: { a: 1 } });
      const cursor = { epoch: session.epoch, revision: 0 };
      const ack = await socket.ok('session:join', { sessionId: session.id, cursor });
      expect(ack.commits).to.have.length(1);
      const created = expectBase(ack.commits[0], { event: 'session:created', revision: 1, title: 'T' });
      expect(created.settings).to.deep.equal(session.settings);
      expect(created.metadata).to.deep.equal({ a: 1 });
      expectAuthor(created.by, { clientId: 'maker' });
    });

    it('[C32] after a time of not reading is no gap: the next commits, a snapshot, or an end after which one resumes', async function () {
      this.timeout(30_000);
      const writer = await client();
      const { id: sessionId, epoch } = await opened(writer);
      const slow = await openRaw(server.url);
      const joined = await slow.ask('session:join', JSON.stringify({ sessionId }));
      slow.ws.pause();
      const filler = 'x'.repeat(60_000);
      for (const n of range(1, 200)) {
        await writer.ok('settings:update', { sessionId, replace: { options: { n, filler } } });
      }
      slow.ws.resume();
      const { session } = await writer.ok('session:get', { sessionId });
      const isOfOrder = ({ event, body }: { event: string; body: Wire }) =>
        body.sessionId === sessionId && event !== 'presence:updated';
      const seen = () => slow.events().filter(isOfOrder);
      const positionOf = ({ event, body }: { event: string; body: Wire }): number =>
        event === 'session:snapshot' ? body.session.revision : body.revision;
      const isNewest = () => seen().some((one) => positionOf(one) === session.revision);
      const isCut = () => slow.ws.readyState === slow.ws.CLOSED;
      await until(() => isCut() || isNewest(), {
        deadlineMs: 10_000,
        everyMs: 100,
        what: 'the newest state or the end',
      });
      let position: number = joined.session.revision;
      for (const one of seen()) {
        if (one.event === 'session:snapshot') expect(one.body.reason).to.be.oneOf(['slow-consumer', 'gap']);
        else expect(one.body.revision).to.equal(position + 1);
        expect(positionOf(one)).to.be.above(position);
        position = positionOf(one);
      }
      const again = await client();
      const ack = await again.ok('session:join', { sessionId, cursor: { epoch, revision: position } });
      if (ack.resumed) expect(revisionsOf(ack.commits)).to.deep.equal(range(position + 1, session.revision));
      else expect(ack.session).to.deep.equal(session);
    });
  });

  describe('delivery and body of a join', () => {
    it('[C21] latest may skip settings, never the last, and sends it before a later commit of another kind', async () => {
      const [writer, reader] = [await client(), await client()];
      const { id: sessionId } = await opened(writer);
      await reader.ok('session:join', { sessionId, delivery: 'latest' });
      const burst = range(1, 80).map((n) => writer.ok('settings:update', { sessionId, merge: { options: { n } } }));
      const message = writer.ok('message:add', { sessionId, message: { role: 'user', content: 'then' } });
      const tail = range(81, 99).map((n) => writer.ok('settings:update', { sessionId, merge: { options: { n } } }));
      await Promise.all([...burst, message, ...tail]);
      await caughtUp(reader, sessionId);
      const seen = commitsSeen(reader, sessionId);
      const revisions = revisionsOf(seen);
      expect(revisions).to.deep.equal([...new Set(revisions)].sort((a, b) => a - b));
      const at = seen.findIndex((commit) => commit.event === 'message:added');
      expect(seen[at - 1]).to.include({ event: 'settings:updated', revision: 81 });
      expect(seen[at - 1].settings.options.n).to.equal(80);
      expect(seen.at(-1).settings.options.n).to.equal(99);
    });

    it('[C22] delta sends operations and their base instead of the settings, and leaves them out of acknowledgements', async () => {
      const [writer, reader] = [await client(), await client()];
      const session = await opened(writer, { settings: { list: [1, 2, 3], 'a/b~c': { deep: true } } });
      const base = { sessionId: session.id };
      await reader.ok('session:join', { ...base, body: 'delta' });
      const own = await reader.ok('settings:update', { ...base, merge: { list: [1, 3], mode: 'm' } });
      expect(own).to.not.have.property('settings');
      expect(own).to.include.keys('settingsRevision', 'updatedAt', 'changedPaths', 'revision', 'epoch', 'duplicate');
      await writer.ok('settings:update', { ...base, patch: [{ op: 'remove', path: '/a~1b~0c/deep' }] });
      const full = await writer.ok('settings:update', { ...base, replace: { model: 'whole' } });
      expect(full.settings).to.deep.equal({ model: 'whole' });
      await caughtUp(reader, session.id);
      let { settings, settingsRevision } = session;
      for (const event of reader.bodies('settings:updated')) {
        expectBase(event, base);
        expect(event).to.not.have.any.keys('settings', 'request');
        expect(event.from).to.equal(settingsRevision);
        settings = applyDelta(settings, event.delta);
        settingsRevision = event.settingsRevision;
        expect(event.changedPaths).to.be.an('array').with.length.above(0);
      }
      expect(settings).to.deep.equal({ model: 'whole' });
      expect(reader.bodies('settings:updated')).to.have.length(3);
    });

    it('[C23] delta and latest together carry, after conflation, settings or a delta that applies', async () => {
      const [writer, reader] = [await client(), await client()];
      const session = await opened(writer);
      const sessionId = session.id;
      await reader.ok('session:join', { sessionId, body: 'delta', delivery: 'latest' });
      await Promise.all(
        range(1, 120).map((n) => writer.ok('settings:update', { sessionId, merge: { options: { [`k${n % 7}`]: n } } })),
      );
      const now = await caughtUp(reader, sessionId);
      let { settings, settingsRevision } = session;
      for (const event of reader.bodies('settings:updated')) {
        if (event.settings === undefined) expect(event.from).to.equal(settingsRevision);
        settings = event.settings ?? applyDelta(settings, event.delta);
        settingsRevision = event.settingsRevision;
      }
      expect(settings).to.deep.equal(now.settings);
      expect(settingsRevision).to.equal(now.settingsRevision);
    });

    /** As many updates at once: their commits come to the node together. */
    const burst = (writer: TestSocket, sessionId: string, from: number, to: number): Promise<Wire[]> =>
      Promise.all(range(from, to).map((n) => writer.ok('settings:update', { sessionId, merge: { n } })));

    it('[T28] a reader of deltas whose commits were conflated is given the settings in place of delta and from', async () => {
      const writer = await client();
      const session = await opened(writer, { settings: { n: 0, list: [1] } });
      const sessionId = session.id;
      const reader = await client();
      await reader.ok('session:join', { sessionId, body: 'delta', delivery: 'latest' });
      const acks = await burst(writer, sessionId, 1, 60);
      const last = acks.at(-1);
      await reader.next('settings:updated', (body) => body.revision === last.revision);
      const told = reader.bodies('settings:updated');
      expect(told.length, 'conflated').to.be.below(60);
      let { settingsRevision } = session;
      let conflated = 0;
      for (const body of told) {
        expectBase(body, { sessionId, epoch: session.epoch });
        expect(body).to.not.have.property('request');
        const skipped = body.settingsRevision - settingsRevision > 1;
        if (skipped) {
          expect(body).to.not.have.any.keys('delta', 'from');
          expect(body.settings).to.deep.equal({ ...session.settings, n: body.revision - 1 });
          conflated += 1;
        } else if (body.settings === undefined) {
          expect(body.from).to.equal(settingsRevision);
          expect(body.delta).to.deep.equal([{ op: 'replace', path: '/n', value: body.revision - 1 }]);
        }
        settingsRevision = body.settingsRevision;
      }
      expect(conflated, 'events that stand for several commits').to.be.above(0);
    });

    it('[T29] joining again replaces the options: every becomes latest and latest every, without a gap', async () => {
      const writer = await client();
      const { id: sessionId } = await opened(writer);
      const reader = await client();
      await reader.ok('session:join', { sessionId });
      await burst(writer, sessionId, 1, 40);
      await reader.next('settings:updated', (body) => body.revision === 41);
      expect(reader.bodies('settings:updated').map(({ revision }) => revision)).to.deep.equal(range(2, 41));

      await reader.ok('session:join', { sessionId, delivery: 'latest' });
      await burst(writer, sessionId, 41, 80);
      await reader.next('settings:updated', (body) => body.revision === 81);
      const latest = reader
        .bodies('settings:updated')
        .slice(40)
        .map(({ revision }) => revision);
      expect(latest.length, 'events of latest').to.be.within(1, 30);
      expect(latest).to.deep.equal([...new Set(latest)].sort((a, b) => a - b));

      const seen = reader.bodies('settings:updated').length;
      const { session } = await reader.ok('session:join', { sessionId, delivery: 'every', body: 'delta' });
      expect(session.revision).to.equal(81);
      await burst(writer, sessionId, 81, 120);
      await reader.next('settings:updated', (body) => body.revision === 121);
      const every = reader.bodies('settings:updated').slice(seen);
      expect(every.map(({ revision }) => revision)).to.deep.equal(range(82, 121));
      for (const body of every) expect(body).to.include.keys('delta', 'from').and.not.have.property('settings');
      // One place in the room, however often it joined.
      expect(await metric(server.url, 'attune_rooms')).to.equal(1);
      await reader.ok('session:leave', { sessionId });
      expect(await metric(server.url, 'attune_rooms')).to.equal(0);
    });
  });
});

describe('the log of a session, with small limits', () => {
  const { client, server } = oneServer({ env: { LOG_COMMITS_MAX: '10' } });

  it('[C14] serves a cursor that it still reaches, and answers an older one with the document', async () => {
    const [writer, reader] = [await client(), await client()];
    const { session } = await writer.ok('session:open', { sessionId: freshId('c') });
    const { id: sessionId, epoch } = session;
    for (const n of range(1, 40)) await writer.ok('settings:update', { sessionId, merge: { options: { n } } });
    const near = await reader.ok('session:join', { sessionId, cursor: { epoch, revision: 31 } });
    expect(near.resumed).to.equal(true);
    expect(revisionsOf(near.commits)).to.deep.equal(range(32, 41));
    const far = await reader.ok('session:join', { sessionId, cursor: { epoch, revision: 1 } });
    expectSession(far.session, sessionId);
    expect(far.resumed ?? false).to.equal(false);
    expectRevision(far.session.revision, 41);
    expectTime(far.session.updatedAt);
    const { body } = await request('GET', `${server.url}/v1/sessions/${sessionId}`);
    expect(body).to.deep.equal(far.session);
  });
});
