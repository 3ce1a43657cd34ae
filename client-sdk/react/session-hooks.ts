// The hooks of one session and of the connection, all on useSyncExternalStore. Rendering does no I/O: a session is joined
// when the first component that uses it is mounted; the client leaves it a moment after the last one is gone.
import { useCallback, useEffect, useMemo, useState, useSyncExternalStore } from 'react';
import type {
  ConnectionStatus,
  Json,
  JsonObject,
  Participant,
  Session,
  SessionOptions,
  SessionSnapshot,
} from '../index.js';
import { liveMessages, type MessagesSnapshot } from '../live-messages.js';
import { useClient } from './provider.js';
import { useSelection, type Store } from './selection.js';

const nobody: readonly Participant[] = [];
/** What a server renders and a browser hydrates with: it may not depend on how far the client of either has come. */
const initialState: SessionSnapshot<never> = {
  status: 'initial',
  syncStatus: 'offline',
  settings: undefined,
  confirmed: undefined,
  revision: 0,
  pending: 0,
  title: undefined,
  metadata: undefined,
  participants: nobody,
  error: null,
};
const initialMessages: MessagesSnapshot = { messages: [], hasOlder: false, loading: true, error: null };

const same = <V>(value: V): V => value;
const settingsOf = <S>({ settings }: SessionSnapshot<S>): S | undefined => settings;
const participantsOf = ({ participants }: SessionSnapshot<unknown>): readonly Participant[] => participants;

/** The source with methods that React may call as functions. */
function useStore<A>(source: Store<A>): Store<A> {
  return useMemo(
    () => ({
      subscribe: (listener) => source.subscribe(listener),
      getSnapshot: () => source.getSnapshot(),
    }),
    [source],
  );
}

/** A part of a session's snapshot. */
function useStateOf<S, P, T>(
  session: Session<S>,
  part: (state: SessionSnapshot<S>) => P | undefined,
  selector: (part: P) => T,
  isEqual?: (a: T, b: T) => boolean,
): T | undefined {
  return useSelection(useStore(session), initialState, part, selector, isEqual);
}

/**
 * The handle of a session, for all that a session can do: messages, history, signals … The session is joined when the
 * component is mounted and stays so as long as any component uses it. The handle never renders the component again: what
 * is shown is read with the other hooks.
 *
 * `options` count where the session is used first, so give them in the component that stands highest. They may be written
 * inline: new ones do not join again. A session that cannot be joined, or was deleted, is not tried again by itself: see
 * `useSessionState(id).error`; mounting anew (another `key`) tries.
 */
export function useSession<S = JsonObject>(id: string, options?: SessionOptions<S>): Session<S> {
  const client = useClient();
  const [revival, revive] = useState(0);
  // Kept while mounted: asked again, the client would make a new handle in place of one that was refused, for ever.
  const session = useMemo(() => client.peek<S>(id, options), [client, id, revival]);
  useEffect(() => {
    const release = session.subscribe(() => {});
    // Others left it, and its time ran out, after this component rendered with it and before it was mounted.
    if (session.getSnapshot().error?.code === 'CLOSED') revive((times) => times + 1);
    return release;
  }, [session]);
  return session;
}

/** The session's handle, and what `useSettings` shows of it. */
export function useHandleAndSettings<S, T>(
  id: string,
  selector: (settings: S) => T = same as (settings: S) => T,
  isEqual?: (a: T, b: T) => boolean,
): [Session<S>, T | undefined] {
  const session = useSession<S>(id);
  return [session, useStateOf(session, settingsOf<S>, selector, isEqual)];
}

/**
 * What is known of a session, or what `selector` makes of it: its status, title, revision, own writes not confirmed, and
 * the error for which it is not live or a write was refused. Renders again only when the value is another one by
 * `isEqual`; unless given, objects and arrays are compared by what they hold. On a server and while hydrating nothing is known yet.
 */
export function useSessionState<S = JsonObject>(id: string): SessionSnapshot<S>;
/** Of what is known of a session that which `selector` takes. */
export function useSessionState<T, S = JsonObject>(
  id: string,
  selector: (state: SessionSnapshot<S>) => T,
  isEqual?: (a: T, b: T) => boolean,
): T;
export function useSessionState<T>(
  id: string,
  selector: (state: SessionSnapshot) => T = same as (state: SessionSnapshot) => T,
  isEqual?: (a: T, b: T) => boolean,
): unknown {
  return useStateOf(useSession(id), same<SessionSnapshot>, selector, isEqual);
}

/**
 * The settings as the user sees them, own changes included at once, or what `selector` takes of them; undefined until they
 * are known, which the selector is not called for. Renders again only when the value is another one by `isEqual`; unless
 * given, objects and arrays are compared by what they hold. Selector and isEqual may be written inline.
 */
export function useSettings<S = JsonObject>(id: string): S | undefined;
/** Of the settings as the user sees them that which `selector` takes; undefined until they are known. */
export function useSettings<S, T>(
  id: string,
  selector: (settings: S) => T,
  isEqual?: (a: T, b: T) => boolean,
): T | undefined;
export function useSettings<S, T>(
  id: string,
  selector?: (settings: S) => T,
  isEqual?: (a: T, b: T) => boolean,
): unknown {
  return useHandleAndSettings(id, selector, isEqual)[1];
}

/**
 * A function that changes the settings, the same one in each render: by a merge (`null` removes) or by a function from the
 * settings to those wanted. The change is seen at once, and taken back where the server refuses it.
 *
 * Its promise resolves when the server has acknowledged, and rejects with a `ClientError` where it refused. Who does not
 * look at the promise finds the refusal in `useSessionState(id).error`; no unhandled rejection is raised.
 */
export function useUpdateSettings<S = JsonObject>(id: string): Session<S>['update'] {
  const session = useSession<S>(id);
  return useCallback((change, options) => session.update(change, options), [session]);
}

/**
 * Who is in the session, this client included (its `clientId` is that of `useClient()`), and a function that sets what the
 * others see of this one: any JSON, the newest counts. The list is the same one until somebody came, left or changed.
 */
export function usePresence(
  id: string,
): readonly [participants: readonly Participant[], setPresence: (state: Json) => void] {
  const session = useSession(id);
  const participants = useStateOf(session, participantsOf, same<readonly Participant[]>);
  return [participants ?? nobody, useCallback((state) => session.setPresence(state), [session])];
}

/** What {@link useMessages} gives: the newest messages, oldest first, and a way to those before them. */
export interface Messages extends MessagesSnapshot {
  /** Loads the page before the oldest message that is here, of so many messages. Rejects where that fails. */
  loadOlder(limit?: number): Promise<void>;
}

/**
 * The messages of a session, live: the first page is loaded when the first component that uses them is mounted. Own
 * messages that the server has not confirmed come last, with `pending: true`.
 */
export function useMessages(id: string): Messages {
  const list = liveMessages(useSession(id));
  const { subscribe, getSnapshot } = useStore(list);
  const snapshot = useSyncExternalStore(subscribe, getSnapshot, () => initialMessages);
  return useMemo(() => ({ ...snapshot, loadOlder: (limit) => list.loadOlder(limit) }), [snapshot, list]);
}

/** Whether there is a connection. It opens none: that is done by the first session that is used, or by `connect()`. */
export function useConnectionStatus(): ConnectionStatus {
  const client = useClient();
  const subscribe = useCallback((listener: () => void) => client.on('status', listener), [client]);
  return useSyncExternalStore(
    subscribe,
    () => client.status,
    () => 'initial',
  );
}
