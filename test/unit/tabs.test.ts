// How tabs agree on who owns their connection, and what goes over it: with locks in memory, and pages that freeze at will.
import { expect } from 'chai';
import { LINES_MAX } from '../../client-sdk/shared-lines.js';
import { SHARED_TABS_MAX } from '../../client-sdk/protocol/limits.js';
import { ClientError } from '../../client-sdk/client-error.js';
import { FakeBrowser, HASTE, type FakeTab } from '../support/fake-tabs.js';
import { until } from '../support/until.js';

describe('tabs', () => {
  let browser: FakeBrowser;
  beforeEach(() => {
    browser = new FakeBrowser();
  });
  afterEach(() => browser.end());

  /** Opens a tab's line and waits until the log says how that ended. */
  async function opened(tab: FakeTab): Promise<FakeTab> {
    const before = tab.log.length;
    tab.link.open();
    await until(() => tab.log.slice(before).includes('opened'), { what: `${tab.name} to be open` });
    return tab;
  }
  /** Opens lines one after the other: the first tab leads. */
  async function open(...names: string[]): Promise<FakeTab[]> {
    const tabs = [];
    for (const name of names) tabs.push(await opened(browser.tab(name)));
    return tabs;
  }
  /** The line of a tab, once something was asked over it. */
  const asked = (name: string) =>
    until(() => browser.lines.find((line) => line === browser.lineOf(name) && line.asked.length > 0));
  const says = (tab: FakeTab, line: string) =>
    until(() => tab.log.includes(line), { what: `${tab.name} to log ${line}, not ${tab.log.join(', ')}` });

  it('[TS1] the first tab leads, and the lines of all go over its connection, each with its own handshake', async () => {
    const [a, b, c] = await open('a', 'b', 'c');
    expect(browser.connections).to.deep.equal(['a']);
    expect(browser.lines.map(({ auth, leader }) => [auth, leader])).to.deep.equal(
      ['a', 'b', 'c'].map((clientId) => [{ clientId }, 'a']),
    );
    expect([a!.log, b!.log, c!.log]).to.deep.equal([['opened'], ['opened'], ['opened']]);
    expect(LINES_MAX).to.equal(SHARED_TABS_MAX + 1);
  });

  it('[TS2] events and answers come to the tab that they are for, in order', async () => {
    const [a, b, c] = await open('a', 'b', 'c');
    b!.ask('session:get', { sessionId: 's' });
    const { asked: requests, user } = await asked('b');
    expect(requests[0]).to.deep.include({ event: 'session:get', body: { sessionId: 's' } });
    user.received('first', { n: 1 });
    requests[0]!.answered({ ok: true });
    user.received('second', { n: 2 });
    await says(b!, 'received second {"n":2}');
    expect(b!.log.slice(1)).to.deep.equal([
      'received first {"n":1}',
      'answered {"ok":true}',
      'received second {"n":2}',
    ]);
    expect([a!.log, c!.log]).to.deep.equal([['opened'], ['opened']]);
  });

  it('[TS3] a leader that leaves is followed by the next; what waits for an answer hears that there is none, once', async () => {
    const [a, b, c] = await open('a', 'b', 'c');
    b!.ask('settings:update');
    c!.ask('settings:update');
    await asked('c');
    a!.link.suspend();
    for (const tab of [b!, c!]) {
      await says(tab, 'closed');
      expect(tab.log).to.deep.equal(['opened', 'closed', 'answered null']);
    }
    expect(a!.log).to.deep.equal(['opened', 'closed']);
    await Promise.all([opened(b!), opened(c!)]);
    expect(browser.connections).to.deep.equal(['b']);
    expect(browser.lineOf('c')!.leader).to.equal('b');
    // The page that was left comes back: as one more tab.
    await opened(a!);
    expect(browser.lineOf('a')!.leader).to.equal('b');
  });

  it('[TS4] a leader that gives no sign of life is replaced; when it wakes it steps down and joins the others', async () => {
    const [a, b, c] = await open('a', 'b', 'c');
    const old = browser.lineOf('c')!;
    a!.page.freeze();
    await Promise.all([says(b!, 'closed'), says(c!, 'closed')]);
    await Promise.all([opened(b!), opened(c!)]);
    const leader = browser.connections.at(-1);
    expect(['b', 'c']).to.include(leader);
    expect(browser.lineOf('c')!.leader).to.equal(leader);
    a!.page.thaw();
    // What it still has to say is nobody's business any more.
    old.user.received('late', {});
    await says(a!, 'closed');
    await until(() => browser.connections.length === 1, { what: 'one connection' });
    await opened(a!);
    expect(browser.lineOf('a')!.leader).to.equal(leader);
    for (const tab of [b!, c!]) expect(tab.log).to.deep.equal(['opened', 'closed', 'opened']);
  });

  it('[TS5] a leader that answers is not replaced, and a tab that was frozen itself blames nobody', async () => {
    const [, b] = await open('a', 'b');
    b!.page.freeze();
    // Far more signs of life stay out than a leader is granted.
    const endsAt = Date.now() + 2500 / HASTE;
    await until(() => Date.now() > endsAt);
    b!.page.thaw();
    b!.ask('session:get');
    const { asked: requests } = await asked('b');
    requests[0]!.answered({ ok: true });
    await says(b!, 'answered {"ok":true}');
    expect(browser.connections).to.deep.equal(['a']);
    expect(b!.log[0]).to.equal('opened');
  });

  it('[TS6] a tab that was given the lock while it was frozen, and lost it again, does not lead when it wakes', async () => {
    const [a, b, c] = await open('a', 'b', 'c');
    b!.page.freeze();
    a!.link.suspend();
    await says(c!, 'closed');
    await opened(c!);
    expect(browser.connections).to.deep.equal(['c']);
    b!.page.thaw();
    await says(b!, 'closed');
    await opened(b!);
    expect(browser.lineOf('b')!.leader).to.equal('c');
    expect(c!.log).to.deep.equal(['opened', 'closed', 'opened']);
    expect(browser.connections).to.deep.equal(['c']);
  });

  it('[TS7] a refusal comes to its tab with all that it says, and a token that cannot be had closes that line alone', async () => {
    const [a] = await open('a');
    browser.fate = 'refuse';
    const b = browser.tab('b');
    b.link.open();
    await says(b, 'closed RATE_LIMITED 7');
    browser.fate = 'open';
    const c = browser.tab('c', () => Promise.reject(new ClientError('FORBIDDEN')));
    c.link.open();
    await says(c, 'closed FORBIDDEN undefined');
    await opened(b);
    expect(a!.log).to.deep.equal(['opened']);
  });

  it('[TS8] a tab that leaves gives its line back at once', async () => {
    const [, b] = await open('a', 'b');
    b!.link.suspend();
    await until(() => !browser.lineOf('b'), { what: 'the end of its line' });
    expect(browser.lineOf('a')!.isOpen).to.equal(true);
  });

  it('[TS9] a tab that takes nothing is given up before much waits for it, and comes back by itself', async () => {
    const [, b] = await open('a', 'b');
    b!.page.freeze();
    const { user } = browser.lineOf('b')!;
    const body = { text: 'x'.repeat(1024 * 1024) };
    for (let n = 0; n < 10; n += 1) user.received('much', body);
    expect(browser.lineOf('b')).to.equal(undefined);
    b!.page.thaw();
    await says(b!, 'closed');
    await opened(b!);
    expect(browser.connections).to.deep.equal(['a']);
  });

  it('[TS10] more tabs than a connection has lines have a socket of their own, and may come back', async () => {
    browser.linesMax = 2;
    const [, b, c] = await open('a', 'b', 'c');
    expect(browser.alone).to.deep.equal(['c']);
    c!.ask('session:get');
    await says(c!, 'answered {"ok":true}');
    b!.link.suspend();
    await until(() => !browser.lineOf('b'));
    c!.link.close();
    await opened(c!);
    expect(browser.lineOf('c')!.leader).to.equal('a');
    expect(browser.alone).to.deep.equal(['c']);
  });

  it('[TS11] where locks are forbidden each tab has a socket of its own', async () => {
    browser.isForbidden = true;
    const [a] = await open('a', 'b');
    a!.link.close();
    await opened(a!);
    expect(browser.alone).to.deep.equal(['a', 'b', 'a']);
    expect(browser.connections).to.deep.equal([]);
  });

  it('[TS12] a line that is closed and opened in one turn is a new one: nothing of the old one reaches it', async () => {
    const [, b] = await open('a', 'b');
    b!.ask('one');
    const { user } = await asked('b');
    user.received('old', {});
    b!.link.close();
    b!.link.open();
    user.closed(null);
    await until(() => b!.log.filter((line) => line === 'opened').length === 2);
    b!.ask('two');
    const line = await asked('b');
    line.asked[0]!.answered({ ok: true });
    await says(b!, 'answered {"ok":true}');
    expect(b!.log).to.deep.equal(['opened', 'answered null', 'opened', 'answered {"ok":true}']);
  });

  it('[TS13] a request without an answer is answered in time, though the leader lives', async () => {
    const [, b] = await open('a', 'b');
    b!.ask('nothing', {}, 50);
    await says(b!, 'answered null');
    expect(b!.log).to.deep.equal(['opened', 'answered null']);
  });

  for (const how of ['leaves', 'is killed'] as const) {
    it(`[TS25] a leader that ${how} is followed though no timer of any tab fires`, async () => {
      browser.timersRest = true;
      const [a, b, c] = await open('a', 'b', 'c');
      if (how === 'leaves') a!.link.suspend();
      else browser.kill(a!);
      await Promise.all([says(b!, 'closed'), says(c!, 'closed')]);
      await Promise.all([opened(b!), opened(c!)]);
      expect(browser.lineOf('c')!.leader).to.equal('b');
    });
  }
});
