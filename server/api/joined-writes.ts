// Joins what one turn has for a WebSocket into one write: at fan-out the system call is most of the cost.
// engine.io writes every packet by itself, also those that it had queued; corking its TCP stream changes only that.
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
interface Connection {
  readonly transport: Transport;
  on(event: 'upgrade', listener: (transport: Transport) => void): void;
}

/** Makes every connection of `io` write once per turn of the event loop. Order is as before. */
export function joinWrites(io: Server): void {
  (io.engine as unknown as { on(event: 'connection', listener: (connection: Connection) => void): void }).on(
    'connection',
    (connection) => {
      joinWritesOf(connection.transport);
      connection.on('upgrade', joinWritesOf);
    },
  );
}

function joinWritesOf(transport: Transport): void {
  if (transport.name !== 'websocket') return;
  const send = transport.send.bind(transport);
  let corked = false;
  transport.send = (packets) => {
    const stream = transport.socket?._socket;
    if (stream && !corked) {
      corked = true;
      stream.cork();
      // After the turn that delivers a batch; whatever else it has for this socket goes into the same write.
      setImmediate(() => {
        corked = false;
        stream.uncork();
      });
    }
    send(packets);
  };
}
