// Black-box tests of settings:update, from the contract alone. History and restore have a file of their own.
import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import fastJsonPatch from 'fast-json-patch';
import { oneServer } from '../support/one-server.js';
import { range } from '../support/range.js';
import { expectAuthor, expectBase, expectTime, expectWrite, freshId, type Wire } from '../support/shapes.js';

const nested = (levels: number): Wire => (levels === 0 ? 1 : { l: nested(levels - 1) });
/** An object literal would set the prototype; parsed JSON has the key as a property, as an attacker's has. */
const withKey = (key: string): Wire => JSON.parse(`{"${key}":{"polluted":1}}`);

const MiB = 1024 * 1024;

/** Resident memory of a process, bytes. */
function residentBytes(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;
}

describe('settings over Socket.IO', () => {
  const { client, joined, server, session, stored } = oneServer();

  describe('what an update asks', () => {
    it('[U1] replace puts the whole, also under the name settings', async () => {
      const { socket, sessionId } = await session({ model: 'a', extra: 1 });
      for (const [name, value] of [
        ['replace', { model: 'b', options: { n: 1 } }],
        ['settings', { model: 'c' }],
        ['replace', {}],
      ] as const) {
        const ack = await socket.ok('settings:update', { sessionId, [name]: value });
        expect(ack.settings).to.deep.equal(value);
        expect((await stored(socket, sessionId)).settings).to.deep.equal(value);
      }
    });

    it('[U2] merge follows RFC 7396', async () => {
      const cases: [before: Wire, merge: Wire, after: Wire][] = [
        [{ a: 'b' }, { a: 'c' }, { a: 'c' }],
        [{ a: 'b' }, { b: 'c' }, { a: 'b', b: 'c' }],
        [{ a: 'b', b: 'c' }, { a: null }, { b: 'c' }],
        [{ a: ['b'] }, { a: 'c' }, { a: 'c' }],
        [{ a: 'c' }, { a: ['b'] }, { a: ['b'] }],
        [{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
        [{ a: [{ b: 'c' }] }, { a: [1] }, { a: [1] }],
        [{ e: null }, { a: 1 }, { e: null, a: 1 }],
        [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
        [{ a: 'text' }, { a: { b: null, c: [null] } }, { a: { c: [null] } }],
        [{ a: { b: 1 } }, { a: {} }, { a: { b: 1 } }],
      ];
      const { socket, sessionId } = await session({});
      for (const [before, merge, after] of cases) {
        await socket.ok('settings:update', { sessionId, replace: before });
        const { settings } = await socket.ok('settings:update', { sessionId, merge });
        expect(settings, `${JSON.stringify(before)} merged with ${JSON.stringify(merge)}`).to.deep.equal(after);
      }
    });

    it('[U3] patch follows RFC 6902, all of its operations or none', async () => {
      const { socket, sessionId } = await session({ a: { b: [1, 2] }, 'x/y': { '~': 1 }, gone: true });
      const patch = [
        { op: 'test', path: '/a/b', value: [1, 2] },
        { op: 'add', path: '/a/b/1', value: 'between' },
        { op: 'add', path: '/a/b/-', value: 'last' },
        { op: 'replace', path: '/x~1y/~0', value: 2 },
        { op: 'remove', path: '/gone' },
        { op: 'copy', from: '/a/b/0', path: '/copied' },
        { op: 'move', from: '/x~1y', path: '/moved' },
      ];
      const after = { a: { b: [1, 'between', 2, 'last'] }, copied: 1, moved: { '~': 2 } };
      const ack = await socket.ok('settings:update', { sessionId, patch });
      expect(ack.settings).to.deep.equal(after);
      for (const failing of [
        { op: 'test', path: '/copied', value: 9 },
        { op: 'remove', path: '/nowhere' },
        { op: 'replace', path: '/no/where', value: 1 },
        { op: 'add', path: '/a/b/99', value: 1 },
        { op: 'invent', path: '/a' },
        { op: 'add', path: 'a', value: 1 },
        { op: 'add', path: '/a' },
      ]) {
        const both = [{ op: 'add', path: '/first', value: 1 }, failing];
        await socket.refused('settings:update', { sessionId, patch: both }, 'INVALID_REQUEST');
      }
      expect((await stored(socket, sessionId)).settings).to.deep.equal(after);
    });

    it('[U4] is exactly one of the three, on a session that exists', async () => {
      const { socket, sessionId } = await session({ a: 1 });
      const wrong = [
        {},
        { replace: {}, merge: {} },
        { replace: {}, settings: {} },
        { merge: {}, patch: [] },
        { replace: [] },
        { replace: 'text' },
        { replace: null },
        { settings: 5 },
        { merge: [1] },
        { merge: null },
        { patch: {} },
        { patch: [null] },
        { patch: [{ op: 'replace', path: '', value: [] }] },
      ];
      for (const asked of wrong) {
        await socket.refused('settings:update', { sessionId, ...asked }, 'INVALID_REQUEST');
      }
      expect((await stored(socket, sessionId)).settings).to.deep.equal({ a: 1 });
      await socket.refused('settings:update', { sessionId: freshId('none'), merge: { a: 1 } }, 'SESSION_NOT_FOUND');
    });
  });

  describe('what an update answers and tells', () => {
    it('[U5] is the settings after it, their revision, the time and the changed paths', async () => {
      const { socket, sessionId, epoch } = await session({ a: { b: 1, c: [1, 2] }, 'x/y': { 'm~n': 1 }, gone: 'x' });
      const merge = { a: { b: 2, c: [1, 3] }, 'x/y': { 'm~n': 2 }, gone: null, fresh: 'new' };
      const ack = await socket.ok('settings:update', { sessionId, merge });
      expectWrite(ack, { epoch, revision: 3, settingsRevision: 3, duplicate: false });
      expect(ack.settings).to.deep.equal({ a: { b: 2, c: [1, 3] }, 'x/y': { 'm~n': 2 }, fresh: 'new' });
      expect(ack.changedPaths).to.have.members(['/a/b', '/a/c', '/x~1y/m~0n', '/gone', '/fresh']);
      expectTime(ack.updatedAt);
      const now = await stored(socket, sessionId);
      expect(now).to.include({ updatedAt: ack.updatedAt, revision: 3, settingsRevision: 3 });
    });

    it('[U6] settings:updated carries the whole, what was asked and what changed', async () => {
      const { socket, sessionId, epoch } = await session({ model: 'a', mode: 'm' }, { clientId: 'w', kind: 'bot' });
      const reader = await joined(sessionId);
      const patch = [{ op: 'add', path: '/mode', value: 'n' }];
      const asked: [Wire, Wire][] = [
        [{ merge: { model: 'b' } }, { merge: { model: 'b' } }],
        [{ patch }, { patch }],
        [{ replace: { model: 'c' } }, { replace: { model: 'c' } }],
        [{ settings: { model: 'd' } }, { replace: { model: 'd' } }],
      ];
      for (const [body, request] of asked) {
        const updateId = freshId('id');
        const ack = await socket.ok('settings:update', { sessionId, updateId, ...body });
        const told = expectBase(await reader.next('settings:updated'), { sessionId, epoch, updateId });
        expect(told.request).to.deep.equal(request);
        expect(told).to.include({ revision: ack.revision, settingsRevision: ack.settingsRevision, at: ack.updatedAt });
        expect(told.settings).to.deep.equal(ack.settings);
        expect(told.changedPaths).to.have.members(ack.changedPaths);
        expectAuthor(told.by, { clientId: 'w', kind: 'bot' });
      }
      const back = await socket.ok('settings:restore', { sessionId, toRevision: 2 });
      const told = await reader.next('settings:updated');
      expect(told.request).to.deep.equal({ restore: 2 });
      expect(told.settings).to.deep.equal(back.settings);
    });

    it('[U7] an update that changes nothing commits nothing and says so', async () => {
      const { socket, sessionId } = await session({ model: 'a', list: [1, { b: 2 }], o: { x: 1, y: 2 } });
      const reader = await joined(sessionId);
      const before = await stored(socket, sessionId);
      const same = { o: { y: 2, x: 1 }, list: [1, { b: 2 }], model: 'a' };
      for (const asked of [
        { replace: same },
        { merge: {} },
        { merge: { model: 'a', absent: null } },
        { patch: [] },
        { patch: [{ op: 'test', path: '/model', value: 'a' }] },
        { patch: [{ op: 'replace', path: '/model', value: 'a' }] },
      ]) {
        const ack = await socket.ok('settings:update', { sessionId, ...asked });
        expect(ack, JSON.stringify(asked)).to.deep.include({ revision: 2, settingsRevision: 2, changedPaths: [] });
        expect(ack.settings).to.deep.equal(before.settings);
      }
      expect(await stored(socket, sessionId)).to.deep.equal(before);
      await socket.ok('settings:update', { sessionId, merge: { model: 'b' } });
      expect((await reader.next('settings:updated')).revision).to.equal(3);
      expect(reader.events).to.have.length(1);
    });

    it('[V4] many changes under one long key cost no more than the settings: paths are bounded and name what is above', async () => {
      const key = 'k'.repeat(30_000);
      const names = range(1, 2500).map((n) => `a${n.toString(36)}`);
      const settings = (n: number): Wire => ({ [key]: Object.fromEntries(names.map((name) => [name, n])) });
      const { socket, sessionId } = await session(settings(0));
      const full = await joined(sessionId);
      const delta = await client();
      let { settings: own } = (await delta.ok('session:join', { sessionId, body: 'delta' })).session;
      const before = residentBytes(server.pid);
      let most = before;
      for (const n of range(1, 20)) {
        const ack = await socket.ok('settings:update', { sessionId, merge: settings(n) });
        expect(ack.changedPaths).to.deep.equal([`/${key}`]);
        expect(ack.settings[key].a1).to.equal(n);
        most = Math.max(most, residentBytes(server.pid));
      }
      expect((most - before) / MiB, 'growth of memory, MiB').to.be.below(200);
      for (const reader of [full, delta]) await reader.next('settings:updated', ({ revision }) => revision === 22);
      for (const { changedPaths } of full.bodies('settings:updated')) expect(changedPaths).to.deep.equal([`/${key}`]);
      for (const body of delta.bodies('settings:updated')) {
        own = fastJsonPatch.applyPatch(structuredClone(own), body.delta, true).newDocument;
      }
      const now = await stored(socket, sessionId);
      expect(own).to.deep.equal(now.settings);
      expect(now.settings[key].a1).to.equal(20);
    });
  });

  describe('guards', () => {
    it('[U8] ifRevision refuses when the settings changed after it or it is in the future, not for messages', async () => {
      const { socket, sessionId, epoch } = await session({ model: 'a', mode: 'm' });
      await socket.ok('message:add', { sessionId, message: { role: 'user', content: 'hello' } });
      await socket.ok('settings:update', { sessionId, ifRevision: 2, merge: { model: 'b' } });
      for (const ifRevision of [1, 2, 3, 5, 2 ** 52]) {
        const asked = { sessionId, ifRevision, merge: { model: 'late' } };
        const { details } = await socket.refused('settings:update', asked, 'REVISION_CONFLICT');
        expect(details).to.include({ epoch, revision: 4, settingsRevision: 4 });
        expect(details.settings).to.deep.equal({ model: 'b', mode: 'm' });
        if (ifRevision === 2 || ifRevision === 3) expect(details.changedPaths).to.deep.equal(['/model']);
      }
      await socket.refused('settings:update', { sessionId, ifRevision: 2, merge: { model: 'b' } }, 'REVISION_CONFLICT');
      const ack = await socket.ok('settings:update', { sessionId, ifRevision: 4, merge: { model: 'c' } });
      expect(ack.revision).to.equal(5);
    });

    it('[U8] of updates with the same ifRevision exactly one wins', async () => {
      const { sessionId } = await session({ model: 'a' });
      const sockets = await Promise.all(range(1, 4).map(() => client()));
      const acks = await Promise.all(
        sockets.map((one, n) => one.call('settings:update', { sessionId, ifRevision: 2, merge: { model: `by ${n}` } })),
      );
      expect(acks.filter((ack) => ack.ok)).to.have.length(1);
      for (const ack of acks.filter((one) => !one.ok)) expect(ack.error.code).to.equal('REVISION_CONFLICT');
    });

    it('[U8] ifRevision and ifEpoch that are no revision and no epoch are refused', async () => {
      const { socket, sessionId } = await session({ model: 'a' });
      for (const guard of [
        { ifRevision: -1 },
        { ifRevision: 1.5 },
        { ifRevision: '2' },
        { ifRevision: 2 ** 53 },
        { ifEpoch: 5 },
      ]) {
        const asked = { sessionId, ...guard, merge: { model: 'b' } };
        await socket.refused('settings:update', asked, 'INVALID_REQUEST');
      }
    });

    it('[U9] ifEpoch refuses in another epoch', async () => {
      const { socket, sessionId, epoch } = await session({ model: 'a' });
      const asked = { sessionId, merge: { model: 'b' } };
      const { details } = await socket.refused(
        'settings:update',
        { ...asked, ifEpoch: 'another' },
        'REVISION_CONFLICT',
      );
      expect(details.epoch).to.equal(epoch);
      await socket.ok('settings:update', { ...asked, ifEpoch: epoch, ifRevision: 2 });
    });
  });

  describe('updateId', () => {
    it('[U10] again answers the same but for duplicate and commits nothing, whatever came between', async () => {
      const { socket, sessionId } = await session({ model: 'a' });
      const asked = { sessionId, updateId: 'once', ifRevision: 2, merge: { model: 'b' } };
      const first = await socket.ok('settings:update', asked);
      await socket.ok('settings:update', { sessionId, merge: { model: 'c' } });
      const other = await client();
      for (const again of [socket, socket, other]) {
        expect(await again.ok('settings:update', asked)).to.deep.equal({ ...first, duplicate: true });
      }
      expect(await stored(socket, sessionId)).to.deep.include({ revision: 4, settings: { model: 'c' } });
    });

    it('[U10] sent at once by several sockets is committed once', async () => {
      const { socket, sessionId } = await session({ n: 0 });
      const sockets = await Promise.all(range(1, 4).map(() => client()));
      const asked = { sessionId, updateId: 'race', patch: [{ op: 'add', path: '/n', value: 1 }] };
      const acks = await Promise.all(
        sockets.flatMap((one) => [one.ok('settings:update', asked), one.ok('settings:update', asked)]),
      );
      expect(acks.filter((ack) => !ack.duplicate)).to.have.length(1);
      for (const ack of acks) expect(ack.revision).to.equal(3);
      expect((await stored(socket, sessionId)).revision).to.equal(3);
    });

    it('[U11] of an update that changed nothing is remembered, of a refused one not', async () => {
      const { socket, sessionId } = await session({ model: 'a' });
      const noop = { sessionId, updateId: 'noop', merge: { model: 'a' } };
      const first = await socket.ok('settings:update', noop);
      await socket.ok('settings:update', { sessionId, merge: { model: 'b' } });
      const again = await socket.ok('settings:update', noop);
      expect(again).to.deep.include({ duplicate: true, revision: first.revision, changedPaths: [] });
      expect((await stored(socket, sessionId)).settings).to.deep.equal({ model: 'b' });

      const refused = { sessionId, updateId: 'retry', merge: { model: 5 } };
      await socket.refused('settings:update', refused, 'INVALID_SETTINGS');
      await socket.refused('settings:update', refused, 'INVALID_SETTINGS');
      const mended = await socket.ok('settings:update', { ...refused, merge: { model: 'c' } });
      expect(mended).to.include({ duplicate: false, revision: 4 });
    });

    it('[U12] with another payload is INVALID_REQUEST and names the id; other sessions do not know it', async () => {
      const { socket, sessionId } = await session({ model: 'a' });
      const { sessionId: elsewhere } = await session({ model: 'a' });
      const updateId = 'taken-id';
      await socket.ok('settings:update', { sessionId, updateId, merge: { model: 'b' } });
      const others = [
        ['settings:update', { merge: { model: 'c' } }],
        ['settings:update', { replace: { model: 'b' } }],
        ['message:add', { message: { role: 'user', content: 'x' } }],
        ['session:clear', {}],
      ] as const;
      for (const [event, body] of others) {
        const error = await socket.refused(event, { sessionId, updateId, ...body }, 'INVALID_REQUEST');
        expect(error.message).to.include(updateId);
      }
      expect((await stored(socket, sessionId)).revision).to.equal(3);
      const ack = await socket.ok('settings:update', { sessionId: elsewhere, updateId, merge: { model: 'c' } });
      expect(ack.duplicate).to.equal(false);
    });

    it('[U13] has 1 to 128 characters', async () => {
      const { socket, sessionId } = await session({ model: 'a' });
      for (const updateId of ['', 'x'.repeat(129), 5, {}]) {
        const asked = { sessionId, updateId, merge: { model: 'b' } };
        await socket.refused('settings:update', asked, 'INVALID_REQUEST');
      }
      for (const updateId of ['x', 'é"{}*:\n '.padEnd(128, 'x')]) {
        const asked = { sessionId, updateId, merge: { mode: updateId } };
        const first = await socket.ok('settings:update', asked);
        expect(await socket.ok('settings:update', asked)).to.deep.equal({ ...first, duplicate: true });
      }
    });
  });

  describe('order and independence', () => {
    it('[U14] updates of one socket are decided in the order in which they were sent', async () => {
      const { socket, sessionId } = await session({ n: 0 });
      const reader = await joined(sessionId);
      const acks = await Promise.all(
        range(1, 150).map((n) => socket.ok('settings:update', { sessionId, merge: { n } })),
      );
      expect(acks.map((ack) => ack.settings.n)).to.deep.equal(range(1, 150));
      expect(acks.map((ack) => ack.revision)).to.deep.equal(range(3, 152));
      expect((await stored(socket, sessionId)).settings).to.deep.equal({ n: 150 });
      await reader.next('settings:updated', (body) => body.revision === 152);
      expect(reader.bodies('settings:updated').map((body) => body.settings.n)).to.deep.equal(range(1, 150));
    });

    it('[U14] updates of many sockets are in one order and none is lost', async () => {
      const { socket, sessionId } = await session({});
      const writers = await Promise.all(range(1, 4).map(() => client()));
      const acks = await Promise.all(
        writers.flatMap((one, who) =>
          range(1, 30).map((n) => one.ok('settings:update', { sessionId, merge: { [`k${who}.${n}`]: n } })),
        ),
      );
      expect(acks.map((ack) => ack.revision).sort((a, b) => a - b)).to.deep.equal(range(3, 122));
      expect(Object.keys((await stored(socket, sessionId)).settings)).to.have.length(120);
    });

    it('[U15] one bad update rejects only itself', async () => {
      const { socket, sessionId } = await session({ n: 0 });
      const bodies = range(1, 30).map((n) => (n % 3 === 0 ? { merge: { model: n } } : { merge: { n } }));
      const acks = await Promise.all(bodies.map((body) => socket.call('settings:update', { sessionId, ...body })));
      const refused = acks.filter((ack) => !ack.ok);
      expect(refused.map((ack) => ack.error.code)).to.deep.equal(Array(10).fill('INVALID_SETTINGS'));
      expect(acks.map((ack) => ack.ok)).to.deep.equal(range(1, 30).map((n) => n % 3 !== 0));
      expect(await stored(socket, sessionId)).to.deep.include({ settings: { n: 29 }, revision: 22 });
    });
  });

  describe('what settings may be', () => {
    it('[U16] no __proto__, constructor or prototype at any depth, nor in a patch path', async () => {
      const { socket, sessionId } = await session({ a: { b: 1 } });
      for (const key of ['__proto__', 'constructor', 'prototype']) {
        const bad = withKey(key);
        for (const asked of [
          { replace: bad },
          { settings: { a: [{ b: bad }] } },
          { merge: bad },
          { merge: { a: { b: bad } } },
          { patch: [{ op: 'add', path: '/a/c', value: { d: bad } }] },
          { patch: [{ op: 'add', path: `/${key}`, value: 1 }] },
          { patch: [{ op: 'add', path: `/a/${key}/polluted`, value: 1 }] },
          { patch: [{ op: 'copy', from: '/a', path: `/a/${key}` }] },
          { patch: [{ op: 'move', from: `/${key}`, path: '/a/c' }] },
        ]) {
          await socket.refused('settings:update', { sessionId, ...asked }, 'INVALID_REQUEST');
        }
        await socket.refused('session:open', { sessionId: freshId('u'), settings: { a: bad } }, 'INVALID_REQUEST');
      }
      expect(await stored(socket, sessionId)).to.deep.include({ revision: 2, settings: { a: { b: 1 } } });
      const { session: plain } = await socket.ok('session:open', {});
      expect(JSON.stringify(plain)).to.not.include('polluted');
    });

    it('[U17] at most 64 KiB of JSON, counted in bytes and after the update', async () => {
      const { socket, sessionId } = await session({ kept: 1 });
      await socket.ok('settings:update', { sessionId, replace: { text: 'x'.repeat(65_000) } });
      for (const asked of [
        { replace: { text: 'x'.repeat(66_000) } },
        { replace: { text: '€'.repeat(30_000) } },
        { merge: { more: 'x'.repeat(1_000) } },
        { patch: [{ op: 'copy', from: '/text', path: '/twice' }] },
      ]) {
        await socket.refused('settings:update', { sessionId, ...asked }, 'TOO_LARGE');
      }
      expect((await stored(socket, sessionId)).revision).to.equal(3);
      const settings = { text: 'x'.repeat(70_000) };
      await socket.refused('session:open', { sessionId: freshId('u'), settings }, 'TOO_LARGE');
    });

    it('[U17] patches that grow the settings are refused at the step that crosses the limit', async () => {
      const { socket, sessionId } = await session({ list: ['x'.repeat(9_000)] });
      const patch = [{ op: 'copy', from: '/list/0', path: '/list/-' }];
      const acks: Wire[] = [];
      for (const _ of range(1, 8)) acks.push(await socket.call('settings:update', { sessionId, patch }));
      expect(acks.map((ack) => ack.error?.code ?? 'ok')).to.deep.equal([
        ...Array(6).fill('ok'),
        ...Array(2).fill('TOO_LARGE'),
      ]);
    });

    it('[U18] at most 32 levels deep', async () => {
      const { socket, sessionId } = await session({});
      await socket.ok('settings:update', { sessionId, replace: nested(31) });
      for (const asked of [
        { replace: nested(34) },
        { merge: nested(200) },
        { patch: [{ op: 'add', path: '/a', value: nested(34) }] },
      ]) {
        await socket.refused('settings:update', { sessionId, ...asked }, 'INVALID_REQUEST');
      }
      const deeper = [
        { op: 'move', from: '/l', path: '/m' },
        { op: 'add', path: '/l', value: { l: {} } },
      ];
      await socket.ok('settings:update', { sessionId, patch: deeper });
      const tooDeep = [{ op: 'copy', from: '/m', path: '/l/l/l' }];
      await socket.refused('settings:update', { sessionId, patch: tooDeep }, 'INVALID_REQUEST');
    });

    it('[U19] what breaks the schema is INVALID_SETTINGS with the places, and nothing is committed', async () => {
      const { socket, sessionId } = await session({ model: 'a', options: { temperature: 0.5 } });
      for (const asked of [
        { merge: { options: { temperature: 'hot' } } },
        { replace: { options: { temperature: -5 } } },
        { patch: [{ op: 'replace', path: '/options/temperature', value: {} }] },
      ]) {
        const error = await socket.refused('settings:update', { sessionId, ...asked }, 'INVALID_SETTINGS');
        expect(error.details.issues.map((issue: Wire) => issue.path)).to.include('/options/temperature');
      }
      await socket.refused('settings:update', { sessionId, merge: { options: 'all' } }, 'INVALID_SETTINGS');
      await socket.refused('settings:update', { sessionId, merge: { model: ['a'] } }, 'INVALID_SETTINGS');
      expect((await stored(socket, sessionId)).revision).to.equal(2);
    });

    it('[U20] any other JSON, which is stored and given back exactly', async () => {
      const values = {
        empty: {},
        list: [],
        mixed: { list: [[], {}, null, false, 0, ''], o: { p: {} } },
        text: 'a\r\nb\u2028c<script>\u0000*3\r\n$3\r\nSET "\\u0000" return redis.call() ]] {{x}} 😀',
        numbers: [9007199254740991, -9007199254740991, 1e-7, 1e21, 0.1, -1.5, 5e-324],
        'key "with" ~ and / and \u2028': { '': 'empty key' },
        options: { unheard_of: { deep: [1] } },
        toString: 'a key of Object.prototype',
        nothing: null,
      };
      const { socket, sessionId } = await session(values);
      const reader = await joined(sessionId);
      expect((await stored(socket, sessionId)).settings).to.deep.equal(values);
      const value = { ...values, more: values };
      const ack = await socket.ok('settings:update', { sessionId, replace: value });
      expect(ack.settings).to.deep.equal(value);
      expect((await reader.next('settings:updated')).settings).to.deep.equal(value);
      const { versions } = await socket.ok('settings:history', { sessionId });
      expect(versions[0].settings).to.deep.equal(value);
      await socket.ok('settings:update', { sessionId, replace: { lone: 'a\ud800b' } });
      expect((await stored(socket, sessionId)).settings).to.deep.equal({ lone: 'a\ud800b' });
    });
  });
});
