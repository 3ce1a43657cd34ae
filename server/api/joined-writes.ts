// Joins what one turn has for a connection into one write: at fan-out the system call is most of the cost.
// engine.io hands over every packet at once. Here its packets wait in its own buffer for the end of the turn, and the
// frames they become are written together. Order, back-pressure and closing stay engine.io's.
import type { Server } from 'socket.io';

interface Corkable {
  cork(): void;
  uncork(): void;
}
/** What engine.io keeps to itself of a WebSocket transport (6.6): its packets out, and the stream below `ws`. */
interface Transport {
  readonly name: string;
  send(packets: unknown[]): void;
  readonly socket?: { readonly _socket?: Corkable };
}
/** And of a connection: `flush` hands what is in its buffer to the transport, where that is writable. */
interface Connection {
  readonly transport: Transport;
  flush(): void;
  on(event: 'upgrade', listener: (transport: Transport) => void): void;
}

/** Makes every connection of `io` write once per turn of the event loop. Order is as before. */
export function joinWrites(io: Server): void {
  const atEndOfTurn = createEndOfTurn();
  (io.engine as unknown as { on(event: 'connection', listener: (connection: Connection) => void): void }).on(
    'connection',
    (connection) => {
      flushOncePerTurn(connection, atEndOfTurn);
      writeAtOnce(connection.transport);
      connection.on('upgrade', writeAtOnce);
    },
  );
}

/** One immediate for all connections; it runs after the turn that delivers a batch and answers its writers. */
function createEndOfTurn(): (flush: () => void) => void {
  let waiting: (() => void)[] = [];
  const flushAll = () => {
    const flushes = waiting;
    waiting = [];
    for (const flush of flushes) flush();
  };
  return (flush) => {
    if (waiting.push(flush) === 1) setImmediate(flushAll);
  };
}

function flushOncePerTurn(connection: Connection, atEndOfTurn: (flush: () => void) => void): void {
  const flush = connection.flush.bind(connection);
  let isWaiting = false;
  const flushNow = () => {
    isWaiting = false;
    flush();
  };
  connection.flush = () => {
    if (isWaiting) return;
    isWaiting = true;
    atEndOfTurn(flushNow);
  };
}

function writeAtOnce(transport: Transport): void {
  if (transport.name !== 'websocket') return;
  const send = transport.send.bind(transport);
  transport.send = (packets) => {
    const stream = transport.socket?._socket;
    stream?.cork();
    send(packets);
    stream?.uncork();
  };
}
