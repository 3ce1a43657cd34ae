// Black-box tests of GET /v1/sessions/{id}/events, from the contract alone.
import { expect } from 'chai';
import { startAttune, type Attune } from '../support/attune.js';
import {
  closeStreams,
  expectProblem,
  openEvents,
  request,
  type EventStream,
  type StreamEvent,
} from '../support/http.js';
import { range } from '../support/range.js';
import { expectBase, expectSession, freshId, type Wire } from '../support/shapes.js';
import { closeSockets, connect, type TestSocket } from '../support/socket.js';
import { until } from '../support/until.js';

/** Where it is loaded before the server, what is done every 15 s is done every 300 ms, and all else in its time. */
const hastened = `
  const { setInterval } = globalThis;
  globalThis.setInterval = (work, ms, ...rest) => setInterval(work, ms === 15_000 ? 300 : ms, ...rest);
`;

describe('the event stream', () => {
  let attune: Attune;
  before(async () => {
    attune = await startAttune({
      env: { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(hastened)}` },
    });
  });
  after(() => attune?.destroy());
  const streams: EventStream[] = [];
  afterEach(() => {
    closeSockets();
    for (const stream of streams.splice(0)) stream.close();
  });
  after(closeStreams);

  async function open(sessionId: string, headers?: Record<string, string>, query = ''): Promise<EventStream> {
    const stream = await openEvents(`${attune.url}/v1/sessions/${sessionId}/events${query}`, headers);
    streams.push(stream);
    return stream;
  }
  async function session(): Promise<{ socket: TestSocket; sessionId: string; epoch: string; document: Wire }> {
    const socket = await connect(attune.url);
    const { session: document } = await socket.ok('session:open', { sessionId: freshId('e') });
    return { socket, sessionId: document.id, epoch: document.epoch, document };
  }
  async function take(stream: EventStream, count: number): Promise<StreamEvent[]> {
    const taken: StreamEvent[] = [];
    for (const _ of range(1, count)) {
      const event = await stream.next();
      if (event === null) throw new Error(`the stream ended after ${taken.length} of ${count} events`);
      taken.push(event);
    }
    return taken;
  }

  it('[E1] begins with a snapshot of the session', async () => {
    const { sessionId, epoch, document } = await session();
    const stream = await open(sessionId);
    const [first] = await take(stream, 1);
    expect(first?.event).to.equal('session:snapshot');
    expect(first?.id).to.equal(`${epoch}:1`);
    expect(first?.data).to.deep.include({ sessionId, reason: 'initial' });
    expect(expectSession(first?.data.session)).to.deep.equal(document);
    expect(stream.headers.get('cache-control') ?? '').to.match(/no-cache|no-store/);
  });

  it('[E2] carries each commit with its name, its position and the body that sockets are sent', async () => {
    const { socket, sessionId, epoch } = await session();
    await socket.ok('session:join', { sessionId });
    const stream = await open(sessionId);
    await take(stream, 1);
    await socket.ok('settings:update', { sessionId, merge: { model: 'b' }, updateId: 'u' });
    await socket.ok('message:add', { sessionId, message: { id: 'm', role: 'user', content: 'hi' } });
    await socket.ok('message:update', { sessionId, messageId: 'm', append: '!' });
    await socket.ok('message:delete', { sessionId, messageId: 'm' });
    await socket.ok('session:describe', { sessionId, title: 'T' });
    await socket.ok('message:add', { sessionId, message: { role: 'user', content: 'again' } });
    await socket.ok('session:clear', { sessionId });
    const seen = await take(stream, 7);
    expect(seen.map((one) => one.event)).to.deep.equal([
      'settings:updated',
      'message:added',
      'message:updated',
      'message:deleted',
      'session:described',
      'message:added',
      'session:cleared',
    ]);
    expect(seen.map((one) => one.id)).to.deep.equal(range(2, 8).map((revision) => `${epoch}:${revision}`));
    await until(() => socket.events.length === 7, { what: 'the same on the socket' });
    for (const [at, { event, data }] of seen.entries()) {
      expectBase(data, { sessionId, event, revision: at + 2 });
      expect(data).to.deep.equal({ ...socket.events[at]?.body, event });
    }
  });

  it('[E3] resumes after Last-Event-ID with the commits missed and no snapshot', async () => {
    const { socket, sessionId, epoch } = await session();
    const first = await open(sessionId);
    await take(first, 1);
    await socket.ok('settings:update', { sessionId, merge: { options: { n: 2 } } });
    const last = (await take(first, 1))[0]?.id as string;
    first.close();
    for (const n of [3, 4, 5]) await socket.ok('settings:update', { sessionId, merge: { options: { n } } });
    const second = await open(sessionId, { 'last-event-id': last });
    await socket.ok('settings:update', { sessionId, merge: { options: { n: 6 } } });
    const seen = await take(second, 4);
    expect(seen.map((one) => one.event)).to.deep.equal(Array(4).fill('settings:updated'));
    expect(seen.map((one) => one.id)).to.deep.equal(range(3, 6).map((revision) => `${epoch}:${revision}`));
    const current = await open(sessionId, { 'last-event-id': `${epoch}:6` });
    await socket.ok('settings:update', { sessionId, merge: { options: { n: 7 } } });
    expect((await take(current, 1))[0]?.id).to.equal(`${epoch}:7`);
  });

  it('[E4] begins with a snapshot where Last-Event-ID cannot be resumed', async () => {
    const { sessionId, epoch, document } = await session();
    for (const id of ['another:1', `${epoch}:99`, 'nonsense', `${epoch}:x`, ':', 'x'.repeat(1_000)]) {
      const [first] = await take(await open(sessionId, { 'last-event-id': id }), 1);
      expect(first?.event, id).to.equal('session:snapshot');
      expect(first?.data.session).to.deep.equal(document);
    }
  });

  it('[E5] ends after session:deleted; a new request and one for an unknown session get 404', async () => {
    const { socket, sessionId, epoch } = await session();
    const stream = await open(sessionId);
    await take(stream, 1);
    await socket.ok('session:delete', { sessionId });
    const [last] = await take(stream, 1);
    expect(last).to.include({ event: 'session:deleted', id: `${epoch}:2` });
    expectBase(last?.data, { sessionId, event: 'session:deleted', reason: 'deleted' });
    expect(await stream.next()).to.equal(null);
    for (const id of [sessionId, freshId('none')]) {
      for (const headers of [{}, { 'last-event-id': `${epoch}:1` }]) {
        expectProblem(
          await request('GET', `${attune.url}/v1/sessions/${id}/events`, { headers }),
          'SESSION_NOT_FOUND',
          404,
        );
      }
    }
  });

  it('[E6] is in order and without a gap while many write', async () => {
    const { sessionId, epoch } = await session();
    const writers = await Promise.all(range(1, 3).map(() => connect(attune.url)));
    const stream = await open(sessionId);
    const writes = writers.flatMap((socket, who) =>
      range(1, 30).map((n) => socket.ok('settings:update', { sessionId, merge: { options: { [`k${who}`]: n } } })),
    );
    const late = await open(sessionId);
    await Promise.all(writes);
    for (const one of [stream, late]) {
      await until(() => one.events.at(-1)?.id === `${epoch}:91`, { what: 'the last commit' });
      const from = one.events[0]?.data.session.revision as number;
      expect(one.events.slice(1).map((event) => event.id)).to.deep.equal(
        range(from + 1, 91).map((revision) => `${epoch}:${revision}`),
      );
    }
  });

  it('[E7] carries text that looks like its own syntax unharmed', async () => {
    const { socket, sessionId } = await session();
    const stream = await open(sessionId);
    await take(stream, 1);
    const content = 'a\n\ndata: x\r\nevent: y\rid: z\u2028:\u0085 😀';
    await socket.ok('message:add', { sessionId, message: { role: 'user', content } });
    expect((await take(stream, 1))[0]?.data.message.content).to.equal(content);
  });

  it('[E8] with signals=1 is served too, and is the same for commits', async () => {
    const { socket, sessionId, epoch } = await session();
    const stream = await open(sessionId, {}, '?signals=1');
    const first = await take(stream, 2);
    expect(first.map(({ event }) => event)).to.deep.equal(['session:snapshot', 'presence:updated']);
    await socket.ok('settings:update', { sessionId, merge: { model: 'b' } });
    expect((await take(stream, 1))[0]).to.include({ event: 'settings:updated', id: `${epoch}:2` });
  });

  it('[E9] that a reader left takes nothing from the others', async () => {
    const { socket, sessionId } = await session();
    const [leaver, stayer] = [await open(sessionId), await open(sessionId)];
    await take(stayer, 1);
    leaver.close();
    for (const n of range(1, 5)) await socket.ok('settings:update', { sessionId, merge: { options: { n } } });
    expect((await take(stayer, 5)).at(-1)?.data.settings.options.n).to.equal(5);
  });

  it('[E10] sends a comment every 15 s, so that an idle stream is not taken for dead', async () => {
    const { sessionId } = await session();
    const idle = await open(sessionId);
    await until(() => idle.comments.length >= 3, { what: 'three comments' });
    expect(idle.events).to.have.length(1);
  });
});
