// The client's connection against real servers: killed, drained, paused, behind a line that cuts, holds and loses; tokens
// that end and are refused; what stops it for good.
import { randomBytes } from 'node:crypto';
import { expect } from 'chai';
import { SignJWT } from 'jose';
import type { ClientOptions, ConnectionStatus, SeenCommit, Session } from '../../client-sdk/index.js';
import { socketLink, type Transport } from '../../client-sdk/socket-link.js';
import { startAttune, type Attune } from '../support/attune.js';
import { clientOf, closeClients, failureOf, freshSession, recorded, synchronized } from '../support/clients.js';
import { startRedis, type TestRedis } from '../support/redis.js';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.js';
import { until } from '../support/until.js';

interface Settings {
  model?: string;
  n?: number;
  [key: string]: unknown;
}
/** How long an answer may take here, so that a line which says nothing is given up soon: in test/unit/connection.test.ts
 * it may take as long as it may outside of tests. */
const IMPATIENT_MS = 1000;
const impatient: Transport = (url, events) => {
  const link = socketLink(url, events);
  return { ...link, request: (event, body, _ms, answered) => link.request(event, body, IMPATIENT_MS, answered) };
};

describe("the client's connection", () => {
  afterEach(closeClients);

  describe('servers that go away', () => {
    let redis: TestRedis;
    let nodes: Attune[] = [];
    let proxy: TcpProxy | undefined;
    before(async () => {
      redis = await startRedis();
    });
    after(() => redis.stop());
    afterEach(async () => {
      await proxy?.close();
      proxy = undefined;
      for (const node of nodes) await node.destroy();
      nodes = [];
    });
    const node = async (env: Record<string, string> = {}) => {
      const started = await startAttune({ redisUrl: redis.url, env });
      nodes.push(started);
      return started;
    };
    const open = async (url: string, id: string, options: ClientOptions = {}): Promise<Session<Settings>> => {
      const session = clientOf(url, options).session<Settings>(id, { create: true });
      await session.ready();
      return session;
    };

    it('[CK25] clients of two nodes see each other, and each other leave', async () => {
      const [one, two] = await Promise.all([node(), node()]);
      const id = freshSession();
      const ada = await open(one.url, id, { clientId: 'ada' });
      const bob = await open(two.url, id, { clientId: 'bob' });
      const all: Promise<unknown>[] = [];
      for (let n = 0; n < 50; n += 1) all.push(ada.update({ a: n }), bob.update({ b: n }));
      await Promise.all(all);
      await until(() => [ada, bob].every((session) => session.getSnapshot().revision === 101));
      await Promise.all([synchronized(ada), synchronized(bob)]);
      expect(ada.getSnapshot().settings).to.deep.equal(bob.getSnapshot().settings);
      expect(ada.getSnapshot().settings).to.include({ a: 49, b: 49 });
    });

    it('[CK26] a node that drains is left without an error: its clients are on the other one, and go on', async () => {
      const [one, two] = await Promise.all([node(), node()]);
      proxy = await startTcpProxy(one.port);
      const id = freshSession();
      const ada = await open(proxy.url, id, { clientId: 'ada' });
      const bob = await open(two.url, id, { clientId: 'bob' });
      const commits = recorded<SeenCommit>((listener) => ada.on('commit', listener));
      const failures: unknown[] = [];
      const writes: Promise<unknown>[] = [];
      let n = 0;
      const writing = setInterval(() => {
        writes.push(ada.update({ n: (n += 1) }).catch((error: unknown) => failures.push(error)));
      }, 5);
      try {
        await until(() => n > 20);
        proxy.redirect(two.port);
        expect(await one.stop('SIGTERM')).to.equal(0);
        const from = n;
        await until(() => n > from + 40);
      } finally {
        clearInterval(writing);
      }
      await Promise.all(writes);
      await synchronized(ada);
      await until(() => bob.getSnapshot().settings?.n === n);
      expect(failures).to.deep.equal([]);
      const revisions = commits.map(({ revision }) => revision);
      expect(revisions).to.deep.equal(revisions.map((_, i) => i + 2));
      expect(commits.map((commit) => commit.updateId)).to.have.length(new Set(commits.map((c) => c.updateId)).size);
    });

    it('[CK27] a server that is paused for longer than an answer may take: the line is given up, nothing is lost or doubled', async () => {
      const [one, two] = await Promise.all([node(), node()]);
      proxy = await startTcpProxy(one.port);
      const id = freshSession();
      const ada = await open(proxy.url, id, { transport: impatient });
      const bob = await open(two.url, id);
      await ada.update({ n: 0 });
      one.process.kill('SIGSTOP');
      try {
        // It may be over between two looks.
        const statuses = recorded((listener) => ada.on('status', listener));
        const answers = [1, 2, 3].map((n) => ada.update({ n }, { updateId: `paused-${n}` }));
        proxy.redirect(two.port);
        await until(() => statuses.includes('reconnecting'));
        await Promise.all(answers);
        await until(() => bob.getSnapshot().settings?.n === 3);
        const { revision } = bob.getSnapshot();
        one.process.kill('SIGCONT');
        // What the paused one was sent is a repetition of what the other has done.
        await bob.update({ after: true });
        await until(() => ada.getSnapshot().revision === revision + 1);
        expect((await bob.history({ limit: 10 })).versions[0]?.settings).to.include({ n: 3, after: true });
      } finally {
        one.process.kill('SIGCONT');
      }
    });

    it('[CK28] answers that are lost after the commit: each update is committed once, and answered as a duplicate', async () => {
      proxy = await startTcpProxy((await node()).port);
      const id = freshSession();
      const ada = await open(proxy.url, id);
      await ada.addMessage({ id: 'first', role: 'user', content: 'x' });
      await synchronized(ada);
      const bob = await open(nodes[0]!.url, id);
      const { revision } = bob.getSnapshot();
      proxy.treat('fromServer', { hold: true });
      const answers = [
        ada.update({ n: 1 }),
        ada.addMessage({ role: 'user', content: 'y' }),
        ada.updateMessage('first', { append: 'z' }),
      ];
      await until(() => bob.getSnapshot().revision === revision + 3);
      await until(() => proxy!.held('fromServer') > 0);
      expect(proxy.cut()).to.be.above(0);
      proxy.release();
      const results = await Promise.all(answers);
      expect(results[0]).to.include({ duplicate: true, revision: revision + 1 });
      expect(results[2]).to.include({ content: 'xz' });
      await synchronized(ada);
      expect(ada.getSnapshot().revision).to.equal(revision + 3);
      expect((await ada.messages()).messages.map(({ content }) => content)).to.deep.equal(['y', 'xz']);
    });

    it('[CK29] a line that is half-closed, trickles or is late changes nothing but the time', async () => {
      proxy = await startTcpProxy((await node()).port);
      const id = freshSession();
      const ada = await open(proxy.url, id);
      const bob = await open(nodes[0]!.url, id);
      for (const way of ['toServer', 'fromServer'] as const) {
        const update = ada.update({ half: way });
        proxy.halfClose(way);
        await update;
        await synchronized(ada);
      }
      proxy.treat('toServer', { trickleBytes: 7 });
      proxy.treat('fromServer', { trickleBytes: 50, delayMs: 100 });
      proxy.cut();
      await Promise.all(Array.from({ length: 10 }, (_, n) => ada.update({ n })));
      await synchronized(ada);
      await until(() => bob.getSnapshot().revision === ada.getSnapshot().revision);
      expect(bob.getSnapshot().settings).to.deep.equal(ada.getSnapshot().settings);
      expect(ada.getSnapshot().settings).to.include({ n: 9, half: 'fromServer' });
    });

    it('[CK29] a line that says nothing any more is given up, and what was asked over it is asked again', async () => {
      proxy = await startTcpProxy((await node()).port);
      const id = freshSession();
      const ada = await open(proxy.url, id, { transport: impatient });
      const bob = await open(nodes[0]!.url, id);
      proxy.treat('toServer', { hold: true });
      const update = ada.update({ n: 1 });
      const page = ada.messages().catch(() => ada.messages());
      await until(() => proxy!.held('toServer') > 0);
      // Connections to come are sound again; those that are open stay silent.
      proxy.treat('toServer', { hold: false });
      await update;
      expect((await page).messages).to.deep.equal([]);
      await synchronized(ada);
      await until(() => bob.getSnapshot().settings?.n === 1);
    });

    it('[CK30] while nobody answers it tries again and again, more and more rarely, and says that it is away', async () => {
      proxy = await startTcpProxy((await node()).port);
      const id = freshSession();
      const client = clientOf(proxy.url);
      const ada = client.session<Settings>(id, { create: true });
      await ada.ready();
      proxy.refuse(true);
      proxy.cut();
      await until(() => client.status === 'reconnecting');
      expect(ada.getSnapshot()).to.include({ status: 'reconnecting', syncStatus: 'offline', error: null });
      const update = ada.update({ n: 5 });
      expect(ada.getSnapshot().settings?.n).to.equal(5);
      expect(ada.getSnapshot().pending).to.equal(1);
      proxy.refuse(false);
      await update;
      await synchronized(ada);
    });

    it('[CK31] Redis killed and started again: a new epoch, no error, and what was acknowledged is there', async () => {
      const own = await startRedis();
      const server = await startAttune({ redisUrl: own.url });
      nodes.push(server);
      try {
        const id = freshSession();
        const [ada, bob] = [await open(server.url, id), await open(server.url, id)];
        const snapshots = recorded<{ epoch: string }>((listener) => bob.on('snapshot', listener));
        const { epoch } = await ada.update({ n: 1 });
        await own.kill();
        const update = ada.update({ model: 'while Redis is away' });
        await own.restart();
        const done = await update;
        expect(done.epoch).to.not.equal(epoch);
        await until(() => snapshots.length > 0, { what: 'the snapshot of the new epoch' });
        await ada.update({ n: 2 });
        for (const session of [ada, bob]) {
          await until(() => session.getSnapshot().settings?.n === 2);
          await synchronized(session);
          expect(session.getSnapshot().settings).to.include({ model: 'while Redis is away' });
        }
      } finally {
        await server.destroy();
        await own.stop();
      }
    });
  });

  describe('tokens', () => {
    const SECRET = randomBytes(32).toString('hex');
    let server: Attune;
    before(async () => {
      server = await startAttune({ env: { AUTH_SECRET: SECRET } });
    });
    after(() => server.destroy());
    const tokenFor = (role: string, livesS: number, more: object = {}) =>
      new SignJWT({ sub: 'ada', sessions: [{ match: '*', role }], ...more })
        .setProtectedHeader({ alg: 'HS256' })
        .setExpirationTime(Math.floor(Date.now() / 1000) + livesS)
        .sign(new TextEncoder().encode(SECRET));

    it('[CK32] a token is asked for at each connect, and again before it ends', async () => {
      let asked = 0;
      const client = clientOf(server.url, {
        getToken: () => {
          asked += 1;
          // The first one is to be replaced after half of its life.
          return tokenFor('owner', asked === 1 ? 4 : 3600);
        },
      });
      const session = client.session<Settings>(freshSession(), { create: true });
      await session.ready();
      expect(asked).to.equal(1);
      const told = recorded<ConnectionStatus>((listener) => client.on('status', listener));
      await until(() => asked === 2 && client.status === 'connected', { deadlineMs: 15_000, what: 'the next token' });
      expect(told).to.deep.equal(['reconnecting', 'connected']);
      await synchronized(session);
      await session.update({ model: 'with the next one' });
      client.disconnect();
      client.connect();
      await session.ready();
      expect(asked).to.equal(3);
      expect(session.getSnapshot().error).to.equal(null);
    });

    it('[CK33] tokens that the server refuses three times in a row stop it, and it says so; connect() begins anew', async () => {
      let asked = 0;
      let isRight = false;
      const client = clientOf(server.url, {
        getToken: async () => ((asked += 1), isRight ? tokenFor('owner', 600) : 'wrong'),
      });
      const session = client.session<Settings>(freshSession(), { create: true });
      const update = session.update({ model: 'kept' });
      expect((await failureOf(session.ready()))?.code).to.equal('UNAUTHENTICATED');
      expect(client).to.include({ status: 'disconnected' });
      expect(client.error?.code).to.equal('UNAUTHENTICATED');
      expect(session.getSnapshot()).to.deep.include({ status: 'disconnected', pending: 1 });
      expect(session.getSnapshot().error?.code).to.equal('UNAUTHENTICATED');
      expect(asked).to.equal(3);
      isRight = true;
      client.connect();
      await update;
      expect(client.error).to.equal(null);
    });

    it('[CK33] without a way to another token the first refusal stops it', async () => {
      const client = clientOf(server.url);
      expect((await failureOf(client.session(freshSession()).ready()))?.code).to.equal('UNAUTHENTICATED');
      expect(client.status).to.equal('disconnected');
    });

    it('[CK34] a token that cannot be had now is asked for again; one that comes late is for its own attempt alone', async () => {
      let asked = 0;
      const late: ((token: string) => void)[] = [];
      const client = clientOf(server.url, {
        getToken: () => {
          asked += 1;
          if (asked === 1) throw new Error('no network');
          if (asked === 2) return new Promise<string>((resolve) => late.push(resolve));
          return tokenFor('owner', 600);
        },
      });
      const session = client.session<Settings>(freshSession(), { create: true });
      const ready = session.ready();
      await until(() => late.length === 1);
      // The attempt that waits for its token is given up, and another one begun.
      client.disconnect();
      client.connect();
      const told = recorded<ConnectionStatus>((listener) => client.on('status', listener));
      late[0]!(await tokenFor('owner', 600));
      await ready;
      await session.update({ n: 1 });
      await session.update({ n: 2 });
      expect(told, 'one connection').to.deep.equal(['connected']);
      expect(asked).to.equal(3);
    });

    it('[CK35] who may not is told so: a session, or a write alone', async () => {
      const id = freshSession();
      const owner = clientOf(server.url, { getToken: () => tokenFor('owner', 600) });
      await owner.session(id, { create: true }).ready();
      const stranger = clientOf(server.url, { getToken: () => tokenFor('owner', 600, { sessions: [] }) }).session(id);
      expect((await failureOf(stranger.ready()))?.code).to.equal('FORBIDDEN');
      const viewer = clientOf(server.url, { getToken: () => tokenFor('viewer', 600) }).session<Settings>(id);
      await viewer.ready();
      const before = viewer.getSnapshot().settings;
      const refusal = failureOf(viewer.update({ model: 'mine' }));
      expect(viewer.getSnapshot().settings?.model).to.equal('mine');
      expect((await refusal)?.code).to.equal('FORBIDDEN');
      expect(viewer.getSnapshot().settings).to.deep.equal(before);
      await owner.session<Settings>(id).update({ model: 'seen by the viewer' });
      await until(() => viewer.getSnapshot().settings?.model === 'seen by the viewer');
    });
  });

  it('[CK36] a server of another protocol stops it, and it says so', async () => {
    const server = await startAttune();
    try {
      const client = clientOf(server.url, {
        transport: (url, events) =>
          socketLink(url, { ...events, auth: async () => ({ ...(await events.auth()), protocol: 99 }) }),
      });
      expect((await failureOf(client.session('any').ready()))?.code).to.equal('PROTOCOL_UNSUPPORTED');
      expect(client.status).to.equal('disconnected');
      expect(client.error?.details).to.deep.include({ supported: [1] });
    } finally {
      await server.destroy();
    }
  });
});
