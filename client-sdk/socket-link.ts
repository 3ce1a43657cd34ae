// The line to the server over a socket of this client's own. It opens when told, and never again by itself.
import { Manager, type Socket } from 'socket.io-client';
import { ClientError, clientErrorOf, offline } from './client-error.js';
import type { WireError } from './protocol/errors.js';

/** A line to the server: open or not. Two kinds exist: a socket of one's own, and another tab's that is shared. */
export interface Link {
  /** Opens the line. `opened` or `closed` follows, exactly one of them for each call that is not followed by `close`. */
  open(): void;
  /** Closes it, or gives up opening it; `closed` does not follow. */
  close(): void;
  /** Sends an event. `answered` is called once, in the turn in which the answer arrived, so that it comes before later
   * events; with null where none will: the line closed, or it took longer than `timeoutMs`. */
  request(event: string, body: object, timeoutMs: number, answered: (reply: Reply | null) => void): void;
}

/** An acknowledgement of the contract. */
export type Reply = { ok: true } | { ok: false; error: WireError };

/** What a line tells its owner. */
export interface LinkEvents {
  /** Requests can be sent from now on. */
  opened: () => void;
  /** It is not open any more, or could not be opened: with the reason of that. */
  closed: (refusal: ClientError | null) => void;
  /** The server sent this, in the order in which it did. */
  received: (event: string, body: object) => void;
  /** The handshake's `auth`, asked for each time the line is opened. */
  auth: () => Promise<object>;
}

/** Makes the line of a client to `url`. */
export type Transport = (url: string, events: LinkEvents) => Link;

/** A connection that several lines may share: WebSocket, and long polling where there is no way through for it. */
export const managerOf = (url: string): Manager =>
  new Manager(url, {
    autoConnect: false,
    reconnection: false,
    transports: ['websocket', 'polling'],
    tryAllTransports: true,
  });

/** A socket of this client's own; or one of several over a connection, each in a namespace that no other line is in. */
export const socketLink = (
  url: string,
  { opened, closed, received, auth }: LinkEvents,
  socket: Socket = managerOf(url).socket('/'),
): Link => {
  /** While the line is wanted: another one each time that it is opened. */
  let life: object | null = null;
  const close = () => {
    life = null;
    // Or what socket.io-client held back would be sent first when the line is opened again.
    socket.sendBuffer = [];
    socket.disconnect();
  };
  const end = (reason: ClientError | null) => {
    if (!life) return;
    close();
    closed(reason);
  };
  const failed = (error: Error & { data?: WireError }) =>
    end(error instanceof ClientError ? error : error.data ? clientErrorOf(error.data) : offline(error.message));
  socket.on('connect', opened);
  socket.on('disconnect', () => end(null));
  socket.on('connect_error', failed);
  socket.onAny(received);
  return {
    open() {
      const mine = (life = {});
      // A token that comes too late, when the line was opened again, is not this one's.
      void auth().then(
        (value) => {
          if (mine !== life) return;
          socket.auth = value;
          socket.connect();
        },
        (error: Error) => mine === life && failed(error),
      );
    },
    close,
    request(event, body, timeoutMs, answered) {
      socket
        .timeout(timeoutMs)
        .emit(event, body, (error: Error | null, reply: Reply) => answered(error ? null : reply));
    },
  };
};
