// The session's title, changed where it stands. The document's title follows it.
import { useEffect, useState, type ReactNode } from 'react';
import { TITLE_CHARS_MAX } from '../../client-sdk/protocol/limits.js';
import { useConnectionStatus, useSession, useSessionState } from '../../client-sdk/react/index.js';
import { measured } from './latency.js';
import { usePage } from './page-context.js';

export function Title(): ReactNode {
  const { sessionId, notify } = usePage();
  const session = useSession(sessionId);
  const isConnected = useConnectionStatus() === 'connected';
  const confirmed = useSessionState(sessionId, ({ title }) => title) ?? '';
  const [draft, setDraft] = useState<string>();
  useEffect(() => {
    document.title = confirmed === '' ? 'Attune' : `${confirmed} · Attune`;
  }, [confirmed]);

  const save = () => {
    if (draft === undefined) return;
    const title = draft.trim();
    // The title is shown as typed until the server has it.
    const done = () => setDraft((now) => (now === draft ? undefined : now));
    if (title === confirmed) return done();
    measured(isConnected, () => session.describe({ title: title === '' ? null : title })).then(done, (error: Error) => {
      notify(`The title was not saved: ${error.message}.`);
      done();
    });
  };
  return (
    <input
      className="title"
      aria-label="Session title"
      placeholder="Untitled session"
      maxLength={TITLE_CHARS_MAX}
      autoComplete="off"
      value={draft ?? confirmed}
      onChange={(event) => setDraft(event.target.value)}
      onBlur={save}
      onKeyDown={(event) => {
        if (event.key === 'Enter') event.currentTarget.blur();
        if (event.key === 'Escape') setDraft(undefined);
      }}
    />
  );
}
