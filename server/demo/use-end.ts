// Whether the session is over for this page, and why. A write that was refused is no such reason.
import { useEffect, useRef, useState } from 'react';
import { ClientError } from '../../client-sdk/index.js';
import type { Commit } from '../../client-sdk/protocol/messages.js';
import { useSession, useSessionState } from '../../client-sdk/react/index.js';

/** The commit that ended it, where one did and was seen. */
export type Deletion = Extract<Commit, { event: 'session:deleted' }>;

export interface End {
  readonly error: ClientError;
  readonly deletion: Deletion | undefined;
}

/** Why there is nothing to show and will be nothing; undefined where there is, or may be. */
export function useEnd(sessionId: string): End | undefined {
  const session = useSession(sessionId);
  const error = useSessionState(sessionId, (state) => state.error);
  const deletion = useRef<Deletion>(undefined);
  const [end, setEnd] = useState<End>();
  useEffect(
    () =>
      session.on('commit', (commit) => {
        if (commit.event === 'session:deleted') deletion.current = commit as Deletion;
      }),
    [session],
  );
  useEffect(() => {
    if (!error) return setEnd(undefined);
    let isOn = true;
    // It rejects where the session is over; where a write was refused it is ready.
    session.ready().then(
      () => isOn && setEnd(undefined),
      (reason: unknown) =>
        isOn && reason instanceof ClientError && setEnd({ error: reason, deletion: deletion.current }),
    );
    return () => {
      isOn = false;
    };
  }, [session, error]);
  return end;
}
