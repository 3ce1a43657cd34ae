// The connection: keeps one line to the server open. It decides when to open it again, with what token, and when to stop;
// what is said over it is the sessions' business. Closures, not classes, here and in what else ships to browsers: what is
// private costs no bytes.
import { pauseMs } from './backoff.js';
import { clientErrorOf, offline, unanswered, type ClientError } from './client-error.js';
import type { Transport } from './socket-link.js';

/** `initial`: not used yet. `disconnected`: stopped, by the application or by an error that trying again cannot mend. */
export type ConnectionStatus = 'initial' | 'connecting' | 'connected' | 'reconnecting' | 'disconnected';

/** Pause before the line is opened again, milliseconds: the first and the longest. */
export const RECONNECT_MS = [300, 5000] as const;
/** How long opening the line may take. */
export const CONNECT_TIMEOUT_MS = 10_000;
/** How long an answer may take; then the line is given up, for it may be dead without anybody having said so. */
export const ANSWER_TIMEOUT_MS = 10_000;
/** Tokens in a row that the server may refuse. */
export const TOKENS_MAX = 3;

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
  /** Why it stopped for good, or what the last attempt to connect failed with. */
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
  let wasConnected = false;
  let isWanted = false;

  const later = (ms: number, work: () => void) => {
    clearTimeout(timer);
    timer = setTimeout(work, ms);
  };
  const setStatus = (next: ConnectionStatus, reason: ClientError | null) => {
    if (next === status && reason === error) return;
    status = next;
    error = reason;
    options.statusChanged(next);
  };

  /** Without a line for now, and `next` after a while. */
  const giveUpLine = (ms: number, next: () => void, reason = error) => {
    later(ms, next);
    // First, so that what waits for answers of the line finds it given up. Whoever hears of it may stop the connection.
    setStatus(wasConnected ? 'reconnecting' : 'connecting', reason);
    link.close();
  };
  const open = () => {
    giveUpLine(CONNECT_TIMEOUT_MS, () => lost(offline()));
    if (isWanted) link.open();
  };
  /** The line is of no use any more: another one is opened after a pause, unless that cannot mend the reason. */
  const lost = (reason: ClientError | null) => {
    const isOver =
      reason?.retry === 'reauthenticate'
        ? !options.getToken || ++tokensRefused >= TOKENS_MAX
        : reason && !reason.isTemporary;
    if (isOver) connection.stop(reason);
    else giveUpLine(pauseMs(attempts++, RECONNECT_MS, reason?.retryAfterMs), open, reason);
  };

  const link = options.transport(options.url, {
    opened() {
      wasConnected = true;
      clearTimeout(timer);
      setStatus('connected', null);
    },
    closed: lost,
    received(event, body) {
      // The node is leaving: another one, or the next life of this one, is found at a time of our own.
      if (event === 'server:draining') later((body as { reconnectAfterMs: number }).reconnectAfterMs, open);
      // By the server's clock: ours may be wrong.
      else if (event === 'auth:expiring') open();
      else options.received(event, body);
    },
    auth: async () => ({ ...options.identity, token: await options.getToken?.() }),
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
      setStatus('disconnected', reason);
      link.close();
    },
    ask(event, body, answered) {
      if (status !== 'connected') return answered(offline());
      link.request(event, body, ANSWER_TIMEOUT_MS, (reply) => {
        if (reply?.ok) {
          attempts = tokensRefused = 0;
          return answered(null, reply);
        }
        const failure = reply?.error ? clientErrorOf(reply.error) : unanswered('OFFLINE');
        answered(failure);
        // A line without answers is dead; one whose token has ended needs another.
        if (status === 'connected' && (!reply || failure.retry === 'reauthenticate')) lost(failure);
      });
    },
  };
  return connection;
}
