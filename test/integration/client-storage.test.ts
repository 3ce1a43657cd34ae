// Clients that keep what was not answered: the next one, as a page that was loaded again, sends it, in order and once.
import { expect } from 'chai';
import type { SeenCommit, Session } from '../../client-sdk/index.js';
import { localStorageOutbox } from '../../client-sdk/storage.js';
import { startAttune, type Attune } from '../support/attune.js';
import { clientOf, closeClients, failureOf, freshSession, recorded, synchronized } from '../support/clients.js';
import { request } from '../support/http.js';
import { memoryStorage, type MemoryStorage } from '../support/memory-storage.js';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.js';
import { until } from '../support/until.js';

interface Settings {
  model?: string;
  n?: number;
}

describe('a client that keeps what was not answered', () => {
  let server: Attune;
  let proxy: TcpProxy;
  before(async () => {
    server = await startAttune();
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

  /** A page: a client with what pages of this browser kept. */
  const page = (browser: MemoryStorage, url = server.url) =>
    clientOf(url, { storage: localStorageOutbox({ storage: browser }) });
  const keptWrites = (browser: MemoryStorage) =>
    Array.from({ length: browser.length }, (_, i) => browser.key(i)!).filter((name) => name.includes(':write/')).length;
  const observe = async (id: string): Promise<SeenCommit[]> => {
    const session = clientOf(server.url).session(id, { create: true });
    await session.ready();
    return recorded((listener) => session.on('commit', listener));
  };

  it('[CK39] what was made offline is sent by the next page, in order, beside what that page makes', async () => {
    const browser = memoryStorage();
    const id = freshSession();
    const first = page(browser);
    const ada = first.session<Settings>(id, { create: true });
    await ada.ready();
    const commits = await observe(id);
    first.disconnect();
    const left = [1, 2, 3].map((n) => failureOf(ada.update({ n }, { updateId: `left-${n}` })));
    left.push(failureOf(ada.addMessage({ role: 'user', content: 'left' }, { updateId: 'left-4' })));
    first.close();
    for (const failure of await Promise.all(left)) expect(failure).to.include({ code: 'CLOSED' });
    expect(keptWrites(browser)).to.equal(4);

    const next = page(browser);
    const again = next.session<Settings>(id, { create: true });
    const stop = again.subscribe(() => undefined);
    expect(again.getSnapshot().pending).to.equal(4);
    const own = again.update({ model: 'next' }, { updateId: 'next-1' });
    await own;
    await synchronized(again);
    await until(() => commits.length === 5);
    expect(commits.map(({ updateId }) => updateId)).to.deep.equal(['left-1', 'left-2', 'left-3', 'left-4', 'next-1']);
    expect(again.getSnapshot().settings).to.include({ n: 3, model: 'next' });
    expect(keptWrites(browser)).to.equal(0);
    stop();
  });

  it('[CK39] what was sent and not answered is sent again, and is committed once', async () => {
    const browser = memoryStorage();
    const id = freshSession();
    const first = page(browser, proxy.url);
    const ada = first.session<Settings>(id, { create: true });
    await ada.ready();
    const commits = await observe(id);
    proxy.treat('fromServer', { hold: true });
    const lost = [1, 2, 3].map((n) => failureOf(ada.update({ n }, { updateId: `sent-${n}` })));
    await until(() => commits.length === 3);
    first.close();
    for (const failure of await Promise.all(lost)) expect(failure).to.include({ code: 'OUTCOME_UNKNOWN' });
    proxy.release();
    expect(keptWrites(browser)).to.equal(3);

    const again = page(browser).session<Settings>(id, { create: true });
    await again.ready();
    await synchronized(again);
    await again.update({ model: 'after' });
    await until(() => commits.length === 4);
    expect(again.getSnapshot().settings).to.include({ n: 3, model: 'after' });
    expect(keptWrites(browser)).to.equal(0);
  });

  it('[CK39] the next page shows what was known before it has a connection, with what is left on top', async () => {
    const browser = memoryStorage();
    const id = freshSession();
    const first = page(browser);
    const ada = first.session<Settings>(id, { create: true });
    await ada.update({ model: 'known' });
    await synchronized(ada);
    await until(() =>
      Array.from({ length: browser.length }, (_, i) => browser.key(i)!).some((name) => name.includes(':document/')),
    );
    first.disconnect();
    void failureOf(ada.update({ n: 7 }));
    first.close();
    const next = page(browser, 'http://127.0.0.1:9');
    const offline: Session<Settings> = next.session<Settings>(id);
    offline.subscribe(() => undefined);
    expect(offline.getSnapshot()).to.include({ syncStatus: 'offline', pending: 1 });
    expect(offline.getSnapshot().settings).to.include({ model: 'known', n: 7 });
    next.close();
    expect(keptWrites(browser)).to.equal(1);
  });

  it('[CK39] a session that was deleted since is made again by who creates it, and forgotten by who does not', async () => {
    for (const create of [true, false]) {
      const browser = memoryStorage();
      const id = freshSession();
      const first = page(browser);
      const ada = first.session<Settings>(id, { create: true });
      await ada.update({ model: 'old' });
      await synchronized(ada);
      await until(() => browser.length > 0);
      first.close();
      expect((await request('DELETE', `${server.url}/v1/sessions/${id}`)).status).to.equal(204);
      const again = page(browser).session<Settings>(id, { create });
      const failure = await failureOf(again.ready());
      if (create) expect(again.getSnapshot().settings?.model).to.not.equal('old');
      else expect(failure?.code).to.equal('SESSION_NOT_FOUND');
      await until(() => create || browser.length === 0, { what: 'nothing to be kept' });
    }
  });

  it('[CK39] two tabs of one browser that load the same left writes commit them once', async () => {
    const browser = memoryStorage();
    const id = freshSession();
    const commits = await observe(id);
    const first = page(browser);
    const ada = first.session<Settings>(id);
    await ada.ready();
    first.disconnect();
    for (let n = 1; n <= 5; n += 1) void failureOf(ada.update({ n }, { updateId: `tab-${n}` }));
    first.close();
    const tabs = [page(browser), page(browser)].map((client) => client.session<Settings>(id));
    await Promise.all(tabs.map((tab) => tab.ready()));
    await Promise.all(tabs.map((tab) => synchronized(tab)));
    await until(() => commits.length >= 5);
    expect(commits.map(({ updateId }) => updateId)).to.deep.equal([1, 2, 3, 4, 5].map((n) => `tab-${n}`));
    for (const tab of tabs) expect(tab.getSnapshot().settings?.n).to.equal(5);
    expect(keptWrites(browser)).to.equal(0);
  });
});
