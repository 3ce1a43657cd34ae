// The page without a connection: what is changed meanwhile is kept in the tab and sent once there is one, also over a reload.
import { startAttune, type Attune } from '../support/attune.js';
import { browserOfSuite, type Visit } from '../support/browser.js';
import { becomes, newSession, openTwo, type DemoPage } from '../support/demo-page.js';
import { request } from '../support/http.js';
import { expect } from 'chai';

describe('the page offline', () => {
  const browser = browserOfSuite();
  /** The one that has the data, and the one that runs: the last test starts another. */
  let first: Attune;
  let attune: Attune;
  before(async () => {
    attune = first = await startAttune();
  });
  after(async () => {
    await attune?.destroy();
    await first?.destroy();
  });

  const stored = async (id: string) => (await request('GET', `${attune.url}/v1/sessions/${id}`)).body;

  /** One who goes offline, and another who stays. */
  async function two(visit: Visit): Promise<{ id: string; one: DemoPage; other: DemoPage }> {
    const id = await newSession(attune);
    const [one, other] = await openTwo(visit, attune, id, 'Ada', 'Bob');
    return { id, one, other };
  }

  /** Three changes of one, of which one is of what the other changes too. */
  async function changeMeanwhile({ one, other }: { one: DemoPage; other: DemoPage }) {
    await one.choose('Model', 'gpt-4o');
    await one.setting('Temperature').fill('1.3');
    await one.page.keyboard.press('Enter');
    await one.hasProgress('/options/temperature', 'kept until online');
    await one.choose('Mode', 'agent');
    await one.hasProgress('/mode', 'kept until online');
    await becomes(() => one.page.getByTestId('pending').innerText(), '3 changes wait', 'three changes to wait');
    await other.choose('Mode', 'rag');
    await other.hasProgress('/mode', 'saved');
    await other.setting('Max tokens').fill('77');
    await other.page.keyboard.press('Enter');
    await other.hasProgress('/options/max_tokens', 'saved');
    await other.hasChoice('Model', 'gpt-4');
  }

  /** All of it, in both; the later one of two changes of the same has won. */
  async function expectAll({ id, one, other }: { id: string; one: DemoPage; other: DemoPage }) {
    for (const page of [one, other]) {
      await page.hasChoice('Model', 'gpt-4o');
      await page.hasText('Temperature', '1.3');
      await page.hasChoice('Mode', 'agent');
      await page.hasText('Max tokens', '77');
    }
    await becomes(() => one.page.getByTestId('pending').count(), 0, 'nothing to wait');
    const { settings, revision } = await stored(id);
    expect(settings.options).to.deep.include({ temperature: 1.3, max_tokens: 77 });
    // Five changes, each committed once.
    expect(revision).to.equal(6);
  }

  it("[BR14] with the page's switch off changes are kept, and sent in order when it is on again", () =>
    browser.visit(async (visit) => {
      const session = await two(visit);
      const { one, other } = session;
      await one.onlineSwitch.click();
      await one.hasStatus('Offline');
      await other.hasOthers();
      await changeMeanwhile(session);
      await visit.screenshot(one.page, 'offline');
      await one.onlineSwitch.click();
      await one.isLive();
      await expectAll(session);
      await other.hasOthers('Ada');
    }));

  it('[BR15] without a network changes are kept, and sent when there is one again', () =>
    browser.visit(async (visit) => {
      visit.expectComplaints(/ERR_INTERNET_DISCONNECTED/);
      const session = await two(visit);
      await session.one.page.context().setOffline(true);
      await session.one.hasStatus('Reconnecting');
      await changeMeanwhile(session);
      await session.one.page.context().setOffline(false);
      await session.one.isLive();
      await expectAll(session);
    }));

  it('[BR16] what was changed offline outlives a reload of the tab', () =>
    browser.visit(async (visit) => {
      const session = await two(visit);
      await session.one.onlineSwitch.click();
      await session.one.hasStatus('Offline');
      await changeMeanwhile(session);
      await session.one.page.reload();
      await session.one.isLive();
      await expectAll(session);
    }));

  it('[BR16] what was changed without a network is there when the tab comes back from elsewhere', () =>
    browser.visit(async (visit) => {
      visit.expectComplaints(/ERR_INTERNET_DISCONNECTED/);
      const session = await two(visit);
      const { page } = session.one;
      await session.one.page.context().setOffline(true);
      await session.one.hasStatus('Reconnecting');
      await changeMeanwhile(session);
      const address = page.url();
      await page.goto('about:blank');
      await session.one.page.context().setOffline(false);
      await page.goto(address);
      await session.one.isLive();
      await expectAll(session);
    }));

  it('[BR15] a server that is killed and started again is found again, with what was changed meanwhile', () =>
    browser.visit(async (visit) => {
      // What a browser says of a server that dies: also of an answer to a ping that comes too late for it.
      visit.expectComplaints(
        /ERR_CONNECTION_REFUSED|ERR_SOCKET_NOT_CONNECTED|ERR_CONNECTION_RESET|CLOSING or CLOSED state/,
      );
      const { id, one, other } = await two(visit);
      const { dataDir, port } = attune;
      await attune.kill();
      await one.hasStatus('Reconnecting');
      await one.choose('Model', 'gpt-4o');
      await one.hasProgress('/model', 'kept until online');
      attune = await startAttune({ dataDir, env: { PORT: String(port) } });
      await Promise.all([one.isLive(), other.isLive()]);
      await other.hasChoice('Model', 'gpt-4o');
      expect((await stored(id)).revision).to.equal(2);
    }));
});
