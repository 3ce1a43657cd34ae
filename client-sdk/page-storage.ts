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
  /** The writes of each session, oldest first, as this page has put them there. */
  const kept = new Map<string, string>();
  /** What is to be written of each session; null: that there is none. */
  const documents = new Map<string, Confirmed | null>();
  /** What its session was given last and has not taken: it is over, or has no room. */
  let offered: string | undefined;
  // Neither a page nor a session has a slash in its name: what is kept of one begins like nothing of another.
  const documentOf = (sessionId: string) => `${key}:document/${sessionId}`;
  const nameOf = (owner: string, sessionId: string) => `${key}:write/${owner}/${sessionId}`;

  /** Where it is full, or forbidden, it stays in memory. */
  const put = (name: string, text: string | null) =>
    tried(() => (text ? storage!.setItem(name, text) : storage!.removeItem(name)));

  /** What is there, but for what makes no sense. */
  const writesAt = (name: string) =>
    tried(() =>
      (JSON.parse(storage!.getItem(name)!) as StoredWrite[]).filter((write) => tried(() => isWrite(write))),
    ) ?? [];

  const writeDocuments = () => {
    for (const [sessionId, document] of documents) put(documentOf(sessionId), document && JSON.stringify(document));
    documents.clear();
  };
  globalThis.addEventListener?.('pagehide', writeDocuments);

  const ask = (owner: string, options: LockOptions, work: (lock: unknown) => unknown) =>
    askForLock(nameOf(owner, ''), options, work).catch(() => undefined);
  // Held until the page is gone.
  void ask(page, {}, () => new Promise(() => undefined));

  return {
    open(sessionId, told) {
      const own = nameOf(page, sessionId);
      const start = nameOf('', '').slice(0, -1);
      const takeOver = (name: string) => {
        const writes = writesAt(name);
        // First, for there may be no room for both.
        put(name, null);
        const left = writes.filter((write) => {
          offered = write.updateId;
          told.unsent(write);
          return offered;
        });
        if (left.length) put(name, JSON.stringify(left));
      };
      tried(() => {
        for (let i = storage!.length; i--;) {
          const name = storage!.key(i)!;
          const [owner, session] = name.slice(start.length).split('/');
          if (!name.startsWith(start) || session !== sessionId || owner === page) continue;
          // Others may ask for it at the same time.
          void ask(owner!, { ifAvailable: true, mode: 'shared' }, (lock) => lock && takeOver(name));
        }
      });
      const document = tried(() => {
        const text = JSON.parse(storage!.getItem(documentOf(sessionId))!) as Confirmed;
        return isDocument(text) && text;
      });
      if (document) told.confirmed(document);
      else put(documentOf(sessionId), null);
      writesAt(own).forEach(told.unsent);

      return (writes, confirmed) => {
        const text = JSON.stringify(
          writes.map(({ updateId, event, request, sentAt }) => {
            if (updateId === offered) offered = undefined;
            return { updateId, event, request, sentAt };
          }),
        );
        if (kept.get(own) !== text) put(own, writes.length ? text : null);
        kept.set(own, text);
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
