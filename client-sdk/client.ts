// The client: one connection and the sessions that are used over it.
import { ClientError } from './client-error.js';
import { Connection, type ConnectionStatus } from './connection.js';
import { Listeners } from './listeners.js';
import type { JsonObject } from './protocol/json.js';
import type { Kind } from './protocol/messages.js';
import { PROTOCOL_VERSION } from './protocol/version.js';
import { randomId } from './random-id.js';
import { Session } from './session.js';
import type { SessionOptions, SessionStorage } from './shapes.js';
import { socketLink, type Transport } from './socket-link.js';

export interface ClientOptions {
  /** Address of the server; default: where the page came from. */
  url?: string;
  /** Gives a token that is valid now. Called at each connect, and before one ends. */
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
export class AttuneClient {
  readonly clientId: string;
  private readonly connection: Connection;
  private readonly sessions = new Map<string, Session<never>>();
  private readonly events = new Listeners<{ status: ConnectionStatus }>();
  private readonly storage: SessionStorage | undefined;

  /** Made by {@link createClient}. */
  constructor(options: ClientOptions) {
    this.clientId = options.clientId ?? randomId();
    this.storage = options.storage;
    this.connection = new Connection({
      url: options.url ?? '',
      transport: options.transport ?? socketLink,
      identity: { clientId: this.clientId, kind: options.kind ?? 'tab', protocol: PROTOCOL_VERSION },
      getToken: options.getToken,
      now: Date.now,
      statusChanged: (status) => this.statusChanged(status),
      received: (event, body) => this.sessions.get((body as { sessionId: string }).sessionId)?.receive(event, body),
    });
  }

  /** Where the connection is. */
  get status(): ConnectionStatus {
    return this.connection.status;
  }

  /** Why the connection stopped for good; null where it did not. */
  get error(): ClientError | null {
    return this.connection.error;
  }

  /**
   * A handle of a session: the same one for everybody who asks for this id, until all have left. Each call is ended by
   * its `leave()`. The first one's options hold.
   */
  session<S = JsonObject>(id: string, options: SessionOptions<S> = {}): Session<S> {
    return this.peek(id, options).retain();
  }

  /** As {@link session} without counting: the handle lives while somebody subscribes. For hooks, which ask while they render. */
  peek<S = JsonObject>(id: string, options: SessionOptions<S> = {}): Session<S> {
    const known = this.sessions.get(id) as Session<S> | undefined;
    if (known) return known;
    const session: Session<S> = new Session(id, options, {
      connection: this.connection,
      storage: this.storage,
      now: Date.now,
      ended: () => this.sessions.get(id) === (session as unknown) && this.sessions.delete(id),
    });
    this.sessions.set(id, session as unknown as Session<never>);
    return session;
  }

  /** Calls the listener with each new status, until the result is called. */
  on(event: 'status', listener: (status: ConnectionStatus) => void): () => void {
    return this.events.add(event, listener);
  }

  /** Connects: before anything needs it, or again after `disconnect()` or an error that stopped it. */
  connect(): void {
    this.connection.start();
  }

  /** Goes offline until `connect()`. Updates made meanwhile are kept. */
  disconnect(): void {
    this.connection.stop();
  }

  /** Leaves everything. What was not answered fails; with a storage it is sent by the next client. */
  close(): void {
    this.connection.stop();
    for (const session of this.sessions.values()) session.end(new ClientError('CLOSED', 'the client was closed'));
    this.sessions.clear();
  }

  private statusChanged(status: ConnectionStatus): void {
    for (const session of this.sessions.values()) session.statusChanged(status);
    this.events.tell('status', status);
  }
}

/** Makes a client. It does nothing until it is used. */
export const createClient = (options: ClientOptions = {}): AttuneClient => new AttuneClient(options);
