// Ends connections whose packets no client of ours would send: what Socket.IO itself would answer or wait for without end.
import type { Server } from 'socket.io';

/** CONNECT packets of one connection in its life: a client that was refused tries again with another token. */
const CONNECTS_MAX = 10;
/** How long the attachments of a binary packet may take, milliseconds. */
const ATTACHMENTS_MS = 5000;
/** PONGs that may come without a PING in between. */
const PONGS_MAX = 20;
/** Digits of an acknowledgement's id; a number holds no more exactly. */
const ACK_ID_DIGITS_MAX = 15;

/** The part of engine.io's connection that is looked at. */
interface Connection {
  on(event: 'packet' | 'packetCreate', listener: (packet: { type: string; data?: unknown }) => void): void;
  on(event: 'close', listener: () => void): void;
  close(discard?: boolean): void;
}

/** What one connection has done so far. */
interface Watched {
  connects: number;
  /** It is being let into the namespace, or is in it. */
  isIn: boolean;
}

export class ConnectionGuard {
  private readonly watched = new WeakMap<object, Watched>();

  constructor(io: Server) {
    const engine = io.engine as unknown as {
      on(event: 'connection', listener: (connection: Connection) => void): void;
    };
    engine.on('connection', (connection) => this.watch(connection));
  }

  /** The socket of this connection was refused or has left the namespace: it may come again. */
  left(connection: object): void {
    const watched = this.watched.get(connection);
    if (watched) watched.isIn = false;
  }

  private watch(connection: Connection): void {
    const watched: Watched = { connects: 0, isIn: false };
    this.watched.set(connection, watched);
    let pongs = 0;
    let missing = 0;
    let patience: NodeJS.Timeout | undefined;
    connection.on('close', () => clearTimeout(patience));
    connection.on('packetCreate', ({ type }) => {
      if (type === 'ping') pongs = 0;
    });
    connection.on('packet', ({ type, data }) => {
      if (type === 'pong' && ++pongs > PONGS_MAX) connection.close(true);
      if (type !== 'message') return;
      if (typeof data !== 'string') {
        missing -= 1;
        if (missing <= 0) clearTimeout(patience);
        return;
      }
      if (!isAllowed(data, watched)) return connection.close(true);
      const attachments = /^[56](\d+)-/.exec(data);
      if (!attachments) return;
      missing = Number(attachments[1]);
      clearTimeout(patience);
      patience = setTimeout(() => connection.close(true), ATTACHMENTS_MS).unref();
    });
  }
}

/** Looks at a Socket.IO packet by its first characters, before anything parses it. */
function isAllowed(packet: string, watched: Watched): boolean {
  if (packet.startsWith('0')) {
    watched.connects += 1;
    const isOurs = !packet.startsWith('0/') || packet.startsWith('0/,');
    if (watched.connects > CONNECTS_MAX || (isOurs && watched.isIn)) return false;
    if (isOurs) watched.isIn = true;
    return true;
  }
  const ackId = /^[2356](?:\d+-)?(?:\/[^,]{0,200},)?(\d*)/.exec(packet)?.[1] ?? '';
  return ackId.length <= ACK_ID_DIGITS_MAX;
}
