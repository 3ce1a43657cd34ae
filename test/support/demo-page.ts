// The page of a session as its users find it, by roles and names, for browser tests. It never reaches past what is shown.
import { expect } from 'chai';
import type { BrowserContext, BrowserContextOptions, Locator, Page } from 'playwright-core';
import type { Attune } from './attune.js';
import type { Visit } from './browser.js';
import { request } from './http.js';
import { freshId, type Wire } from './shapes.js';
import { until } from './until.js';

/** Where a page keeps who its user is. */
const PERSON_KEY = 'attune-demo-person';
/** Pause between two looks at a page, milliseconds: each costs the page some work. */
const POLL_MS = 30;

/** Makes a session with these settings over the defaults. */
export async function newSession(attune: Attune, settings: Wire = {}): Promise<string> {
  const id = freshId('page');
  const { status, text } = await request('PUT', `${attune.url}/v1/sessions/${id}`, { body: { settings } });
  expect(status, text).to.equal(201);
  return id;
}

/** Opens a session's page in a profile (default: the visit's own) and resolves when it is live. */
export async function openSession(visit: Visit, attune: Attune, sessionId: string, profile?: BrowserContext) {
  const page = new DemoPage(await visit.open(`${attune.url}/?session=${sessionId}`, profile));
  await page.isLive();
  return page;
}

/**
 * Two pages of a session, opened at once, of two users. Each is in front of its own window: a page behind another of its
 * profile is drawn seldom, and a click there waits for that.
 */
export async function openTwo(visit: Visit, attune: Attune, sessionId: string, ...names: readonly [string, string]) {
  const open = async (name: string) => openSession(visit, attune, sessionId, await profileOf(visit, name));
  return Promise.all([open(names[0]), open(names[1])]);
}

/** A profile whose user called themselves so before. */
export async function profileOf(visit: Visit, name: string, options: BrowserContextOptions = {}) {
  const profile = await visit.newProfile(options);
  // By its first page, where nothing is kept yet: a state that is given to a profile costs a page of its own to put in.
  const person = JSON.stringify({ name, color: '#0b6e99' });
  const keep = `localStorage['${PERSON_KEY}'] ??= ${JSON.stringify(person)}`;
  await profile.addInitScript(`if (location.protocol === 'http:') ${keep}`);
  return profile;
}

/** Resolves once what is read is as wanted; the error says what it was instead. */
export function becomes<T>(read: () => Promise<T>, wanted: T, what: string): Promise<unknown> {
  return until(
    async () => {
      expect(await read()).to.deep.equal(wanted);
      return true;
    },
    { deadlineMs: 8_000, everyMs: POLL_MS, what },
  );
}

/** A server that says nothing while `work` runs: it is stopped in its tracks, and goes on afterwards. */
export async function whileSilent(attune: Attune, work: () => Promise<void>): Promise<void> {
  attune.process.kill('SIGSTOP');
  try {
    await work();
  } finally {
    attune.process.kill('SIGCONT');
  }
}

export class DemoPage {
  readonly page: Page;

  constructor(page: Page) {
    this.page = page;
  }

  /** Connected, and the settings are there, in sight or not. */
  async isLive(): Promise<void> {
    await this.hasStatus('Live');
    await this.page.locator('[data-path]').first().waitFor({ state: 'attached' });
  }
  hasStatus(words: string): Promise<unknown> {
    return becomes(() => this.page.getByTestId('connection-status').innerText(), words, `the light to say ${words}`);
  }
  /** What the light has said from now on, each word once in order. */
  async watchStatus(): Promise<() => Promise<string[]>> {
    await this.page.evaluate(`{
      const light = document.querySelector('[data-testid="connection-status"]');
      window.statuses = [light.textContent];
      const look = () => window.statuses.at(-1) !== light.textContent && window.statuses.push(light.textContent);
      new MutationObserver(look).observe(light, { subtree: true, childList: true, characterData: true });
    }`);
    return () => this.page.evaluate<string[]>('window.statuses');
  }
  get onlineSwitch(): Locator {
    return this.page.getByRole('switch', { name: 'Online', exact: true });
  }

  /** The control of a setting, by its title. */
  setting(title: string): Locator {
    return this.page.getByLabel(title, { exact: true }).and(this.page.locator('input, select, textarea, button'));
  }
  /** All that belongs to a setting, by its JSON Pointer. */
  field(path: string): Locator {
    return this.page.locator(`[data-path="${path}"]`);
  }
  choose(title: string, option: string): Promise<unknown> {
    return this.setting(title).selectOption({ label: option });
  }
  hasChoice(title: string, option: string): Promise<unknown> {
    const read = () => this.setting(title).locator('option:checked').innerText();
    return becomes(read, option, `${title} to be ${option}`);
  }
  hasText(title: string, text: string): Promise<unknown> {
    return becomes(() => this.setting(title).inputValue(), text, `${title} to be ${text}`);
  }
  hasTags(path: string, tags: readonly string[]): Promise<unknown> {
    return becomes(() => this.field(path).getByRole('listitem').allInnerTexts(), [...tags], `${path} to have tags`);
  }
  isOn(title: string, on: boolean): Promise<unknown> {
    return becomes(() => this.setting(title).getAttribute('aria-checked'), String(on), `${title} to be ${on}`);
  }
  /** How far the newest change of a setting has come: saving…, saved, kept until online. */
  hasProgress(path: string, words: string): Promise<unknown> {
    return becomes(() => this.field(path).locator('.progress').innerText(), words, `${path} to be ${words}`);
  }

  /** The versions of the settings, newest first. */
  get versions(): Locator {
    return this.page.locator('ol[aria-label="Versions of the settings"] > li');
  }
  hasVersions(count: number): Promise<unknown> {
    return becomes(() => this.versions.count(), count, `${count} versions`);
  }
  restoreButton(revision: number): Locator {
    return this.page.getByRole('button', { name: `Restore revision ${revision}`, exact: true });
  }

  /** Names of the others who are there, and what they do. */
  others(): Promise<string[]> {
    return this.page
      .getByRole('region', { name: 'People in this session' })
      .getByRole('img')
      .evaluateAll((images: { getAttribute(name: string): string | null }[]) =>
        images.map((image) => image.getAttribute('aria-label') ?? ''),
      );
  }
  hasOthers(...names: string[]): Promise<unknown> {
    return becomes(() => this.others(), names, `${names.join(', ') || 'nobody'} to be there`);
  }

  get messages(): Locator {
    return this.page.locator('ol[aria-label="Messages"] > li');
  }
  async say(text: string): Promise<void> {
    await this.page.getByRole('textbox', { name: 'Message', exact: true }).fill(text);
    await this.page.keyboard.press('Enter');
  }
  /** The texts of all messages, oldest first. */
  texts(): Promise<string[]> {
    return this.messages.locator('.message-text').allInnerTexts();
  }
  /** From now on the texts that the newest answer has had, each once, in order. */
  async watchAnswer(): Promise<() => Promise<string[]>> {
    await this.page.evaluate(`{
      window.seenTexts = [];
      const look = () => {
        const answers = document.querySelectorAll('ol[aria-label="Messages"] > li.is-assistant .message-text');
        const text = answers[answers.length - 1]?.textContent;
        if (text && window.seenTexts.at(-1) !== text) window.seenTexts.push(text);
      };
      new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true });
    }`);
    return () => this.page.evaluate<string[]>('window.seenTexts');
  }
  /** Resolves when nothing is being streamed and so many messages are there. */
  hasMessages(count: number): Promise<unknown> {
    const read = async () => [await this.messages.count(), await this.page.locator('li[aria-busy="true"]').count()];
    return becomes(read, [count, 0], `${count} complete messages`);
  }
  /** In place of the session stand these words: a title, and a text that holds `part`. */
  async saysInstead(title: string, part: string): Promise<void> {
    const place = this.page.getByRole('alert', { name: title, exact: true });
    await place.waitFor();
    expect(await place.innerText()).to.contain(part);
  }
  hasNotice(text: string): Promise<unknown> {
    return becomes(() => this.page.getByRole('status').innerText(), text, `the notice: ${text}`);
  }
}

/** What a page has loaded so far that did not come from `origin`. */
export function strangersOf(page: Page, origin: string): Promise<string[]> {
  return page.evaluate<string[]>(
    `performance.getEntriesByType('resource').map(({ name }) => name).filter((name) => !name.startsWith('${origin}/'))`,
  );
}
