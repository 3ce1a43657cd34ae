// What engine.io (6.6) keeps to itself of a connection and this server uses all the same, for Socket.IO offers no other way
// to it: an engine.io of another version is held against this one list. It does nothing to a connection itself.
import type { Server } from 'socket.io';

/** Of the stream below `ws`. Corked, it writes the frames of a turn at once. */
interface Stream {
  cork(): void;
  uncork(): void;
}

export interface EngineTransport {
  readonly name: string;
  /** Hands packets out at once; replaced, to write them together. */
  send(packets: unknown[]): void;
  /** The WebSocket, where the transport is one: `bufferedAmount` is what its peer has not taken, bytes. */
  readonly socket?: { readonly bufferedAmount?: number; readonly _socket?: Stream };
}

export interface EngineConnection {
  readonly id: string;
  readonly transport: EngineTransport;
  /** Packets that the transport was not given yet: they are unread as well. */
  readonly writeBuffer: readonly { readonly data?: string | Buffer }[];
  /** Hands what is in the buffer to the transport, where that is writable; replaced, to do so once per turn. */
  flush(): void;
  /** The heartbeat takes a PONG more for another sign of life. */
  sendPacket(type: 'ping'): void;
  /** With `discard` nothing that is unread is waited for. */
  close(discard: boolean): void;
  /** Every packet that comes, before Socket.IO parses what is in it, and every one that goes out. */
  on(event: 'packet' | 'packetCreate', listener: (packet: { type: string; data?: unknown }) => void): void;
  on(event: 'upgrade', listener: (transport: EngineTransport) => void): void;
  on(event: 'close', listener: () => void): void;
}

/** Calls `listener` with each new connection of `io`. */
export function onConnection(io: Server, listener: (connection: EngineConnection) => void): void {
  const engine = io.engine as unknown as {
    on(event: 'connection', listener: (connection: EngineConnection) => void): void;
  };
  engine.on('connection', listener);
}
