// What pages of one browser keep of writes that are not answered: with real pages, a real localStorage and real Web Locks.
import { expect } from 'chai';
import type { BrowserContext, Page } from 'playwright-core';
import { startAttune, type Attune } from '../support/attune.js';
import { browserOfSuite } from '../support/browser.js';
import { request } from '../support/http.js';
import { freshId, type Wire } from '../support/shapes.js';
import { closeSockets, connect } from '../support/socket.js';
import { keep, settled, stateOf, tabsPage } from '../support/tabs-page.js';
import { until } from '../support/until.js';

const UPDATES = 20;

describe('what pages keep', function () {
  this.timeout(60_000);
  const browser = browserOfSuite();
  let attune: Attune;

  before(async () => {
    attune = await startAttune();
  });
  after(() => attune?.destroy());
  afterEach(closeSockets);

  const idsOf = (label: string) => Array.from({ length: UPDATES }, (_, n) => `${label}-${n}`);

  /** Ids of the updates of a session, in order. */
  async function committed(sessionId: string): Promise<string[]> {
    const socket = await connect(attune.url);
    const { session } = await socket.ok('session:get', { sessionId });
    const { commits } = await socket.ok('session:join', { sessionId, cursor: { epoch: session.epoch, revision: 1 } });
    socket.close();
    return commits.map(({ updateId }: Wire) => updateId as string);
  }

  /** A page whose updates wait, for it is offline. */
  async function offlinePage(profile: BrowserContext) {
    const sessionId = freshId('kept');
    await request('PUT', `${attune.url}/v1/sessions/${sessionId}`, { body: {} });
    const pages = await tabsPage(profile, attune.url);
    const page = await pages.blank();
    await keep(page, 'first', sessionId, true);
    await page.evaluate(`update('a', ${UPDATES})`);
    expect(await stateOf(page)).to.include({ pending: UPDATES });
    return { sessionId, pages, page };
  }

  const waiting = (page: Page) =>
    page.evaluate<number>(
      `Object.keys(localStorage).filter((name) => name.includes(':write/'))
        .flatMap((name) => JSON.parse(localStorage[name])).length`,
    );

  it('[ST9] a page that is loaded again shows its writes at once, and sends them before its own', () =>
    browser.visit(async ({ profile }) => {
      const { sessionId, page } = await offlinePage(profile);
      for (const isOffline of [true, false]) {
        await page.reload();
        expect(await keep(page, 'again', sessionId, isOffline)).to.include({ pending: UPDATES });
      }
      await page.evaluate(`update('b', ${UPDATES})`);
      await settled(page);
      expect(await committed(sessionId)).to.deep.equal([...idsOf('a'), ...idsOf('b')]);
      expect(await waiting(page)).to.equal(0);
    }));

  it('[ST9] what a closed tab left is sent by the next one', () =>
    browser.visit(async ({ profile }) => {
      const { sessionId, pages, page } = await offlinePage(profile);
      await page.close();
      const next = await pages.blank();
      await keep(next, 'next', sessionId);
      await until(async () => (await committed(sessionId)).length === UPDATES, { what: 'all to be committed' });
      await settled(next);
      expect(await committed(sessionId)).to.deep.equal(idsOf('a'));
      expect(await waiting(next)).to.equal(0);
    }));

  it('[ST9] what an open tab keeps is left alone by another, and by one that was copied from it', () =>
    browser.visit(async ({ profile }) => {
      const { sessionId, pages, page } = await offlinePage(profile);
      // From now on it goes by the name of the page before it.
      await page.reload();
      await keep(page, 'first', sessionId, true);
      const other = await pages.blank();
      // A window that a page opens starts with a copy of what the page's tab keeps.
      const [copy] = await Promise.all([
        profile.waitForEvent('page'),
        page.evaluate(`void open('/livez', '_blank', 'popup')`),
      ]);
      await copy.waitForLoadState();
      for (const [tab, label] of [
        [other, 'b'],
        [copy, 'c'],
      ] as const) {
        expect(await keep(tab, label, sessionId)).to.include({ pending: 0 });
        await settled(tab);
        await tab.evaluate(`update('${label}', ${UPDATES})`);
        await settled(tab);
      }
      expect(await committed(sessionId)).to.deep.equal([...idsOf('b'), ...idsOf('c')]);
      expect(await waiting(other)).to.equal(UPDATES);
      await page.evaluate(`tab.client.connect()`);
      await settled(page);
      expect(await committed(sessionId)).to.deep.equal([...idsOf('b'), ...idsOf('c'), ...idsOf('a')]);
      expect(await waiting(other)).to.equal(0);
    }));
});
