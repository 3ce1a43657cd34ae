// Black-box tests of settings:history and settings:restore, from the contract alone.
import { expect } from 'chai';
import { request } from '../support/http.js';
import { oneServer } from '../support/one-server.js';
import { range } from '../support/range.js';
import { expectAuthor, expectTime, expectWrite, freshId, type Wire } from '../support/shapes.js';
import { until } from '../support/until.js';

describe('the history of settings over Socket.IO', () => {
  const { client, joined, server, session, stored } = oneServer();

  it('[U21] lists the versions, newest first, in pages', async () => {
    const { socket, sessionId } = await session({ a: 0 });
    for (const n of range(1, 6)) {
      await socket.ok('settings:update', { sessionId, merge: { [`k${n}`]: n } });
      await socket.ok('message:add', { sessionId, message: { role: 'user', content: 'no version' } });
    }
    const { versions } = await socket.ok('settings:history', { sessionId });
    expect(versions.map((version: Wire) => version.revision)).to.deep.equal([13, 11, 9, 7, 5, 3, 2, 1]);
    expect(versions[0]).to.have.all.keys('revision', 'at', 'by', 'settings', 'changedPaths');
    expect(versions[0].settings).to.deep.equal({ a: 0, k1: 1, k2: 2, k3: 3, k4: 4, k5: 5, k6: 6 });
    expect(versions[0].changedPaths).to.deep.equal(['/k6']);
    expectTime(versions[0].at);
    expectAuthor(versions[0].by);
    const paged: Wire[] = [];
    for (let before: number | undefined; ;) {
      const page = await socket.ok('settings:history', {
        sessionId,
        limit: 3,
        ...(before !== undefined && { before }),
      });
      expect(page.versions).to.have.length.at.most(3);
      paged.push(...page.versions);
      if (page.next === undefined) break;
      before = page.next as number;
    }
    expect(paged).to.deep.equal(versions);
  });

  it('[U22] commits of one author to the same paths within 2 s are one version, others are not', async () => {
    const { socket, sessionId } = await session({ slide: 0, other: 0 }, { clientId: 'one' });
    const elsewhere = await client({ clientId: 'two' });
    for (const slide of range(1, 5)) await socket.ok('settings:update', { sessionId, merge: { slide } });
    await socket.ok('settings:update', { sessionId, merge: { other: 1 } });
    await elsewhere.ok('settings:update', { sessionId, merge: { other: 2 } });
    const coalesced = async (): Promise<Wire[]> => (await socket.ok('settings:history', { sessionId })).versions;
    const versions = await coalesced();
    expect(versions.map((version) => version.revision)).to.deep.equal([9, 8, 7, 2, 1]);
    expect(versions[2].settings).to.deep.equal({ slide: 5, other: 0 });
    expect(versions[2].changedPaths).to.deep.equal(['/slide']);
    const due = Date.parse(versions[0].at) + 2_100;
    await until(() => Date.now() > due, { what: 'two seconds to pass' });
    await elsewhere.ok('settings:update', { sessionId, merge: { other: 3 } });
    expect((await coalesced()).map((version) => version.revision)).to.deep.equal([10, 9, 8, 7, 2, 1]);
  });

  it('[U23] restore is a new commit with the settings as they were at a revision', async () => {
    const { socket, sessionId, epoch } = await session({ a: 1 });
    const made = (await socket.ok('settings:history', { sessionId })).versions.at(-1);
    await socket.ok('settings:update', { sessionId, merge: { b: 2 } });
    await socket.ok('message:add', { sessionId, message: { role: 'user', content: 'at 4' } });
    await socket.ok('settings:update', { sessionId, replace: { c: 3 } });
    const reader = await joined(sessionId);
    const ack = await socket.ok('settings:restore', { sessionId, toRevision: 4, updateId: 'back' });
    expectWrite(ack, { epoch, revision: 6, settingsRevision: 6, duplicate: false, settings: { a: 1, b: 2 } });
    expect(ack.changedPaths).to.have.members(['/a', '/b', '/c']);
    expectTime(ack.updatedAt);
    const told = await reader.next('settings:updated');
    expect(told).to.deep.include({
      revision: 6,
      settings: { a: 1, b: 2 },
      request: { restore: 4 },
      updateId: 'back',
    });
    const again = await socket.ok('settings:restore', { sessionId, toRevision: 4, updateId: 'back' });
    expect(again).to.deep.equal({ ...ack, duplicate: true });
    const first = await socket.ok('settings:restore', { sessionId, toRevision: 1 });
    expect(first.settings).to.deep.equal(made.settings);
    expect((await socket.ok('settings:history', { sessionId })).versions[0].revision).to.equal(7);
  });

  it('[U23] restore obeys the guards, and to what is there already commits nothing', async () => {
    const { socket, sessionId } = await session({ a: 1 });
    await socket.ok('settings:update', { sessionId, merge: { b: 2 } });
    const stale = { sessionId, toRevision: 2 };
    await socket.refused('settings:restore', { ...stale, ifRevision: 2 }, 'REVISION_CONFLICT');
    await socket.refused('settings:restore', { ...stale, ifEpoch: 'another' }, 'REVISION_CONFLICT');
    const same = await socket.ok('settings:restore', { sessionId, toRevision: 3 });
    expect(same).to.deep.include({ revision: 3, changedPaths: [] });
    for (const toRevision of [0, -1, 4, 1.5, '2', null]) {
      await socket.refused('settings:restore', { sessionId, toRevision }, 'INVALID_REQUEST');
    }
    await socket.refused('settings:restore', { sessionId }, 'INVALID_REQUEST');
    await socket.refused('settings:restore', { sessionId: freshId('none'), toRevision: 1 }, 'SESSION_NOT_FOUND');
    expect((await stored(socket, sessionId)).revision).to.equal(3);
  });

  it('[U24] limit is 1 to 500, 50 where it is not said', async () => {
    const { socket, sessionId } = await session({});
    await Promise.all(range(1, 60).map((n) => socket.ok('settings:update', { sessionId, merge: { [`k${n}`]: n } })));
    const { versions, next } = await socket.ok('settings:history', { sessionId });
    expect(versions).to.have.length(50);
    expect(next).to.be.a('number');
    expect((await socket.ok('settings:history', { sessionId, limit: 500 })).versions).to.have.length(62);
    for (const more of [
      { limit: 0 },
      { limit: 501 },
      { limit: 1.5 },
      { limit: '5' },
      { before: -1 },
      { before: 'x' },
    ]) {
      await socket.refused('settings:history', { sessionId, ...more }, 'INVALID_REQUEST');
    }
    await socket.refused('settings:history', { sessionId: freshId('none') }, 'SESSION_NOT_FOUND');
  });

  it('[V10] nothing is before the first revision', async () => {
    const { socket, sessionId } = await session({ a: 1 });
    await socket.ok('message:add', { sessionId, message: { role: 'user', content: 'x' } });
    const history = await socket.ok('settings:history', { sessionId, before: 0 });
    expect(history.versions).to.deep.equal([]);
    expect(history.next).to.equal(undefined);
    expect((await socket.ok('message:list', { sessionId, before: 0 })).messages).to.deep.equal([]);
    const { versions } = await socket.ok('settings:history', { sessionId });
    expect(versions).to.have.length(2);
    const url = `${server.url}/v1/sessions/${sessionId}/settings/history?before=0`;
    expect((await request('GET', url)).body.versions).to.deep.equal([]);
  });
});

describe('settings with small limits', () => {
  const { client } = oneServer({ env: { SETTINGS_BYTES_MAX: '9000', HISTORY_VERSIONS_MAX: '5' } });

  it('[U25] SETTINGS_BYTES_MAX and HISTORY_VERSIONS_MAX are what the variables of their names say', async () => {
    const socket = await client();
    const sessionId = freshId('u');
    await socket.ok('session:open', { sessionId });
    for (const n of range(1, 8)) await socket.ok('settings:update', { sessionId, replace: { [`k${n}`]: n } });
    const { versions, next } = await socket.ok('settings:history', { sessionId });
    expect(versions.map((version: Wire) => version.settings)).to.deep.equal(
      range(4, 8)
        .reverse()
        .map((n) => ({ [`k${n}`]: n })),
    );
    expect(next).to.equal(undefined);
    const text = 'x'.repeat(9_100);
    await socket.refused('settings:update', { sessionId, replace: { text } }, 'TOO_LARGE');
  });
});
