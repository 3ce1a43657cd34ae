// The versions of the settings as they are kept by the server, newest first: read anew after each change, older ones on demand.
import { useCallback, useEffect, useRef, useState } from 'react';
import type { SettingsVersion } from '../../../client-sdk/index.js';
import { useConnectionStatus, useSession } from '../../../client-sdk/react/index.js';

/** Versions of a page; one more is read, to tell what the last one changed. */
const PAGE = 20;
/** Changes closer together than this are read once. */
const QUIET_MS = 250;

export interface History {
  readonly versions: readonly SettingsVersion[];
  readonly hasOlder: boolean;
  readonly isKnown: boolean;
  readonly loadOlder: () => void;
}

export function useHistory(sessionId: string): History {
  const session = useSession(sessionId);
  const isConnected = useConnectionStatus() === 'connected';
  const [state, setState] = useState<{ versions: SettingsVersion[]; next?: number | undefined }>();
  const shown = useRef(PAGE);

  const read = useCallback(async () => {
    const { versions, next } = await session.history({ limit: shown.current + 1 });
    setState({ versions, next });
  }, [session]);

  useEffect(() => {
    if (!isConnected) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    // What cannot be read now is read after the next change or reconnection.
    const soon = () => {
      clearTimeout(timer);
      timer = setTimeout(() => void read().catch(() => undefined), QUIET_MS);
    };
    void read().catch(() => undefined);
    const stop = session.on('commit', ({ event }) => {
      if (event === 'settings:updated') soon();
    });
    return () => {
      stop();
      clearTimeout(timer);
    };
  }, [session, isConnected, read]);

  const loadOlder = useCallback(() => {
    shown.current += PAGE;
    void read().catch(() => undefined);
  }, [read]);
  const { versions = [], next } = state ?? {};
  return { versions, hasOlder: next !== undefined, isKnown: state !== undefined, loadOlder };
}
