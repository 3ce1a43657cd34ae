// The namespaces of Socket.IO: `/`, and `/~1` to `/~31` for more tabs of one browser on the same connection. A socket is the
// same in each; what a room is sent reaches all of them, encoded once for each that has somebody in it.
import type { Namespace, Server, Socket } from 'socket.io';
import { SHARED_TABS_MAX } from '../../client-sdk/protocol/limits.js';

type Admit = (socket: Socket, next: (error?: Error) => void) => void;

/** Whether a namespace is one that sockets may enter. */
export function isServed(name: string): boolean {
  const number = /^\/~([1-9]\d?)$/.exec(name)?.[1];
  return name === '/' || (number !== undefined && Number(number) <= SHARED_TABS_MAX);
}

export class Namespaces {
  /** Namespaces with sockets, and how many: one that was emptied and made again may be here twice. */
  private readonly inUse = new Map<Namespace, number>();

  /** `admit` has to refuse what is not served. */
  constructor(io: Server, admit: Admit, connected: (socket: Socket) => void) {
    // Names that nobody serves come to `admit` too: Socket.IO itself would refuse them without an error object.
    const shared = io.of((_name, _auth, next) => next(null, true));
    for (const namespace of [io.of('/'), shared]) {
      namespace.use(admit);
      namespace.on('connection', (socket) => {
        this.inUse.set(socket.nsp, (this.inUse.get(socket.nsp) ?? 0) + 1);
        socket.on('disconnect', () => this.left(socket.nsp));
        connected(socket);
      });
    }
  }

  /** Sends an event to the sockets in any of the rooms, each once. */
  emit(rooms: string[], event: string, body: object, exceptSocketId?: string): void {
    for (const namespace of this.inUse.keys()) {
      if (!rooms.some((room) => namespace.adapter.rooms.has(room))) continue;
      const to = namespace.to(rooms);
      (exceptSocketId === undefined ? to : to.except(exceptSocketId)).emit(event, body);
    }
  }

  /** Lets all sockets out of a room, and gives them. */
  empty(room: string): Socket[] {
    return [...this.inUse.keys()].flatMap(({ adapter, sockets }) => {
      const inside = [...(adapter.rooms.get(room) ?? [])].flatMap((id) => sockets.get(id) ?? []);
      for (const socket of inside) void socket.leave(room);
      return inside;
    });
  }

  private left(namespace: Namespace): void {
    const others = (this.inUse.get(namespace) ?? 0) - 1;
    if (others > 0) this.inUse.set(namespace, others);
    else this.inUse.delete(namespace);
  }
}

/** What Socket.IO keeps to itself of a connection's end here (4.8). */
interface ClientInside {
  readonly decoder: {
    on(event: 'decoded', listener: (packet: Packet) => void): void;
    off(event: 'decoded', listener: (packet: Packet) => void): void;
  };
  readonly ondecoded: (packet: Packet) => void;
}
interface Packet {
  readonly type: number;
  readonly nsp: string;
}
/** Type of the packet that enters a namespace. */
const CONNECT = 0;

const ended = new WeakMap<object, Set<string>>();

/**
 * Ends a socket and leaves the others of its connection alone. What its client sent before it knew is ignored until it
 * connects again: Socket.IO would close the whole connection for it.
 */
export function endSocket(socket: Socket): void {
  let names = ended.get(socket.client);
  if (!names) {
    ended.set(socket.client, (names = new Set()));
    ignoreWhatIsFor(names, socket.client as unknown as ClientInside);
  }
  names.add(socket.nsp.name);
  socket.disconnect();
}

function ignoreWhatIsFor(names: Set<string>, { decoder, ondecoded }: ClientInside): void {
  decoder.off('decoded', ondecoded);
  decoder.on('decoded', (packet) => {
    if (packet.type === CONNECT) names.delete(packet.nsp);
    if (!names.has(packet.nsp)) ondecoded(packet);
  });
}
