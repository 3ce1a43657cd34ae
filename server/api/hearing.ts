// What the client of a connection has heard: a PING goes out behind a refusal, and the PONG that answers it comes behind
// all that the client sent before it heard. It never refuses anything itself.
import type { EngineConnection } from './engine-connection.js';

type Connection = Pick<EngineConnection, 'on' | 'sendPacket'>;

/**
 * Of one connection, for all sockets that share it. One PING of ours is on its way at a time, however many are refused;
 * those of the heartbeat serve as well. A client that leaves some unanswered is believed at a later one; one that answers
 * none is closed by the heartbeat.
 */
export class Hearing {
  private readonly connection: Connection;
  /** Each refusal with the number of the PING that follows it. */
  private readonly followers = new WeakMap<object, number>();
  private pings = 0;
  private pongs = 0;
  /** PONGs behind which nothing waits that came before them. */
  private heard = 0;
  /** Something was sent since the last PING. */
  private isBehind = false;

  constructor(connection: Connection) {
    this.connection = connection;
    connection.on('packetCreate', ({ type }) => {
      if (type !== 'ping') return;
      this.pings += 1;
      this.isBehind = false;
    });
    connection.on('packet', ({ type }) => {
      if (type !== 'pong') return;
      this.pongs = Math.min(this.pongs + 1, this.pings);
      const { pongs } = this;
      // Socket.IO hands out what came in the same read some ticks later: what stood before the PONG must not pass for heard.
      setImmediate(() => (this.heard = pongs));
      this.ask();
    });
  }

  /** To be called in the turn in which a refusal was sent, after it. */
  sent(refusal: object): void {
    this.followers.set(refusal, this.pings + 1);
    this.isBehind = true;
    this.ask();
  }

  /** Whether the client has heard of a refusal before it sent what comes now. */
  has(refusal: object): boolean {
    return (this.followers.get(refusal) ?? Infinity) <= this.heard;
  }

  private ask(): void {
    if (this.isBehind && this.pings === this.pongs) this.connection.sendPacket('ping');
  }
}
