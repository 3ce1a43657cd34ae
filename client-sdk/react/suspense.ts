// The settings for components that wait below a <Suspense> until they are known. It owns the waiting: what is suspended
// is not mounted, so that nobody else keeps the session joined, or knows what became of it.
import type { AttuneClient, JsonObject } from '../index.js';
import { useClient } from './provider.js';
import { useHandleAndSettings } from './session-hooks.js';

/** How long a session stays joined after its settings came, for the component that waited for them to be mounted. */
const MOUNT_WITHIN_MS = 5_000;
/** How long a session that could not be joined is not tried again: React renders again before it believes an error. */
const FAILED_FOR_MS = 1_000;

/** What of a session is needed to wait for it. */
interface Joinable {
  readonly id: string;
  subscribe(listener: () => void): () => void;
  ready(): Promise<unknown>;
}

interface Wait {
  readonly over: Promise<unknown>;
  failure?: unknown;
}

/** Who is waited for, by id, for all components that do and in however many renders. */
const waitsOf = new WeakMap<AttuneClient, Map<string, Wait>>();

/**
 * As `useSettings`, but never undefined: until the settings are known the component is suspended, so that the nearest
 * `<Suspense>` shows its fallback. The `ClientError` of a session that cannot be joined, or was deleted, is thrown to the
 * nearest error boundary; rendered again a second later or more, it is tried anew. That of a client that stopped for good is
 * thrown until `connect()` is called; while a connection is tried again the component stays suspended.
 *
 * This is the only hook that joins for a component before it is mounted. A server joins nothing and renders the fallback.
 */
export function useSuspenseSettings<S = JsonObject>(id: string): S;
/** Of the settings that which `selector` takes; the component is suspended until they are known. */
export function useSuspenseSettings<S, T>(
  id: string,
  selector: (settings: S) => T,
  isEqual?: (a: T, b: T) => boolean,
): T;
export function useSuspenseSettings<S, T>(
  id: string,
  selector?: (settings: S) => T,
  isEqual?: (a: T, b: T) => boolean,
): unknown {
  const client = useClient();
  const [session, value] = useHandleAndSettings(id, selector, isEqual);
  const { settings, error, status } = session.getSnapshot();
  if (settings !== undefined) return value;
  // A promise would have a server that streams wait for what it never joins.
  if (typeof window === 'undefined') throw new Error('Settings are known in the browser only: add a <Suspense> above');
  // A connection that is tried again is waited for. Thrown, because `use` is not there in React 18.
  throw error && (status === 'disconnected' || !error.isTemporary) ? error : waitFor(client, session);
}

/** What to throw: the promise that is over when the settings are known or cannot be; in the latter case then the failure. */
function waitFor(client: AttuneClient, session: Joinable): unknown {
  const waits = waitsOf.get(client) ?? new Map<string, Wait>();
  waitsOf.set(client, waits);
  const known = waits.get(session.id);
  if (known) return known.failure ?? known.over;

  const forget = () => waits.delete(session.id);
  const wait: Wait = {
    over: join(session).then(forget, (failure: unknown) => {
      wait.failure = failure;
      // A client that stopped says so itself, until it is connected again.
      setTimeout(forget, client.error ? 0 : FAILED_FOR_MS);
    }),
  };
  waits.set(session.id, wait);
  return wait.over;
}

/** Joins, and resolves when the settings are known; then the session is kept for a while. */
async function join(session: Joinable): Promise<void> {
  // Not while rendering: whoever shows the status of the connection is told of it.
  await Promise.resolve();
  const release = session.subscribe(() => {});
  let keepMs = 0;
  try {
    await session.ready();
    keepMs = MOUNT_WITHIN_MS;
  } finally {
    setTimeout(release, keepMs);
  }
}
