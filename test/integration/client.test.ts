// The SDK against a real server: what an application sees of sessions, updates, messages, and of a server that goes away.
import { expect } from 'chai';
import { Redis } from 'ioredis';
import { createClient, type AttuneClient, type ClientOptions, type Session } from '../../client-sdk/index.js';
import { startAttune, type Attune } from '../support/attune.js';
import { startRedis } from '../support/redis.js';
import { until } from '../support/until.js';

interface Settings {
  model?: string;
  options?: { temperature?: number; stop?: string[] };
}

describe('the client', () => {
  let server: Attune;
  let clients: AttuneClient[] = [];
  let n = 0;
  const id = () => `client-${(n += 1)}`;
  const client = (options: ClientOptions = {}) => {
    const made = createClient({ url: server.url, ...options });
    clients.push(made);
    return made;
  };
  const open = (sessionId: string, options: ClientOptions = {}): Session<Settings> =>
    client(options).session<Settings>(sessionId, { create: true });
  const settled = (session: Session<Settings>) =>
    until(() => session.getSnapshot().syncStatus === 'synchronized', { what: 'the session to be synchronized' });

  before(async () => {
    server = await startAttune();
  });
  after(() => server.destroy());
  afterEach(() => {
    for (const made of clients) made.close();
    clients = [];
  });

  it('[CK1] a client does nothing until it is used', () => {
    const made = client();
    const session = made.session('nobody');
    expect(made.status).to.equal('initial');
    expect(session.getSnapshot()).to.include({ status: 'initial', syncStatus: 'offline', revision: 0, pending: 0 });
    expect(session.getSnapshot().settings).to.equal(undefined);
  });

  it('[CK2] who waits for a session to be ready has its settings', async () => {
    const { settings, revision } = await open(id()).ready();
    expect(settings).to.include.keys('model');
    expect(revision).to.equal(1);
  });

  it('[CK2] an update is in the own snapshot at once and in the others when it is committed', async () => {
    const sessionId = id();
    const [ada, bob] = [open(sessionId), open(sessionId)];
    await Promise.all([ada.ready(), bob.ready()]);
    const done = ada.update({ model: 'gpt-5', options: { temperature: 0.2 } });
    expect(ada.getSnapshot().settings).to.deep.include({ model: 'gpt-5' });
    expect(ada.getSnapshot()).to.include({ pending: 1, syncStatus: 'synchronizing' });
    const { revision, changedPaths } = await done;
    expect(changedPaths).to.include('/model');
    await until(() => bob.getSnapshot().revision === revision);
    expect(bob.getSnapshot().settings?.options?.temperature).to.equal(0.2);
    await settled(ada);
    expect(ada.getSnapshot().confirmed).to.deep.equal(bob.getSnapshot().settings);
    expect(ada.getSnapshot()).to.include({ pending: 0 });
  });

  it('[CK3] a refused update is taken back, with the reason', async () => {
    const ada = open(id());
    await ada.ready();
    const before = ada.getSnapshot().settings;
    const refusal = await ada.update({ options: { temperature: 'hot' } } as never).then(
      () => undefined,
      (error: { code: string; details: { issues: unknown[] } }) => error,
    );
    expect(refusal?.code).to.equal('INVALID_SETTINGS');
    expect(refusal?.details.issues).to.have.length.above(0);
    expect(ada.getSnapshot().settings).to.deep.equal(before);
    expect(ada.getSnapshot().error?.code).to.equal('INVALID_SETTINGS');
    await ada.update({ model: 'other' });
    expect(ada.getSnapshot().error).to.equal(null);
  });

  it('[CK4] updates made offline are shown, and sent in order once the connection is back', async () => {
    const sessionId = id();
    const [ada, bob] = [open(sessionId), open(sessionId)];
    await Promise.all([ada.ready(), bob.ready()]);
    const seen: unknown[] = [];
    bob.on('commit', (commit) => seen.push(commit.updateId));
    clients[0]!.disconnect();
    const answers = ['a', 'b', 'c'].map((model) => ada.update({ model }, { updateId: `offline-${model}` }));
    expect(ada.getSnapshot()).to.include({ status: 'disconnected', syncStatus: 'offline', pending: 3 });
    expect(ada.getSnapshot().settings?.model).to.equal('c');
    await bob.update({ options: { temperature: 1 } }, { updateId: 'online' });
    clients[0]!.connect();
    await Promise.all(answers);
    await until(() => seen.length === 4);
    expect(seen).to.deep.equal(['online', 'offline-a', 'offline-b', 'offline-c']);
    await settled(ada);
    expect(ada.getSnapshot().settings).to.deep.include({ model: 'c' });
    expect(ada.getSnapshot().settings?.options?.temperature).to.equal(1);
  });

  it('[CK5] a server that is killed and comes back has every acknowledged update, and the client goes on by itself', async () => {
    const own = await startAttune();
    let again: Attune | undefined;
    try {
      const made = client({ url: own.url });
      const ada = made.session<Settings>(id(), { create: true });
      await ada.ready();
      const { port, dataDir } = own;
      await ada.update({ model: 'before' });
      await own.kill();
      const answer = ada.update({ model: 'during' });
      await until(() => made.status === 'reconnecting');
      again = await startAttune({ dataDir, env: { PORT: String(port) } });
      await answer;
      await settled(ada);
      expect(ada.getSnapshot().confirmed?.model).to.equal('during');
    } finally {
      await again?.destroy();
      await own.destroy();
    }
  });

  it('[CK41] a session that Redis lost ends with SESSION_NOT_FOUND, and is told as a deletion', async () => {
    const redis = await startRedis();
    const own = await startAttune({ redisUrl: redis.url });
    try {
      const ada = client({ url: own.url }).session<Settings>(id(), { create: true });
      const deletions: unknown[] = [];
      ada.on('commit', (commit) => commit.event === 'session:deleted' && deletions.push(commit.reason));
      await ada.ready();
      const direct = new Redis(redis.url);
      await direct.flushall().finally(() => direct.disconnect());
      await until(() => ada.getSnapshot().error?.code === 'SESSION_NOT_FOUND');
      expect(deletions).to.deep.equal(['lost']);
    } finally {
      await own.destroy();
      await redis.stop();
    }
  });
});
