// Ends connections whose packets no client of ours would send: what Socket.IO itself would answer or wait for without end.
import type { Server } from 'socket.io';
import { onConnection, type EngineConnection } from './engine-connection.js';
import { isServed } from './namespaces.js';

/** CONNECT packets of one connection at once: all of its tabs twice, as when their tokens run out together. */
const CONNECTS_MAX = 64;
/** After those, per second. */
const CONNECTS_PER_S = 1;
/** One that was refused counts as so many: it costs a look at a token, and another is hardly better. */
const REFUSED_CONNECTS = 6;
/** How long the attachments of a binary packet may take, milliseconds. */
const ATTACHMENTS_MS = 5000;
/** PONGs that may come without a PING in between. */
const PONGS_MAX = 20;
/** Digits of an acknowledgement's id; a number holds no more exactly. */
const ACK_ID_DIGITS_MAX = 15;

/** What one connection has done so far. */
interface Watched {
  /** CONNECT packets that it may send, as of `countedAt`. */
  connects: number;
  countedAt: number;
  /** Namespaces that it is in, or is being let into. */
  readonly inside: Set<string>;
}

export class ConnectionGuard {
  private readonly watched = new WeakMap<object, Watched>();

  constructor(io: Server) {
    onConnection(io, (connection) => this.watch(connection));
  }

  /** A socket of this connection has left its namespace: it may come again. */
  left(connection: object, namespace: string): void {
    this.watched.get(connection)?.inside.delete(namespace);
  }

  /** A socket of this connection was not let in. */
  refused(connection: object, namespace: string): void {
    const watched = this.watched.get(connection);
    // A namespace that nobody serves was counted so from the start.
    if (watched && isServed(namespace)) watched.connects -= REFUSED_CONNECTS - 1;
    this.left(connection, namespace);
  }

  /** Whether a socket of this connection is its only one. */
  isAlone(connection: object): boolean {
    return (this.watched.get(connection)?.inside.size ?? 0) <= 1;
  }

  private watch(connection: EngineConnection): void {
    const watched: Watched = { connects: CONNECTS_MAX, countedAt: performance.now(), inside: new Set() };
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
  if (packet.startsWith('0')) return mayConnect(/^0(\/[^,]{0,200})?/.exec(packet)?.[1] ?? '/', watched);
  const ackId = /^[2356](?:\d+-)?(?:\/[^,]{0,200},)?(\d*)/.exec(packet)?.[1] ?? '';
  return ackId.length <= ACK_ID_DIGITS_MAX;
}

function mayConnect(namespace: string, watched: Watched): boolean {
  const now = performance.now();
  const earned = ((now - watched.countedAt) / 1000) * CONNECTS_PER_S;
  watched.connects = Math.min(CONNECTS_MAX, watched.connects + earned);
  watched.countedAt = now;
  const isOurs = isServed(namespace);
  const cost = isOurs ? 1 : REFUSED_CONNECTS;
  if (watched.connects < cost || watched.inside.has(namespace)) return false;
  watched.connects -= cost;
  if (isOurs) watched.inside.add(namespace);
  return true;
}
