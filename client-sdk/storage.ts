// `@attune/client/storage`: what is not answered, and what was confirmed last, is kept in the browser's localStorage. Which
// page's writes are whose is page-storage.ts's.
import { createPageStorage, tried } from './page-storage.js';
import { randomId } from './random-id.js';
import type { SessionStorage } from './shapes.js';

/** Where {@link localStorageOutbox} keeps things. */
export interface LocalStorageOptions {
  /**
   * First part of every key, default `attune`. Whoever uses the browser next sends what is left under the same key: put
   * the user's id into it where several share one.
   */
  key?: string;
  /** Default: the page's `localStorage`. */
  storage?: Pick<Storage, 'getItem' | 'setItem' | 'removeItem' | 'key' | 'length'>;
}

/** Under this name the id of a page waits in its tab for the next one. */
const PAGE_NAME = 'attune:page';

/** Names this page to the others; found when it is first needed. All clients of a page share what the page keeps. */
let page: string | undefined;

/**
 * For `createClient({ storage })`. A page that is loaded again has its writes back at once, in their order. What a page left
 * that was closed, or died, is sent by the next one that uses the session; what a page keeps that is open stays its own.
 * One client of a page uses it at a time, for the writes of all go by the page's name: give others another `key`.
 *
 * A page holds a Web Lock for as long as it is open, for which browsers do not keep it to be gone back to.
 * Where there are no Web Locks (insecure pages) nobody can tell open pages from closed ones: each sends all that is kept, under
 * the same ids. Where the storage is full, forbidden or missing (on a server), updates are kept in memory alone.
 */
export function localStorageOutbox(options: LocalStorageOptions = {}): SessionStorage {
  const { key = 'attune', storage = tried(() => localStorage) } = options;
  // Types know nothing of insecure pages and other programs.
  const locks = globalThis.navigator?.locks as LockManager | undefined;
  page ??= tried(() => sessionStorage.getItem(PAGE_NAME)) ?? randomId();
  // While it is open, who copies the tab copies no id.
  tried(() => sessionStorage.removeItem(PAGE_NAME));
  globalThis.addEventListener?.('pagehide', () => tried(() => sessionStorage.setItem(PAGE_NAME, page!)));
  return createPageStorage(
    key,
    page,
    storage,
    locks ? (...asked) => locks.request(...asked) : (name, _, work) => Promise.resolve(name).then(work),
  );
}
