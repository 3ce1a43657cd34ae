// What a caller hands to a session that is wrong, too late, or changed afterwards: it is told, and nothing else happens.
import { expect } from 'chai';
import type { Session } from '../../client-sdk/index.js';
import { startAttune, type Attune } from '../support/attune.js';
import { clientOf, closeClients, failureOf, freshSession } from '../support/clients.js';
import { request } from '../support/http.js';
import { closeSockets, connect } from '../support/socket.js';
import { until } from '../support/until.js';

interface Settings {
  model?: string;
  options?: { temperature?: number; stop?: string[] };
}

describe('what a caller hands to a session of the SDK', () => {
  let server: Attune;
  before(async () => {
    server = await startAttune();
  });
  after(() => server.destroy());
  afterEach(closeClients);
  afterEach(closeSockets);

  const ready = async (id = freshSession(), options: { presence?: string } = {}): Promise<Session<Settings>> => {
    const session = clientOf(server.url).session<Settings>(id, {
      create: true,
      initialSettings: { model: 'first', options: { temperature: 0.5, stop: ['a'] } },
      ...options,
    });
    await session.ready();
    return session;
  };
  const stored = async (id: string) =>
    (await request('GET', `${server.url}/v1/sessions/${id}`)).body.settings as Settings;

  it('[CK42] a write is what it was when it was made, whatever becomes of the object', async () => {
    const session = await ready();
    const merge = { options: { stop: ['b'] } };
    const message = { role: 'user' as const, content: 'as it was' };
    const update = session.update(merge);
    const added = session.addMessage(message);
    merge.options.stop.push('c');
    message.content = 'changed';
    expect(session.getSnapshot().settings?.options?.stop).to.deep.equal(['b']);
    await update;
    expect((await added).content).to.equal('as it was');
    expect((await stored(session.id)).options?.stop).to.deep.equal(['b']);
  });

  it('[CK42] an updater may change what it is given: that is a copy', async () => {
    const session = await ready();
    const before = session.getSnapshot();
    await session.update((settings) => {
      settings.options!.stop!.push('b');
      settings.model = 'second';
      return settings;
    });
    expect(before.settings).to.deep.include({ model: 'first' });
    expect(before.settings?.options?.stop).to.deep.equal(['a']);
    expect(await stored(session.id)).to.deep.include({ model: 'second' });
    expect((await stored(session.id)).options?.stop).to.deep.equal(['a', 'b']);
  });

  it('[CK43] what JSON cannot say is refused and changes nothing: a number that is none, an updater that is late', async () => {
    const session = await ready();
    const { settings, revision } = session.getSnapshot();
    const later = async (value: Settings) => value;
    for (const made of [
      () => session.update({ options: { temperature: NaN } }),
      () => session.update(later as never),
      () => session.update((() => undefined) as never),
      () => session.update((() => Promise.reject(new Error('late'))) as never),
      () => session.replace({ model: (() => 'm') as never }),
      () => session.patch([{ op: 'add', path: '/options', value: new Map() as never }]),
      () => session.addMessage({ role: 'user', content: 'x', metadata: { at: Infinity } }),
      () => session.signal('typing', { at: NaN }),
    ]) {
      expect(await failureOf(made())).to.be.instanceOf(Error);
      expect(session.getSnapshot()).to.include({ settings, revision, pending: 0 });
    }
    expect(await failureOf(session.update(later as never))).to.include({ code: 'INVALID_REQUEST' });
    expect(() => session.setPresence(NaN)).to.throw('no JSON');
    expect(await stored(session.id)).to.deep.equal(settings);
  });

  it('[CK44] a state that the server refuses is told and not offered again; the session goes on', async () => {
    const large = 'x'.repeat(5000);
    const session = await ready(freshSession(), { presence: large });
    expect(session.getSnapshot().error).to.include({ code: 'TOO_LARGE' });
    await session.update({ model: 'goes on' });
    session.setPresence('fits');
    const shown = () => session.getSnapshot().participants.map(({ state }) => state);
    await until(() => shown().includes('fits'), { deadlineMs: 5000, what: 'the state that fits' });
    session.setPresence(large);
    await until(() => session.getSnapshot().error?.code === 'TOO_LARGE', { deadlineMs: 5000, what: 'the refusal' });
    await session.update({ model: 'still' });
    const other = await connect(server.url);
    const { participants } = await other.ok('session:join', { sessionId: session.id });
    expect(participants.map(({ state }: { state?: unknown }) => state)).to.include('fits');
  });

  it('[CK45] who has waited for a write finds it in the snapshot, whatever it was, and writes again from that', async () => {
    const session = await ready();
    const { revision } = await session.replace({ model: 'restored', options: { temperature: 1 } });
    for (let round = 0; round < 30; round += 1) {
      await session.replace({ model: 'other', options: { temperature: 0 } });
      expect(session.getSnapshot().confirmed?.model).to.equal('other');
      await session.restore(revision);
      expect(session.getSnapshot().settings?.model).to.equal('restored');
      await session.update((settings) => ({
        ...settings,
        options: { temperature: settings.options!.temperature! + 1 },
      }));
      expect(session.getSnapshot().confirmed?.options?.temperature).to.equal(2);
      await session.update({ model: `round ${round}` }, { ifRevision: session.getSnapshot().revision });
      await session.describe({ title: `round ${round}` });
      expect(session.getSnapshot().title).to.equal(`round ${round}`);
    }
  });

  it('[CK46] leaving what nobody uses any more takes no later use of it', async () => {
    const client = clientOf(server.url);
    const id = freshSession();
    const session = client.session<Settings>(id, { create: true });
    session.leave();
    session.leave();
    client.session(id);
    await session.ready();
    // One that nobody uses any more from now on: when it ends, the other would have.
    const left = client.session<Settings>(freshSession(), { create: true });
    await left.ready();
    left.leave();
    await until(() => left.getSnapshot().error?.code === 'CLOSED');
    await session.update({ model: 'in use' });
  });
});
