// Sockets: Socket.IO on namespace `/`. Every packet is answered or ignored; nothing a client sends ends the process.
import { randomBytes } from 'node:crypto';
import type { IncomingMessage, Server as HttpServer } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Logger } from 'pino';
import { Server, type Socket } from 'socket.io';
import { AttuneError } from '../../client-sdk/protocol/errors.js';
import { REQUEST_BYTES_MAX } from '../../client-sdk/protocol/limits.js';
import {
  handshake,
  requests,
  type Author,
  type ClientEvent,
  type SettingsReply,
} from '../../client-sdk/protocol/messages.js';
import { PROTOCOL_VERSION } from '../../client-sdk/protocol/version.js';
import type { Metrics } from '../metrics.js';
import { audiences, type Audience, type Sink } from '../sync/room.js';
import type { Entry, SessionHub } from '../sync/session-hub.js';
import type { Authenticate } from './auth.js';
import { parseRequest, type Caller, type Calls } from './calls.js';
import { ConnectionGuard } from './connection-guard.js';
import { joinWrites } from './joined-writes.js';
import { RateLimit } from './rate-limit.js';
import { invalidRequest, type ToWireError } from './reply.js';

/** Socket.IO's default, which clients expect. */
const SOCKET_PATH = '/socket.io/';
/** How often a connection is asked for a sign of life, milliseconds; with the next one, a dead one is gone in 18 s. */
const PING_INTERVAL_MS = 10_000;
/** How long the sign of life may take. */
const PING_TIMEOUT_MS = 8_000;
/** How long a connection may stay without joining the namespace. */
const CONNECT_TIMEOUT_MS = 5_000;
/** How often the backlog of each socket is looked at, milliseconds. */
const BACKLOG_CHECK_MS = 500;
/** Bytes that a socket may leave unread; one that has more at two looks is cut. */
const BACKLOG_BYTES_MAX = 1024 * 1024;
/** Sessions that one socket may be in at the same time. */
const ROOMS_PER_SOCKET_MAX = 1000;
/** Update barriers that one socket keeps. */
const BARRIERS_MAX = 1000;
/** A leaving node spreads the reconnection of its clients over so long, milliseconds. */
const RECONNECT_SPREAD_MS = 1000;

export interface SocketApiOptions {
  http: HttpServer;
  calls: Calls;
  authenticate: Authenticate;
  originAllowed: (request: IncomingMessage) => boolean;
  allowedOrigins: readonly string[];
  rateCallsPerS: number;
  toWireError: ToWireError;
  metrics: Metrics;
  logger: Logger;
}

/** What this server keeps of one socket. */
interface Connection {
  readonly caller: Caller;
  readonly rate: RateLimit;
  /** Sessions it is in, and as what. */
  readonly joined: Map<string, Audience>;
  /** Joins and leaves of one session are carried out one after the other. */
  readonly moves: Map<string, Promise<unknown>>;
  /** The newest write to each session that was not answered: what this socket asks after it sees it. */
  readonly writes: Map<string, Promise<unknown>>;
  /** It had too much unread when it was last looked at. */
  isBehind: boolean;
}

const roomOf = (sessionId: string, audience: Audience) => `${audience} ${sessionId}`;

export class SocketApi implements Sink {
  private readonly options: SocketApiOptions;
  private readonly calls: Calls;
  private readonly io: Server;
  private readonly guard: ConnectionGuard;
  private readonly connections = new Map<Socket, Connection>();
  private readonly backlogCheck: NodeJS.Timeout;
  private hub!: SessionHub;

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
    });
    joinWrites(this.io);
    this.guard = new ConnectionGuard(this.io);
    this.io.use(
      (socket, next) =>
        void this.admit(socket).then(
          () => next(),
          (error: Error) => next(error),
        ),
    );
    this.io.on('connection', (socket) => this.connect(socket));
    this.backlogCheck = setInterval(() => this.cutSlowReaders(), BACKLOG_CHECK_MS);
    this.backlogCheck.unref();
  }

  /** The hub and its sinks know each other: this one is given the hub once it is made. */
  attach(hub: SessionHub): void {
    this.hub = hub;
  }

  emit(sessionId: string, audience: Audience, event: string, body: object): void {
    this.io.to(roomOf(sessionId, audience)).emit(event, body);
  }

  end(sessionId: string): void {
    for (const audience of audiences) this.io.in(roomOf(sessionId, audience)).socketsLeave(roomOf(sessionId, audience));
    for (const connection of this.connections.values()) connection.joined.delete(sessionId);
  }

  /** Tells every client to come back elsewhere, each at a time of its own. */
  announceDrain(): void {
    for (const socket of this.connections.keys()) {
      socket.emit('server:draining', { reconnectAfterMs: Math.round(Math.random() * RECONNECT_SPREAD_MS) });
    }
  }

  /** Closes every connection. */
  async close(): Promise<void> {
    clearInterval(this.backlogCheck);
    await this.io.close();
  }

  private async admit(socket: Socket): Promise<void> {
    try {
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
      socket.data = { principal, author, origin: { barriers: new Map() } } satisfies Caller;
    } catch (error) {
      this.guard.left(socket.conn);
      const data = this.options.toWireError(error);
      throw Object.assign(new Error(data.message), { data });
    }
  }

  private connect(socket: Socket): void {
    const { logger, metrics, rateCallsPerS } = this.options;
    const connection: Connection = {
      caller: socket.data as Caller,
      rate: new RateLimit(rateCallsPerS),
      joined: new Map(),
      moves: new Map(),
      writes: new Map(),
      isBehind: false,
    };
    this.connections.set(socket, connection);
    metrics.sockets.set(this.connections.size);
    const expiry = this.disconnectAtExpiry(socket, connection);
    // A client may name an event `error`: without a listener that would be thrown.
    socket.on('error', (error) => logger.debug({ err: error as unknown }, 'socket'));
    socket.onAny((event: string, ...args: unknown[]) => this.receive(socket, connection, event, args));
    socket.on('disconnect', () => {
      clearTimeout(expiry);
      this.guard.left(socket.conn);
      this.connections.delete(socket);
      metrics.sockets.set(this.connections.size);
      for (const [sessionId, audience] of connection.joined) this.hub.leave(sessionId, audience);
      connection.joined.clear();
    });
  }

  private disconnectAtExpiry(socket: Socket, { caller }: Connection): NodeJS.Timeout | undefined {
    const { expiresAt } = caller.principal;
    if (expiresAt === Infinity) return undefined;
    // Timers hold at most 2^31 ms; a token that lives longer than that outlives the connection's patience anyway.
    return setTimeout(() => socket.disconnect(true), Math.min(expiresAt - Date.now(), 2 ** 31 - 1)).unref();
  }

  private receive(socket: Socket, connection: Connection, event: string, args: unknown[]): void {
    const last = args.at(-1);
    const acknowledge = typeof last === 'function' ? (args.pop() as (reply: object) => void) : () => undefined;
    const refuse = (error: unknown) => acknowledge({ ok: false, error: this.options.toWireError(error) });
    if (!Object.hasOwn(requests, event)) {
      this.options.metrics.ignoredEvents.inc();
      if (typeof last === 'function') refuse(new AttuneError('INVALID_REQUEST', 'there is no such event'));
      return;
    }
    try {
      connection.rate.take();
      if (args.length !== 1) throw new AttuneError('INVALID_REQUEST', 'an event takes one object');
      this.carryOut(socket, connection, event as ClientEvent, args[0]).then(
        (reply) => acknowledge({ ok: true, ...reply }),
        refuse,
      );
    } catch (error) {
      refuse(error);
    }
  }

  /** Parses and carries out; a write is in the queue when this returns its promise. */
  private carryOut(socket: Socket, connection: Connection, event: ClientEvent, raw: unknown): Promise<object> {
    const { calls } = this;
    const { caller } = connection;
    if (caller.origin.barriers.size > BARRIERS_MAX) caller.origin.barriers.clear();
    const write = (sessionId: string, answer: Promise<object>) => noted(connection.writes, sessionId, answer);
    // What was asked behind a write of the same socket sees it, as if it had waited for the answer.
    const read = async (sessionId: string, ask: () => Promise<object>) => {
      await connection.writes.get(sessionId)?.catch(() => undefined);
      return ask();
    };
    switch (event) {
      case 'session:open': {
        const parsed = parseRequest(event, raw);
        return write(parsed.request.sessionId ?? '', calls.open(caller, parsed));
      }
      case 'session:join': {
        const parsed = parseRequest(event, raw);
        return this.join(socket, connection, parsed);
      }
      case 'session:leave': {
        const { sessionId } = parseRequest(event, raw).request;
        return this.move(connection, sessionId, async () => this.leave(socket, connection, sessionId));
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
      case 'presence:update':
      case 'signal':
        throw new AttuneError('INVALID_REQUEST', `${event} is not served by this version`);
      default:
        return event satisfies never;
    }
  }

  /** A reader of deltas has the settings already: they are left out of its acknowledgements. */
  private async trimmed(connection: Connection, sessionId: string, answer: Promise<object>): Promise<object> {
    const reply = await answer;
    if (!connection.joined.get(sessionId)?.endsWith('delta')) return reply;
    const { settings: _settings, ...rest } = reply as SettingsReply;
    return rest;
  }

  private async join(
    socket: Socket,
    connection: Connection,
    parsed: ReturnType<typeof parseRequest<'session:join'>>,
  ): Promise<object> {
    const { sessionId, cursor, delivery, body } = parsed.request;
    this.calls.demand(connection.caller, 'read', sessionId);
    if (connection.joined.size + connection.moves.size >= ROOMS_PER_SOCKET_MAX && !connection.joined.has(sessionId)) {
      throw new AttuneError('RATE_LIMITED', `a socket is in at most ${ROOMS_PER_SOCKET_MAX} sessions`);
    }
    const created = this.calls.createForJoin(connection.caller, parsed);
    // It is awaited when this join has its turn; a refusal before that must not count as one that nobody handles.
    created.catch(() => undefined);
    if (parsed.request.create) void noted(connection.writes, sessionId, created);
    return this.move(connection, sessionId, async () => {
      const isNew = await created;
      let reply: object = {};
      let entered = false;
      const audience: Audience = `${delivery}-${body}`;
      await this.hub
        .join(sessionId, audience, cursor ?? null, (entry) => {
          this.leave(socket, connection, sessionId);
          entered = socket.connected;
          if (entered) {
            connection.joined.set(sessionId, audience);
            void socket.join(roomOf(sessionId, audience));
          }
          reply = joinReply(entry);
        })
        .catch((error: unknown) => {
          // It was created and is gone again: "not committed" would be wrong.
          const isGone = isNew && error instanceof AttuneError && error.code === 'SESSION_NOT_FOUND';
          throw isGone ? new AttuneError('OUTCOME_UNKNOWN', 'the session was created and is gone again') : error;
        });
      // It left while it was let in: the place that the hub now counts is given back.
      if (!entered) this.hub.leave(sessionId, audience);
      return reply;
    });
  }

  private leave(socket: Socket, connection: Connection, sessionId: string): object {
    const audience = connection.joined.get(sessionId);
    if (audience === undefined) return {};
    connection.joined.delete(sessionId);
    void socket.leave(roomOf(sessionId, audience));
    this.hub.leave(sessionId, audience);
    return {};
  }

  private move<T>(connection: Connection, sessionId: string, step: () => Promise<T>): Promise<T> {
    const before = Promise.allSettled([connection.moves.get(sessionId), connection.writes.get(sessionId)]);
    return noted(connection.moves, sessionId, before.then(step));
  }

  /** Who does not read costs nobody else: what it left unread is bounded, and then it is cut. */
  private cutSlowReaders(): void {
    for (const [socket, connection] of this.connections) {
      const wasBehind = connection.isBehind;
      connection.isBehind = backlogOf(socket) > BACKLOG_BYTES_MAX;
      // A burst of ours may be on its way to a reader that takes it: one that still has it unread does not.
      if (!connection.isBehind || !wasBehind) continue;
      this.options.metrics.cut.inc();
      this.options.logger.info({ socket: socket.id }, 'a socket that does not read is cut');
      socket.conn.close(true);
    }
  }
}

/** Keeps `answer` as the newest of its session until it is settled. */
function noted<T>(newest: Map<string, Promise<unknown>>, sessionId: string, answer: Promise<T>): Promise<T> {
  newest.set(sessionId, answer);
  const settled = () => {
    if (newest.get(sessionId) === answer) newest.delete(sessionId);
  };
  answer.then(settled, settled);
  return answer;
}

function joinReply({ document, resumed }: Entry): object {
  if (resumed === null) return { session: document, participants: [] };
  const { epoch, revision } = document;
  return { resumed: true, epoch, revision, commits: resumed, participants: [] };
}

/** Bytes written for a socket that its peer has not taken. */
function backlogOf(socket: Socket): number {
  // engine.io keeps both to itself and offers no other way to see them.
  const { writeBuffer, transport } = socket.conn as unknown as {
    writeBuffer: { data?: string | Buffer }[];
    transport: { socket?: { bufferedAmount?: number } };
  };
  let bytes = transport.socket?.bufferedAmount ?? 0;
  for (const packet of writeBuffer) bytes += packet.data?.length ?? 0;
  return bytes;
}
