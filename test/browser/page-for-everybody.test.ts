// The page for whoever comes: by keyboard alone, by screen reader, in light and dark, on a phone; and from one host alone.
import { expect } from 'chai';
import type { BrowserContextOptions, Page } from 'playwright-core';
import { startAttune, type Attune } from '../support/attune.js';
import { accessibilityViolations, browserOfSuite } from '../support/browser.js';
import {
  becomes,
  newSession,
  openSession,
  openTwo,
  profileOf,
  strangersOf,
  type DemoPage,
} from '../support/demo-page.js';
import { request } from '../support/http.js';

const phone = { width: 360, height: 740 };
/** More stops of the Tab key than the page has. */
const STOPS_MAX = 80;

const looks: Record<string, BrowserContextOptions> = {
  desk: {},
  phone: { viewport: phone, hasTouch: true, isMobile: true },
};

describe('the page for everybody', () => {
  const browser = browserOfSuite();
  let attune: Attune;
  before(async () => {
    attune = await startAttune();
  });
  after(() => attune?.destroy());

  /** A session in which something of each kind is to be seen, and much of it is long. */
  async function lively(): Promise<string> {
    const long = 'withoutanyspace'.repeat(12);
    const options = { stop: ['END', long], stream: true, system_prompt: `Be brief. ${long}`, tools: [{ name: long }] };
    const id = await newSession(attune, { options, [long]: { nested: [1, 2, long] } });
    const url = `${attune.url}/v1/sessions/${id}`;
    const send = async (method: string, path: string, body: unknown) => {
      const { status, text } = await request(method, url + path, { body });
      expect(status, text).to.be.below(300);
    };
    await send('PATCH', '', { title: `Everything at once ${long}` });
    for (let n = 0; n < 4; n += 1)
      await send('PATCH', '/settings', { model: `model ${n}`, options: { top_p: n / 10 } });
    await send('POST', '/messages', { role: 'user', content: `A question with ${long}` });
    await send('POST', '/messages', { role: 'assistant', content: 'An answer.\n\nOf two paragraphs.' });
    await send('POST', '/messages', { role: 'assistant', content: 'It goes on', status: 'streaming' });
    await send('POST', '/messages', { role: 'tool', content: [{ type: 'text', text: 'Parts' }], status: 'error' });
    return id;
  }

  /** Shows one of the parts that a phone shows one at a time. */
  async function show(page: DemoPage, part: 'Chat' | 'Settings' | 'History') {
    const button = page.page.getByRole('navigation').getByRole('button', { name: part });
    if (await button.isVisible()) await button.click();
  }

  for (const [look, options] of Object.entries(looks)) {
    it(`[BR24] no state of the page breaks a rule of accessibility, light and dark: ${look}`, () =>
      browser.visit(async (visit) => {
        const id = await lively();
        const profile = await profileOf(visit, 'Ada', options);
        const page = await openSession(visit, attune, id, profile);
        const expectFine = async (state: string) => {
          for (const colorScheme of ['light', 'dark'] as const) {
            await page.page.emulateMedia({ colorScheme });
            await visit.screenshot(page.page, `${look} ${colorScheme} ${state}`);
            const broken = await accessibilityViolations(page.page);
            expect(broken.join('\n'), `${state}, ${colorScheme}`).to.equal('');
          }
        };
        await page.hasVersions(2);
        if (options.viewport) await expectFine('chat');
        await show(page, 'Settings');
        await page.page.getByRole('button', { name: /not set in Sampling/ }).click();
        await page.setting('Temperature').fill('3');
        await page.field('/options/temperature').getByText('Must be from 0 to 2.').waitFor();
        await expectFine(options.viewport ? 'settings with an error' : 'all parts with an error');
        await show(page, 'History');
        if (options.viewport) return expectFine('history');
        await page.page.getByRole('button', { name: 'Share', exact: true }).click();
        await expectFine('share dialog');
        await page.page.keyboard.press('Escape');
        await page.onlineSwitch.click();
        await page.hasStatus('Offline');
        await page.page.getByRole('button', { name: 'You are Ada' }).click();
        await page.page.getByRole('dialog').waitFor();
        await expectFine('offline name dialog');
      }));
  }

  it('[BR10] a new session loads without a complaint and breaks no rule of accessibility', () =>
    browser.visit(async (visit) => {
      const page = await visit.open(attune.url);
      expect(await page.title()).to.contain('Attune');
      expect(await page.getByRole('heading', { level: 1 }).isVisible()).to.equal(true);
      for (const colorScheme of ['light', 'dark'] as const) {
        await page.emulateMedia({ colorScheme });
        await visit.screenshot(page, `page ${colorScheme}`);
        expect((await accessibilityViolations(page)).join('\n'), colorScheme).to.equal('');
      }
    }));

  for (const [where, size] of Object.entries({ desk: { width: 1280, height: 720 }, phone })) {
    it(`[BR25] nothing makes the page itself scroll, and no control is out of reach: ${where}`, () =>
      browser.visit(async (visit) => {
        const id = await lively();
        const profile = await visit.newProfile({ viewport: size, hasTouch: true, isMobile: size === phone });
        const page = await openSession(visit, attune, id, profile);
        for (const part of ['Chat', 'Settings', 'History'] as const) {
          await show(page, part);
          const whole =
            '({ width: document.scrollingElement.scrollWidth, height: document.scrollingElement.scrollHeight })';
          expect(await page.page.evaluate(whole), part).to.deep.equal(size);
          expect(await page.page.evaluate<string[]>(outOfReach), part).to.deep.equal([]);
        }
      }));
  }

  it('[BR23] with the keyboard alone a setting is changed, a message sent, and a version restored', () =>
    browser.visit(async (visit) => {
      const id = await newSession(attune);
      const [one, other] = await openTwo(visit, attune, id, 'Ada', 'Bob');
      const { keyboard } = one.page;
      await tabTo(one.page, 'Model');
      await keyboard.press('ArrowDown');
      await other.hasChoice('Model', 'gpt-4o');
      await tabTo(one.page, 'Temperature slider');
      await keyboard.press('ArrowRight');
      await other.hasText('Temperature slider', '0.71');
      await tabTo(one.page, 'Message');
      await keyboard.type('Hello');
      await keyboard.press('Enter');
      await becomes(async () => (await other.texts())[0], 'Hello', 'the message');
      await one.restoreButton(1).waitFor();
      await tabTo(one.page, 'Restore revision 1');
      await keyboard.press('Enter');
      await other.hasChoice('Model', 'gpt-4');
      await other.hasText('Temperature slider', '0.7');
    }));

  it('[BR23] wherever the Tab key leads, one sees where one is', () =>
    browser.visit(async (visit) => {
      const page = await openSession(visit, attune, await lively());
      await page.hasVersions(2);
      await page.page.evaluate('document.body.focus()');
      const stops: string[] = [];
      const unseen: string[] = [];
      for (let n = 0; n < STOPS_MAX; n += 1) {
        await page.page.keyboard.press('Tab');
        const stop = await page.page.evaluate<{ name: string; isSeen: boolean } | null>(whereIsFocus);
        if (!stop) break;
        stops.push(stop.name);
        if (!stop.isSeen) unseen.push(stop.name);
      }
      expect(unseen).to.deep.equal([]);
      for (const name of ['Session title', 'Model', 'Temperature slider', 'Message', 'Share', 'Restore revision 1']) {
        expect(stops).to.include(name);
      }
    }));

  it('[BR26] all that the page loads is from the server that it is of', () =>
    browser.visit(async (visit) => {
      const asked: string[] = [];
      visit.profile.on('request', (request_) => asked.push(request_.url()));
      visit.profile.on('page', (page) => page.on('websocket', (socket) => asked.push(socket.url())));
      const page = await openSession(visit, attune, await lively());
      await page.page.getByRole('button', { name: 'Share', exact: true }).click();
      await page.page.getByRole('dialog').waitFor();
      expect(await strangersOf(page.page, attune.url)).to.deep.equal([]);
      const hosts = new Set(asked.map((url) => new URL(url).host));
      expect([...hosts]).to.deep.equal([new URL(attune.url).host]);
      expect(
        asked.some((url) => url.startsWith('ws:')),
        'the connection is among them',
      ).to.equal(true);
    }));

  /** Presses Tab, from where the focus is and round, until it is at what has this name. */
  async function tabTo(page: Page, name: string) {
    const passed: (string | undefined)[] = [];
    while (passed.length < STOPS_MAX) {
      await page.keyboard.press('Tab');
      const stop = await page.evaluate<{ name: string } | null>(whereIsFocus);
      if (stop?.name === name) return;
      passed.push(stop?.name);
    }
    throw new Error(`the Tab key does not lead to ${name}, but to ${passed.join(', ')}`);
  }
});

/** In the page: the name of what has the focus, and whether one sees that it has. Null where nothing has it. */
const whereIsFocus = `(() => {
  const focused = document.activeElement;
  if (!focused || focused === document.body) return null;
  const name = (focused.getAttribute('aria-label') ?? focused.labels?.[0]?.textContent ?? focused.textContent).trim();
  const isDrawn = (element) => {
    const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(element);
    return (outlineStyle !== 'none' && parseFloat(outlineWidth) > 0) || boxShadow !== 'none';
  };
  return { name, isSeen: isDrawn(focused) || isDrawn(focused.parentElement) };
})()`;

/** In the page: visible controls that reach over its sides. */
const outOfReach = `[...document.querySelectorAll('button, a, input, select, textarea')]
  .filter((element) => element.checkVisibility({ visibilityProperty: true }))
  .filter((element) => { const { left, right } = element.getBoundingClientRect(); return left < 0 || right > innerWidth; })
  .map((element) => element.outerHTML.slice(0, 120))`;
