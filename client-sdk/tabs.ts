// `@attune/client/tabs`: the tabs of one browser and origin share one connection. How they do is tab-link.ts's.
import { sharedLines } from './shared-lines.js';
import { socketLink, type Transport } from './socket-link.js';
import { createTabLink } from './tab-link.js';
import { TABS_VERSION } from './tab-messages.js';

/** Which tabs share. */
export interface SharedTabsOptions {
  /** Tabs share where it is the same, default `attune`. Any text: the user's id where several users share a browser. */
  key?: string;
}

/**
 * For `createClient({ transport: sharedTabs() })`: the tabs of one browser and origin that talk to the same server use one
 * WebSocket. One of them, the leader, owns it; when it is closed or frozen another takes over at once, and what was on its
 * way is sent again under the same ids. One that stops without a word (a page that hangs) is missed within 2 s by a tab that
 * is seen; browsers slow the timers of hidden tabs, which take up to 4 s, and after 5 minutes up to 4 minutes, or until one
 * is seen.
 *
 * Each client keeps its own token, identity, presence and order; its token goes to the leader's tab. Beyond 32 clients, and
 * where there are no Web Locks or no BroadcastChannel (Node, workers, insecure pages), a client has a socket of its own.
 */
export function sharedTabs(options: SharedTabsOptions = {}): Transport {
  const { key = 'attune' } = options;
  return (url, events) => {
    // Types know nothing of insecure pages and other programs.
    const { document, navigator, BroadcastChannel } = globalThis as Partial<typeof globalThis>;
    const locks = navigator?.locks as LockManager | undefined;
    if (!document || !locks || !BroadcastChannel) return socketLink(url, events);
    return createTabLink(url, events, {
      name: `${key}:${TABS_VERSION}:${new URL(url || '/', document.baseURI)}`,
      locks,
      openChannel: (name) => new BroadcastChannel(name),
      setInterval: (work, ms) => setInterval(work, ms),
      openLines: () => sharedLines(url),
      ownLink: socketLink,
    });
  };
}
