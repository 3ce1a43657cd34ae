// Keeps a session's unanswered writes, and what was confirmed last, in the browser's localStorage: a reload loses nothing.
import type { StoredWrite } from './outbox.js';
import type { Confirmed } from './replica.js';
import type { SessionStorage } from './shapes.js';

/** Pause between two times that the confirmed document is written, milliseconds; updates are written at once. */
const DOCUMENT_EVERY_MS = 500;

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

/**
 * For `createClient({ storage })`. Tabs of one origin may share it: an update that two of them send is one update, for its
 * id is the same. Where the storage is full or forbidden, updates are kept in memory alone.
 */
export function localStorageOutbox(options: LocalStorageOptions = {}): SessionStorage {
  const { key = 'attune', storage = localStorage } = options;
  const stored = new Map<string, Map<string, StoredWrite['sentAt']>>();
  /** What is to be written of each session; null: that there is none. */
  const documents = new Map<string, Confirmed | null>();
  let writing: ReturnType<typeof setTimeout> | undefined;
  // No session id has a slash: what is kept of one begins like nothing of another, and of no other key.
  const nameOfDocument = (sessionId: string) => `${key}:document/${sessionId}`;
  const nameOfWrite = (sessionId: string, updateId: string) => `${key}:write/${sessionId}/${updateId}`;

  const writeDocuments = () => {
    clearTimeout(writing);
    writing = undefined;
    for (const [sessionId, document] of documents) {
      const name = nameOfDocument(sessionId);
      if (document) put(storage, name, document);
      else remove(storage, name);
    }
    documents.clear();
  };
  globalThis.addEventListener?.('pagehide', writeDocuments);

  const pages = {
    load(sessionId: string) {
      const writes: { at: string; write: StoredWrite }[] = [];
      for (const name of namesIn(storage)) {
        if (!name.startsWith(nameOfWrite(sessionId, ''))) continue;
        const entry = get(storage, name) as { at: string; write: StoredWrite } | null;
        if (entry) writes.push(entry);
      }
      writes.sort((a, b) => (a.at < b.at ? -1 : 1));
      stored.set(sessionId, new Map(writes.map(({ write }) => [write.updateId, write.sentAt])));
      return {
        writes: writes.map(({ write }) => write),
        confirmed: get(storage, nameOfDocument(sessionId)) as Confirmed | null,
      };
    },

    save(sessionId: string, writes: readonly StoredWrite[], confirmed: Confirmed | null) {
      const known = stored.get(sessionId) ?? new Map<string, StoredWrite['sentAt']>();
      const now = new Map(writes.map(({ updateId, sentAt }) => [updateId, sentAt]));
      for (const id of known.keys()) if (!now.has(id)) remove(storage, nameOfWrite(sessionId, id));
      for (const { updateId, event, request, sentAt } of writes) {
        if (known.has(updateId) && known.get(updateId) === sentAt) continue;
        const name = nameOfWrite(sessionId, updateId);
        const before = get(storage, name) as { at: string } | null;
        put(storage, name, { at: before?.at ?? nextPlace(), write: { updateId, event, request, sentAt } });
      }
      stored.set(sessionId, now);
      documents.set(sessionId, confirmed);
      writing ??= setTimeout(writeDocuments, DOCUMENT_EVERY_MS);
    },
  };
  return {
    open(sessionId, kept) {
      const { writes, confirmed } = pages.load(sessionId);
      if (confirmed) kept.confirmed(confirmed);
      writes.forEach(kept.unsent);
      return (all, document) => pages.save(sessionId, all, document);
    },
  };
}

let places = 0;
let placeMs = 0;
/** Sorts as text in the order in which it was asked for, though the clock goes back, and after what an earlier page left. */
function nextPlace(): string {
  placeMs = Math.max(placeMs, Date.now());
  places += 1;
  return `${placeMs.toString(36).padStart(9, '0')}.${places.toString(36).padStart(6, '0')}`;
}

function namesIn(storage: Pick<Storage, 'key' | 'length'>): string[] {
  try {
    return Array.from({ length: storage.length }, (_, index) => storage.key(index) ?? '');
  } catch {
    return [];
  }
}

function get(storage: Pick<Storage, 'getItem'>, name: string): unknown {
  try {
    return JSON.parse(storage.getItem(name) ?? 'null');
  } catch {
    return null;
  }
}

function put(storage: Pick<Storage, 'setItem'>, name: string, value: unknown): void {
  try {
    storage.setItem(name, JSON.stringify(value));
  } catch {
    // Full, or forbidden: it stays in memory.
  }
}

function remove(storage: Pick<Storage, 'removeItem'>, name: string): void {
  try {
    storage.removeItem(name);
  } catch {
    // Forbidden: it was never written.
  }
}
