// Clients that keep what was not answered: the next one, as a page that was loaded again, sends it, in order and once.
import { expect } from 'chai';
import { RESEND_WITHIN_MS } from '../../client-sdk/outbox.js';
import type { SeenCommit, Session } from '../../client-sdk/index.js';
import { localStorageOutbox } from '../../client-sdk/storage.js';
import { startAttune, type Attune } from '../support/attune.js';
import { clientOf, closeClients, failureOf, freshSession, recorded, synchronized } from '../support/clients.js';
import { request } from '../support/http.js';
import { fakePages, type FakePage } from '../support/fake-pages.js';
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
    Array.from({ length: browser.length }, (_, i) => browser.key(i)!)
      .filter((name) => name.includes(':write/'))
      .flatMap((name) => JSON.parse(browser.getItem(name)!) as unknown[]).length;
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

  /** A client in a page of a browser that can tell pages that are open. */
  const tab = (opened: FakePage, url = server.url) => clientOf(url, { storage: opened });

  it('[ST6] a tab that is offline keeps its own: another neither shows nor sends it, and it is committed once', async () => {
    const browser = fakePages();
    const id = freshSession();
    const commits = await observe(id);
    const offline = tab(browser.open('offline'));
    const ada = offline.session<Settings>(id);
    await ada.ready();
    offline.disconnect();
    const left = [1, 2, 3].map((n) => ada.update({ n }, { updateId: `off-${n}` }));
    const bob = tab(browser.open('online')).session<Settings>(id);
    await bob.ready();
    await bob.update({ model: 'of the other' });
    expect(bob.getSnapshot().pending).to.equal(0);
    await until(() => commits.length === 1);
    offline.connect();
    await Promise.all(left);
    await until(() => commits.length === 4);
    expect(commits.slice(1).map(({ updateId }) => updateId)).to.deep.equal(['off-1', 'off-2', 'off-3']);
    expect(keptWrites(browser.storage)).to.equal(0);
  });

  it('[ST6] what a closed tab left is sent by the next, once and in its order, though two open together', async () => {
    const browser = fakePages();
    const id = freshSession();
    const commits = await observe(id);
    const page = browser.open('closed');
    const first = tab(page);
    const ada = first.session<Settings>(id);
    await ada.ready();
    first.disconnect();
    for (let n = 1; n <= 20; n += 1) void failureOf(ada.update({ n }, { updateId: `left-${n}` }));
    first.close();
    page.end();
    const tabs = ['one', 'two'].map((name) => tab(browser.open(name)).session<Settings>(id));
    await Promise.all(tabs.map((session) => session.ready()));
    await until(() => commits.length === 20);
    for (const session of tabs) {
      await synchronized(session);
      expect(session.getSnapshot().settings?.n).to.equal(20);
    }
    expect(commits.map(({ updateId }) => updateId)).to.deep.equal(
      Array.from({ length: 20 }, (_, n) => `left-${n + 1}`),
    );
    await until(() => keptWrites(browser.storage) === 0);
  });

  it('[ST6] what was sent too long ago is not sent again by another tab: nobody knows what became of it', async () => {
    const browser = fakePages();
    const id = freshSession();
    const commits = await observe(id);
    const page = browser.open('closed');
    const request = { merge: { n: 1 } };
    const sentAt = Date.now() - RESEND_WITHIN_MS - 1000;
    page.save(id, [{ updateId: 'old', event: 'settings:update', request, sentAt }], null);
    page.end();
    const session = tab(browser.open('next')).session<Settings>(id);
    const stop = session.subscribe(() => undefined);
    await until(() => session.getSnapshot().error?.code === 'OUTCOME_UNKNOWN');
    await session.update({ model: 'later' });
    await until(() => commits.length > 0);
    expect(commits.map(({ updateId }) => updateId)).to.not.include('old');
    expect(session.getSnapshot().settings).to.not.have.property('n');
    expect(keptWrites(browser.storage)).to.equal(0);
    stop();
  });

  it('[ST7] what makes no sense in the storage neither ends the session nor is sent', async () => {
    const browser = fakePages();
    const id = freshSession();
    const commits = await observe(id);
    browser.storage.setItem(`attune:document/${id}`, JSON.stringify({ epoch: 'E', settings: {} }));
    browser.storage.setItem(
      `attune:write/gone/${id}`,
      JSON.stringify([null, { updateId: 'x', event: 'settings:update' }]),
    );
    const session = tab(browser.open('next')).session<Settings>(id);
    await session.ready();
    await session.update({ model: 'alive' }, { updateId: 'own' });
    await until(() => commits.length > 0);
    expect(commits.map(({ updateId }) => updateId)).to.deep.equal(['own']);
    expect(keptWrites(browser.storage)).to.equal(0);
  });
});
