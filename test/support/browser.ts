// A real Chromium for tests: one browser per suite, new profiles per test, and what a page complains of fails the test.
// It never lets a page ask another host, and leaves no process and no profile behind.
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { AxeResults, RunOptions } from 'axe-core';
import { chromium, type Browser, type BrowserContext, type BrowserContextOptions, type Page } from 'playwright-core';
import { projectDir } from './attune.js';
import { chromiumProgram } from './chromium-program.js';

const LAUNCH_DEADLINE_MS = 20_000;
/** How long an action or a wait in a page may take: below mocha's own limit, so that the error names what was waited for. */
const PAGE_DEADLINE_MS = 8_000;

/** Where screenshots go; emptied when a run of the tests takes its first one. */
export const artifactsDir = join(projectDir, 'test-artifacts');

/** What one test does in the browser. All pages of one profile are of one user on one machine: storage, locks, channels. */
export interface Visit {
  /** The profile that open() uses where none is named. */
  readonly profile: BrowserContext;
  /** A further profile: another user, another machine, or other preferences (`{ colorScheme: 'dark' }`). Nothing moves in
   * any, unless asked for. */
  newProfile(options?: BrowserContextOptions): Promise<BrowserContext>;
  /** Opens the address in a new page and resolves when it is loaded. */
  open(url: string, profile?: BrowserContext): Promise<Page>;
  /** From here on, complaints that match are part of the test (a browser logs each request that fails while it is offline). */
  expectComplaints(pattern: RegExp): void;
  /** Writes `test-artifacts/<name>.png`, the whole page; the path. */
  screenshot(page: Page, name: string): Promise<string>;
}

export interface BrowserOfSuite {
  /**
   * Runs `work` with a new profile and closes all that it opened. Rejects with the error of `work`, after a screenshot of
   * each open page, or else with what the pages complained of: errors in the console, uncaught exceptions, crashes,
   * requests to other hosts.
   */
  visit(work: (visit: Visit) => Promise<void>): Promise<void>;
}

/** Call it in a `describe`: a browser is there from before its first test until after its last. */
export function browserOfSuite(): BrowserOfSuite {
  let browser: Browser | undefined;
  let title = '';
  before(async function () {
    this.timeout(LAUNCH_DEADLINE_MS + 1_000);
    browser = await launchChromium();
  });
  beforeEach(function () {
    title = this.currentTest?.fullTitle() ?? '';
  });
  after(async () => {
    await browser?.close();
    browser = undefined;
  });
  return {
    visit(work) {
      if (!browser) throw new Error('the browser is there only while the tests of its suite run');
      return visitOf(browser, title, work);
    },
  };
}

/** A headless Chromium of its own; whoever calls closes it. */
export function launchChromium(): Promise<Browser> {
  return chromium.launch({
    executablePath: chromiumProgram(),
    timeout: LAUNCH_DEADLINE_MS,
    // Chromium refuses to run as root inside its sandbox.
    chromiumSandbox: process.getuid?.() !== 0,
  });
}

async function visitOf(browser: Browser, title: string, work: (visit: Visit) => Promise<void>): Promise<void> {
  const profiles: BrowserContext[] = [];
  const complaints = complaintList();
  const newProfile = async (options: BrowserContextOptions = {}) => {
    const profile = await browser.newContext({ reducedMotion: 'reduce', ...options });
    profiles.push(profile);
    profile.setDefaultTimeout(PAGE_DEADLINE_MS);
    complaints.listen(profile);
    return profile;
  };
  try {
    const first = await newProfile();
    await work({
      profile: first,
      newProfile,
      async open(url, profile = first) {
        const page = await profile.newPage();
        await page.goto(url);
        return page;
      },
      expectComplaints: complaints.expect,
      screenshot: takeScreenshot,
    });
  } catch (error) {
    throw await explained(error, title, profiles, complaints.unexpected());
  } finally {
    await Promise.all(profiles.map((profile) => profile.close()));
  }
  const left = complaints.unexpected();
  if (left.length > 0) throw new Error(`the pages complained:\n${left.join('\n')}`);
}

/** What pages complain of, in order, and which of it a test expects. */
function complaintList() {
  const heard: string[] = [];
  const expected: RegExp[] = [];
  const say = (complaint: string) => {
    if (!expected.some((pattern) => pattern.test(complaint))) heard.push(complaint);
  };
  return {
    unexpected: () => [...heard],
    expect: (pattern: RegExp) => void expected.push(pattern),
    listen(profile: BrowserContext) {
      profile.on('console', (message) => {
        if (message.type() === 'error') say(`console: ${message.text()} (${message.location().url})`);
      });
      profile.on('weberror', (error) => say(`uncaught: ${error.error().stack ?? error.error().message}`));
      profile.on('page', (page) => page.on('crash', () => say(`crashed: ${page.url()}`)));
      profile.on('request', (request) => {
        if (!isOfThisMachine(request.url())) say(`another host: ${request.url()}`);
      });
    },
  };
}

function isOfThisMachine(address: string): boolean {
  const { protocol, hostname } = new URL(address);
  return !/^(https?|wss?):$/.test(protocol) || /^(127\.0\.0\.1|localhost|\[::1\])$/.test(hostname);
}

/** The error of a test, with what the pages looked like and complained of. */
async function explained(
  error: unknown,
  title: string,
  profiles: readonly BrowserContext[],
  complaints: readonly string[],
): Promise<unknown> {
  if (!(error instanceof Error)) return error;
  const pages = profiles.flatMap((profile) => profile.pages());
  const shots = await Promise.allSettled(pages.map((page, i) => takeScreenshot(page, `failed ${i + 1} ${title}`)));
  const paths = shots.flatMap((shot) => (shot.status === 'fulfilled' ? shot.value : []));
  // The message also stands at the head of a stack that was made already: mocha prints both.
  error.message += [...paths, ...complaints].map((line) => `\n  ${line}`).join('');
  return error;
}

let artifactsAreFresh = false;

async function takeScreenshot(page: Page, name: string): Promise<string> {
  if (!artifactsAreFresh) rmSync(artifactsDir, { recursive: true, force: true });
  artifactsAreFresh = true;
  mkdirSync(artifactsDir, { recursive: true });
  const fileName = name
    .replaceAll(/[^A-Za-z0-9]+/g, '-')
    .replaceAll(/^-|-$/g, '')
    .slice(0, 120);
  const path = join(artifactsDir, `${fileName}.png`);
  await page.screenshot({ path, fullPage: true, animations: 'disabled' });
  return path;
}

/**
 * The rules of accessibility that the page breaks, one text each (rule, impact, what it asks, where); none is an empty list.
 * All rules of axe are asked, its best practices too; `options` is axe's own.
 */
export async function accessibilityViolations(page: Page, options: RunOptions = {}): Promise<string[]> {
  // Evaluated by the debugger, not loaded by the page: its content security policy stays as it is.
  if (!(await page.evaluate<boolean>("typeof axe === 'object'"))) await page.evaluate(axeSource());
  const results = await page.evaluate<AxeResults>(`axe.run(document, ${JSON.stringify(options)})`);
  if (results.passes.length === 0) throw new Error(`axe checked nothing at ${page.url()}`);
  return results.violations.map(({ id, impact, help, nodes }) => {
    const places = nodes.map(({ target, failureSummary }) => `    ${target.join(' ')}: ${failureSummary ?? ''}`);
    return [`${id} (${impact ?? 'no impact'}): ${help}`, ...places].join('\n');
  });
}

let axeText: string | undefined;

function axeSource(): string {
  axeText ??= readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
  return axeText;
}
