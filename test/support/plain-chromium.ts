// A Chromium whose pages are as a user's: hidden behind each other, their timers slowed, frozen. Elsewhere in the tests every
// page counts as seen, which cannot be frozen. It leaves no process and no profile behind.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium, type Browser, type BrowserContext } from 'playwright-core';
import { endWithTests, exited, isRunning } from './child.js';
import { chromiumProgram } from './chromium-program.js';
import { until } from './until.js';

const DEADLINE_MS = 20_000;

/** Runs `work` with the profile of a browser of its own, and ends the browser. */
export async function withPlainChromium(work: (profile: BrowserContext) => Promise<void>): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'attune-chromium-'));
  const sandbox = process.getuid?.() === 0 ? ['--no-sandbox'] : [];
  const args = ['--headless=new', ...sandbox, '--no-first-run', '--remote-debugging-port=0', `--user-data-dir=${dir}`];
  const child = spawn(chromiumProgram(), args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const forget = endWithTests(() => void (isRunning(child) && child.kill('SIGKILL')));
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
  let browser: Browser | undefined;
  try {
    const find = () => /^DevTools listening on (ws:\S+)/m.exec(said)?.[1];
    const endpoint = await until(find, { deadlineMs: DEADLINE_MS, what: 'Chromium to listen' });
    browser = await chromium.connectOverCDP(endpoint, { noDefaults: true, timeout: DEADLINE_MS });
    await work(browser.contexts()[0]!);
  } finally {
    const session = await browser?.newBrowserCDPSession();
    await session?.send('Browser.close').catch(() => undefined);
    if (!browser) child.kill('SIGKILL');
    await exited(child, DEADLINE_MS);
    forget();
    rmSync(dir, { recursive: true, force: true, maxRetries: 10 });
  }
}
