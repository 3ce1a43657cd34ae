// What one page keeps in a storage that it shares with other pages: its own unanswered writes, and those of pages that are
// gone. It never touches what a page keeps that is alive, which is one that holds the Web Lock of its name.
import type { StoredWrite } from './outbox.js';
import type { Confirmed } from './replica.js';
import type { SessionStorage } from './shapes.js';

/** Pause between two times that the confirmed document is written, milliseconds; updates are written at once. */
const DOCUMENT_EVERY_MS = 500;

/** Texts by name. */
export type Texts = Pick<Storage, 'getItem' | 'setItem' | 'removeItem' | 'key' | 'length'>;

/** Runs `work` with a lock while it is held; with null where it is asked for only if it can be had at once, and cannot. */
export type AskForLock = (name: string, options: LockOptions, work: (lock: unknown) => unknown) => Promise<unknown>;

/**
 * The storage of a page: see `localStorageOutbox`. `key` begins every name, `page` tells the page from others and has no
 * slash. Without `storage` nothing is kept.
 */
export function createPageStorage(
  key: string,
  page: string,
  storage: Texts | undefined,
  askForLock: AskForLock,
): SessionStorage {
  /** What is to be written of each session; null: that there is none. */
  const documents = new Map<string, Confirmed | null>();
  /** What its session was given last and has not taken: it is over, or has no room. */
  let offered: string | undefined;
  // Neither a page nor a session has a slash in its name: what is kept of one begins like nothing of another.
  const documentOf = (sessionId: string) => `${key}:document/${sessionId}`;
  const start = `${key}:write/`;
  const nameOf = (owner: string, rest: string) => `${start}${owner}/${rest}`;

  /** Where it is full, or forbidden, it stays in memory. */
  const put = (name: string, text: string | null) =>
    tried(() => (text ? storage!.setItem(name, text) : storage!.removeItem(name)));

  /** What is there; undefined where that makes no sense. */
  const writeAt = (name: string) =>
    tried(() => {
      const write = JSON.parse(storage!.getItem(name)!) as StoredWrite;
      return isWrite(write) ? write : undefined;
    });

  const writeDocuments = () => {
    for (const [sessionId, document] of documents) put(documentOf(sessionId), document && JSON.stringify(document));
    documents.clear();
  };
  globalThis.addEventListener?.('pagehide', writeDocuments);

  const ask = (owner: string, options: LockOptions, work: (lock: unknown) => unknown) =>
    askForLock(nameOf(owner, ''), options, work).catch(() => undefined);
  // Held until the page is gone.
  void ask(page, {}, () => new Promise(() => undefined));

  /** The names of a session's writes, oldest first, by the page that keeps them. */
  const namesOf = (sessionId: string) => {
    const owners = new Map<string, string[]>();
    const all = tried(() => Array.from({ length: storage!.length }, (_, index) => storage!.key(index)!)) ?? [];
    for (const name of all.sort()) {
      const [owner, session] = name.slice(start.length).split('/');
      if (!name.startsWith(start) || session !== sessionId) continue;
      if (!owners.get(owner!)?.push(name)) owners.set(owner!, [name]);
    }
    return owners;
  };

  return {
    open(sessionId, told) {
      /** Where this page keeps each write, and when that was sent as far as is written there. */
      const kept = new Map<string, { name: string; sentAt: StoredWrite['sentAt'] }>();
      const owners = namesOf(sessionId);
      const own = owners.get(page) ?? [];
      let place = parseInt(own.at(-1)?.slice(start.length).split('/')[2] ?? '0', 36);
      owners.delete(page);

      const takeOver = (names: string[]) => {
        for (const name of names) {
          const write = writeAt(name);
          // First, for there may be no room for it twice.
          put(name, null);
          if (!write) continue;
          offered = write.updateId;
          told.unsent(write);
          if (offered) put(name, JSON.stringify(write));
        }
      };

      const document = tried(() => {
        const value = JSON.parse(storage!.getItem(documentOf(sessionId))!) as Confirmed;
        return isDocument(value) && value;
      });
      if (document) told.confirmed(document);
      else put(documentOf(sessionId), null);
      for (const name of own) {
        const write = writeAt(name);
        if (write) {
          kept.set(write.updateId, { name, sentAt: write.sentAt });
          told.unsent(write);
        } else put(name, null);
      }
      for (const [owner, names] of owners) {
        // Others may ask for it at the same time.
        void ask(owner, { ifAvailable: true, mode: 'shared' }, (lock) => lock && takeOver(names));
      }

      return (writes, confirmed) => {
        const now = new Set(writes.map(({ updateId }) => updateId));
        for (const [updateId, { name }] of kept) {
          if (now.has(updateId)) continue;
          put(name, null);
          kept.delete(updateId);
        }
        for (const { updateId, event, request, sentAt } of writes) {
          if (updateId === offered) offered = undefined;
          const known = kept.get(updateId);
          if (known && known.sentAt === sentAt) continue;
          // Sorts as text in their order; with the id, for another client of this page may count as well.
          const name =
            known?.name ?? nameOf(page, `${sessionId}/${(++place).toString(36).padStart(9, '0')}/${updateId}`);
          kept.set(updateId, { name, sentAt });
          put(name, JSON.stringify({ updateId, event, request, sentAt }));
        }
        if (!documents.size) setTimeout(writeDocuments, DOCUMENT_EVERY_MS);
        documents.set(sessionId, confirmed);
      };
    },
  };
}

/** What the work gives; undefined where it throws. */
export function tried<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch {
    return undefined;
  }
}

/** What JSON made of them. Throws for null and nothing. */
const classesOf = (...values: unknown[]) => values.map((value) => value!.constructor.name).join();

/** Whether it can be shown, and sent: the server judges the rest. */
function isWrite({ updateId, event, request }: StoredWrite): boolean {
  const { replace, merge, message } = request as Record<string, object>;
  const shown = event === 'message:add' ? message : (replace ?? merge ?? {});
  return classesOf(updateId, event, request, shown) === 'String,String,Object,Object';
}

const isDocument = ({ epoch, revision, settingsRevision, settings }: Confirmed): boolean =>
  classesOf(epoch, revision, settingsRevision, settings) === 'String,Number,Number,Object';
