// Black-box tests of the message:* events and session:clear, from the contract alone.
import { expect } from 'chai';
import { oneServer } from '../support/one-server.js';
import { range } from '../support/range.js';
import { expectAuthor, expectBase, expectMessage, expectWrite, freshId, type Wire } from '../support/shapes.js';
import type { TestSocket } from '../support/socket.js';

const CONTENT_BYTES_MAX = 256 * 1024;

describe('messages over Socket.IO', () => {
  const { client, joined, session, stored } = oneServer();
  const listed = async (socket: TestSocket, sessionId: string, more: Wire = {}): Promise<Wire[]> =>
    (await socket.ok('message:list', { sessionId, ...more })).messages;
  const add = async (socket: TestSocket, sessionId: string, message: Wire = {}): Promise<Wire> =>
    (await socket.ok('message:add', { sessionId, message: { role: 'user', content: 'text', ...message } })).message;

  describe('message:add', () => {
    it('[G1] stores a message, answers with it whole, tells the room, and counts it', async () => {
      const { socket, sessionId, epoch } = await session(undefined, { clientId: 'w', kind: 'bot' });
      const reader = await joined(sessionId);
      const asked = { sessionId, message: { role: 'user', content: 'hello' }, updateId: 'add-1' };
      const ack = await socket.ok('message:add', asked);
      expectWrite(ack, { epoch, revision: 2, duplicate: false });
      const message = expectMessage(ack.message, { role: 'user', content: 'hello', status: 'complete', revision: 2 });
      expect(message.settingsRevision).to.equal(1);
      expectAuthor(message.author, { userId: 'anonymous', clientId: 'w', kind: 'bot' });
      const told = expectBase(await reader.next('message:added'), { sessionId, epoch, revision: 2, updateId: 'add-1' });
      expect(told.message).to.deep.equal(message);
      expect(await listed(socket, sessionId)).to.deep.equal([message]);
      const now = await stored(socket, sessionId);
      expect(now).to.include({
        revision: 2,
        messagesRevision: 2,
        settingsRevision: 1,
        messageCount: 1,
        updatedAt: told.at,
      });
    });

    it('[G2] takes an id of 1 to 128 characters that is new in the session, or makes one', async () => {
      const { socket, sessionId } = await session();
      const { socket: other, sessionId: elsewhere } = await session();
      for (const id of ['a', 'with space/é*{}'.padEnd(128, 'x')]) {
        expect((await add(socket, sessionId, { id })).id).to.equal(id);
        expect((await add(other, elsewhere, { id })).id).to.equal(id);
        const message = { id, role: 'user', content: 'again' };
        await socket.refused('message:add', { sessionId, message }, 'INVALID_REQUEST');
      }
      for (const id of ['', 'x'.repeat(129), 5, {}]) {
        const message = { id, role: 'user', content: 'x' };
        await socket.refused('message:add', { sessionId, message }, 'INVALID_REQUEST');
      }
      const made = await Promise.all(range(1, 5).map(() => add(socket, sessionId)));
      expect(new Set(made.map((message) => message.id)).size).to.equal(5);
      expect((await stored(socket, sessionId)).messageCount).to.equal(7);
    });

    it('[G3] takes the four roles and the three statuses, and no other', async () => {
      const { socket, sessionId } = await session();
      for (const role of ['user', 'assistant', 'system', 'tool']) {
        expect((await add(socket, sessionId, { role })).role).to.equal(role);
      }
      for (const status of ['complete', 'streaming', 'error']) {
        expect((await add(socket, sessionId, { status })).status).to.equal(status);
      }
      for (const wrong of [
        { role: 'emperor' },
        { role: '' },
        { role: 5 },
        { role: undefined },
        { status: 'done' },
        { status: 1 },
      ]) {
        const message = { role: 'user', content: 'x', ...wrong };
        await socket.refused('message:add', { sessionId, message }, 'INVALID_REQUEST');
      }
    });

    it('[G4] takes a string of at most 256 KiB or an array of parts as content', async () => {
      const { socket, sessionId } = await session();
      const longest = 'x'.repeat(CONTENT_BYTES_MAX);
      expect((await add(socket, sessionId, { content: longest })).content).to.equal(longest);
      expect((await add(socket, sessionId, { content: '' })).content).to.equal('');
      for (const content of [`${longest}x`, '€'.repeat(100_000)]) {
        const message = { role: 'user', content };
        await socket.refused('message:add', { sessionId, message }, 'TOO_LARGE');
      }
      const parts = [{ type: 'text', text: 'a' }, { type: 'image', data: { ref: [1, null, {}, []] } }, 'plain', 5];
      expect((await add(socket, sessionId, { content: parts })).content).to.deep.equal(parts);
      for (const content of [undefined, null, 5, true, { type: 'text' }]) {
        const message = { role: 'user', content };
        await socket.refused('message:add', { sessionId, message }, 'INVALID_REQUEST');
      }
      for (const message of [undefined, null, 'text', []]) {
        await socket.refused('message:add', { sessionId, message }, 'INVALID_REQUEST');
      }
      expect((await stored(socket, sessionId)).messageCount).to.equal(3);
    });

    it('[G5] keeps a given timestamp with its precision, reads one without a zone as UTC, and else sets it', async () => {
      const { socket, sessionId } = await session();
      const cases: [given: string, instant: string, fraction: string][] = [
        ['2024-01-02T03:04:05.123456Z', '2024-01-02T03:04:05.123Z', '.123456'],
        ['2024-01-02T03:04:05.123456', '2024-01-02T03:04:05.123Z', '.123456'],
        ['2024-01-02T03:04:05', '2024-01-02T03:04:05.000Z', ''],
        ['2024-01-02T03:04:05Z', '2024-01-02T03:04:05.000Z', ''],
        ['2024-01-02T03:04:05.5+02:00', '2024-01-02T01:04:05.500Z', '.5'],
      ];
      for (const [given, instant, fraction] of cases) {
        const { timestamp } = await add(socket, sessionId, { timestamp: given });
        expect(timestamp, given).to.match(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/);
        expect(new Date(timestamp).toISOString(), given).to.equal(instant);
        expect(/\.\d+/.exec(timestamp)?.[0] ?? '', given).to.equal(fraction);
      }
      for (const timestamp of ['yesterday', '2024-13-01T00:00:00Z', '2024-02-30T00:00:00Z', '', 1_700_000_000_000]) {
        const message = { role: 'user', content: 'x', timestamp };
        await socket.refused('message:add', { sessionId, message }, 'INVALID_REQUEST');
      }
      const { timestamp } = await add(socket, sessionId);
      expect(Math.abs(Date.now() - Date.parse(timestamp))).to.be.below(60_000);
    });

    it('[G6] keeps metadata and references as they are, and refuses those that are none', async () => {
      const { socket, sessionId } = await session();
      const more = { metadata: { tokens: 12, empty: [], none: null }, references: [{ doc: 'a', page: 1 }, {}] };
      const message = await add(socket, sessionId, more);
      expect(message).to.deep.include(more);
      expect((await listed(socket, sessionId))[0]).to.deep.equal(message);
      for (const wrong of [{ metadata: 'x' }, { metadata: [1] }, { references: {} }, { references: ['x'] }]) {
        const asked = { role: 'user', content: 'x', ...wrong };
        await socket.refused('message:add', { sessionId, message: asked }, 'INVALID_REQUEST');
      }
    });

    it('[G7] says which settings were in force', async () => {
      const { socket, sessionId } = await session();
      const before = await add(socket, sessionId);
      const { settingsRevision } = await socket.ok('settings:update', { sessionId, merge: { model: 'new' } });
      const after = await add(socket, sessionId);
      expect(before.settingsRevision).to.equal(1);
      expect(after.settingsRevision).to.equal(settingsRevision);
      expect((await listed(socket, sessionId)).map((message) => message.settingsRevision)).to.deep.equal([3, 1]);
    });

    it('[G8] stores any text exactly', async () => {
      const { socket, sessionId } = await session();
      const content = 'a\r\nb\u2028c<script>\u0000*3\r\n$3\r\nSET return redis.call() ]] {{x}} 😀 "\\';
      const reader = await joined(sessionId);
      const message = await add(socket, sessionId, { content, metadata: { [content]: content } });
      expect(message.content).to.equal(content);
      expect((await reader.next('message:added')).message).to.deep.equal(message);
      expect((await listed(reader, sessionId))[0].metadata).to.deep.equal({ [content]: content });
    });

    it('[G9] and the other writes of messages are idempotent by updateId', async () => {
      const { socket, sessionId } = await session();
      const reader = await joined(sessionId);
      const twice = async (event: string, body: Wire): Promise<Wire> => {
        const asked = { sessionId, updateId: freshId('id'), ...body };
        const first = await socket.ok(event, asked);
        expect(first.duplicate).to.equal(false);
        expect(await socket.ok(event, asked)).to.deep.equal({ ...first, duplicate: true });
        return first;
      };
      await twice('message:add', { message: { id: 'm', role: 'assistant', content: 'a' } });
      await twice('message:add', { message: { role: 'assistant', content: 'made id' } });
      const appended = await twice('message:update', { messageId: 'm', append: 'b' });
      expect(appended.message.content).to.equal('ab');
      await twice('message:delete', { messageId: 'm' });
      const cleared = await twice('session:clear', {});
      expect(cleared).to.include({ revision: 6, removed: 1 });
      await reader.next('session:cleared');
      expect(reader.events.map(({ body }) => body.revision)).to.deep.equal([2, 3, 4, 5, 6]);
    });
  });

  describe('message:update', () => {
    it('[G10] appends to or replaces the content and sets the rest; what it does not name stays', async () => {
      const { socket, sessionId } = await session(undefined, { clientId: 'author' });
      const other = await client({ clientId: 'other' });
      const reader = await joined(sessionId);
      const start = {
        id: 'm',
        role: 'assistant',
        content: 'one',
        status: 'streaming',
        timestamp: '2024-01-02T03:04:05Z',
      };
      const added = await add(socket, sessionId, start);
      const steps: [Wire, Wire][] = [
        [{ append: ' two' }, { content: 'one two' }],
        [
          { append: '!', status: 'complete' },
          { content: 'one two!', status: 'complete' },
        ],
        [{ content: 'whole' }, { content: 'whole' }],
        [{ content: [{ type: 'text' }] }, { content: [{ type: 'text' }] }],
        [{ metadata: { a: 1 } }, { metadata: { a: 1 } }],
        [{ references: [{ doc: 1 }] }, { references: [{ doc: 1 }] }],
        [{ status: 'error' }, { status: 'error' }],
      ];
      let wanted = added;
      for (const [asked, change] of steps) {
        const ack = await other.ok('message:update', { sessionId, messageId: 'm', ...asked });
        wanted = { ...wanted, ...change, revision: ack.revision };
        expectWrite(ack, { revision: wanted.revision, duplicate: false });
        expect(ack.message).to.deep.equal(wanted);
        const told = expectBase(await reader.next('message:updated'), { sessionId, revision: ack.revision });
        expect(told.message).to.deep.equal(wanted);
        expectAuthor(told.by, { clientId: 'other' });
      }
      expect(wanted.revision).to.equal(9);
      expect(await listed(socket, sessionId)).to.deep.equal([wanted]);
      expect(await stored(socket, sessionId)).to.include({ messagesRevision: 9, settingsRevision: 1, messageCount: 1 });
    });

    it('[G11] streams: appends that were sent without waiting arrive in order', async () => {
      const { socket, sessionId } = await session();
      const reader = await joined(sessionId);
      await add(socket, sessionId, { id: 'm', role: 'assistant', content: '', status: 'streaming' });
      const words = range(1, 60).map((n) => `${n} `);
      await Promise.all([
        ...words.map((append) => socket.ok('message:update', { sessionId, messageId: 'm', append })),
        socket.ok('message:update', { sessionId, messageId: 'm', status: 'complete' }),
      ]);
      const last = await reader.next('message:updated', (body) => body.message.status === 'complete');
      expect(last.message.content).to.equal(words.join(''));
      const revisions = reader.bodies('message:updated').map((body) => body.revision);
      expect(revisions).to.deep.equal(range(3, 63));
    });

    it('[G12] that asks for something else, or of a message that is not there, is refused', async () => {
      const { socket, sessionId } = await session();
      await add(socket, sessionId, { id: 'text', content: 'x'.repeat(CONTENT_BYTES_MAX - 10) });
      await add(socket, sessionId, { id: 'parts', content: [] });
      const refuse = (body: Wire, code: 'INVALID_REQUEST' | 'TOO_LARGE' | 'MESSAGE_NOT_FOUND' | 'SESSION_NOT_FOUND') =>
        socket.refused('message:update', { sessionId, messageId: 'text', ...body }, code);
      await refuse({ append: 'a', content: 'b' }, 'INVALID_REQUEST');
      await refuse({ append: 5 }, 'INVALID_REQUEST');
      await refuse({ content: null }, 'INVALID_REQUEST');
      await refuse({ status: 'done' }, 'INVALID_REQUEST');
      await refuse({ metadata: 5 }, 'INVALID_REQUEST');
      await refuse({ references: [5] }, 'INVALID_REQUEST');
      await refuse({ messageId: 'parts', append: 'text' }, 'INVALID_REQUEST');
      await refuse({ append: 'x'.repeat(11) }, 'TOO_LARGE');
      await refuse({ content: 'x'.repeat(CONTENT_BYTES_MAX + 1) }, 'TOO_LARGE');
      await refuse({ messageId: 'none', append: 'a' }, 'MESSAGE_NOT_FOUND');
      await refuse({ messageId: undefined, append: 'a' }, 'INVALID_REQUEST');
      await refuse({ sessionId: freshId('none'), append: 'a' }, 'SESSION_NOT_FOUND');
      expect((await stored(socket, sessionId)).revision).to.equal(3);
      await socket.ok('message:update', { sessionId, messageId: 'text', append: 'x'.repeat(10) });
    });

    it('[G13] that changes nothing commits nothing', async () => {
      const { socket, sessionId } = await session();
      await add(socket, sessionId, { id: 'm', content: 'same', metadata: { a: [1] } });
      await add(socket, sessionId);
      for (const asked of [{ content: 'same' }, { append: '' }, { status: 'complete' }, { metadata: { a: [1] } }]) {
        const ack = await socket.ok('message:update', { sessionId, messageId: 'm', ...asked });
        expect(ack.revision, JSON.stringify(asked)).to.equal(3);
        expect(ack.message.revision).to.equal(2);
      }
      expect((await stored(socket, sessionId)).revision).to.equal(3);
    });
  });

  describe('message:delete and session:clear', () => {
    it('[G14] a deleted message is gone for everyone, and its session goes on', async () => {
      const { socket, sessionId, epoch } = await session();
      const reader = await joined(sessionId);
      await add(socket, sessionId, { id: 'stays' });
      await add(socket, sessionId, { id: 'goes' });
      const ack = await socket.ok('message:delete', { sessionId, messageId: 'goes', updateId: 'del' });
      expectWrite(ack, { epoch, revision: 4, duplicate: false });
      expectBase(await reader.next('message:deleted'), { sessionId, revision: 4, messageId: 'goes', updateId: 'del' });
      expect((await listed(socket, sessionId)).map((message) => message.id)).to.deep.equal(['stays']);
      expect(await stored(socket, sessionId)).to.include({ messageCount: 1, messagesRevision: 4, settingsRevision: 1 });
      await socket.refused('message:delete', { sessionId, messageId: 'goes' }, 'MESSAGE_NOT_FOUND');
      await socket.refused('message:update', { sessionId, messageId: 'goes', append: 'x' }, 'MESSAGE_NOT_FOUND');
      await socket.refused('message:delete', { sessionId: freshId('none'), messageId: 'a' }, 'SESSION_NOT_FOUND');
      await socket.refused('message:delete', { sessionId }, 'INVALID_REQUEST');
    });

    it('[G15] session:clear removes the messages and keeps the settings', async () => {
      const { socket, sessionId, epoch } = await session();
      const reader = await joined(sessionId);
      await socket.ok('settings:update', { sessionId, merge: { model: 'kept' } });
      for (const n of range(1, 3)) await add(socket, sessionId, { id: `m${n}` });
      const ack = await socket.ok('session:clear', { sessionId, updateId: 'wipe' });
      expectWrite(ack, { epoch, revision: 6, removed: 3, duplicate: false });
      expectBase(await reader.next('session:cleared'), { sessionId, revision: 6, removed: 3, updateId: 'wipe' });
      expect(await listed(socket, sessionId)).to.deep.equal([]);
      const now = await stored(socket, sessionId);
      expect(now).to.include({ messageCount: 0, revision: 6, messagesRevision: 6, settingsRevision: 2 });
      expect(now.settings.model).to.equal('kept');
      expect(await socket.ok('session:clear', { sessionId })).to.include({ revision: 6, removed: 0 });
      expect((await add(socket, sessionId, { id: 'm1' })).revision).to.equal(7);
      await socket.refused('session:clear', { sessionId: freshId('none') }, 'SESSION_NOT_FOUND');
    });
  });

  describe('message:list', () => {
    const idsOf = (messages: Wire[]): string[] => messages.map((message) => message.id);

    it('[G16] lists in order of creation, newest first, in pages of 50 where nothing else is said', async () => {
      const { socket, sessionId } = await session();
      await Promise.all(range(1, 60).map((n) => add(socket, sessionId, { id: `m${n}` })));
      await socket.ok('message:update', { sessionId, messageId: 'm3', append: ' changed' });
      const newestFirst = range(1, 60)
        .reverse()
        .map((n) => `m${n}`);
      const first = await socket.ok('message:list', { sessionId });
      expect(idsOf(first.messages)).to.deep.equal(newestFirst.slice(0, 50));
      const second = await socket.ok('message:list', { sessionId, before: first.next });
      expect(idsOf(second.messages)).to.deep.equal(newestFirst.slice(50));
      expect(second.next).to.equal(undefined);
      expect(second.messages.find((message: Wire) => message.id === 'm3')).to.include({ revision: 62 });
      const all = await socket.ok('message:list', { sessionId, limit: 500 });
      expect(idsOf(all.messages)).to.deep.equal(newestFirst);
      expect(all.next).to.equal(undefined);
      for (const message of all.messages) expectMessage(message);
      const paged: Wire[] = [];
      for (let next: number | undefined; ;) {
        const page = await socket.ok('message:list', {
          sessionId,
          limit: 7,
          ...(next !== undefined && { before: next }),
        });
        paged.push(...page.messages);
        if (page.next === undefined) break;
        next = page.next as number;
      }
      expect(paged).to.deep.equal(all.messages);
    });

    it('[G17] with after lists what was changed since, by revision of the last change, in pages', async () => {
      const { socket, sessionId } = await session();
      for (const n of range(1, 6)) await add(socket, sessionId, { id: `m${n}` }); // revisions 2..7
      await socket.ok('settings:update', { sessionId, merge: { model: 'x' } }); // 8
      await socket.ok('message:update', { sessionId, messageId: 'm2', append: '!' }); // 9
      await add(socket, sessionId, { id: 'm7' }); // 10
      await socket.ok('message:update', { sessionId, messageId: 'm1', append: '!' }); // 11
      await socket.ok('message:delete', { sessionId, messageId: 'm6' }); // 12
      expect(idsOf(await listed(socket, sessionId, { after: 7 }))).to.deep.equal(['m1', 'm7', 'm2']);
      expect(idsOf(await listed(socket, sessionId, { after: 6 }))).to.deep.equal(['m1', 'm7', 'm2']);
      expect(idsOf(await listed(socket, sessionId, { after: 5 }))).to.deep.equal(['m1', 'm7', 'm2', 'm5']);
      expect(await listed(socket, sessionId, { after: 12 })).to.deep.equal([]);
      const paged: string[] = [];
      for (let next: number | undefined; ;) {
        const more = { after: 1, limit: 2, ...(next !== undefined && { before: next }) };
        const page = await socket.ok('message:list', { sessionId, ...more });
        expect(page.messages).to.have.length.within(1, 2);
        paged.push(...idsOf(page.messages));
        if (page.next === undefined) break;
        next = page.next as number;
      }
      expect(paged).to.deep.equal(['m1', 'm7', 'm2', 'm5', 'm4', 'm3']);
    });

    it('[G18] refuses limits and revisions that are none, and unknown sessions', async () => {
      const { socket, sessionId } = await session();
      const wrong = [
        { limit: 0 },
        { limit: 501 },
        { limit: 2.5 },
        { limit: '5' },
        { before: -1 },
        { before: 'x' },
        { after: -1 },
        { after: 0.5 },
      ];
      for (const more of wrong) await socket.refused('message:list', { sessionId, ...more }, 'INVALID_REQUEST');
      await socket.refused('message:list', { sessionId: freshId('none') }, 'SESSION_NOT_FOUND');
      const message = { role: 'user', content: 'x' };
      await socket.refused('message:add', { sessionId: freshId('none'), message }, 'SESSION_NOT_FOUND');
      expect(await listed(socket, sessionId)).to.deep.equal([]);
    });
  });
});

describe('messages with a small limit', () => {
  const { client } = oneServer({ env: { SESSION_MESSAGES_MAX: '3' } });

  it('[G19] a session holds at most SESSION_MESSAGES_MAX messages; the next is TOO_LARGE until one is gone', async () => {
    const socket = await client();
    const sessionId = freshId('g');
    await socket.ok('session:open', { sessionId });
    const message = { role: 'user', content: 'x' };
    const acks = await Promise.all(range(1, 5).map(() => socket.call('message:add', { sessionId, message })));
    expect(acks.map((ack) => ack.error?.code ?? 'ok')).to.deep.equal(['ok', 'ok', 'ok', 'TOO_LARGE', 'TOO_LARGE']);
    await socket.refused('message:add', { sessionId, message }, 'TOO_LARGE');
    await socket.ok('message:delete', { sessionId, messageId: acks[0].message.id });
    await socket.ok('message:add', { sessionId, message });
    expect((await socket.ok('session:get', { sessionId })).session.messageCount).to.equal(3);
  });
});
