// The connection: keeps one line to the server open. It decides when to open it again, with what token, and when to stop;
// what is said over it is the sessions' business.
import { ClientError, clientErrorOf } from './client-error.js';
import type { Link, Reply, Transport } from './socket-link.js';

/** `initial`: not used yet. `disconnected`: stopped, by the application or by an error that trying again cannot mend. */
export type ConnectionStatus = 'initial' | 'connecting' | 'connected' | 'reconnecting' | 'disconnected';

/** Pause before the line is opened again, milliseconds: a random part of the first, doubled each time up to the second. */
export const RECONNECT_MS = [400, 10_000] as const;
/** How long opening the line may take. */
export const CONNECT_TIMEOUT_MS = 10_000;
/** How long an answer may take; then the line is given up, for it may be dead without anybody having said so. */
export const ANSWER_TIMEOUT_MS = 10_000;
/** A token is replaced so long before it ends, milliseconds. */
export const TOKEN_REFRESH_MS = 30_000;
/** New tokens that are tried in a row where the server takes none. */
export const TOKENS_MAX = 3;
/** Timers hold no more, milliseconds. */
const TIMER_MAX_MS = 2 ** 31 - 1;

export interface ConnectionOptions {
  url: string;
  transport: Transport;
  /** The handshake's `clientId`, `kind`, `protocol`. */
  identity: object;
  getToken: (() => string | Promise<string>) | undefined;
  now: () => number;
  statusChanged: (status: ConnectionStatus) => void;
  received: (event: string, body: object) => void;
}

export class Connection {
  status: ConnectionStatus = 'initial';
  /** Why it stopped for good. */
  error: ClientError | null = null;
  private readonly options: ConnectionOptions;
  private readonly link: Link;
  /** The one thing that is waited for: the next attempt, the end of this one, or the time to move on. */
  private timer: ReturnType<typeof setTimeout> | undefined;
  private attempts = 0;
  private tokensRefused = 0;
  private tokenEndsAt = Infinity;
  private wasConnected = false;

  constructor(options: ConnectionOptions) {
    this.options = options;
    this.link = options.transport(options.url, {
      opened: () => this.opened(),
      closed: (refusal) => this.closed(refusal),
      received: (event, body) => this.receive(event, body),
      auth: () => this.auth(),
    });
  }

  /** Opens the line and keeps it open; does nothing where it is, or is about to be. */
  start(): void {
    if (this.status !== 'initial' && this.status !== 'disconnected') return;
    this.error = null;
    this.attempts = 0;
    this.tokensRefused = 0;
    globalThis.addEventListener?.('online', this.hurry);
    this.open();
  }

  /** Closes the line until `start` is called. */
  stop(error: ClientError | null = null): void {
    if (this.status === 'initial') return;
    clearTimeout(this.timer);
    globalThis.removeEventListener?.('online', this.hurry);
    this.error = error;
    this.setStatus('disconnected');
    this.link.close();
  }

  /** As {@link request}, with the answer handed on in the turn in which it arrived; an error where there was none. */
  ask(event: string, body: object, answered: (error: Error | null, reply: object) => void): void {
    if (this.status !== 'connected') return answered(offline(), {});
    this.link.request(event, body, ANSWER_TIMEOUT_MS, (reply: Reply | null) => {
      if (reply?.ok) return answered(null, reply);
      answered(reply ? clientErrorOf(reply.error) : new Error('no answer'), {});
      // A line without answers is dead; one whose token has ended needs another.
      if (!reply || reply.error.retry === 'reauthenticate') this.renew();
    });
  }

  /** Sends an event and resolves with its acknowledgement. Rejects with a ClientError, or with another error where no
   * answer came: then it may have been carried out. */
  request(event: string, body: object): Promise<object> {
    return new Promise((resolve, reject) =>
      this.ask(event, body, (error, reply) => (error ? reject(error) : resolve(reply))),
    );
  }

  /** Opens the line anew, at once. */
  private renew(): void {
    if (this.status === 'connected') this.open();
  }

  private readonly hurry = (): void => {
    if (this.status === 'connecting' || this.status === 'reconnecting') this.open();
  };

  private open(): void {
    this.giveUpLine(CONNECT_TIMEOUT_MS, () => this.openLater());
    if (this.status !== 'disconnected') this.link.open();
  }

  private openLater(afterMs = 0): void {
    const [first, most] = RECONNECT_MS;
    const pauseMs = Math.random() * Math.min(most, first * 2 ** this.attempts);
    this.attempts += 1;
    this.giveUpLine(Math.max(afterMs, pauseMs), () => this.open());
  }

  /** Without a line for now, and `next` after a while: unless somebody who hears of it stops the connection. */
  private giveUpLine(ms: number, next: () => void): void {
    this.later(ms, next);
    // First, so that what waits for answers of the line finds it given up.
    this.setStatus(this.wasConnected ? 'reconnecting' : 'connecting');
    this.link.close();
  }

  private opened(): void {
    this.attempts = 0;
    this.tokensRefused = 0;
    this.wasConnected = true;
    clearTimeout(this.timer);
    const refreshInMs = this.tokenEndsAt - TOKEN_REFRESH_MS - this.options.now();
    if (this.tokenEndsAt < Infinity) this.later(Math.max(refreshInMs, RECONNECT_MS[1]), () => this.renew());
    this.setStatus('connected');
  }

  private closed(refusal: ClientError | null): void {
    if (refusal?.retry === 'reauthenticate' && this.options.getToken) this.tokensRefused += 1;
    else if (refusal && refusal.retry !== 'after-delay' && refusal.retry !== 'same-id') return this.stop(refusal);
    if (this.tokensRefused > TOKENS_MAX) return this.stop(refusal);
    this.openLater(refusal?.retryAfterMs);
  }

  private receive(event: string, body: object): void {
    // The node is leaving: another one, or the next life of this one, is found at a time of our own.
    if (event === 'server:draining') {
      const { reconnectAfterMs } = body as { reconnectAfterMs?: number };
      this.later(reconnectAfterMs ?? 0, () => this.renew());
    } else this.options.received(event, body);
  }

  private async auth(): Promise<object> {
    const { getToken, identity } = this.options;
    const token = await getToken?.();
    this.tokenEndsAt = endOf(token);
    return token === undefined ? identity : { ...identity, token };
  }

  private later(ms: number, work: () => void): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(work, Math.min(ms, TIMER_MAX_MS));
  }

  private setStatus(status: ConnectionStatus): void {
    if (status === this.status) return;
    this.status = status;
    this.options.statusChanged(status);
  }
}

/** When a JWT ends, milliseconds since 1970; never where it does not say. */
function endOf(token: string | undefined): number {
  try {
    const claims = JSON.parse(atob(token!.split('.')[1]!.replaceAll('-', '+').replaceAll('_', '/'))) as {
      exp?: unknown;
    };
    return typeof claims.exp === 'number' ? claims.exp * 1000 : Infinity;
  } catch {
    return Infinity;
  }
}

const offline = () => new ClientError('OFFLINE', 'there is no connection', { retry: 'after-delay' });
