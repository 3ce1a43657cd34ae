// The versions of the settings as they are kept by the server, newest first: the newest page is read anew after each change,
// older ones on demand.
import { useCallback, useEffect, useRef, useState } from 'react';
import { useConnectionStatus, useSession } from '../../../client-sdk/react/index.js';
import { withNewest, withOlder, type HistoryPages } from './history-pages.js';

/** Versions of the newest page. The last one is only there to tell what the one after it changed. */
const PAGE = 21;
/** Versions of a page of older ones. */
const OLDER_PAGE = 100;
/** Changes closer together than this are read once. */
const QUIET_MS = 250;

export interface History {
  readonly versions: HistoryPages['versions'];
  readonly hasOlder: boolean;
  readonly isKnown: boolean;
  readonly loadOlder: () => void;
  /** The last attempt to load older ones failed. */
  readonly hasFailed: boolean;
}

export function useHistory(sessionId: string): History {
  const session = useSession(sessionId);
  const isConnected = useConnectionStatus() === 'connected';
  // What was read before a snapshot may be of another history: of a session that was put in this one's place.
  const snapshots = useRef(0);
  const [known, setKnown] = useState<HistoryPages & { readonly asOf: number }>();
  const [hasFailed, setHasFailed] = useState(false);
  const next = known?.next;

  useEffect(() => {
    if (!isConnected) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const read = async () => {
      // First, for joining brings a snapshot, too.
      await session.ready();
      const asOf = snapshots.current;
      const page = await session.history({ limit: PAGE });
      setKnown((before) => ({ ...withNewest(before?.asOf === asOf ? before : undefined, page), asOf }));
    };
    // What cannot be read now is read after the next change or reconnection.
    const readNow = () => void read().catch(() => undefined);
    const soon = () => {
      clearTimeout(timer);
      timer = setTimeout(readNow, QUIET_MS);
    };
    readNow();
    const stops = [
      session.on('commit', ({ event }) => event === 'settings:updated' && soon()),
      session.on('snapshot', () => {
        snapshots.current += 1;
        soon();
      }),
    ];
    return () => {
      for (const stop of stops) stop();
      clearTimeout(timer);
    };
  }, [session, isConnected]);

  const loadOlder = useCallback(() => {
    if (next === undefined) return;
    setHasFailed(false);
    session.history({ before: next, limit: OLDER_PAGE }).then(
      (page) => setKnown((before) => before && { ...before, ...withOlder(before, next, page) }),
      () => setHasFailed(true),
    );
  }, [session, next]);
  const hasOlder = next !== undefined;
  return { versions: known?.versions ?? [], hasOlder, isKnown: known !== undefined, loadOlder, hasFailed };
}
