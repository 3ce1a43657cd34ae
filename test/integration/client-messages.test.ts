// The live list of a session's messages against a real server: pages, own ones that wait, streaming, and what it missed.
import { expect } from 'chai';
import type { Session } from '../../client-sdk/index.js';
import { liveMessages, type MessageList } from '../../client-sdk/live-messages.js';
import { startAttune, type Attune } from '../support/attune.js';
import { clientOf, closeClients, freshSession, synchronized, unhandledIn } from '../support/clients.js';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.js';
import { until } from '../support/until.js';

describe('the live list of messages', () => {
  let server: Attune;
  let proxy: TcpProxy;
  before(async () => {
    server = await startAttune({ env: { RATE_CALLS_PER_S: '100000' } });
    proxy = await startTcpProxy(server.port);
  });
  after(async () => {
    await proxy?.close();
    await server?.destroy();
  });
  afterEach(() => {
    closeClients();
    proxy.release();
  });

  const open = async (id: string, url = server.url): Promise<Session> => {
    const session = clientOf(url).session(id, { create: true });
    await session.ready();
    return session;
  };
  const contents = (list: MessageList) => list.getSnapshot().messages.map(({ content }) => content);
  const loaded = (list: MessageList) =>
    until(() => !list.getSnapshot().loading && list.getSnapshot().error === null, { what: 'the list to be loaded' });
  const fill = async (session: Session, from: number, to: number) => {
    const all: Promise<unknown>[] = [];
    for (let n = from; n <= to; n += 1) all.push(session.addMessage({ id: `m${n}`, role: 'user', content: `${n}` }));
    await Promise.all(all);
  };
  const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => `${from + i}`);

  it('[CK37] it reads nothing before somebody subscribes; then the newest page, and older ones on demand', async () => {
    const id = freshSession();
    const ada = await open(id);
    await fill(ada, 1, 120);
    const list = liveMessages(ada);
    expect(liveMessages(ada)).to.equal(list);
    expect(list.getSnapshot().messages).to.deep.equal([]);
    const stop = list.subscribe(() => undefined);
    await loaded(list);
    expect(contents(list)).to.deep.equal(range(71, 120));
    expect(list.getSnapshot().hasOlder).to.equal(true);
    // Two at once are two pages, not one twice.
    await Promise.all([list.loadOlder(30), list.loadOlder(30)]);
    expect(contents(list)).to.deep.equal(range(11, 120));
    await list.loadOlder();
    expect(contents(list)).to.deep.equal(range(1, 120));
    await list.loadOlder();
    expect(list.getSnapshot().hasOlder).to.equal(false);
    expect(list.getSnapshot()).to.equal(list.getSnapshot());
    stop();
  });

  it('[CK37] own messages are there at once, last and pending, and take their place once they are confirmed', async () => {
    const id = freshSession();
    const client = clientOf(server.url);
    const ada = client.session(id, { create: true });
    await ada.ready();
    const bob = await open(id);
    const list = liveMessages(ada);
    const seen: string[] = [];
    list.subscribe(() => seen.push(contents(list).map(String).join()));
    await loaded(list);
    client.disconnect();
    const answers = [
      ada.addMessage({ role: 'user', content: 'mine' }),
      ada.addMessage({ role: 'user', content: 'too' }),
    ];
    expect(list.getSnapshot().messages.map(({ pending, content }) => [content, pending])).to.deep.equal([
      ['mine', true],
      ['too', true],
    ]);
    await bob.addMessage({ role: 'user', content: 'theirs' });
    client.connect();
    await Promise.all(answers);
    await synchronized(ada);
    expect(contents(list)).to.deep.equal(['theirs', 'mine', 'too']);
    expect(list.getSnapshot().messages.some(({ pending }) => pending)).to.equal(false);
    // Never twice, and never gone again.
    for (const text of seen) expect(text.split(',').filter((one) => one === 'mine').length).to.be.at.most(1);
    const first = seen.findIndex((text) => text.includes('mine'));
    expect(first, 'shown at once').to.be.at.least(0);
    expect(seen.slice(first).every((text) => text.includes('mine'))).to.equal(true);
  });

  it('[CK37] a streamed message grows in its place; what is deleted goes; a clear leaves nothing', async () => {
    const id = freshSession();
    const [bot, ada] = [await open(id), await open(id)];
    const list = liveMessages(ada);
    const grown: string[] = [];
    list.subscribe(() => {
      const text = list.getSnapshot().messages.find((message) => message.id === 'stream')?.content;
      if (typeof text === 'string') grown.push(text);
    });
    await loaded(list);
    await bot.addMessage({ id: 'stream', role: 'assistant', content: '', status: 'streaming' });
    await fill(bot, 1, 3);
    for (const token of ['a', 'b', 'c', 'd']) await bot.updateMessage('stream', { append: token });
    await bot.updateMessage('stream', { status: 'complete' });
    await bot.deleteMessage('m2');
    await until(() => contents(list).map(String).join() === 'abcd,1,3');
    expect(list.getSnapshot().messages[0]).to.include({ status: 'complete' });
    for (const [at, text] of grown.entries()) expect(text.startsWith(grown[at - 1] ?? '')).to.equal(true);
    expect(await bot.clear()).to.equal(3);
    await until(() => list.getSnapshot().messages.length === 0);
    await fill(bot, 4, 5);
    await until(() => contents(list).map(String).join() === '4,5');
  });

  it('[CK38] after an interruption it is what the server has, whatever happened meanwhile, also where its read was lost', async () => {
    const id = freshSession();
    const bob = await open(id);
    await fill(bob, 1, 60);
    const ada = await open(id, proxy.url);
    const list = liveMessages(ada);
    proxy.treat('fromServer', { hold: true });
    list.subscribe(() => undefined);
    await until(() => proxy.held('fromServer') > 0);
    // The first page is lost with the line.
    proxy.cut();
    proxy.release();
    await until(() => contents(list).length === 50, { what: 'the page whose answer was lost' });
    await loaded(list);
    // Many commits, one of them of a message that is not in the list.
    proxy.treat('fromServer', { hold: true });
    await bob.updateMessage('m1', { append: '!' });
    await bob.deleteMessage('m60');
    await fill(bob, 61, 64);
    proxy.cut();
    proxy.release();
    await until(() => contents(list).at(-1) === '64');
    expect(contents(list)).to.deep.equal([...range(11, 59), ...range(61, 64)]);
    await list.loadOlder();
    expect(contents(list)).to.deep.equal(['1!', ...range(2, 59), ...range(61, 64)]);
  });

  it('[CK38] an own message that another deleted before its answer came is not in the list, and was added once', async () => {
    const id = freshSession();
    const bob = await open(id);
    const ada = await open(id, proxy.url);
    const list = liveMessages(ada);
    list.subscribe(() => undefined);
    await loaded(list);
    proxy.treat('fromServer', { hold: true });
    const answer = ada.addMessage({ id: 'gone', role: 'user', content: 'gone' });
    await until(() => bob.getSnapshot().revision === 2);
    await bob.deleteMessage('gone');
    await fill(bob, 1, 2);
    const unhandled = await unhandledIn(async () => {
      proxy.cut();
      proxy.release();
      await answer;
      await synchronized(ada);
      await until(() => contents(list).map(String).join() === '1,2');
    });
    expect(unhandled).to.deep.equal([]);
    expect(ada.getSnapshot().revision).to.equal(5);
  });

  it('[CK38] after a snapshot, because too much was missed, it is read again', async () => {
    const id = freshSession();
    const client = clientOf(server.url);
    const ada = client.session(id, { create: true });
    await ada.ready();
    const bob = await open(id);
    await fill(bob, 1, 5);
    const list = liveMessages(ada);
    list.subscribe(() => undefined);
    await until(() => contents(list).length === 5);
    const snapshots: unknown[] = [];
    ada.on('snapshot', (snapshot) => snapshots.push(snapshot));
    client.disconnect();
    await bob.deleteMessage('m3');
    await bob.updateMessage('m1', { content: 'x'.repeat(200_000) });
    for (let n = 0; n < 3; n += 1) await bob.updateMessage('m2', { content: `${n}`.repeat(250_000) });
    await bob.updateMessage('m1', { content: 'one' });
    await bob.updateMessage('m2', { content: 'two' });
    await fill(bob, 6, 7);
    client.connect();
    await until(() => contents(list).map(String).join() === 'one,two,4,5,6,7');
    expect(snapshots).to.have.length(1);
  });

  it('[CK38] while a page is read others write: nothing is missing, doubled or out of order', async () => {
    const id = freshSession();
    const [bob, cleo] = [await open(id), await open(id)];
    await fill(bob, 1, 70);
    for (let round = 0; round < 10; round += 1) {
      const ada = await open(id);
      const list = liveMessages(ada);
      const writes = [
        bob.addMessage({ role: 'user', content: `new ${round}` }),
        cleo.updateMessage('m5', { content: `five ${round}` }),
        cleo.updateMessage('m70', { content: `last ${round}` }),
      ];
      list.subscribe(() => undefined);
      await Promise.all(writes);
      await until(() => ada.getSnapshot().revision === 71 + 3 * (round + 1));
      await loaded(list);
      const truth = (await bob.messages({ limit: list.getSnapshot().messages.length })).messages.toReversed();
      expect(contents(list)).to.deep.equal(truth.map(({ content }) => content));
    }
  });
});
