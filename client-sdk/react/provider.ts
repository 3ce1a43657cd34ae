// Gives the hooks below it their client. It owns nothing of the client: it neither connects nor closes it.
import { createContext, createElement, useContext, type ReactElement, type ReactNode } from 'react';
import type { AttuneClient } from '../index.js';

const ClientContext = createContext<AttuneClient | undefined>(undefined);

/** What {@link AttuneProvider} takes. */
export interface AttuneProviderProps {
  /** Made once, outside of rendering, by `createClient`; given another one, the hooks below move over to it. */
  client: AttuneClient;
  /** What uses the client. */
  children?: ReactNode;
}

/**
 * Gives every hook below it the client. The client stays the caller's: nothing is sent until a hook below uses a session,
 * and who made the client closes it.
 */
export function AttuneProvider({ client, children }: AttuneProviderProps): ReactElement {
  return createElement(ClientContext.Provider, { value: client }, children);
}

/**
 * The client of the nearest `AttuneProvider`, for what is not about one session: `connect()`, `disconnect()`, `clientId`.
 * Throws where there is no provider above.
 */
export function useClient(): AttuneClient {
  const client = useContext(ClientContext);
  if (!client) throw new Error('No AttuneProvider above');
  return client;
}
