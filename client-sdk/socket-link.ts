// The line to the server over a socket of this client's own. It opens when told, and never again by itself.
import { Manager } from 'socket.io-client';
import { ClientError, clientErrorOf } from './client-error.js';
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
  /** It is not open any more, or could not be opened: with the server's refusal where there was one. */
  closed: (refusal: ClientError | null) => void;
  /** The server sent this, in the order in which it did. */
  received: (event: string, body: object) => void;
  /** The handshake's `auth`, asked for each time the line is opened. */
  auth: () => Promise<object>;
}

/** Makes the line of a client to `url`. */
export type Transport = (url: string, events: LinkEvents) => Link;

/** A socket of this client's own: WebSocket, and long polling where there is no way through for it. */
export const socketLink: Transport = (url, { opened, closed, received, auth }) => {
  const manager = new Manager(url, {
    autoConnect: false,
    reconnection: false,
    transports: ['websocket', 'polling'],
    tryAllTransports: true,
  });
  let isWanted = false;
  const end = (refusal: ClientError | null) => {
    if (!isWanted) return;
    isWanted = false;
    socket.disconnect();
    closed(refusal);
  };
  const socket = manager.socket('/', {
    auth: (give) => void auth().then(give, (error: unknown) => end(error instanceof ClientError ? error : null)),
  });
  socket.on('connect', opened);
  socket.on('disconnect', () => end(null));
  socket.on('connect_error', (error: Error & { data?: WireError }) =>
    end(error.data ? clientErrorOf(error.data) : null),
  );
  socket.onAny(received);
  return {
    open() {
      isWanted = true;
      socket.connect();
    },
    close() {
      isWanted = false;
      socket.disconnect();
    },
    request(event, body, timeoutMs, answered) {
      socket
        .timeout(timeoutMs)
        .emit(event, body, (error: Error | null, reply: Reply) => answered(error ? null : reply));
    },
  };
};
