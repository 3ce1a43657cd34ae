// A page for tests of tabs: the SDK in a page of the server's own origin. It draws nothing.
import { join } from 'node:path';
import { build } from 'esbuild';
import type { BrowserContext, Page } from 'playwright-core';
import { projectDir } from './attune.js';
import { until } from './until.js';

const script = `
  import { createClient } from './dist/client-sdk/index.js';
  import { localStorageOutbox } from './dist/client-sdk/storage.js';
  import { sharedTabs } from './dist/client-sdk/tabs.js';
  globalThis.start = async (clientId, sessionId, options = {}) => {
    const client = createClient({ clientId, transport: sharedTabs(options) });
    const session = client.session(sessionId, { create: true });
    const tab = (globalThis.tab = { client, session, statuses: [], acknowledged: {}, refused: [], received: {} });
    client.on('status', (status) => tab.statuses.push({ status, at: Date.now() }));
    session.on('commit', ({ revision }) => (tab.received[revision] = (tab.received[revision] ?? 0) + 1));
    await session.ready();
  };
  globalThis.keep = (clientId, sessionId, isOffline) => {
    const client = createClient({ clientId, storage: localStorageOutbox() });
    const session = client.session(sessionId);
    const { pending, settings } = (session.subscribe(() => {}), session.getSnapshot());
    globalThis.tab = { client, session, statuses: [], acknowledged: {}, refused: [], received: {} };
    if (isOffline) client.disconnect();
    return { pending, settings };
  };
  globalThis.update = (label, count) => {
    const { session, acknowledged, refused } = globalThis.tab;
    for (let n = 0; n < count; n += 1) {
      const updateId = label + '-' + n;
      session.update({ [label]: { ['n' + n]: n } }, { updateId }).then(
        ({ revision }) => {
          acknowledged[updateId] = revision;
          globalThis.acknowledged?.(updateId, revision);
        },
        (error) => refused.push(updateId + ': ' + error.code),
      );
    }
  };
`;

let bundled: Promise<string> | undefined;

/** What the page's client did, as far as it is to be asserted. */
export interface TabState {
  status: string;
  syncStatus: string;
  pending: number;
  settings: Record<string, unknown>;
  revision: number;
  participants: string[];
  statuses: { status: string; at: number }[];
  acknowledged: Record<string, number>;
  refused: string[];
  /** How often each revision's commit was received. */
  received: Record<string, number>;
}

export interface TabsPage {
  /** Opens a page whose client has this id, joined to the session. */
  open(clientId: string, sessionId: string, key?: string): Promise<Page>;
  /** Opens a page without a client: `keep` starts one. */
  blank(): Promise<Page>;
  /** WebSockets that pages of the profile have open. */
  sockets(): number;
}

/** Pages of a profile with the SDK, at the origin of the server at `url`. */
export async function tabsPage(profile: BrowserContext, url: string): Promise<TabsPage> {
  bundled ??= bundle();
  const text = await bundled;
  await profile.addInitScript(text);
  await profile.route('**/favicon.ico', (route) => route.fulfill({ status: 204 }));
  let sockets = 0;
  profile.on('page', (page) => {
    let own = 0;
    page.on('websocket', (socket) => {
      own += 1;
      sockets += 1;
      socket.on('close', () => {
        own -= 1;
        sockets -= 1;
      });
    });
    page.on('close', () => (sockets -= own));
  });
  const blank = async () => {
    const page = await profile.newPage();
    // Any page of the server's origin does.
    await page.goto(`${url}/livez`);
    return page;
  };
  return {
    sockets: () => sockets,
    blank,
    async open(clientId, sessionId, key) {
      const page = await blank();
      await page.evaluate(`start(...${JSON.stringify([clientId, sessionId, { key }])})`);
      return page;
    },
  };
}

/**
 * Starts a client in a page, with a socket of its own and what pages of its browser kept, joined to a session or, offline,
 * about to be. Resolves with what it showed before anything was sent.
 */
export function keep(
  page: Page,
  clientId: string,
  sessionId: string,
  isOffline = false,
): Promise<{ pending: number; settings?: Record<string, unknown> }> {
  return page.evaluate(`keep(...${JSON.stringify([clientId, sessionId, isOffline])})`);
}

/** What the client of a page did so far. */
export function stateOf(page: Page): Promise<TabState> {
  return page.evaluate<TabState>(`(() => {
    const { client, session, ...seen } = tab;
    const { syncStatus, pending, settings, revision, participants } = session.getSnapshot();
    return { ...seen, status: client.status, syncStatus, pending, settings, revision,
      participants: participants.map(({ clientId }) => clientId).sort() };
  })()`);
}

/** Resolves with the state of a page's client when all that it did is answered. */
export async function settled(page: Page, deadlineMs = 10_000): Promise<TabState> {
  return until(
    async () => {
      const state = await stateOf(page);
      return state.syncStatus === 'synchronized' && state.pending === 0 && state;
    },
    { deadlineMs, what: 'the tab to be synchronized' },
  );
}

async function bundle(): Promise<string> {
  const { outputFiles } = await build({
    stdin: { contents: script, resolveDir: join(projectDir), sourcefile: 'tabs-test.js' },
    bundle: true,
    format: 'iife',
    platform: 'browser',
    target: 'es2022',
    write: false,
    logLevel: 'silent',
  });
  return outputFiles[0]!.text;
}
