// Several tabs of one browser on one connection, and what becomes of it when the tab that owns it is closed, frozen or
// stopped in its tracks: with real pages, a real server, and updates on their way.
import { expect } from 'chai';
import type { BrowserContext, Page } from 'playwright-core';
import { startAttune, type Attune } from '../support/attune.js';
import { browserOfSuite } from '../support/browser.js';
import { withPlainChromium } from '../support/plain-chromium.js';
import { metric } from '../support/session-log.js';
import { freshId, type Wire } from '../support/shapes.js';
import { closeSockets, connect } from '../support/socket.js';
import { settled, stateOf, tabsPage } from '../support/tabs-page.js';
import { until } from '../support/until.js';

/** Updates of each of two tabs that are on their way when the leader stops. */
const UPDATES = 100;
/** What is promised for a takeover; a busy machine gets ten times as much. */
const TAKEOVER_MS = 2000;

describe('tabs that share a connection', function () {
  this.timeout(60_000);
  const browser = browserOfSuite();
  let attune: Attune;

  before(async () => {
    attune = await startAttune({ env: { RATE_CALLS_PER_S: '100000' } });
  });
  after(() => attune?.destroy());
  afterEach(closeSockets);

  /** All commits of a session but its first, as a plain socket is told. */
  async function commitsOf(sessionId: string): Promise<Wire[]> {
    const socket = await connect(attune.url);
    const { session } = await socket.ok('session:get', { sessionId });
    const { commits } = await socket.ok('session:join', { sessionId, cursor: { epoch: session.epoch, revision: 1 } });
    socket.close();
    expect(commits.at(-1)?.revision ?? 1).to.equal(session.revision);
    return commits;
  }

  /** Each update of these labels is in the log once, and nothing else is. */
  async function expectOnce(sessionId: string, labels: string[]) {
    const wanted = labels.flatMap((label) => Array.from({ length: UPDATES }, (_, n) => `${label}-${n}`));
    const ids = (await commitsOf(sessionId)).map(({ updateId }: Wire) => updateId as string);
    expect(ids.toSorted()).to.deep.equal(wanted.toSorted());
    // In the order in which each tab made them.
    for (const label of labels) {
      const own = ids.filter((id) => id.startsWith(`${label}-`)).map((id) => Number(id.split('-')[1]));
      expect(own).to.deep.equal(own.toSorted((a, b) => a - b));
    }
  }

  /** Two tabs with their updates on their way, in a server that does not answer. */
  async function twoBusyTabs(profile: BrowserContext) {
    const sessionId = freshId('tabs');
    const pages = await tabsPage(profile, attune.url);
    const acknowledged = new Map<string, number>();
    await profile.exposeFunction('acknowledged', (id: string, revision: number) => void acknowledged.set(id, revision));
    const leader = await pages.open('leader', sessionId);
    const other = await pages.open('other', sessionId);
    expect(pages.sockets()).to.equal(1);
    attune.process.kill('SIGSTOP');
    for (const [page, label] of [
      [leader, 'a'],
      [other, 'b'],
    ] as const) {
      await page.evaluate(`update('${label}', ${UPDATES})`);
    }
    return { sessionId, pages, leader, other, acknowledged };
  }

  /** Resolves when the tab is connected again and all is answered; says how long the connection took. */
  async function takenOver(page: Page, since: number, how: string) {
    const state = await settled(page, TAKEOVER_MS * 10);
    const back = state.statuses.find(({ status, at }) => status === 'connected' && at >= since);
    expect(back, 'it was connected anew').to.not.equal(undefined);
    console.log(`      leader ${how}: taken over after ${back!.at - since} ms`);
    expect(back!.at - since).to.be.below(TAKEOVER_MS * 10);
    return state;
  }

  it('[TS20] tabs of one origin use one WebSocket, each with its own identity', () =>
    browser.visit(async ({ profile }) => {
      const sessionId = freshId('tabs');
      const pages = await tabsPage(profile, attune.url);
      const before = await metric(attune.url, 'attune_sockets');
      const tabs = [];
      for (const id of ['a', 'b', 'c']) tabs.push(await pages.open(id, sessionId));
      expect(pages.sockets()).to.equal(1);
      expect(await metric(attune.url, 'attune_sockets')).to.equal(before + 3);
      for (const tab of tabs) {
        await until(async () => (await stateOf(tab)).participants.join() === 'a,b,c', {
          what: 'all to see each other',
        });
      }
      await tabs[1]!.evaluate(`update('b', 1)`);
      for (const tab of tabs) await until(async () => 'b' in (await stateOf(tab)).settings, { what: 'the change' });
      const [commit] = await commitsOf(sessionId);
      expect(commit.by.clientId).to.equal('b');
      await pages.open('elsewhere', sessionId, 'another key');
      expect(pages.sockets()).to.equal(2);
    }));

  it('[TS21] the leader is closed with 200 updates on their way: another takes over, nothing is lost or doubled', () =>
    browser.visit(async ({ profile }) => {
      const { sessionId, pages, leader, other, acknowledged } = await twoBusyTabs(profile);
      const since = Date.now();
      await leader.close();
      attune.process.kill('SIGCONT');
      const state = await takenOver(other, since, 'closed');
      expect(Object.keys(state.acknowledged)).to.have.length(UPDATES);
      expect(state.refused).to.deep.equal([]);
      expect(pages.sockets()).to.equal(1);
      const commits = await commitsOf(sessionId);
      const ids = commits.map(({ updateId }) => updateId as string);
      expect(new Set(ids).size).to.equal(ids.length);
      for (const [id, revision] of acknowledged) expect(commits[revision - 2].updateId).to.equal(id);
      expect(ids.filter((id) => id.startsWith('b-'))).to.deep.equal(
        Array.from({ length: UPDATES }, (_, n) => `b-${n}`),
      );
      await until(async () => (await stateOf(other)).participants.join() === 'other', {
        what: 'the closed tab to be gone',
      });
    }));

  /** The leader is stopped by `stop`, which resolves with what wakes it. */
  async function leaderStops(
    profile: BrowserContext,
    how: string,
    stop: (page: Page) => Promise<() => Promise<unknown>>,
  ) {
    const { sessionId, pages, leader, other } = await twoBusyTabs(profile);
    const since = Date.now();
    const wake = await stop(leader);
    attune.process.kill('SIGCONT');
    const state = await takenOver(other, since, how);
    expect(Object.keys(state.acknowledged)).to.have.length(UPDATES);
    await wake();
    const woken = await settled(leader);
    expect(Object.keys(woken.acknowledged)).to.have.length(UPDATES);
    expect([...state.refused, ...woken.refused]).to.deep.equal([]);
    await expectOnce(sessionId, ['a', 'b']);
    for (const tab of [leader, other]) {
      const { received, settings } = await settled(tab);
      expect(Object.values(received).filter((times) => times !== 1)).to.deep.equal([]);
      expect(settings).to.deep.equal(woken.settings);
      await until(async () => (await stateOf(tab)).participants.join() === 'leader,other', { what: 'both to be seen' });
    }
    await until(() => pages.sockets() === 1, { what: 'one WebSocket' });
  }

  it('[TS22] the leader is frozen with 200 updates on their way: another takes over, nothing is lost or doubled', () =>
    withPlainChromium((profile) =>
      leaderStops(profile, 'frozen', async (page) => {
        const cdp = await profile.newCDPSession(page);
        await cdp.send('Page.setWebLifecycleState', { state: 'frozen' });
        return () => cdp.send('Page.setWebLifecycleState', { state: 'active' });
      }),
    ));

  it('[TS23] the leader is stopped without a word with 200 updates on their way: another takes over, nothing is lost or doubled', () =>
    browser.visit(({ profile }) =>
      leaderStops(profile, 'stopped', async (page) => {
        const cdp = await profile.newCDPSession(page);
        await cdp.send('Debugger.enable');
        const stopped = new Promise((resolve) => cdp.once('Debugger.paused', resolve));
        await cdp.send('Debugger.pause');
        await stopped;
        return () => cdp.send('Debugger.resume');
      }),
    ));
});
