// Black-box tests of the session:* events and of what a room is sent, from the contract alone.
import { expect } from 'chai';
import fastJsonPatch from 'fast-json-patch';
import { startAttune, type Attune } from '../support/attune.js';
import { request } from '../support/http.js';
import { closeRawSockets, openRaw } from '../support/raw-socket.js';
import {
  expectAuthor,
  expectBase,
  expectError,
  expectRevision,
  expectSession,
  expectTime,
  expectWrite,
  freshId,
  type Wire,
} from '../support/shapes.js';
import { closeSockets, connect, connectRefused, type HandshakeAuth, type TestSocket } from '../support/socket.js';
import { until } from '../support/until.js';

const COMMIT_EVENTS = [
  'settings:updated',
  'message:added',
  'message:updated',
  'message:deleted',
  'session:described',
  'session:cleared',
  'session:deleted',
];

/** The commits of a session that a socket was sent, in order of arrival, as a list of commits shows them. */
function commitsSeen(socket: TestSocket, sessionId: string): Wire[] {
  return socket.events
    .filter(({ event, body }) => COMMIT_EVENTS.includes(event) && body.sessionId === sessionId)
    .map(({ event, body }) => ({ ...body, event }));
}

const revisionsOf = (commits: Wire[]): number[] => commits.map((commit) => commit.revision);
const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);
const applyDelta = (settings: Wire, delta: Wire): Wire =>
  fastJsonPatch.applyPatch(structuredClone(settings), delta, true).newDocument;

describe('sessions over Socket.IO', () => {
  let attune: Attune;
  before(async () => {
    attune = await startAttune();
  });
  after(() => attune?.destroy());
  afterEach(closeSockets);
  afterEach(closeRawSockets);

  const client = (auth?: HandshakeAuth) => connect(attune.url, auth);
  async function opened(socket: TestSocket, more: Wire = {}): Promise<Wire> {
    return (await socket.ok('session:open', { sessionId: freshId('c'), ...more })).session;
  }
  /** A second writer's whole view: everything up to the session's newest revision has arrived at `reader`. */
  async function caughtUp(reader: TestSocket, sessionId: string): Promise<Wire> {
    const { session } = await reader.ok('session:get', { sessionId });
    await until(() => revisionsOf(commitsSeen(reader, sessionId)).includes(session.revision), {
      what: `revision ${session.revision}`,
    });
    return session;
  }

  describe('session:open', () => {
    it('[C1] makes a session and answers with the whole document', async () => {
      const socket = await client({ clientId: 'tab-a', kind: 'bot' });
      const sessionId = freshId('c');
      const asked = { sessionId, settings: { model: 'm-1' }, title: 'Pump limits', metadata: { ward: 7 } };
      const ack = await socket.ok('session:open', asked);
      expectWrite(ack, { created: true, duplicate: false, revision: 1 });
      expectSession(ack.session, sessionId);
      expect(ack.session).to.deep.include({
        title: 'Pump limits',
        metadata: { ward: 7 },
        revision: 1,
        messageCount: 0,
      });
      expect(ack.session.settingsRevision).to.equal(1);
      expect(ack.session.epoch).to.equal(ack.epoch);
      expect(ack.session.settings.model).to.equal('m-1');
      expect(ack.session.createdAt).to.equal(ack.session.updatedAt);
      expect(Math.abs(Date.now() - Date.parse(ack.session.createdAt))).to.be.below(60_000);
      expectAuthor(ack.session.updatedBy, { userId: 'anonymous', clientId: 'tab-a', kind: 'bot' });
    });

    it('[C2] of a session that exists answers with it as it is and commits nothing', async () => {
      const socket = await client();
      const session = await opened(socket, { settings: { model: 'first' }, title: 'first' });
      const again = await socket.ok('session:open', {
        sessionId: session.id,
        settings: { model: 'second' },
        title: 'b',
      });
      expect(again.created).to.equal(false);
      expect(again.session).to.deep.equal(session);
      expect((await socket.ok('session:get', { sessionId: session.id })).session).to.deep.equal(session);
    });

    it('[C2] at once from many sockets creates the session once', async () => {
      const sockets = await Promise.all(range(1, 4).map(() => client()));
      const sessionId = freshId('c');
      const acks = await Promise.all(sockets.map((socket) => socket.ok('session:open', { sessionId })));
      expect(acks.filter((ack) => ack.created)).to.have.length(1);
      for (const ack of acks) expect(ack.session).to.deep.equal(acks[0].session);
    });

    it('[C3] without an id makes a fresh one that begins with the prefix', async () => {
      const socket = await client();
      const acks = await Promise.all(range(1, 3).map(() => socket.ok('session:open', { prefix: 'case-' })));
      for (const ack of acks) expectSession(ack.session);
      for (const ack of acks) expect(ack.session.id).to.match(/^case-.{6,}/);
      expect(new Set(acks.map((ack) => ack.session.id)).size).to.equal(3);
      expectSession((await socket.ok('session:open', {})).session);
    });

    it('[C4] takes ids of 1 to 128 of the allowed characters and refuses every other', async () => {
      const socket = await client();
      const longest = freshId('c').padEnd(128, 'x');
      for (const sessionId of [longest, `7${freshId('c')}`, `${freshId('A')}._:-`]) {
        expectSession((await socket.ok('session:open', { sessionId })).session, sessionId);
      }
      const refused = [
        '',
        `${longest}x`,
        '-a',
        '.a',
        '..',
        '../x',
        '__proto__',
        'a b',
        'a/b',
        'ä',
        'a*',
        'a{b}',
        'a\0b',
      ];
      for (const sessionId of [...refused, 'x'.repeat(10_000), 5, null, {}, ['a']]) {
        await socket.refused('session:open', { sessionId }, 'INVALID_REQUEST');
        await socket.refused('session:get', { sessionId }, 'INVALID_REQUEST');
        await socket.refused('session:join', { sessionId, create: true }, 'INVALID_REQUEST');
      }
      await socket.refused('session:open', { prefix: '*' }, 'INVALID_REQUEST');
    });

    it('[C5] starts the settings from the defaults, overlaid with what the creator sent', async () => {
      const socket = await client();
      const plain = await opened(socket);
      const given = { model: 'mine', options: { temperature: 0.11, ward: [1] } };
      const overlaid = await opened(socket, { settings: given });
      expect(overlaid.settings).to.deep.equal({
        ...plain.settings,
        model: 'mine',
        options: { ...plain.settings.options, temperature: 0.11, ward: [1] },
      });
      await socket.refused('session:open', { sessionId: freshId('c'), settings: { options: 5 } }, 'INVALID_SETTINGS');
      await socket.refused('session:open', { sessionId: freshId('c'), settings: [] }, 'INVALID_REQUEST');
    });

    it('[C6] takes a title of 200 characters and metadata of 8 KiB, and no more', async () => {
      const socket = await client();
      const session = await opened(socket, { title: 'é'.repeat(200), metadata: { text: 'x'.repeat(8_000) } });
      expect(session.title).to.equal('é'.repeat(200));
      const tooMuch = [{ title: 'x'.repeat(201) }, { metadata: { text: 'x'.repeat(8_192) } }];
      for (const more of tooMuch) {
        const sessionId = freshId('c');
        await socket.refused('session:open', { sessionId, ...more }, ['TOO_LARGE', 'INVALID_REQUEST']);
        await socket.refused('session:get', { sessionId }, 'SESSION_NOT_FOUND');
        await socket.refused('session:describe', { sessionId: session.id, ...more }, ['TOO_LARGE', 'INVALID_REQUEST']);
      }
      for (const more of [{ title: 5 }, { metadata: 'x' }, { metadata: [1] }]) {
        await socket.refused('session:open', { sessionId: freshId('c'), ...more }, 'INVALID_REQUEST');
      }
    });

    it('[C7] with the same updateId answers the same again, as a duplicate', async () => {
      const socket = await client();
      const asked = { sessionId: freshId('c'), updateId: 'open-1', settings: { model: 'm' } };
      const first = await socket.ok('session:open', asked);
      const again = await socket.ok('session:open', asked);
      expect(again).to.include({ duplicate: true, revision: first.revision, epoch: first.epoch });
      expect(again.session).to.deep.equal(first.session);
    });
  });

  describe('session:join', () => {
    it('[C8] answers with the document and the participants, and the room follows', async () => {
      const [writer, reader] = [await client(), await client()];
      const session = await opened(writer);
      const ack = await reader.ok('session:join', { sessionId: session.id });
      expect(ack.session).to.deep.equal(session);
      expect(ack.participants).to.have.length(1);
      expect(ack.resumed ?? false).to.equal(false);
      const write = await writer.ok('settings:update', { sessionId: session.id, merge: { model: 'after' } });
      const event = await reader.next('settings:updated');
      expect(event).to.include({ sessionId: session.id, revision: write.revision });
      expect(writer.events).to.deep.equal([]);
    });

    it('[C9] of an unknown session is refused, or with create makes it as session:open does', async () => {
      const socket = await client();
      const sessionId = freshId('c');
      await socket.refused('session:join', { sessionId }, 'SESSION_NOT_FOUND');
      const ack = await socket.ok('session:join', { sessionId, create: true, settings: { model: 'made' } });
      expectSession(ack.session, sessionId);
      expect(ack.session.settings.model).to.equal('made');
      const again = await socket.ok('session:join', { sessionId, create: true, settings: { model: 'other' } });
      expect(again.session).to.deep.equal(ack.session);
    });

    it('[C10] ignores create with a cursor', async () => {
      const socket = await client();
      const sessionId = freshId('c');
      const cursor = { epoch: 'none', revision: 3 };
      await socket.refused('session:join', { sessionId, create: true, cursor }, 'SESSION_NOT_FOUND');
      await socket.refused('session:get', { sessionId }, 'SESSION_NOT_FOUND');
    });

    it('[C11] with a cursor answers with the commits after it, as the room saw them', async () => {
      const [writer, reader, late] = [await client(), await client(), await client()];
      const session = await opened(writer);
      const base = { sessionId: session.id };
      const first = await writer.ok('settings:update', { ...base, merge: { model: 'one' } });
      await reader.ok('session:join', base);
      await writer.ok('settings:update', {
        ...base,
        patch: [{ op: 'add', path: '/mode', value: 'two' }],
        updateId: 'u-2',
      });
      await writer.ok('message:add', { ...base, message: { id: 'm', role: 'user', content: 'hello' } });
      await writer.ok('message:update', { ...base, messageId: 'm', append: ' there' });
      await writer.ok('session:describe', { ...base, title: 'told' });
      await caughtUp(reader, session.id);
      const cursor = { epoch: first.epoch, revision: first.revision };
      const ack = await late.ok('session:join', { ...base, cursor });
      expect(ack).to.include({ resumed: true, epoch: first.epoch, revision: 6 });
      expect(ack).to.not.have.property('session');
      expect(ack.participants).to.have.length(2);
      expect(ack.commits).to.deep.equal(commitsSeen(reader, session.id));
      await writer.ok('settings:update', { ...base, merge: { model: 'seven' } });
      expect((await late.next('settings:updated')).revision).to.equal(7);
      expect(revisionsOf(commitsSeen(late, session.id))).to.deep.equal([7]);
    });

    it('[C11] with the newest cursor resumes with no commits', async () => {
      const socket = await client();
      const { id: sessionId, epoch, revision } = await opened(socket);
      const ack = await socket.ok('session:join', { sessionId, cursor: { epoch, revision } });
      expect(ack).to.deep.include({ resumed: true, epoch, revision, commits: [] });
    });

    it('[C12] answers with the document where the cursor is of another epoch or of the future', async () => {
      const socket = await client();
      const session = await opened(socket);
      for (const cursor of [
        { epoch: 'another', revision: 1 },
        { epoch: session.epoch, revision: 2 },
        { epoch: session.epoch, revision: Number.MAX_SAFE_INTEGER },
      ]) {
        const ack = await socket.ok('session:join', { sessionId: session.id, cursor });
        expect(ack.session, JSON.stringify(cursor)).to.deep.equal(session);
        expect(ack.resumed ?? false).to.equal(false);
      }
    });

    it('[C12] answers with the document where the cursor is no position at all', async () => {
      const socket = await client();
      const { id: sessionId, epoch } = await opened(socket);
      for (const cursor of [
        { epoch, revision: -1 },
        { epoch, revision: 1.5 },
        { epoch, revision: 2 ** 53 },
        { epoch: 'x'.repeat(3000), revision: 1 },
      ]) {
        const ack = await socket.ok('session:join', { sessionId, cursor });
        expect(ack.resumed ?? false).to.equal(false);
        expect(ack.session.revision).to.equal(1);
      }
    });

    it('[C13] with options that are not the contract’s is refused and enters no room', async () => {
      const [socket, writer] = [await client(), await client()];
      const { id: sessionId, epoch } = await opened(writer);
      for (const more of [
        { cursor: 5 },
        { cursor: { epoch } },
        { cursor: { epoch, revision: '1' } },
        { cursor: { epoch: 7, revision: 1 } },
        { delivery: 'sometimes' },
        { body: 'half' },
        { create: 'yes' },
      ]) {
        await socket.refused('session:join', { sessionId, ...more }, 'INVALID_REQUEST');
      }
      await writer.ok('settings:update', { sessionId, merge: { model: 'unseen' } });
      await socket.ok('session:join', { sessionId });
      const { revision } = await writer.ok('settings:update', { sessionId, merge: { model: 'seen' } });
      await socket.next('settings:updated', (body) => body.revision === revision);
      expect(socket.bodies('settings:updated')).to.have.length(1);
    });

    it('[C14] answers a resume of more than 512 KiB with the document, a shorter one with its commits', async () => {
      const [writer, reader] = [await client(), await client()];
      const { id: sessionId, epoch } = await opened(writer);
      for (const at of range(1, 3)) {
        await writer.ok('message:add', { sessionId, message: { role: 'user', content: String(at).repeat(200_000) } });
      }
      const long = await reader.ok('session:join', { sessionId, cursor: { epoch, revision: 1 } });
      expectSession(long.session, sessionId);
      expect(long).to.not.have.property('commits');
      const short = await reader.ok('session:join', { sessionId, cursor: { epoch, revision: 2 } });
      expect(revisionsOf(short.commits)).to.deep.equal([3, 4]);
      expect(short.resumed).to.equal(true);
    });

    it('[C15] again replaces the options and delivers nothing twice', async () => {
      const [writer, reader] = [await client(), await client()];
      const { id: sessionId } = await opened(writer);
      await reader.ok('session:join', { sessionId, body: 'delta' });
      await writer.ok('settings:update', { sessionId, merge: { model: 'a' } });
      expect(await reader.next('settings:updated')).to.have.property('delta');
      await reader.ok('session:join', { sessionId });
      await writer.ok('settings:update', { sessionId, merge: { model: 'b' } });
      const full = await reader.next('settings:updated');
      expect(full.settings.model).to.equal('b');
      expect(full).to.not.have.property('delta');
      expect(reader.bodies('settings:updated')).to.have.length(2);
    });

    it('[C16] ends with session:leave, after which the room is silent for that socket', async () => {
      const [writer, leaver, stayer] = [await client(), await client(), await client()];
      const { id: sessionId } = await opened(writer);
      await leaver.ok('session:join', { sessionId });
      await stayer.ok('session:join', { sessionId });
      await leaver.ok('session:leave', { sessionId });
      await writer.ok('settings:update', { sessionId, merge: { model: 'a' } });
      await stayer.next('settings:updated');
      await leaver.ok('session:get', { sessionId });
      expect(leaver.events).to.deep.equal([]);
      const { session } = await leaver.ok('session:join', { sessionId });
      expect(session.settings.model).to.equal('a');
    });
  });

  describe('session:get', () => {
    it('[C17] answers with the document, or SESSION_NOT_FOUND', async () => {
      const socket = await client();
      const session = await opened(socket);
      expect((await socket.ok('session:get', { sessionId: session.id })).session).to.deep.equal(session);
      await socket.refused('session:get', { sessionId: freshId('none') }, 'SESSION_NOT_FOUND');
    });

    it('[C17] and joins are never older than a write that was acknowledged before', async () => {
      const [writer, reader, joiner] = [await client(), await client(), await client()];
      const { id: sessionId } = await opened(writer);
      await reader.ok('session:join', { sessionId });
      for (const n of range(1, 25)) {
        const { revision } = await writer.ok('settings:update', { sessionId, merge: { options: { n } } });
        const [read, joined] = await Promise.all([
          reader.ok('session:get', { sessionId }),
          joiner.ok('session:join', { sessionId }),
        ]);
        for (const { session } of [read, joined]) {
          expect(session.revision).to.be.at.least(revision);
          expect(session.settings.options.n).to.equal(n);
        }
        await joiner.ok('session:leave', { sessionId });
      }
    });
  });

  describe('session:describe', () => {
    it('[C18] sets and removes title and metadata, for everyone, and leaves the settings alone', async () => {
      const [writer, reader] = [await client({ clientId: 'w' }), await client()];
      const session = await opened(writer, { title: 'old' });
      const base = { sessionId: session.id };
      await reader.ok('session:join', base);
      const set = await writer.ok('session:describe', { ...base, title: 'new', metadata: { a: [1] }, updateId: 'd-1' });
      expectWrite(set, { revision: 2, duplicate: false, title: 'new', metadata: { a: [1] } });
      const told = expectBase(await reader.next('session:described'), { ...base, revision: 2, updateId: 'd-1' });
      expect(told).to.deep.include({ title: 'new', metadata: { a: [1] } });
      const removed = await writer.ok('session:describe', { ...base, title: null, metadata: null });
      expect(removed.revision).to.equal(3);
      await reader.next('session:described');
      const { session: now } = await reader.ok('session:get', base);
      expect(now).to.not.have.any.keys('title', 'metadata');
      expect(now).to.include({ revision: 3, settingsRevision: 1 });
      expect(now.updatedBy.clientId).to.equal('w');
    });

    it('[C18] that changes nothing commits nothing; a repeated updateId is a duplicate', async () => {
      const socket = await client();
      const { id: sessionId } = await opened(socket, { title: 'same' });
      await socket.ok('session:join', { sessionId });
      expect(await socket.ok('session:describe', { sessionId, title: 'same' })).to.include({ revision: 1 });
      const asked = { sessionId, title: 'other', updateId: 'd-2' };
      const first = await socket.ok('session:describe', asked);
      expect(await socket.ok('session:describe', asked)).to.deep.equal({ ...first, duplicate: true });
      await caughtUp(socket, sessionId);
      expect(revisionsOf(commitsSeen(socket, sessionId))).to.deep.equal([2]);
      await socket.refused('session:describe', { sessionId: freshId('none'), title: 'x' }, 'SESSION_NOT_FOUND');
    });
  });

  describe('session:delete', () => {
    it('[C19] removes the session, tells the room why, and closes the room', async () => {
      const [writer, reader] = [await client(), await client()];
      const { id: sessionId, epoch } = await opened(writer);
      await writer.ok('message:add', { sessionId, message: { role: 'user', content: 'gone' } });
      await reader.ok('session:join', { sessionId });
      const ack = await writer.ok('session:delete', { sessionId, updateId: 'bye' });
      expectWrite(ack, { epoch, revision: 3, duplicate: false });
      const told = expectBase(await reader.next('session:deleted'), { sessionId, epoch, revision: 3, updateId: 'bye' });
      expect(told.reason).to.equal('deleted');
      await reader.refused('session:get', { sessionId }, 'SESSION_NOT_FOUND');
      await reader.refused('session:join', { sessionId }, 'SESSION_NOT_FOUND');
      await writer.refused('session:delete', { sessionId }, 'SESSION_NOT_FOUND');
      await writer.refused('settings:update', { sessionId, merge: {} }, 'SESSION_NOT_FOUND');
      await writer.refused('message:list', { sessionId }, 'SESSION_NOT_FOUND');
      await opened(writer, { sessionId });
      await writer.ok('settings:update', { sessionId, merge: { model: 'x' } });
      await reader.ok('session:get', { sessionId });
      expect(reader.events.map((one) => one.event)).to.deep.equal(['session:deleted']);
    });

    it('[C19] with the same updateId again answers as a duplicate', async () => {
      const socket = await client();
      const { id: sessionId } = await opened(socket);
      const first = await socket.ok('session:delete', { sessionId, updateId: 'bye' });
      expect(await socket.ok('session:delete', { sessionId, updateId: 'bye' })).to.deep.equal({
        ...first,
        duplicate: true,
      });
    });

    it('[C20] lets the id be made again as a new life: another epoch, revision 1, nothing left', async () => {
      const socket = await client();
      const old = await opened(socket, { settings: { ward: 1 }, title: 'old' });
      const sessionId = old.id;
      await socket.ok('message:add', { sessionId, message: { id: 'm', role: 'user', content: 'old' } });
      await socket.ok('session:delete', { sessionId });
      const made = await opened(socket, { sessionId });
      expect(made.epoch).to.not.equal(old.epoch);
      expect(made).to.include({ revision: 1, messageCount: 0 });
      expect(made.settings).to.not.have.property('ward');
      expect(made).to.not.have.property('title');
      expect((await socket.ok('message:list', { sessionId })).messages).to.deep.equal([]);
      expect((await socket.ok('settings:history', { sessionId })).versions).to.have.length(1);
      const ack = await socket.ok('session:join', { sessionId, cursor: { epoch: old.epoch, revision: 2 } });
      expectSession(ack.session, sessionId);
    });

    it('[C20] with an ifEpoch of another life is refused with REVISION_CONFLICT', async () => {
      const socket = await client();
      const { id: sessionId, epoch } = await opened(socket);
      const error = await socket.refused('session:delete', { sessionId, ifEpoch: 'another' }, 'REVISION_CONFLICT');
      expect(error.details).to.include({ epoch, revision: 1 });
      await socket.ok('session:delete', { sessionId, ifEpoch: epoch });
    });
  });

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
      const slow = await openRaw(attune.url);
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
  });

  describe('input that is not the contract’s', () => {
    it('[C27] is refused where it can be told, and the connection stays', async () => {
      const socket = await client();
      const other = await client();
      const { id: sessionId } = await opened(other);
      await other.ok('session:join', { sessionId });
      const events = ['session:open', 'session:join', 'session:get', 'settings:update', 'message:add', 'message:list'];
      const payloads = [null, 5, 'text', [], [{ sessionId }], true, Buffer.from('binary'), { sessionId: { $ne: 1 } }];
      for (const event of events) {
        for (const payload of payloads) await socket.refused(event, payload, 'INVALID_REQUEST');
      }
      for (const event of ['no:such', 'settings:updated', 'toString', '__proto__', 'constructor']) {
        socket.send(event, { sessionId });
      }
      socket.send('session:get');
      socket.send('settings:update', ...range(1, 20));
      socket.send('settings:update', null);
      expectSession((await socket.ok('session:get', { sessionId })).session, sessionId);
      expect(other.raw.connected).to.equal(true);
      expect(other.events).to.deep.equal([]);
    });

    it('[C28] of thousands of levels is refused and harms nobody', async () => {
      const [other, raw] = [await client(), await openRaw(attune.url)];
      const session = await opened(other);
      const sessionId = JSON.stringify(session.id);
      for (const nested of [`${'{"a":'.repeat(5_000)}1${'}'.repeat(5_000)}`, '['.repeat(99_000) + ']'.repeat(99_000)]) {
        for (const [event, json] of [
          ['settings:update', `{"sessionId":${sessionId},"merge":{"a":${nested}}}`],
          ['settings:update', nested],
          ['message:add', `{"sessionId":${sessionId},"message":{"role":"user","content":${nested}}}`],
          ['session:open', `{"metadata":{"a":${nested}}}`],
          ['session:join', `{"sessionId":${sessionId},"presence":${nested}}`],
        ] as const) {
          const ack = await raw.ask(event, json);
          expect(ack.ok).to.equal(false);
          expectError(ack.error, ['INVALID_REQUEST', 'TOO_LARGE']);
        }
      }
      expect((await raw.ask('session:get', `{"sessionId":${sessionId}}`)).session).to.deep.equal(session);
    });

    it('[C29] in the handshake is a connect_error with an error object', async () => {
      await connectRefused(attune.url, { protocol: 2 }, 'PROTOCOL_UNSUPPORTED');
      await connectRefused(attune.url, { protocol: 'one' }, ['PROTOCOL_UNSUPPORTED', 'INVALID_REQUEST']);
      await connectRefused(attune.url, { kind: 'emperor' }, 'INVALID_REQUEST');
      const wrong = { clientId: 5 } as unknown as HandshakeAuth;
      await connectRefused(attune.url, wrong, 'INVALID_REQUEST');
      await connectRefused(attune.url, { clientId: 'x'.repeat(10_000) }, 'INVALID_REQUEST');
    });

    it('[C29] a handshake without clientId is given one', async () => {
      const [a, b] = [await client(), await client()];
      const [one, two] = [await opened(a), await opened(b)];
      expectAuthor(one.updatedBy, { userId: 'anonymous' });
      expect(one.updatedBy.clientId).to.not.equal(two.updatedBy.clientId);
    });
  });
});

describe('the log of a session, with small limits', () => {
  let attune: Attune;
  before(async () => {
    attune = await startAttune({ env: { LOG_COMMITS_MAX: '10' } });
  });
  after(() => attune?.destroy());
  afterEach(closeSockets);

  it('[C14] serves a cursor that it still reaches, and answers an older one with the document', async () => {
    const [writer, reader] = [await connect(attune.url), await connect(attune.url)];
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
    const { body } = await request('GET', `${attune.url}/v1/sessions/${sessionId}`);
    expect(body).to.deep.equal(far.session);
  });
});
