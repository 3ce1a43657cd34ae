// People and bots on the page: who is there and at what, what they say, as it is said, and how others are brought in.
import { expect } from 'chai';
import type { WebSocket } from 'playwright-core';
import { startAttune, type Attune } from '../support/attune.js';
import { endBots, startBot } from '../support/bot.js';
import { browserOfSuite, type Visit } from '../support/browser.js';
import { becomes, DemoPage, newSession, openSession, openTwo, profileOf } from '../support/demo-page.js';
import { request } from '../support/http.js';
import { closeSockets, connect } from '../support/socket.js';

/** Texts that a streamed answer has had in a tab that no commit can have brought: the demo bot commits each second. */
const LIVE_TEXTS_MIN = 10;
/** More people than a header can show. */
const CROWD = 120;

describe('people and messages on the page', () => {
  const browser = browserOfSuite();
  let attune: Attune;
  before(async () => {
    attune = await startAttune();
  });
  after(() => attune?.destroy());
  afterEach(endBots);
  afterEach(closeSockets);

  async function adaAndBob(visit: Visit, settings = {}): Promise<{ id: string; ada: DemoPage; bob: DemoPage }> {
    const id = await newSession(attune, settings);
    const [ada, bob] = await openTwo(visit, attune, id, 'Ada', 'Bob');
    return { id, ada, bob };
  }
  const messagesOf = async (id: string) =>
    (await request('GET', `${attune.url}/v1/sessions/${id}/messages`)).body.messages.toReversed();

  /** What a tab showed while an answer came: each text continues the one before, and the last is what is stored. */
  function expectStreamed(seen: string[], whole: string) {
    expect(seen.at(-1)).to.equal(whole);
    for (const text of seen) expect(whole.startsWith(text), text).to.equal(true);
    expect(seen.length).to.be.above(LIVE_TEXTS_MIN);
  }

  it('[BR18] each sees who else is there, under which name, and at which setting, until the tab is closed', () =>
    browser.visit(async (visit) => {
      const { id, ada, bob } = await adaAndBob(visit);
      await ada.hasOthers('Bob');
      await bob.hasOthers('Ada');
      await ada.setting('Temperature').focus();
      await bob.hasOthers('Ada, editing Temperature');
      const marked = bob.field('/options/temperature').getByText('Ada is editing');
      await marked.waitFor();
      await visit.screenshot(bob.page, 'somebody is editing');
      await ada.setting('Max tokens').focus();
      await bob.hasOthers('Ada, editing Max tokens');
      await marked.waitFor({ state: 'detached' });
      await ada.choose('Model', 'gpt-4o');
      await bob.field('/model').getByText('Ada changed this').waitFor();
      // A name that is changed is changed for all, and is still one's own in the next tab.
      await ada.page.getByRole('button', { name: 'You are Ada' }).click();
      await ada.page.getByLabel('Your name').fill('Countess');
      await ada.page.getByRole('radio', { name: 'Violet' }).check();
      await ada.page.getByRole('button', { name: 'Save' }).click();
      await bob.hasOthers('Countess');
      const next = await openSession(visit, attune, id, ada.page.context());
      await bob.hasOthers('Countess', 'Countess');
      for (const page of [ada, next]) await page.page.close();
      await bob.hasOthers();
    }));

  it("[BR19] a message and the demo bot's answer are shown in every tab, word by word, the same in the end", () =>
    browser.visit(async (visit) => {
      const { id, ada, bob } = await adaAndBob(visit, { options: { max_tokens: 25 } });
      const seenByBob = await bob.watchAnswer();
      await ada.say('Which settings do you use?');
      await bob.page.locator('li[aria-busy="true"]').getByText('You wrote').waitFor();
      await visit.screenshot(bob.page, 'answer being streamed');
      for (const page of [ada, bob]) await page.hasMessages(2);
      const [question, answer] = await messagesOf(id);
      expect(question).to.include({ role: 'user', content: 'Which settings do you use?', status: 'complete' });
      expect(answer).to.include({ role: 'assistant', status: 'complete' });
      expectStreamed(await seenByBob(), answer.content);
      for (const page of [ada, bob]) {
        await becomes(() => page.texts(), [question.content, answer.content], 'both messages');
        expect(await page.messages.last().getByRole('article').getAttribute('aria-label')).to.match(/^Demo bot, /);
      }
      await visit.screenshot(bob.page, 'conversation');
    }));

  it('[BR20] what an example bot says is shown word by word, and the demo bot leaves the answer to it', () =>
    browser.visit(async (visit) => {
      const { id, ada, bob } = await adaAndBob(visit);
      await startBot('bot.ts', attune.url, id);
      await ada.hasOthers('Bob', 'Bot (bot)');
      const seenByBob = await bob.watchAnswer();
      const asked = Array.from({ length: 20 }, (_, n) => `word${n}`).join(' ');
      await ada.say(asked);
      for (const page of [ada, bob]) await page.hasMessages(2);
      const [question, answer] = await messagesOf(id);
      expect(answer).to.include({ id: `reply-${question.id}`, status: 'complete' });
      expect(answer.content).to.match(/^gpt-4 as assistant at temperature 0\.7 read "word0 /);
      expectStreamed(await seenByBob(), answer.content);
      // The demo bot was asked, too: it says neither something nor that it could not.
      await ada.hasNotice('');
    }));

  it('[BR21] the title is changed where it stands, for every tab', () =>
    browser.visit(async (visit) => {
      const { ada, bob } = await adaAndBob(visit);
      await ada.page.getByLabel('Session title').fill('Pump limits');
      await ada.page.keyboard.press('Enter');
      await bob.hasText('Session title', 'Pump limits');
      await becomes(() => bob.page.title(), 'Pump limits · Attune', 'the tab to be called so');
      await bob.page.getByLabel('Session title').fill('');
      await bob.page.keyboard.press('Enter');
      await ada.hasText('Session title', '');
    }));

  it('[BR22] the link that is shared opens the session, in another browser and in another tab', () =>
    browser.visit(async (visit) => {
      const { id, ada, bob } = await adaAndBob(visit);
      await ada.page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
      await ada.page.getByRole('button', { name: 'Share', exact: true }).click();
      const dialog = ada.page.getByRole('dialog', { name: 'Share this session' });
      const link = await dialog.getByLabel('Link to this session').inputValue();
      expect(link).to.equal(`${attune.url}/?session=${id}`);
      await dialog.getByRole('img', { name: 'QR code of the link' }).waitFor();
      await dialog.getByRole('button', { name: 'Copy' }).click();
      await dialog.getByRole('button', { name: 'Copied' }).waitFor();
      expect(await ada.page.evaluate<string>('navigator.clipboard.readText()')).to.equal(link);
      await ada.page.keyboard.press('Escape');
      await dialog.waitFor({ state: 'detached' });
      await becomes(() => ada.page.locator(':focus').innerText(), 'Share', 'the focus to be back');

      const opened = bob.page.waitForEvent('popup');
      await bob.page.getByRole('link', { name: 'Open another tab' }).click();
      const again = new DemoPage(await opened);
      await again.isLive();
      await becomes(async () => (await again.others()).toSorted(), ['Ada', 'Bob'], 'both to be there');
      await again.choose('Model', 'gpt-4o');
      await ada.hasChoice('Model', 'gpt-4o');
    }));

  it('[BR32] the tabs of one browser share a WebSocket; each has its own switch, and goes on when the first one is closed', () =>
    browser.visit(async (visit) => {
      const id = await newSession(attune);
      const sockets: WebSocket[] = [];
      const profile = await profileOf(visit, 'Ada');
      profile.on('page', (page) => page.on('websocket', (socket) => sockets.push(socket)));
      const first = await openSession(visit, attune, id, profile);
      const bobs = await profileOf(visit, 'Bob');
      const opened = [openSession(visit, attune, id, profile), openSession(visit, attune, id, bobs)] as const;
      const [second, bob] = await Promise.all(opened);
      await bob.hasOthers('Ada', 'Ada');
      expect(sockets).to.have.length(1);
      const statuses = await second.watchStatus();
      await first.onlineSwitch.click();
      await first.hasStatus('Offline');
      await bob.hasOthers('Ada');
      await bob.choose('Model', 'gpt-4o');
      await second.hasChoice('Model', 'gpt-4o');
      await first.hasChoice('Model', 'gpt-4');
      expect(await statuses()).to.deep.equal(['Live']);
      await first.page.bringToFront();
      await first.onlineSwitch.click();
      await first.hasChoice('Model', 'gpt-4o');
      expect(sockets.filter((socket) => !socket.isClosed())).to.have.length(1);
      await first.page.close();
      await second.page.bringToFront();
      await second.choose('Mode', 'agent');
      await bob.hasChoice('Mode', 'agent');
      await second.isLive();
      await bob.hasOthers('Ada');
    }));

  it('[BR33] of many people some are shown and announced, the others counted', () =>
    browser.visit(async (visit) => {
      const id = await newSession(attune);
      const crowd = await Promise.all(
        Array.from({ length: CROWD }, (_, n) => connect(attune.url, { clientId: `Nr ${n}|0b6e99|${n}` })),
      );
      await Promise.all(crowd.map((socket) => socket.ok('session:join', { sessionId: id })));
      const ada = await openSession(visit, attune, id, await profileOf(visit, 'Ada'));
      const people = ada.page.getByRole('region', { name: 'People in this session' });
      const count = people.getByText(`+${CROWD - 4}`);
      await count.waitFor();
      await visit.screenshot(ada.page, 'crowd');
      expect(await ada.others()).to.have.length(4);
      const [more, me] = await Promise.all([count.boundingBox(), people.getByRole('button').boundingBox()]);
      expect(
        await count.evaluate((it: { scrollWidth: number; clientWidth: number }) => it.scrollWidth <= it.clientWidth),
      ).to.equal(true);
      expect(more!.x + more!.width).to.be.at.most(me!.x);
      const said = people.getByTestId('announcer');
      await becomes(
        async () => /^Also here: (Nr \d+, ){3}Nr \d+ and \d+ more$/.test(await said.innerText()),
        true,
        'four names to be announced',
      );
      closeSockets();
      await ada.hasOthers();
    }));
});
