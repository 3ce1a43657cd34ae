// A session's handle against a real server: who holds it, what it is asked for, what it tells, and how it ends.
import { expect } from 'chai';
import { z } from 'zod';
import type { ConnectionStatus, SeenCommit, Session } from '../../client-sdk/index.js';
import { standardSchema } from '../../client-sdk/schema.js';
import { startAttune, type Attune } from '../support/attune.js';
import {
  clientOf,
  closeClients,
  failureOf,
  freshSession,
  recorded,
  synchronized,
  unhandledIn,
} from '../support/clients.js';
import { request } from '../support/http.js';
import { closeSockets, connect } from '../support/socket.js';
import { until } from '../support/until.js';

interface Settings {
  model?: string;
  note?: string;
  options?: { temperature?: number; stop?: string[]; max_tokens?: number };
}

describe('a session of the SDK', () => {
  let server: Attune;
  before(async () => {
    server = await startAttune();
  });
  after(() => server.destroy());
  afterEach(closeClients);
  afterEach(closeSockets);

  const open = (id = freshSession(), client = clientOf(server.url)): Session<Settings> =>
    client.session<Settings>(id, { create: true });
  const pair = async (id = freshSession()): Promise<[Session<Settings>, Session<Settings>]> => {
    const both: [Session<Settings>, Session<Settings>] = [open(id), open(id)];
    await Promise.all(both.map((session) => session.ready()));
    return both;
  };
  /** The room as another client sees it. */
  const rooms = async (id: string) =>
    (await (await connect(server.url)).ok('session:join', { sessionId: id })).participants;

  describe('handles', () => {
    it('[CK6] a session is one handle for all of a client who ask, live until the last has left, and a moment more', async () => {
      const client = clientOf(server.url, { clientId: 'holder' });
      const id = freshSession();
      const [one, two] = [open(id, client), open(id, client)];
      expect(one).to.equal(two);
      await one.ready();
      one.leave();
      await two.update({ model: 'still here' });
      const stop = two.subscribe(() => undefined);
      two.leave();
      await two.update({ model: 'who listens uses it' });
      stop();
      // Who comes back at once finds it live.
      expect(open(id, client)).to.equal(one);
      await synchronized(one);
      one.leave();
      await until(() => one.getSnapshot().error?.code === 'CLOSED', { what: 'the end of the handle' });
      expect((await rooms(id)).filter((one: { clientId: string }) => one.clientId === 'holder')).to.deep.equal([]);
      expect((await failureOf(one.update({ model: 'x' })))?.code).to.equal('CLOSED');
      const again = open(id, client);
      expect(again).to.not.equal(one);
      expect((await again.ready()).settings?.model).to.equal('who listens uses it');
    });

    it('[CK6] what was written before the last one left is sent', async () => {
      const id = freshSession();
      const [ada, bob] = await pair(id);
      const answer = ada.update({ model: 'last words' });
      ada.leave();
      await answer;
      await until(() => bob.getSnapshot().settings?.model === 'last words');
    });

    it('[CK6] asking for it while rendering counts nothing and does nothing', async () => {
      const client = clientOf(server.url);
      const id = freshSession();
      const peeked = client.peek<Settings>(id, { create: true });
      expect(client.peek(id)).to.equal(peeked);
      expect(client.status).to.equal('initial');
      const stop = peeked.subscribe(() => undefined);
      await peeked.ready();
      expect(client.session(id)).to.equal(peeked);
      stop();
      await peeked.update({ model: 'held' });
    });

    it('[CK7] ready() gives the snapshot; the snapshot is the same reference until something changed', async () => {
      const session = open();
      const snapshot = await session.ready();
      expect(snapshot).to.deep.equal(session.getSnapshot());
      expect(snapshot).to.deep.include({ status: 'connected', syncStatus: 'synchronized', pending: 0, error: null });
      expect(snapshot.revision).to.equal(1);
      expect(snapshot.settings).to.equal(snapshot.confirmed);
      expect(session.getSnapshot()).to.equal(session.getSnapshot());
      let changes = 0;
      session.subscribe(() => (changes += 1));
      await session.update({ model: 'other' });
      expect(changes).to.be.above(1);
      expect(session.getSnapshot()).to.not.equal(snapshot);
    });

    it('[CK7] what did not change keeps its reference, through an update, its confirmation, and what others do', async () => {
      const [ada, bob] = await pair();
      await ada.replace({ model: 'm', options: { temperature: 1, stop: ['x'] } });
      await until(() => bob.getSnapshot().settings?.options?.stop?.[0] === 'x');
      const parts = () => [ada, bob].map((session) => session.getSnapshot().settings?.options);
      const before = parts();
      await ada.update({ model: 'n' });
      await bob.describe({ title: 'T' });
      await until(() => ada.getSnapshot().title === 'T' && bob.getSnapshot().settings?.model === 'n');
      expect(parts()[0]).to.equal(before[0]);
      expect(parts()[1]).to.equal(before[1]);
      const stop = bob.getSnapshot().settings?.options?.stop;
      await ada.update({ options: { temperature: 0 } });
      await until(() => bob.getSnapshot().settings?.options?.temperature === 0);
      expect(bob.getSnapshot().settings?.options?.stop).to.equal(stop);
    });

    it('[CK8] two sessions of a client, and two clients of a session, do not touch each other', async () => {
      const client = clientOf(server.url);
      const [a, b] = [open(freshSession(), client), open(freshSession(), client)];
      await Promise.all([a.ready(), b.ready()]);
      await Promise.all([a.update({ model: 'a' }), b.update({ model: 'b' })]);
      expect([a, b].map((one) => one.getSnapshot().settings?.model)).to.deep.equal(['a', 'b']);
      a.leave();
      await until(() => a.getSnapshot().error?.code === 'CLOSED');
      await b.update({ model: 'b2' });
    });

    it('[CK8] a listener that throws keeps no other from hearing, and no event from being taken', async () => {
      const session = open();
      await session.ready();
      const thrown = await unhandledIn(async () => {
        session.on('commit', () => {
          throw new Error('a listener of the application');
        });
        const commits = recorded<SeenCommit>((listener) => session.on('commit', listener));
        await session.update({ model: 'heard' });
        await until(() => commits.length === 1);
      });
      expect(thrown).to.have.length(1);
      expect(String(thrown)).to.contain('a listener of the application');
    });
  });

  describe('what it is asked for', () => {
    it('[CK9] update takes a merge, a function of what is seen, or operations; replace the whole; each says what it changed', async () => {
      const [ada, bob] = await pair();
      expect((await ada.replace({ model: 'm', options: { temperature: 1 } })).changedPaths).to.include('/model');
      expect((await ada.update({ options: { temperature: null } })).changedPaths).to.deep.equal([
        '/options/temperature',
      ]);
      await ada.update((seen) => ({ ...seen, note: `was ${seen.model}` }));
      await ada.patch([{ op: 'add', path: '/options/stop', value: ['a'] }]);
      const none = await ada.update({ model: 'm' });
      expect(none.changedPaths).to.deep.equal([]);
      await until(() => bob.getSnapshot().revision === none.revision);
      expect(bob.getSnapshot().settings).to.deep.equal({ model: 'm', options: { stop: ['a'] }, note: 'was m' });
      await synchronized(ada);
    });

    it('[CK9] a function that is asked before anything is known waits for it; what goes wrong then is no error of the process', async () => {
      const id = freshSession();
      const [first] = await pair(id);
      await first.update({ model: 'known' });
      const late = open(id);
      await late.update((seen) => ({ ...seen, note: seen.model ?? 'nothing' }));
      expect(late.getSnapshot().settings?.note).to.equal('known');
      const unhandled = await unhandledIn(async () => {
        const missing = clientOf(server.url).session<Settings>(freshSession());
        void missing.update((seen) => seen);
        void missing.update({ model: 'x' });
        void missing.signal('typing', {});
        await until(() => missing.getSnapshot().error !== null);
      });
      expect(unhandled).to.deep.equal([]);
    });

    it('[CK10] ifRevision refuses where somebody changed the settings meanwhile, and says what they are', async () => {
      const [ada, bob] = await pair();
      const { revision } = ada.getSnapshot();
      const { revision: newer } = await bob.update({ model: 'first' });
      const conflict = await failureOf(ada.update({ model: 'second' }, { ifRevision: revision }));
      expect(conflict).to.include({ code: 'REVISION_CONFLICT', retry: 'after-refresh', outcome: 'not-committed' });
      expect(conflict?.details).to.deep.include({ revision: newer });
      await until(() => ada.getSnapshot().settings?.model === 'first');
      await ada.update({ model: 'second' }, { ifRevision: newer });
    });

    it('[CK11] an update id given twice is one update', async () => {
      const [ada] = await pair();
      const answers = await Promise.all([1, 2].map(() => ada.update({ model: 'once' }, { updateId: 'the id' })));
      expect(answers[0]!.revision).to.equal(answers[1]!.revision);
      expect(answers.map(({ duplicate }) => duplicate)).to.have.members([false, true]);
      await synchronized(ada);
      expect(ada.getSnapshot().revision).to.equal(answers[0]!.revision);
    });

    it('[CK12] an abort before an update was sent takes it back; afterwards it only ends the waiting', async () => {
      const client = clientOf(server.url);
      const session = open(freshSession(), client);
      await session.ready();
      client.disconnect();
      const early = new AbortController();
      const failure = failureOf(session.update({ model: 'never' }, { signal: early.signal }));
      expect(session.getSnapshot().settings?.model).to.equal('never');
      early.abort();
      expect(await failure).to.include({ code: 'ABORTED', outcome: 'not-committed' });
      expect(session.getSnapshot().settings?.model).to.not.equal('never');
      expect(session.getSnapshot().pending).to.equal(0);
      client.connect();
      await session.ready();
      const late = new AbortController();
      const sent = failureOf(session.update({ model: 'sent' }, { signal: late.signal }));
      late.abort();
      expect(await sent).to.include({ code: 'ABORTED', outcome: 'unknown' });
      await synchronized(session);
      expect(session.getSnapshot().confirmed?.model).to.equal('sent');
      expect((await failureOf(session.update({ model: 'x' }, { signal: AbortSignal.abort() })))?.code).to.equal(
        'ABORTED',
      );
      expect(session.getSnapshot().settings?.model).to.equal('sent');
    });

    it('[CK13] history lists the versions, newest first and by pages; restore brings one back as a new commit', async () => {
      const session = open();
      await session.ready();
      const made: number[] = [];
      for (const [key, value] of [
        ['model', 'a'],
        ['note', 'b'],
        ['model', 'c'],
        ['note', 'd'],
      ] as const) {
        made.push((await session.update({ [key]: value })).revision);
      }
      const first = await session.history({ limit: 2 });
      expect(first.versions.map(({ revision }) => revision)).to.deep.equal([made[3], made[2]]);
      const second = await session.history({ before: first.next!, limit: 2 });
      expect(second.versions[0]?.settings).to.include({ model: 'a', note: 'b' });
      const { revision, changedPaths } = await session.restore(made[1]!);
      expect(revision).to.equal(made[3]! + 1);
      expect(changedPaths.toSorted()).to.deep.equal(['/model', '/note']);
      await synchronized(session);
      expect(session.getSnapshot().settings).to.include({ model: 'a', note: 'b' });
      expect((await failureOf(session.restore(10_000)))?.code).to.equal('INVALID_REQUEST');
      await synchronized(session);
    });

    it('[CK14] title and metadata are described, and removed with null', async () => {
      const [ada, bob] = await pair();
      await ada.describe({ title: 'Pumps', metadata: { team: 'a' } });
      await until(() => bob.getSnapshot().title === 'Pumps');
      expect(bob.getSnapshot().metadata).to.deep.equal({ team: 'a' });
      await bob.describe({ title: null, metadata: null });
      await until(() => ada.getSnapshot().title === undefined);
      expect(ada.getSnapshot().metadata).to.equal(undefined);
    });

    it('[CK15] what a validator refuses is not sent, and not shown; the reason is in the snapshot', async () => {
      const id = freshSession();
      const other = open(id);
      const { revision } = await other.ready();
      const shape = z.object({ model: z.string().max(5) });
      const session = clientOf(server.url).session(id, { validate: standardSchema(shape) });
      await session.ready();
      const failure = await failureOf(session.update({ model: 'too long' }));
      expect(failure).to.include({ code: 'INVALID_SETTINGS', outcome: 'not-committed' });
      expect(failure?.details?.issues).to.have.nested.property('[0].path', '/model');
      expect(session.getSnapshot().settings).to.deep.equal(other.getSnapshot().settings);
      expect(session.getSnapshot().error).to.equal(failure);
      await session.update({ model: 'short' });
      expect(session.getSnapshot().error).to.equal(null);
      await until(() => other.getSnapshot().revision === revision + 1);
    });

    it('[CK16] what is too large for the line is refused, and nothing behind it waits', async () => {
      const session = open();
      await session.ready();
      const large = failureOf(session.update({ note: 'x'.repeat(1_100_000) }));
      await session.update({ model: 'behind' });
      expect(await large).to.include({ code: 'TOO_LARGE', outcome: 'not-committed' });
      const wide = await failureOf(session.update({ note: '€'.repeat(400_000) }));
      expect(wide).to.include({ code: 'TOO_LARGE', outcome: 'not-committed' });
      await synchronized(session);
      expect(session.getSnapshot().settings?.note).to.equal(undefined);
    });

    it('[CK16] what is no JSON is refused and leaves no trace', async () => {
      const session = open();
      await session.ready();
      const cycle: Record<string, unknown> = {};
      cycle.self = cycle;
      expect(await failureOf(session.update({ cycle } as never))).to.be.instanceOf(TypeError);
      await synchronized(session);
      expect(session.getSnapshot().settings).to.not.have.property('cycle');
    });
  });

  describe('what it tells', () => {
    it('[CK17] commits are told in their order, own ones and those of others; with them what was written says whose it is', async () => {
      const [ada, bob] = await pair();
      const [hers, his] = [ada, bob].map((session) =>
        recorded<SeenCommit>((listener) => session.on('commit', listener)),
      );
      const all = [];
      for (let n = 0; n < 20; n += 1) all.push((n % 2 ? ada : bob).update({ note: `${n}` }, { updateId: `n${n}` }));
      await Promise.all(all);
      await until(() => hers!.length === 20 && his!.length === 20);
      expect(hers!.map(({ revision }) => revision)).to.deep.equal(Array.from({ length: 20 }, (_, i) => i + 2));
      expect(hers!.map(({ updateId }) => updateId)).to.deep.equal(his!.map(({ updateId }) => updateId));
      expect(hers![0]!.by).to.have.property('clientId');
    });

    it('[CK18] with delivery `latest` the last of the settings is never missed, and no message is', async () => {
      const id = freshSession();
      const writer = open(id);
      await writer.ready();
      const reader = clientOf(server.url).session<Settings>(id, { delivery: 'latest' });
      await reader.ready();
      const commits = recorded<SeenCommit>((listener) => reader.on('commit', listener));
      const answers: Promise<unknown>[] = [];
      for (let n = 0; n < 200; n += 1) {
        answers.push(
          n % 50 === 49 ? writer.addMessage({ role: 'user', content: `${n}` }) : writer.update({ note: `${n}` }),
        );
      }
      await Promise.all(answers);
      await until(() => reader.getSnapshot().revision === 201);
      expect(reader.getSnapshot().settings?.note).to.equal('198');
      expect(commits.filter(({ event }) => event === 'message:added')).to.have.length(4);
      const revisions = commits.map(({ revision }) => revision);
      expect(revisions).to.deep.equal(revisions.toSorted((a, b) => a - b));
    });

    it('[CK19] the status is told to clients and sessions', async () => {
      const client = clientOf(server.url);
      const session = open(freshSession(), client);
      const told = recorded<ConnectionStatus>((listener) => client.on('status', listener));
      const toldSession = recorded<ConnectionStatus>((listener) => session.on('status', listener));
      await session.ready();
      client.disconnect();
      client.connect();
      await session.ready();
      client.close();
      expect(told).to.deep.equal([
        'connecting',
        'connected',
        'disconnected',
        'reconnecting',
        'connected',
        'disconnected',
      ]);
      expect(toldSession).to.deep.equal(told);
    });
  });

  describe('how it ends', () => {
    it('[CK20] a session that is not there, or may not be seen, ends at once with the reason', async () => {
      const session = clientOf(server.url).session(freshSession());
      expect(await failureOf(session.ready())).to.include({ code: 'SESSION_NOT_FOUND' });
      expect(session.getSnapshot().error?.code).to.equal('SESSION_NOT_FOUND');
      expect((await failureOf(session.update({ model: 'x' } as never)))?.code).to.equal('SESSION_NOT_FOUND');
      expect((await failureOf(session.history()))?.code).to.equal('SESSION_NOT_FOUND');
      expect(session.getSnapshot().pending).to.equal(0);
      const invalid = clientOf(server.url).session('no/such id');
      expect((await failureOf(invalid.ready()))?.code).to.equal('INVALID_REQUEST');
    });

    it('[CK21] who deletes it is told that it is done, everybody else that it is gone', async () => {
      for (let round = 0; round < 5; round += 1) {
        const [ada, bob] = await pair();
        const commits = recorded<SeenCommit>((listener) => bob.on('commit', listener));
        await ada.delete();
        await until(() => bob.getSnapshot().error?.code === 'SESSION_NOT_FOUND');
        expect(commits.map(({ event }) => event)).to.deep.equal(['session:deleted']);
        expect((await failureOf(bob.update({ model: 'x' })))?.code).to.equal('SESSION_NOT_FOUND');
        expect((await failureOf(ada.update({ model: 'x' })))?.code).to.equal('SESSION_NOT_FOUND');
      }
    });

    it('[CK21] one that was deleted while the client was away is gone when it is back; asked for anew it is made again', async () => {
      const client = clientOf(server.url);
      const id = freshSession();
      const session = open(id, client);
      await session.ready();
      client.disconnect();
      const waiting = failureOf(session.update({ model: 'waits' }));
      expect((await request('DELETE', `${server.url}/v1/sessions/${id}`)).status).to.equal(204);
      client.connect();
      expect(await waiting).to.include({ code: 'SESSION_NOT_FOUND', outcome: 'not-committed' });
      expect(session.getSnapshot().error?.code).to.equal('SESSION_NOT_FOUND');
      const again = open(id, client);
      expect((await again.ready()).revision).to.equal(1);
    });

    it('[CK22] closing fails what waits, ends every handle, and leaves nothing open', async () => {
      const client = clientOf(server.url);
      const session = open(freshSession(), client);
      await session.ready();
      client.disconnect();
      const waiting = failureOf(session.update({ model: 'waits' }));
      client.close();
      expect(await waiting).to.include({ code: 'CLOSED', outcome: 'not-committed' });
      expect(session.getSnapshot().error?.code).to.equal('CLOSED');
      expect(client.status).to.equal('disconnected');
      client.close();
    });
  });

  describe('presence and signals', () => {
    it('[CK23] each sees the others and what they show, the newest only, and again after a reconnection', async () => {
      const id = freshSession();
      const [one, two] = [
        clientOf(server.url, { clientId: 'one' }),
        clientOf(server.url, { clientId: 'two', kind: 'bot' }),
      ];
      const [ada, bob] = [
        one.session(id, { create: true, presence: { at: 'first' } }),
        two.session(id, { create: true }),
      ];
      await Promise.all([ada.ready(), bob.ready()]);
      const stateOf = (session: Session, clientId: string) =>
        session.getSnapshot().participants.find((other) => other.clientId === clientId)?.state;
      await until(() => JSON.stringify(stateOf(bob, 'one')) === '{"at":"first"}');
      for (let n = 0; n <= 30; n += 1) ada.setPresence({ at: n });
      await until(() => JSON.stringify(stateOf(bob, 'one')) === '{"at":30}', { what: 'the newest state' });
      one.disconnect();
      await until(() => stateOf(bob, 'one') === undefined, { what: 'the leaving' });
      expect(ada.getSnapshot().participants).to.deep.equal([]);
      ada.setPresence({ at: 'offline' });
      one.connect();
      await until(() => JSON.stringify(stateOf(bob, 'one')) === '{"at":"offline"}');
      expect(
        ada
          .getSnapshot()
          .participants.map(({ clientId, kind }) => `${clientId} ${kind}`)
          .sort(),
      ).to.deep.equal(['one tab', 'two bot']);
    });

    it('[CK24] a signal reaches the others and not its sender; offline it is refused at once', async () => {
      const id = freshSession();
      const client = clientOf(server.url);
      const [ada, bob] = [open(id, client), open(id)];
      await Promise.all([ada.ready(), bob.ready()]);
      const [hers, his] = [ada, bob].map((session) => recorded((listener) => session.on('signal', listener)));
      await ada.signal('typing', { on: true });
      await until(() => his!.length === 1);
      expect(his![0]).to.deep.include({ type: 'typing', data: { on: true } });
      expect(hers).to.deep.equal([]);
      client.disconnect();
      expect(await failureOf(ada.signal('typing', {}))).to.include({ code: 'OFFLINE', outcome: 'not-committed' });
    });
  });
});
