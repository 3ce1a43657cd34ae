// Signals: ephemeral messages to everybody in a session, over all nodes. Never stored, never sent twice, not ordered
// relative to commits; those of one sender stay in order.
import { AttuneError } from '../../client-sdk/protocol/errors.js';
import type { Metrics } from '../metrics.js';
import { RedisFailure } from '../redis/connection.js';
import type { PresenceStore, RelayedSignal } from '../redis/presence-store.js';
import type { Sink } from './room.js';

/** Bytes of signals on their way to Redis; more are refused with OVERLOADED. */
const ON_THE_WAY_BYTES_MAX = 8 * 1024 * 1024;

export class Signals {
  private readonly store: PresenceStore;
  private readonly sinks: readonly Sink[];
  private readonly metrics: Metrics;
  private bytes = 0;

  constructor(options: { store: PresenceStore; sinks: readonly Sink[]; metrics: Metrics }) {
    this.store = options.store;
    this.sinks = options.sinks;
    this.metrics = options.metrics;
  }

  /**
   * Relays a signal, `bytes` long. Resolves when it is on its way to every node that hears the session. Rejects with
   * SESSION_NOT_FOUND, OVERLOADED or UNAVAILABLE.
   */
  async send(signal: RelayedSignal, bytes: number): Promise<void> {
    if (this.bytes + bytes > ON_THE_WAY_BYTES_MAX) {
      throw new AttuneError('OVERLOADED', 'too many signals are on their way');
    }
    this.bytes += bytes;
    try {
      const exists = await this.store.signal(signal.body.sessionId, signal);
      if (!exists) throw new AttuneError('SESSION_NOT_FOUND', 'there is no such session');
      this.metrics.signals.inc({ way: signal.socketId === undefined ? 'http' : 'socket' });
    } catch (error) {
      if (!(error instanceof RedisFailure)) throw error;
      throw new AttuneError('UNAVAILABLE', 'Redis does not answer', { cause: error });
    } finally {
      this.bytes -= bytes;
    }
  }

  /** A signal came from Redis: everybody here is given it but the socket that sent it. */
  hear({ body, socketId }: RelayedSignal): void {
    for (const sink of this.sinks) sink.tell(body.sessionId, 'signal', body, socketId);
  }
}
