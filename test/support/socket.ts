// A Socket.IO client for tests that records what it is sent. It never reconnects by itself.
import { expect } from 'chai';
import { io, type ManagerOptions, type Socket, type SocketOptions } from 'socket.io-client';
import { expectError, type ErrorCode, type Wire } from './shapes.js';
import { until } from './until.js';

const CONNECT_DEADLINE_MS = 10_000;
const CALL_DEADLINE_MS = 10_000;
const EVENT_DEADLINE_MS = 5_000;

export interface HandshakeAuth {
  token?: string;
  clientId?: string;
  kind?: string;
  protocol?: unknown;
  [more: string]: unknown;
}

export interface Recorded {
  event: string;
  body: Wire;
}

export interface TestSocket {
  readonly raw: Socket;
  /** Every server event since the connection but presence and signals, in order of arrival. */
  readonly events: Recorded[];
  /** Bodies of the recorded events of this name, presence and signals too. */
  bodies(event: string): Wire[];
  /** Sends without asking for an acknowledgement; any arguments. */
  send(event: string, ...args: unknown[]): void;
  /** Sends and resolves with the acknowledgement, whatever it says; rejects when none comes. */
  call(event: string, body?: unknown, timeoutMs?: number): Promise<Wire>;
  /** call(), and the answer must be ok: true. */
  ok(event: string, body?: unknown): Promise<Wire>;
  /** call(), and the answer must be ok: false with an error as the contract has it; resolves with the error. */
  refused(event: string, body: unknown, codes?: ErrorCode | readonly ErrorCode[]): Promise<Wire>;
  /** The first event of this name that no next() has taken yet and that fits; it may have come already. */
  next(event: string, fits?: (body: Wire) => boolean, deadlineMs?: number): Promise<Wire>;
  close(): void;
}

const open = new Set<TestSocket>();

/** Closes every socket that connect() opened: for afterEach. */
export function closeSockets(): void {
  for (const socket of open) socket.close();
}

/** Connects with protocol 1 and the given handshake; rejects with a text that holds the refusal. */
export async function connect(
  url: string,
  auth: HandshakeAuth = {},
  options: Partial<ManagerOptions & SocketOptions> = {},
): Promise<TestSocket> {
  const { raw, refusal } = await handshake(url, auth, options);
  if (refusal === undefined) return recorder(raw);
  raw.disconnect();
  const data = JSON.stringify((refusal as { data?: unknown }).data);
  throw new Error(`handshake refused: ${refusal.message} ${data}`, { cause: refusal });
}

/** Connects and expects a refusal whose data are an error object; resolves with that object. */
export async function connectRefused(
  url: string,
  auth: HandshakeAuth,
  codes?: ErrorCode | readonly ErrorCode[],
): Promise<Wire> {
  const { raw, refusal } = await handshake(url, auth, {});
  raw.disconnect();
  expect(refusal, 'the handshake was accepted').to.be.instanceOf(Error);
  return expectError((refusal as { data?: unknown }).data, codes);
}

function handshake(
  url: string,
  auth: HandshakeAuth,
  options: Partial<ManagerOptions & SocketOptions>,
): Promise<{ raw: Socket; refusal?: Error }> {
  const raw = io(url, {
    transports: ['websocket'],
    forceNew: true,
    reconnection: false,
    timeout: CONNECT_DEADLINE_MS,
    auth: { protocol: 1, ...auth },
    ...options,
  });
  return new Promise((resolve) => {
    raw.once('connect', () => resolve({ raw }));
    raw.once('connect_error', (refusal) => resolve({ raw, refusal }));
  });
}

/** Records what a socket is sent, from now on. */
export function recorder(raw: Socket): TestSocket {
  const all: Recorded[] = [];
  const events: Recorded[] = [];
  const taken = new Set<Recorded>();
  raw.onAny((event: string, body: Wire) => {
    all.push({ event, body });
    // They come when they come: what a test says of the order of events is about the others.
    if (event !== 'presence:updated' && event !== 'signal') events.push({ event, body });
  });

  const call = (event: string, body: unknown = {}, timeoutMs = CALL_DEADLINE_MS): Promise<Wire> =>
    new Promise((resolve, reject) => {
      raw.timeout(timeoutMs).emit(event, body, (failure: Error | null, ...answers: Wire[]) => {
        if (failure) return reject(new Error(`${event}: no acknowledgement (${failure.message})`, { cause: failure }));
        try {
          expect(answers, `${event}: an acknowledgement is one object`).to.have.length(1);
          expect(answers[0]?.ok, `${event}: ok`).to.be.a('boolean');
        } catch (error) {
          return reject(error as Error);
        }
        return resolve(answers[0]);
      });
    });

  const socket: TestSocket = {
    raw,
    events,
    call,
    bodies: (event) => all.filter((one) => one.event === event).map((one) => one.body),
    send: (event, ...args) => void raw.emit(event, ...args),
    async ok(event, body) {
      const ack = await call(event, body);
      if (ack.ok !== true) throw new Error(`${event} was refused: ${JSON.stringify(ack.error)}`);
      return ack;
    },
    async refused(event, body, codes) {
      const ack = await call(event, body);
      if (ack.ok !== false) throw new Error(`${event} was accepted: ${JSON.stringify(ack).slice(0, 500)}`);
      return expectError(ack.error, codes);
    },
    async next(event, fits = () => true, deadlineMs = EVENT_DEADLINE_MS) {
      const find = () => all.find((one) => one.event === event && !taken.has(one) && fits(one.body));
      const found = await until(find, { deadlineMs, what: `the event ${event}` });
      taken.add(found);
      return found.body;
    },
    close() {
      open.delete(socket);
      raw.disconnect();
    },
  };
  open.add(socket);
  return socket;
}
