// Black-box tests of the session:* events, from the contract alone. What rooms are sent has a file of its own.
import { expect } from 'chai';
import { oneServer } from '../support/one-server.js';
import { range } from '../support/range.js';
import { closeRawSockets, openRaw } from '../support/raw-socket.js';
import { caughtUp, commitsSeen, revisionsOf } from '../support/room.js';
import {
  expectAuthor,
  expectBase,
  expectError,
  expectSession,
  expectWrite,
  freshId,
  type Wire,
} from '../support/shapes.js';
import { connectRefused, type HandshakeAuth } from '../support/socket.js';

describe('sessions over Socket.IO', () => {
  const { client, opened, server } = oneServer();
  afterEach(closeRawSockets);

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
      const tooMuch = [
        [{ title: 'x'.repeat(201) }, 'INVALID_REQUEST'],
        [{ metadata: { text: 'x'.repeat(8_192) } }, 'TOO_LARGE'],
      ] as const;
      for (const [more, code] of tooMuch) {
        const sessionId = freshId('c');
        await socket.refused('session:open', { sessionId, ...more }, code);
        await socket.refused('session:get', { sessionId }, 'SESSION_NOT_FOUND');
        await socket.refused('session:describe', { sessionId: session.id, ...more }, code);
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

    it('[V1] a join whose creation is too large, sent behind another join, is refused with its own error', async () => {
      const socket = await client();
      const { id: sessionId } = await opened(socket);
      const [first, second] = await Promise.all([
        socket.call('session:join', { sessionId }),
        socket.call('session:join', { sessionId, create: true, metadata: { x: 'y'.repeat(9000) } }),
      ]);
      expect(first.ok).to.equal(true);
      expectError(second.error, 'TOO_LARGE');
      await socket.ok('session:get', { sessionId });
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

    it('[T30] a title or metadata that was removed is in neither acknowledgement nor event nor document', async () => {
      const [writer, reader] = [await client(), await client()];
      const { id: sessionId } = await opened(writer);
      await reader.ok('session:join', { sessionId });
      const describe = async (change: Wire) => {
        const ack = expectWrite(await writer.ok('session:describe', { sessionId, ...change }), { duplicate: false });
        const body = expectBase(await reader.next('session:described', ({ revision }) => revision === ack.revision));
        return { ack, body };
      };
      const set = await describe({ title: 'T', metadata: { k: 1 } });
      for (const one of [set.ack, set.body]) expect(one).to.deep.include({ title: 'T', metadata: { k: 1 } });
      const untitled = await describe({ title: null });
      for (const one of [untitled.ack, untitled.body]) {
        expect(one).to.not.have.property('title');
        expect(one).to.deep.include({ metadata: { k: 1 } });
      }
      const bare = await describe({ metadata: null });
      for (const one of [bare.ack, bare.body]) expect(one).to.not.have.any.keys('title', 'metadata');
      const { session } = await reader.ok('session:get', { sessionId });
      expect(session).to.include({ revision: 4 }).and.not.have.any.keys('title', 'metadata');
      const nothing = await writer.ok('session:describe', { sessionId, title: null, metadata: null });
      expect(nothing).to.include({ revision: 4, duplicate: false });
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
      const [other, raw] = [await client(), await openRaw(server.url)];
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
      await connectRefused(server.url, { protocol: 2 }, 'PROTOCOL_UNSUPPORTED');
      await connectRefused(server.url, { protocol: 'one' }, ['PROTOCOL_UNSUPPORTED', 'INVALID_REQUEST']);
      await connectRefused(server.url, { kind: 'emperor' }, 'INVALID_REQUEST');
      const wrong = { clientId: 5 } as unknown as HandshakeAuth;
      await connectRefused(server.url, wrong, 'INVALID_REQUEST');
      await connectRefused(server.url, { clientId: 'x'.repeat(10_000) }, 'INVALID_REQUEST');
    });

    it('[C29] a handshake without clientId is given one', async () => {
      const [a, b] = [await client(), await client()];
      const [one, two] = [await opened(a), await opened(b)];
      expectAuthor(one.updatedBy, { userId: 'anonymous' });
      expect(one.updatedBy.clientId).to.not.equal(two.updatedBy.clientId);
    });
  });
});
