// Sockets: Socket.IO on namespace `/` and those of more tabs. Every packet is answered or ignored; nothing a client sends ends the process.
import { randomBytes } from 'node:crypto';
import type { IncomingMessage, Server as HttpServer } from 'node:http';
import type { Duplex } from 'node:stream';
import { Server, type Socket } from 'socket.io';
import { AttuneError, errorTable, type Retry } from '../../client-sdk/protocol/errors.js';
import { REQUEST_BYTES_MAX, SIGNALS_PER_S } from '../../client-sdk/protocol/limits.js';
import {
  handshake,
  requests,
  type Author,
  type ClientEvent,
  type SettingsReply,
} from '../../client-sdk/protocol/messages.js';
import { PROTOCOL_VERSION } from '../../client-sdk/protocol/version.js';
import type { Presence } from '../sync/presence.js';
import type { Origin } from '../sync/update-queue.js';
import { audiences, type Audience, type Sink } from '../sync/room.js';
import type { SessionHub } from '../sync/session-hub.js';
import type { ApiOptions } from './api-options.js';
import { parseRequest, type Caller, type Calls } from './calls.js';
import { ConnectionGuard } from './connection-guard.js';
import { onConnection } from './engine-connection.js';
import { Hearing } from './hearing.js';
import { joinWrites } from './joined-writes.js';
import { endSocket, isServed, Namespaces } from './namespaces.js';
import { RateLimit } from './rate-limit.js';
import { invalidRequest } from './reply.js';
import { SlowReaders } from './slow-readers.js';
import { roomOf, SocketSessions } from './socket-sessions.js';
import { watchExpiry } from './token-expiry.js';

/** Socket.IO's default, which clients expect. */
const SOCKET_PATH = '/socket.io/';
/** How often a connection is asked for a sign of life, milliseconds; with the next one, a dead one is gone in 18 s. */
const PING_INTERVAL_MS = 10_000;
/** How long the sign of life may take. */
const PING_TIMEOUT_MS = 8_000;
/** How long a connection may stay without joining the namespace. */
const CONNECT_TIMEOUT_MS = 5_000;
/** What may follow a refusal of these classes is the same call again: nothing sent before it was heard must overtake that. */
const retriesAsItIs = new Set<Retry>(['after-delay', 'same-id']);
/** Update barriers that one socket keeps. */
const BARRIERS_MAX = 1000;
/** A leaving node spreads the reconnection of its clients over so long for each of them, milliseconds: what takes them in
 * has a join or two to answer for each. */
const RECONNECT_EACH_MS = 1;
/** At most over so long: until then their updates are refused. */
const RECONNECT_SPREAD_MAX_MS = 2000;
/** How long after its time a client may still be there: a long round trip. Then it is one that does not go by itself. */
const GOING_MS = 300;

export interface SocketApiOptions extends ApiOptions {
  http: HttpServer;
}

/** What this server keeps of one socket. */
interface Connection {
  readonly caller: Caller;
  readonly rate: RateLimit;
  readonly signalRate: RateLimit;
  readonly hearing: Hearing;
  readonly sessions: SocketSessions;
}

export class SocketApi implements Sink {
  private readonly options: SocketApiOptions;
  private readonly calls: Calls;
  private readonly io: Server;
  private readonly guard: ConnectionGuard;
  private readonly connections = new Map<Socket, Connection>();
  private readonly namespaces: Namespaces;
  private readonly slowReaders: SlowReaders;
  private readonly hearings = new WeakMap<object, Hearing>();
  private hub!: SessionHub;
  private presence!: Presence;
  /** Monotonic milliseconds when the last client of a leaving node is to come back elsewhere. */
  private goneAt: number | undefined;
  private emptied: () => void = () => undefined;

  constructor(options: SocketApiOptions) {
    this.options = options;
    this.calls = options.calls;
    options.http.on('upgrade', (request: IncomingMessage, socket: Duplex) => {
      const isAllowed = options.originAllowed(request);
      if (isAllowed && request.url?.startsWith(SOCKET_PATH)) return;
      // engine.io would answer 400, or end it and wait for the peer; it leaves a socket alone that has ended.
      socket.on('error', () => undefined);
      const status = isAllowed ? '404 Not Found' : '403 Forbidden';
      socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\n\r\n`, () => socket.destroy());
    });
    this.io = new Server(options.http, {
      maxHttpBufferSize: REQUEST_BYTES_MAX,
      perMessageDeflate: false,
      httpCompression: false,
      pingInterval: PING_INTERVAL_MS,
      pingTimeout: PING_TIMEOUT_MS,
      connectTimeout: CONNECT_TIMEOUT_MS,
      cors: { origin: [...options.allowedOrigins], credentials: true },
      allowRequest: (request, answer) => answer(null, options.originAllowed(request)),
      cleanupEmptyChildNamespaces: true,
    });
    joinWrites(this.io);
    this.guard = new ConnectionGuard(this.io);
    onConnection(this.io, (connection) => this.hearings.set(connection, new Hearing(connection)));
    const admit = (socket: Socket, next: (error?: Error) => void) =>
      void this.admit(socket).then(
        () => next(),
        (error: Error) => next(error),
      );
    this.namespaces = new Namespaces(this.io, admit, (socket) => this.connect(socket));
    this.slowReaders = new SlowReaders(this.io, options);
  }

  /** The hub and its sinks know each other: this one is given the hub, and presence, once they are made. */
  attach(hub: SessionHub, presence: Presence): void {
    this.hub = hub;
    this.presence = presence;
  }

  emit(sessionId: string, audience: Audience, event: string, body: object): void {
    this.namespaces.emit([roomOf(sessionId, audience)], event, body);
  }

  tell(sessionId: string, event: string, body: object, exceptSocketId?: string): void {
    const rooms = audiences.map((audience) => roomOf(sessionId, audience));
    this.namespaces.emit(rooms, event, body, exceptSocketId);
  }

  end(sessionId: string): void {
    const readers = audiences.flatMap((audience) => this.namespaces.empty(roomOf(sessionId, audience)));
    for (const socket of readers) this.connections.get(socket)?.sessions.ended(sessionId);
  }

  /**
   * Tells every client to come back elsewhere, each at a time of its own. Resolves when all have gone; or, for there are
   * clients that do not listen, some time after the last one should have, or after `ms`.
   */
  async sendAway(ms: number): Promise<void> {
    const spreadMs = Math.min(this.connections.size * RECONNECT_EACH_MS, RECONNECT_SPREAD_MAX_MS, ms);
    this.goneAt = performance.now() + spreadMs;
    for (const socket of this.connections.keys()) this.tellToGo(socket);
    if (this.connections.size === 0) return;
    const timer = setTimeout(() => this.emptied(), Math.min(spreadMs + GOING_MS, ms));
    await new Promise<void>((resolve) => (this.emptied = resolve));
    clearTimeout(timer);
  }

  /** Resolves when the clients were sent what there is for them, or after `ms`. */
  written(ms: number): Promise<void> {
    return this.slowReaders.written(ms);
  }

  /** Closes every connection; the sockets have left their sessions when this returns its promise. */
  async close(): Promise<void> {
    this.slowReaders.close();
    await this.io.close();
  }

  private tellToGo(socket: Socket): void {
    const leftMs = Math.max(this.goneAt! - performance.now(), 0);
    socket.emit('server:draining', { reconnectAfterMs: Math.round(Math.random() * leftMs) });
  }

  private async admit(socket: Socket): Promise<void> {
    try {
      // In Socket.IO's own words, which clients may know.
      if (!isServed(socket.nsp.name)) throw new AttuneError('INVALID_REQUEST', 'Invalid namespace');
      const parsed = handshake.safeParse(socket.handshake.auth);
      if (!parsed.success) throw invalidRequest(parsed.error);
      const { token, clientId, kind, protocol } = parsed.data;
      if (protocol !== undefined && protocol !== PROTOCOL_VERSION) {
        throw new AttuneError('PROTOCOL_UNSUPPORTED', `this server speaks protocol ${PROTOCOL_VERSION}`, {
          details: { supported: [PROTOCOL_VERSION] },
        });
      }
      const principal = await this.options.authenticate(token);
      const author: Author = {
        userId: principal.userId,
        clientId: clientId ?? randomBytes(9).toString('base64url'),
        kind: principal.kind ?? kind,
        ...(principal.name === undefined ? {} : { name: principal.name }),
      };
      const hearing = this.hearings.get(socket.conn)!;
      const origin: Origin = { barriers: new Map(), hasHeard: (refusal) => hearing.has(refusal) };
      socket.data = { principal, author, origin } satisfies Caller;
    } catch (error) {
      this.guard.refused(socket.conn, socket.nsp.name);
      const data = this.options.toWireError(error);
      throw Object.assign(new Error(data.message), { data });
    }
  }

  private connect(socket: Socket): void {
    const { logger, metrics, rateCallsPerS } = this.options;
    const { hub, presence, calls } = this;
    const caller = socket.data as Caller;
    const connection: Connection = {
      caller,
      rate: new RateLimit(rateCallsPerS, 'calls', caller.origin.hasHeard),
      signalRate: new RateLimit(SIGNALS_PER_S, 'signals', caller.origin.hasHeard),
      hearing: this.hearings.get(socket.conn)!,
      sessions: new SocketSessions({ socket, caller, calls, hub, presence }),
    };
    this.connections.set(socket, connection);
    metrics.sockets.set(this.connections.size);
    const unwatch = watchExpiry(
      caller.principal.expiresAt,
      () => (this.guard.isAlone(socket.conn) ? socket.disconnect(true) : endSocket(socket)),
      () => socket.emit('auth:expiring', {}),
    );
    // A client may name an event `error`: without a listener that would be thrown.
    socket.on('error', (error) => logger.debug({ err: error as unknown }, 'socket'));
    socket.onAny((event: string, ...args: unknown[]) => this.receive(connection, event, args));
    socket.on('disconnect', () => {
      unwatch();
      this.guard.left(socket.conn, socket.nsp.name);
      this.connections.delete(socket);
      metrics.sockets.set(this.connections.size);
      connection.sessions.leaveAll();
      if (this.connections.size === 0) this.emptied();
    });
    // It came in the moment in which the others were told.
    if (this.goneAt !== undefined) this.tellToGo(socket);
  }

  private receive(connection: Connection, event: string, args: unknown[]): void {
    const last = args.at(-1);
    const acknowledge = typeof last === 'function' ? (args.pop() as (reply: object) => void) : () => undefined;
    const refuse = (error: unknown) => {
      acknowledge({ ok: false, error: this.options.toWireError(error) });
      if (error instanceof AttuneError && retriesAsItIs.has(errorTable[error.code].retry))
        connection.hearing.sent(error);
    };
    if (!Object.hasOwn(requests, event)) {
      this.options.metrics.ignoredEvents.inc();
      if (typeof last === 'function') refuse(new AttuneError('INVALID_REQUEST', 'there is no such event'));
      return;
    }
    try {
      connection.rate.take();
      if (args.length !== 1) throw new AttuneError('INVALID_REQUEST', 'an event takes one object');
      this.carryOut(connection, event as ClientEvent, args[0]).then(
        (reply) => acknowledge({ ok: true, ...reply }),
        refuse,
      );
    } catch (error) {
      refuse(error);
    }
  }

  /** Parses and carries out; a write is in the queue when this returns its promise. */
  private carryOut(connection: Connection, event: ClientEvent, raw: unknown): Promise<object> {
    const { calls } = this;
    const { caller, sessions } = connection;
    if (caller.origin.barriers.size > BARRIERS_MAX) caller.origin.barriers.clear();
    const write = (sessionId: string, answer: Promise<object>) => sessions.wrote(sessionId, answer);
    const read = (sessionId: string, ask: () => Promise<object>) => sessions.read(sessionId, ask);
    switch (event) {
      case 'session:open': {
        const parsed = parseRequest(event, raw);
        return write(parsed.request.sessionId ?? '', calls.open(caller, parsed));
      }
      case 'session:join': {
        return sessions.join(parseRequest(event, raw));
      }
      case 'session:leave': {
        return sessions.leave(parseRequest(event, raw).request.sessionId);
      }
      case 'session:get': {
        const parsed = parseRequest(event, raw);
        return read(parsed.request.sessionId, () => calls.get(caller, parsed));
      }
      case 'settings:history': {
        const parsed = parseRequest(event, raw);
        return read(parsed.request.sessionId, () => calls.history(caller, parsed));
      }
      case 'message:list': {
        const parsed = parseRequest(event, raw);
        return read(parsed.request.sessionId, () => calls.listMessages(caller, parsed));
      }
      case 'settings:update': {
        const parsed = parseRequest(event, raw);
        const { sessionId } = parsed.request;
        return this.trimmed(connection, sessionId, write(sessionId, calls.updateSettings(caller, parsed)));
      }
      case 'settings:restore': {
        const parsed = parseRequest(event, raw);
        const { sessionId } = parsed.request;
        return this.trimmed(connection, sessionId, write(sessionId, calls.restoreSettings(caller, parsed)));
      }
      case 'session:describe': {
        const parsed = parseRequest(event, raw);
        return write(parsed.request.sessionId, calls.describe(caller, parsed));
      }
      case 'message:add': {
        const parsed = parseRequest(event, raw);
        return write(parsed.request.sessionId, calls.addMessage(caller, parsed));
      }
      case 'message:update': {
        const parsed = parseRequest(event, raw);
        return write(parsed.request.sessionId, calls.updateMessage(caller, parsed));
      }
      case 'message:delete': {
        const parsed = parseRequest(event, raw);
        return write(parsed.request.sessionId, calls.deleteMessage(caller, parsed));
      }
      case 'session:clear': {
        const parsed = parseRequest(event, raw);
        return write(parsed.request.sessionId, calls.clear(caller, parsed));
      }
      case 'session:delete': {
        const parsed = parseRequest(event, raw);
        return write(parsed.request.sessionId, calls.delete(caller, parsed));
      }
      case 'presence:update': {
        return sessions.show(parseRequest(event, raw));
      }
      case 'signal': {
        connection.signalRate.take();
        return sessions.signal(parseRequest(event, raw));
      }
      default:
        return event satisfies never;
    }
  }

  /** A reader of deltas has the settings already: they are left out of its acknowledgements. */
  private async trimmed(connection: Connection, sessionId: string, answer: Promise<object>): Promise<object> {
    const reply = await answer;
    if (!connection.sessions.isReaderOfDeltas(sessionId)) return reply;
    const { settings: _settings, ...rest } = reply as SettingsReply;
    return rest;
  }
}
