// The history of the settings: who changed what and when, and the way back to each version.
import { useEffect, useMemo, useState, type ReactNode } from 'react';
import { ClientError } from '../../../client-sdk/index.js';
import { useConnectionStatus, useSession } from '../../../client-sdk/react/index.js';
import { Avatar } from '../avatar.js';
import { Icon } from '../icons.js';
import { measured } from '../latency.js';
import { usePage } from '../page-context.js';
import { useHistory } from './use-history.js';
import { shownValue, timeAgo, timelineOf, type Change, type TimelineEntry } from './version-changes.js';

/** How often "3 min ago" is looked at. */
const CLOCK_MS = 10_000;
/** Changes of one version that are listed; the others are counted. */
const CHANGES_SHOWN = 4;

export function Timeline(): ReactNode {
  const { sessionId } = usePage();
  const { versions, hasOlder, isKnown, loadOlder, hasFailed } = useHistory(sessionId);
  const nowMs = useNow(versions);
  const entries = useMemo(() => timelineOf(versions, hasOlder), [versions, hasOlder]);
  // The last one is only there to tell what the one after it changed.
  const shown = hasOlder ? entries.slice(0, -1) : entries;
  if (isKnown && shown.length === 0) return <p className="empty">No changes yet.</p>;
  return (
    <div className="timeline" tabIndex={0} role="group" aria-label="Versions">
      <ol aria-label="Versions of the settings">
        {shown.map((entry, index) => (
          <Entry key={entry.version.revision} entry={entry} isNewest={index === 0} nowMs={nowMs} />
        ))}
      </ol>
      {hasOlder && (
        <>
          <button type="button" className="quiet older" onClick={loadOlder}>
            Show older versions
          </button>
          <p className="note older-failed" aria-live="polite">
            {hasFailed && 'Older versions could not be loaded.'}
          </p>
        </>
      )}
    </div>
  );
}

interface EntryProps {
  readonly entry: TimelineEntry;
  readonly isNewest: boolean;
  readonly nowMs: number;
}

function Entry({ entry, isNewest, nowMs }: EntryProps): ReactNode {
  const { personOf } = usePage();
  const { version, changes, isFirst } = entry;
  const person = personOf(version.by);
  return (
    <li className="version">
      <Avatar person={person} size="small" isBot={version.by.kind === 'bot'} />
      <div className="version-body">
        <p className="version-head">
          <span className="version-name">{person.name}</span>
          <time dateTime={version.at} title={new Date(version.at).toLocaleString()}>
            {timeAgo(version.at, nowMs)}
          </time>
        </p>
        {isFirst ? <p className="version-note">began the session</p> : <Changes changes={changes} />}
        <p className="version-foot">
          <span>revision {version.revision}</span>
          {isNewest ? <span className="badge">in force</span> : <RestoreButton revision={version.revision} />}
        </p>
      </div>
    </li>
  );
}

function Changes({ changes }: { readonly changes: readonly Change[] | undefined }): ReactNode {
  const { titleOf } = usePage();
  if (!changes) return <p className="version-note">changed the settings</p>;
  if (changes.length === 0) return <p className="version-note">changed and changed back</p>;
  return (
    <ul className="changes">
      {changes.slice(0, CHANGES_SHOWN).map(({ path, keys, before, after }) => (
        <li key={path}>
          <span className="change-name">{titleOf(path, keys)}</span>{' '}
          <del>
            <span className="visually-hidden">from </span>
            {shownValue(before)}
          </del>{' '}
          <span aria-hidden="true">→</span>{' '}
          <ins>
            <span className="visually-hidden">to </span>
            {shownValue(after)}
          </ins>
        </li>
      ))}
      {changes.length > CHANGES_SHOWN && <li>and {changes.length - CHANGES_SHOWN} more</li>}
    </ul>
  );
}

function RestoreButton({ revision }: { readonly revision: number }): ReactNode {
  const { sessionId, notify } = usePage();
  const session = useSession(sessionId);
  const isConnected = useConnectionStatus() === 'connected';
  const restore = () => {
    measured(isConnected, () => session.restore(revision)).then(
      () => notify(`The settings are again as of revision ${revision}.`),
      (error: unknown) => notify(error instanceof ClientError ? `Not restored: ${error.message}.` : 'Not restored.'),
    );
  };
  return (
    <button type="button" className="quiet restore" onClick={restore}>
      <Icon name="restore" />
      Restore
      <span className="visually-hidden"> revision {revision}</span>
    </button>
  );
}

/** The time, looked at now and then, and whenever the versions changed. */
function useNow(versions: unknown): number {
  const [nowMs, setNowMs] = useState(Date.now);
  useEffect(() => {
    setNowMs(Date.now());
    const timer = setInterval(() => setNowMs(Date.now()), CLOCK_MS);
    return () => clearInterval(timer);
  }, [versions]);
  return nowMs;
}
