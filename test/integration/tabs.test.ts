// The lines that a leader shares, over a real server: many in one connection, each renewed without a harm to the others.
import { expect } from 'chai';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { createClient } from '../../client-sdk/index.js';
import { LINES_MAX, sharedLines, type Line, type Lines } from '../../client-sdk/shared-lines.js';
import { managerOf, socketLink, type LinkEvents, type Reply } from '../../client-sdk/socket-link.js';
import { sharedTabs } from '../../client-sdk/tabs.js';
import { startAttune, type Attune } from '../support/attune.js';
import { metric } from '../support/session-log.js';
import { freshId } from '../support/shapes.js';
import { until } from '../support/until.js';

describe('lines of one connection', () => {
  let attune: Attune;
  before(async () => {
    attune = await startAttune();
  });
  after(() => attune?.destroy());

  const undo: (() => unknown)[] = [];
  afterEach(async () => {
    for (const end of undo.splice(0).reverse()) await end();
  });

  interface User {
    readonly events: LinkEvents;
    readonly log: string[];
  }
  function user(clientId: string, auth: Promise<void> = Promise.resolve()): User {
    const log: string[] = [];
    const events: LinkEvents = {
      auth: () => auth.then(() => ({ clientId, protocol: 1 })),
      opened: () => log.push('opened'),
      closed: (refusal) => log.push(refusal ? `closed ${refusal.code}` : 'closed'),
      received: (event) => log.push(event),
    };
    return { events, log };
  }
  function linesTo(url = attune.url): Lines {
    const lines = sharedLines(url);
    undo.push(() => lines.close());
    return lines;
  }
  async function opened(lines: Lines, clientId: string): Promise<User & { line: Line }> {
    const { events, log } = user(clientId);
    const line = lines.open(events);
    await until(() => log.includes('opened'), { what: `${clientId} to be open, not ${log.join()}` });
    return { events, log, line: line! };
  }
  const ask = (line: Line, event: string, body: object, timeoutMs = 5000) =>
    new Promise<Reply | null>((resolve) => line.request(event, body, timeoutMs, resolve));

  it('[TS14] one that is closed and opened at once, again and again, disturbs none of the others', async () => {
    const lines = linesTo();
    const before = await metric(attune.url, 'attune_sockets');
    const [a, b] = [await opened(lines, 'a'), await opened(lines, 'b')];
    let last = b;
    for (let n = 0; n < 25; n += 1) {
      last.line.close();
      last = await opened(lines, 'b');
    }
    expect(await ask(a.line, 'session:open', { sessionId: freshId('ts') })).to.include({ ok: true });
    expect([a.log, b.log, last.log]).to.deep.equal([['opened'], ['opened'], ['opened']]);
    await until(async () => (await metric(attune.url, 'attune_sockets')) === before + 2);
  });

  it('[TS15] all can be lent; who comes then is told so, and one that is given back may be had again', async () => {
    const lines = linesTo();
    const all = await Promise.all(Array.from({ length: LINES_MAX }, (_, n) => opened(lines, `tab-${n}`)));
    expect(lines.open(user('one more').events)).to.equal(null);
    all[7]!.line.close();
    const again = user('again');
    const line = await until(() => lines.open(again.events), { what: 'a line to be free' });
    await until(() => again.log.includes('opened'));
    expect(await ask(line, 'session:open', { sessionId: freshId('ts') })).to.include({ ok: true });
    expect(all.flatMap(({ log }) => log)).to.deep.equal(Array(LINES_MAX).fill('opened'));
  });

  it('[TS16] one that is given up while it opens is lent to nobody before the server has answered', async () => {
    const lines = linesTo();
    const a = await opened(lines, 'a');
    for (let n = 0; n < LINES_MAX - 1; n += 1) lines.open(user('hasty').events)!.close();
    expect(lines.open(user('next').events)).to.equal(null);
    const next = user('next');
    await until(() => lines.open(next.events), { what: 'a line to be free' });
    await until(() => next.log.includes('opened'));
    expect(a.log).to.deep.equal(['opened']);
  });

  it('[TS17] a connection that answers nobody is given up, and its lines with it', async () => {
    const proxy = await silentProxy(attune.port);
    undo.push(proxy.close);
    const lines = linesTo(proxy.url);
    const [a, b] = [await opened(lines, 'a'), await opened(lines, 'b')];
    proxy.hush();
    expect(await ask(b.line, 'session:open', { sessionId: freshId('ts') }, 300)).to.equal(null);
    expect([a.log, b.log]).to.deep.equal([
      ['opened', 'closed'],
      ['opened', 'closed'],
    ]);
    proxy.speak();
    await opened(lines, 'a');
  });

  it('[TS18] when the node leaves, all move together', async () => {
    const leaving = await startAttune();
    undo.push(() => leaving.destroy());
    const lines = linesTo(leaving.url);
    const [a, b] = [await opened(lines, 'a'), await opened(lines, 'b')];
    await leaving.stop();
    for (const { log } of [a, b]) {
      await until(() => log.length === 2);
      expect(log).to.deep.equal(['opened', 'closed']);
    }
  });

  it('[TS19] a token that comes too late opens nothing, and what could not be sent is not sent over the next line', async () => {
    const waiting: ((clientId: string) => void)[] = [];
    const { events, log } = user('slow');
    const auth = () => new Promise<object>((give) => waiting.push((clientId) => give({ clientId, protocol: 1 })));
    const link = socketLink(attune.url, { ...events, auth });
    undo.push(() => link.close());
    link.open();
    link.close();
    link.open();
    await until(() => waiting.length === 2);
    waiting[0]!('late');
    // As long as another line takes to open.
    await opened(linesTo(), 'other');
    waiting[1]!('in time');
    await until(() => log.includes('opened'));
    const answer = await new Promise((resolve) =>
      link.request('session:open', { sessionId: freshId('ts') }, 5000, resolve),
    );
    expect(answer).to.have.nested.property('session.updatedBy.clientId', 'in time');
    expect(log).to.deep.equal(['opened']);

    const manager = managerOf(attune.url);
    const two = user('asleep');
    const line = socketLink(attune.url, two.events, manager.socket('/'));
    undo.push(() => line.close());
    line.open();
    await until(() => two.log.includes('opened'));
    // As after a night's sleep: socket.io-client then holds back what it is given.
    (manager.engine as unknown as { _hasPingExpired: () => boolean })._hasPingExpired = () => true;
    const sessionId = freshId('ts');
    const answers: (Reply | null)[] = [];
    line.request('session:open', { sessionId }, 5000, (reply) => answers.push(reply));
    line.close();
    expect(answers).to.deep.equal([null]);
    line.open();
    await until(() => two.log.length === 2);
    const got = await new Promise<Reply | null>((resolve) => line.request('session:get', { sessionId }, 5000, resolve));
    expect(got).to.deep.include({ ok: false });
  });

  it('[TS24] without a browser the transport is a socket of the client’s own', async () => {
    const client = createClient({ url: attune.url, transport: sharedTabs({ key: 'k' }) });
    undo.push(() => client.close());
    const session = client.session(freshId('ts'), { create: true });
    expect((await session.ready()).status).to.equal('connected');
  });
});

/** A proxy before the server that can leave it to itself: nothing passes any more, and nobody is told. */
async function silentProxy(port: number) {
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect({ port, host: '127.0.0.1' });
    client.pipe(upstream).pipe(client);
    for (const socket of [client, upstream]) sockets.add(socket.on('error', () => socket.destroy()));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    /** What is open now falls silent. */
    hush: () => {
      for (const socket of sockets) socket.unpipe().pause();
    },
    /** Ends what fell silent; new connections pass anyway. */
    speak: () => {
      for (const socket of sockets) socket.destroy();
      sockets.clear();
    },
    close: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
