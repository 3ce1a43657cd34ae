// The client: one connection and the sessions that are used over it.
import { ClientError } from './client-error.js';
import { createConnection, type ConnectionStatus } from './connection.js';
import { createListeners } from './listeners.js';
import type { JsonObject } from './protocol/json.js';
import type { Kind } from './protocol/messages.js';
import { PROTOCOL_VERSION } from './protocol/version.js';
import { randomId } from './random-id.js';
import { createSession, type OwnedSession } from './session.js';
import type { Session, SessionOptions, SessionStorage } from './shapes.js';
import { socketLink, type Transport } from './socket-link.js';

/** What a client is made of; all optional. */
export interface ClientOptions {
  /** Address of the server; default: where the page came from. */
  url?: string;
  /** Gives a token that is valid now. Called at each connect, and before one ends. Always of the same user: what waits to be
   * sent is theirs; another user needs another client. */
  getToken?: () => string | Promise<string>;
  /** Names this client to others; default: a new one for each client. */
  clientId?: string;
  /** What this client is; default `tab`. */
  kind?: Kind;
  /** Keeps what was not answered over a reload: `localStorageOutbox()` of `@attune/client/storage`. */
  storage?: SessionStorage;
  /** How the server is reached; default: a socket of this client's own. `sharedTabs()` of `@attune/client/tabs`. */
  transport?: Transport;
}

/** One user of a server. Nothing is sent before a session is used, or `connect` called. */
export interface AttuneClient {
  readonly clientId: string;
  /** Where the connection is. */
  readonly status: ConnectionStatus;
  /** Why the connection stopped for good, or, while it is tried, what the last attempt failed with; else null. */
  readonly error: ClientError | null;
  /**
   * A handle of a session: the same one for everybody who asks for this id, until all have left. Each call is ended by
   * its `leave()`. The first one's options hold.
   */
  session<S = JsonObject>(id: string, options?: SessionOptions<S>): Session<S>;
  /** As `session` without counting: the handle lives while somebody subscribes. For hooks, which ask while they render. A
   * server that renders makes a client for each request, for what is peeked and never used is kept. */
  peek<S = JsonObject>(id: string, options?: SessionOptions<S>): Session<S>;
  /** Calls the listener with each new status, and with each new `error`, until the result is called. */
  on(event: 'status', listener: (status: ConnectionStatus) => void): () => void;
  /** Connects: before anything needs it, or again after `disconnect()` or an error that stopped it. */
  connect(): void;
  /** Goes offline until `connect()`. Updates made meanwhile are kept. */
  disconnect(): void;
  /** Leaves everything. What was not answered fails; with a storage the next client sends it. */
  close(): void;
}

/** Makes a client. It does nothing until it is used. */
export function createClient(options: ClientOptions = {}): AttuneClient {
  const { clientId = randomId(), kind, storage } = options;
  const sessions = new Map<string, OwnedSession<never>>();
  const events = createListeners<{ status: ConnectionStatus }>();
  const connection = createConnection({
    url: '',
    transport: socketLink,
    ...options,
    identity: { clientId, kind, protocol: PROTOCOL_VERSION },
    statusChanged(status) {
      for (const session of sessions.values()) session.statusChanged(status);
      events.tell('status', status);
    },
    received: (event, body) => sessions.get((body as { sessionId: string }).sessionId)?.receive(event, body),
  });

  const owned = <S>(id: string, sessionOptions: SessionOptions<S> = {}): OwnedSession<S> => {
    let session = sessions.get(id) as unknown as OwnedSession<S> | undefined;
    if (!session) {
      session = createSession(id, sessionOptions, { connection, storage, ended: () => sessions.delete(id) });
      sessions.set(id, session as unknown as OwnedSession<never>);
    }
    return session;
  };

  return {
    clientId,
    get status() {
      return connection.status;
    },
    get error() {
      return connection.error;
    },
    session: (id, sessionOptions) => owned(id, sessionOptions).retain(),
    peek: (id, sessionOptions) => owned(id, sessionOptions).handle,
    on: events.add,
    connect: connection.start,
    disconnect: () => connection.stop(),
    close() {
      connection.stop();
      for (const session of sessions.values()) session.end(new ClientError('CLOSED'));
    },
  };
}
