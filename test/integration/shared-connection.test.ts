// Several tabs on one WebSocket: each has a namespace of its own, and is a socket like any other.
import { randomBytes } from 'node:crypto';
import { expect } from 'chai';
import { SignJWT } from 'jose';
import { Manager } from 'socket.io-client';
import { startAttune, type Attune } from '../support/attune.js';
import { joinPresent } from '../support/present.js';
import { range } from '../support/range.js';
import { closeRawSockets, openRaw } from '../support/raw-socket.js';
import { metric } from '../support/session-log.js';
import { expectError, freshId, type Wire } from '../support/shapes.js';
import { closeSockets, recorder, type HandshakeAuth, type TestSocket } from '../support/socket.js';
import { until } from '../support/until.js';

const secret = randomBytes(24).toString('hex');

describe('several tabs on one connection', () => {
  let attune: Attune;
  before(async () => {
    attune = await startAttune();
  });
  after(() => attune?.destroy());

  const managers = new Set<Manager>();
  afterEach(closeSockets);
  afterEach(closeRawSockets);
  afterEach(() => {
    for (const manager of managers) manager._close();
    managers.clear();
  });

  function connection(url = attune.url): Manager {
    const manager = new Manager(url, { transports: ['websocket'], reconnection: false, autoConnect: false });
    managers.add(manager);
    return manager;
  }
  /** A tab on the connection; rejects with the refusal. */
  async function tab(manager: Manager, namespace: string, auth: HandshakeAuth = {}): Promise<TestSocket> {
    const raw = manager.socket(namespace);
    raw.auth = { protocol: 1, ...auth };
    const tabSocket = recorder(raw);
    await new Promise<void>((resolve, reject) => {
      raw.once('connect', () => resolve());
      raw.once('connect_error', reject);
      raw.connect();
    });
    return tabSocket;
  }
  const refusal = async (entering: Promise<unknown>): Promise<Error> =>
    entering.then(
      () => expect.fail('it was let in'),
      (error: Error) => error,
    );

  async function three(sessionId: string) {
    const manager = connection();
    const [a, b, c] = [
      await tab(manager, '/', { clientId: 'a' }),
      await tab(manager, '/~1', { clientId: 'b', kind: 'bot' }),
      await tab(manager, '/~31', { clientId: 'c' }),
    ];
    await a.ok('session:open', { sessionId });
    return { manager, a, b, c };
  }

  it('[TB1] each is a reader and a participant of its own, with its own options and author', async () => {
    const sessionId = freshId('tb');
    const { manager, ...tabs } = await three(sessionId);
    const a = await joinPresent(tabs.a, 'a', sessionId);
    const b = await joinPresent(tabs.b, 'b', sessionId, { body: 'delta', presence: { n: 1 } });
    const c = await joinPresent(tabs.c, 'c', sessionId, { delivery: 'latest' });
    for (const one of [a, b, c]) await one.sees({ a: {}, b: { n: 1 }, c: {} });
    expect(b.self.kind).to.equal('bot');
    await tabs.b.ok('settings:update', { sessionId, merge: { n: 1 } });
    const [whole, delta, latest] = await Promise.all(
      [tabs.a, tabs.b, tabs.c].map((one) => one.next('settings:updated')),
    );
    expect(whole.settings).to.include({ n: 1 });
    expect(whole.by).to.include({ clientId: 'b', kind: 'bot' });
    expect(delta).to.have.property('delta');
    expect(delta).to.not.have.property('settings');
    expect(latest.settings).to.include({ n: 1 });
    await tabs.a.ok('signal', { sessionId, type: 't', data: 1 });
    for (const one of [tabs.b, tabs.c]) expect((await one.next('signal')).participantId).to.equal(a.self.participantId);
    expect(tabs.a.bodies('signal')).to.deep.equal([]);
    for (const one of Object.values(tabs)) expect(one.bodies('settings:updated')).to.have.length(1);
    expect(manager.engine.transport.name).to.equal('websocket');
  });

  it('[TB2] one that leaves, disconnects or comes back disturbs none of the others', async () => {
    const sessionId = freshId('tb');
    const { manager, a, b, c } = await three(sessionId);
    const all = [];
    for (const [socket, id] of [
      [a, 'a'],
      [b, 'b'],
      [c, 'c'],
    ] as const) {
      all.push(await joinPresent(socket, id, sessionId));
    }
    await b.ok('session:leave', { sessionId });
    a.close();
    await all[2]!.sees({ c: {} });
    await c.ok('settings:update', { sessionId, merge: { n: 1 } });
    await c.next('settings:updated');
    await b.ok('session:get', { sessionId });
    expect(b.bodies('settings:updated')).to.deep.equal([]);
    const again = await joinPresent(await tab(manager, '/', { clientId: 'a' }), 'a', sessionId);
    await again.sees({ a: {}, c: {} });
    await c.ok('session:delete', { sessionId });
    for (const socket of [again.socket, c]) await socket.next('session:deleted');
    expect(b.bodies('session:deleted')).to.deep.equal([]);
  });

  it('[TB3] other namespaces are refused with an error object, and the connection stays', async () => {
    const manager = connection();
    const socket = await tab(manager, '/~1');
    for (const name of ['/~0', '/~32', '/~01', '/~1a', '/admin', '/~']) {
      const error = (await refusal(tab(manager, name))) as Error & { data?: Wire };
      expect(error.message, name).to.equal('Invalid namespace');
      expectError(error.data, 'INVALID_REQUEST');
    }
    await socket.ok('session:open', { sessionId: freshId('tb') });
  });

  it('[TB4] 32 tabs share a connection, and may come and go', async () => {
    const manager = connection();
    const names = ['/', ...range(1, 31).map((n) => `/~${n}`)];
    const before = await metric(attune.url, 'attune_sockets');
    const tabs = await Promise.all(names.map((name) => tab(manager, name)));
    expect(await metric(attune.url, 'attune_sockets')).to.equal(before + 32);
    const sessionId = freshId('tb');
    await tabs[0]!.ok('session:open', { sessionId });
    await Promise.all(tabs.map((socket) => socket.ok('session:join', { sessionId })));
    await tabs[31]!.ok('settings:update', { sessionId, merge: { n: 1 } });
    for (const socket of tabs) expect((await socket.next('settings:updated')).settings.n).to.equal(1);
    for (const socket of tabs.slice(1)) socket.close();
    await until(async () => (await metric(attune.url, 'attune_sockets')) === before + 1);
    const again = await Promise.all(names.slice(1).map((name) => tab(manager, name)));
    await again[30]!.ok('session:get', { sessionId });
  });

  it('[TB5] a flood of CONNECTs, and a second one into the same namespace, end the connection', async () => {
    const isClosed = async (packets: string[]) => {
      const raw = await openRaw(attune.url);
      for (const packet of packets) raw.ws.send(packet);
      await until(() => raw.ws.readyState === raw.ws.CLOSED, { what: `the end after ${packets[0]}` });
    };
    await isClosed(['40/~1,{}', '40/~1,{}']);
    await isClosed(['40{}']);
    await isClosed(range(1, 100).map((n) => `40/unknown-${n},`));
    await isClosed(range(1, 200).map(() => '40/~2,{"protocol":99}'));
    await isClosed(range(1, 200).flatMap(() => ['40/~3,{}', '41/~3,']));
  });

  it('[TB6] every tab is told of a drain', async () => {
    const draining = await startAttune();
    try {
      const manager = connection(draining.url);
      const tabs = await Promise.all(['/', '/~1', '/~2'].map((name) => tab(manager, name)));
      expect(await draining.stop()).to.equal(0);
      for (const socket of tabs) {
        expect((await socket.next('server:draining')).reconnectAfterMs).to.be.at.least(0);
        await until(() => !socket.raw.connected);
      }
    } finally {
      await draining.destroy();
    }
  });

  describe('with tokens', () => {
    let guarded: Attune;
    before(async () => {
      guarded = await startAttune({ env: { AUTH_SECRET: secret } });
    });
    after(() => guarded?.destroy());

    /** Tokens are good for 5 s more than they say. */
    const token = (sub: string, forS: number) =>
      new SignJWT({ sessions: [{ match: '*', role: 'owner' }] })
        .setProtectedHeader({ alg: 'HS256' })
        .setSubject(sub)
        .setExpirationTime(Math.floor(Date.now() / 1000) + forS)
        .sign(new TextEncoder().encode(secret));

    it('[TB7] each tab has a token of its own; where one is refused the others stay', async () => {
      const manager = connection(guarded.url);
      const ada = await tab(manager, '/~1', { token: await token('ada', 600) });
      const bob = await tab(manager, '/~2', { token: await token('bob', 600) });
      const error = (await refusal(tab(manager, '/~3', { token: 'none' }))) as Error & { data: Wire };
      expect(error.data.code).to.equal('UNAUTHENTICATED');
      const { session } = await ada.ok('session:open', { sessionId: freshId('tb') });
      expect(session.updatedBy.userId).to.equal('ada');
      await bob.ok('settings:update', { sessionId: session.id, merge: { n: 1 } });
      expect((await ada.ok('session:get', { sessionId: session.id })).session.updatedBy.userId).to.equal('bob');
    });

    it('[TB8] a token that runs out ends its tab alone, whatever that still sends; with another it comes back', async () => {
      const manager = connection(guarded.url);
      const stays = await tab(manager, '/', { token: await token('ada', 600), clientId: 'stays' });
      const goes = await tab(manager, '/~1', { token: await token('bob', -3), clientId: 'goes' });
      const sessionId = freshId('tb');
      await stays.ok('session:open', { sessionId });
      const staying = await joinPresent(stays, 'stays', sessionId);
      await goes.ok('session:join', { sessionId });
      await staying.sees({ stays: {}, goes: {} });
      await until(() => !goes.raw.connected, { deadlineMs: 10_000, what: 'the end of the tab' });
      // Its client knows; one that did not know yet would have sent this.
      (manager as unknown as { _packet(packet: object): void })._packet({
        type: 2,
        nsp: '/~1',
        data: ['session:get', { sessionId }],
      });
      await staying.sees({ stays: {} });
      await stays.ok('settings:update', { sessionId, merge: { n: 1 } });
      const back = await tab(manager, '/~1', { token: await token('bob', 600), clientId: 'goes' });
      await joinPresent(back, 'goes', sessionId);
      await staying.sees({ stays: {}, goes: {} });
      // The last one takes the connection with it.
      const alone = connection(guarded.url);
      const last = await tab(alone, '/~1', { token: await token('bob', -3) });
      await until(() => !last.raw.connected && alone._readyState === 'closed', { deadlineMs: 10_000 });
    });
  });
});
