// `npm run bench:tabs`: how long from a click in one tab to the paint in another, on this machine. Prints figures, judges none.
import { tmpdir } from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';
import type { Browser, Page } from 'playwright-core';
import { launchChromium } from '../support/browser.js';
import { designs, startServer } from './designs.js';
import { describeMachine } from './machine.js';
import { Samples, summarize } from './samples.js';

const clicks = 300;
/** Before them, uncounted: fresh code is slow. */
const warmupClicks = 30;
/** Pause before each click, at most, by chance: no click shall keep step with the screen. */
const pauseMaxMs = 50;
const control = '[data-path="/options/stream"] [role=switch]';

interface Seen {
  /** Milliseconds since 1970, with fractions, as are all times here. */
  changedAt: number;
  paintedAt: number;
}

/** In the page that is clicked: when the newest click was, by the browser's own stamp of the input. */
const noteClicks = `addEventListener('click', (event) => { window.clickedAt = performance.timeOrigin + event.timeStamp; }, true)`;

/** In the page that watches: when the control changes next, and when that was painted: two frames have begun since. */
const noteChange = `window.seen = new Promise((resolve) => {
  const now = () => performance.timeOrigin + performance.now();
  const observer = new MutationObserver(() => {
    const changedAt = now();
    observer.disconnect();
    requestAnimationFrame(() => requestAnimationFrame(() => resolve({ changedAt, paintedAt: now() })));
  });
  observer.observe(document.querySelector('${control}'), { attributeFilter: ['aria-checked'] });
}); undefined`;

/** A page in a window of its own: of two tabs in one window, one is not painted. */
async function openPage(browser: Browser, address: string): Promise<Page> {
  const page = await (await browser.newContext()).newPage();
  await page.goto(address);
  await page.locator(control).waitFor();
  return page;
}

async function measure(clicked: Page, watching: Page) {
  const [changed, painted] = [new Samples(), new Samples()];
  await clicked.evaluate(noteClicks);
  await clicked.locator(control).scrollIntoViewIfNeeded();
  const { x, y, width, height } = (await clicked.locator(control).boundingBox())!;
  for (let n = -warmupClicks; n < clicks; n += 1) {
    await watching.evaluate(noteChange);
    await pause(Math.random() * pauseMaxMs);
    await clicked.mouse.click(x + width / 2, y + height / 2);
    const seen = await watching.evaluate<Seen>('window.seen');
    const clickedAt = await clicked.evaluate<number>('window.clickedAt');
    if (n < 0) continue;
    changed.pushMs(seen.changedAt - clickedAt);
    painted.pushMs(seen.paintedAt - clickedAt);
  }
  return { changed: summarize([changed.toArray()]), painted: summarize([painted.toArray()]) };
}

/** The time between two frames of a page that does nothing else, milliseconds. */
function frameMs(page: Page): Promise<number> {
  return page.evaluate<number>(`new Promise((resolve) => {
    const times = [];
    const frame = (at) => times.push(at) > 30 ? resolve((times.at(-1) - times[0]) / (times.length - 1)) : requestAnimationFrame(frame);
    requestAnimationFrame(frame);
  })`);
}

async function main(): Promise<void> {
  const machine = describeMachine(tmpdir());
  const server = await startServer(designs[0]!, tmpdir());
  const browser = await launchChromium().catch(async (error: unknown) => {
    await server.stop();
    throw error;
  });
  try {
    const id = 'click-to-paint';
    const settings = { options: { stream: true } };
    const headers = { 'content-type': 'application/json' };
    const made = await fetch(`${server.url}/v1/sessions/${id}`, {
      method: 'PUT',
      headers,
      body: JSON.stringify({ settings }),
    });
    if (!made.ok) throw new Error(`no session: ${made.status} ${await made.text()}`);
    const address = `${server.url}/?session=${id}`;
    const [clicked, watching] = [await openPage(browser, address), await openPage(browser, address)];
    const { changed, painted } = await measure(clicked, watching);
    const line = (what: string, { count, p50Ms, p99Ms, maxMs }: typeof painted) =>
      `| ${what} | ${count} | ${p50Ms.toFixed(1)} | ${p99Ms.toFixed(1)} | ${maxMs.toFixed(1)} |`;
    const text = [
      `Measured ${machine.date} at ${machine.commit}: ${machine.cores} cores (${machine.processor}), Node ${machine.node}, ` +
        `Chromium ${browser.version()}, load before ${machine.loadBefore}.`,
      `Server, Redis and browser share the cores; a frame is ${(await frameMs(watching)).toFixed(1)} ms.`,
      '',
      '| from a click in one tab | clicks | median, ms | p99, ms | max, ms |',
      '| --- | --- | --- | --- | --- |',
      line('until the other tab’s page has changed', changed),
      line('until the other tab has painted it', painted),
    ];
    process.stdout.write(`${text.join('\n')}\n`);
  } finally {
    await browser.close();
    await server.stop();
  }
}

await main();
