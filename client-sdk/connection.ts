// The connection: keeps one line to the server open. It decides when to open it again, with what token, and when to stop;
// what is said over it is the sessions' business. Closures, not classes, here and in what else ships to browsers: what is
// private costs no bytes.
import { pauseMs } from './backoff.js';
import { ClientError, clientErrorOf, unanswered } from './client-error.js';
import type { Transport } from './socket-link.js';

/** `initial`: not used yet. `disconnected`: stopped, by the application or by an error that trying again cannot mend. */
export type ConnectionStatus = 'initial' | 'connecting' | 'connected' | 'reconnecting' | 'disconnected';

/** Pause before the line is opened again, milliseconds: the first and the longest. */
export const RECONNECT_MS = [300, 5000] as const;
/** How long opening the line may take. */
export const CONNECT_TIMEOUT_MS = 10_000;
/** How long an answer may take; then the line is given up, for it may be dead without anybody having said so. */
export const ANSWER_TIMEOUT_MS = 10_000;
/** A token is replaced so long before it ends, milliseconds. */
export const TOKEN_REFRESH_MS = 30_000;
/** Tokens in a row that the server may refuse. */
export const TOKENS_MAX = 3;
/** The body of a request as JSON: the server ends a line with a packet of more than 1 MiB, name and id included. */
export const BODY_BYTES_MAX = 2 ** 20 - 64;
/** Timers hold no more, milliseconds. */
const TIMER_MAX_MS = 2 ** 31 - 1;

export interface ConnectionOptions {
  url: string;
  transport: Transport;
  /** The handshake's `clientId`, `kind`, `protocol`. */
  identity: object;
  getToken?: () => string | Promise<string>;
  statusChanged: (status: ConnectionStatus) => void;
  received: (event: string, body: object) => void;
}

/** See {@link createConnection}. */
export interface Connection {
  readonly status: ConnectionStatus;
  /** Why it stopped for good. */
  readonly error: ClientError | null;
  /** Opens the line and keeps it open; does nothing where it is, or is about to be. */
  start: () => void;
  /** Closes the line until `start` is called. */
  stop: (error?: ClientError | null) => void;
  /** Sends an event. The answer, or the error, is handed on in the turn in which it arrived, so that it comes before later
   * events. Where no answer came the error's outcome is unknown: it may have been carried out. */
  ask: (event: string, body: object, answered: (error: ClientError | null, reply?: object) => void) => void;
}

/** A connection that does nothing until it is started. */
export function createConnection(options: ConnectionOptions): Connection {
  let status: ConnectionStatus = 'initial';
  let error: ClientError | null = null;
  /** The one thing that is waited for: the next attempt, the end of this one, or the time to move on. */
  let timer: ReturnType<typeof setTimeout> | undefined;
  let attempts = 0;
  let tokensRefused = 0;
  let tokenEndsAt = Infinity;
  let wasConnected = false;
  let isWanted = false;

  const later = (ms: number, work: () => void) => {
    clearTimeout(timer);
    timer = setTimeout(work, Math.min(ms, TIMER_MAX_MS));
  };
  const setStatus = (next: ConnectionStatus) => {
    if (next === status) return;
    status = next;
    options.statusChanged(next);
  };

  /** Without a line for now, and `next` after a while. */
  const giveUpLine = (ms: number, next: () => void) => {
    later(ms, next);
    // First, so that what waits for answers of the line finds it given up. Whoever hears of it may stop the connection.
    setStatus(wasConnected ? 'reconnecting' : 'connecting');
    link.close();
  };
  const open = () => {
    giveUpLine(CONNECT_TIMEOUT_MS, openLater);
    if (isWanted) link.open();
  };
  const openLater = (afterMs?: number) => {
    giveUpLine(pauseMs(attempts++, RECONNECT_MS, afterMs), open);
  };

  const link = options.transport(options.url, {
    opened() {
      attempts = tokensRefused = 0;
      wasConnected = true;
      // Also where the token never ends: after the longest that a timer holds.
      later(Math.max(tokenEndsAt - TOKEN_REFRESH_MS - Date.now(), RECONNECT_MS[1]), open);
      setStatus('connected');
    },
    closed(refusal) {
      const isOver =
        refusal?.retry === 'reauthenticate'
          ? !options.getToken || ++tokensRefused >= TOKENS_MAX
          : refusal && !refusal.isTemporary;
      if (isOver) connection.stop(refusal);
      else openLater(refusal?.retryAfterMs);
    },
    received(event, body) {
      // The node is leaving: another one, or the next life of this one, is found at a time of our own.
      if (event === 'server:draining') later((body as { reconnectAfterMs: number }).reconnectAfterMs, open);
      else options.received(event, body);
    },
    async auth() {
      const token = await options.getToken?.();
      tokenEndsAt = Infinity;
      try {
        const claims = atob(token!.split('.')[1]!.replace(/-/g, '+').replace(/_/g, '/'));
        tokenEndsAt = (JSON.parse(claims) as { exp: number }).exp * 1000 || Infinity;
      } catch {
        // No JWT: it does not say when it ends.
      }
      return { ...options.identity, token };
    },
  });

  const connection: Connection = {
    get status() {
      return status;
    },
    get error() {
      return error;
    },
    start() {
      if (isWanted) return;
      isWanted = true;
      error = null;
      attempts = tokensRefused = 0;
      open();
    },
    stop(reason = null) {
      isWanted = false;
      clearTimeout(timer);
      error = reason;
      setStatus('disconnected');
      link.close();
    },
    ask(event, body, answered) {
      if (status !== 'connected') return answered(offline());
      // The server would end the line, and what was sent again in the next one would end that.
      if (new Blob([JSON.stringify(body)]).size > BODY_BYTES_MAX) {
        return answered(new ClientError('TOO_LARGE', 'more than 1 MiB'));
      }
      link.request(event, body, ANSWER_TIMEOUT_MS, (reply) => {
        if (reply?.ok) return answered(null, reply);
        answered(reply ? clientErrorOf(reply.error) : unanswered('OFFLINE'));
        // A line without answers is dead; one whose token has ended needs another.
        if (status === 'connected' && (!reply || reply.error.retry === 'reauthenticate')) open();
      });
    },
  };
  return connection;
}

/** Nothing was sent. */
export const offline = (): ClientError => new ClientError('OFFLINE', 'offline', { retry: 'after-delay' });
