// Pages of one browser that share a storage and Web Locks, as far as what they keep goes: each can be opened and ended. It
// knows nothing of windows.
import { createPageStorage } from '../../client-sdk/page-storage.js';
import type { SessionStorage } from '../../client-sdk/index.js';
import { opened, type OpenedStorage } from './opened-storage.js';
import { memoryStorage, type MemoryStorage } from './memory-storage.js';

/** A page that is open. */
export interface FakePage extends SessionStorage, OpenedStorage {
  /** The page is closed or killed: its locks are free. */
  end(): void;
}

export interface FakePages {
  readonly storage: MemoryStorage;
  /** Opens a page. One that is loaded again has the name of the one before. */
  open(name: string, key?: string): FakePage;
}

/** A browser without pages. */
export function fakePages(storage = memoryStorage()): FakePages {
  /** Who holds each lock. */
  const holders = new Map<string, Set<object>>();
  return {
    storage,
    open(name, key = 'attune') {
      const page = {};
      let isOpen = true;
      const kept = createPageStorage(key, name, storage, async (lock, { ifAvailable }, work) => {
        // Locks are given in another process.
        await new Promise((resolve) => setImmediate(resolve));
        if (!isOpen) throw new DOMException('the page is gone', 'AbortError');
        const held = holders.get(lock) ?? new Set();
        holders.set(lock, held);
        if (ifAvailable) return work(held.size === 0 ? lock : null);
        held.add(page);
        return work(lock);
      });
      return {
        ...kept,
        ...opened(kept),
        end() {
          isOpen = false;
          for (const held of holders.values()) held.delete(page);
        },
      };
    },
  };
}
