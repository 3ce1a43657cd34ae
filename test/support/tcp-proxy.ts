// A TCP proxy of a test's own before any port of this machine: it cuts, half-closes, delays, trickles and holds back. It
// never changes a byte of what it lets through.
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

export type Way = 'toServer' | 'fromServer';

/** What happens to bytes on one way. */
export interface Treatment {
  /** Held back until `release`: neither side hears that the other is not there. */
  hold: boolean;
  /** Each chunk comes so much later, milliseconds. */
  delayMs: number;
  /** At most so many bytes at a time, with a pause of 1 ms; 0: as they come. */
  trickleBytes: number;
}

export interface TcpProxy {
  readonly url: string;
  readonly port: number;
  /** Connections that are open now, and how many there ever were. */
  readonly open: number;
  readonly accepted: number;
  /** From now on, for connections that are open and for those to come. */
  treat(way: Way, treatment: Partial<Treatment>): void;
  /** Bytes that are held back on this way. */
  held(way: Way): number;
  /** Lets go what is held back on both ways, in order. */
  release(): void;
  /** Resets all connections: what is held back is lost. How many they were. */
  cut(): number;
  /** Ends one way of all connections, as a peer does that has nothing more to say. */
  halfClose(way: Way): void;
  /** Where new connections go from now on. */
  redirect(port: number): void;
  /** Refuses new connections (they are reset), or takes them again. */
  refuse(isRefusing: boolean): void;
  /** Called with each connection, and how to reset it. */
  onConnection(listener: (cutThis: () => void) => void): void;
  close(): Promise<void>;
}

interface Link {
  readonly client: Socket;
  readonly server: Socket;
  /** The delivery that was begun last on each way. */
  readonly last: Record<Way, Promise<void>>;
}

/** Starts a proxy before `port`. */
export async function startTcpProxy(port: number): Promise<TcpProxy> {
  const treatments: Record<Way, Treatment> = {
    toServer: { hold: false, delayMs: 0, trickleBytes: 0 },
    fromServer: { hold: false, delayMs: 0, trickleBytes: 0 },
  };
  const held: Record<Way, number> = { toServer: 0, fromServer: 0 };
  const links = new Set<Link>();
  let target = port;
  let accepted = 0;
  let isRefusing = false;
  let released: (() => void)[] = [];
  let listener: (cutThis: () => void) => void = () => undefined;

  const deliver = async (to: Socket, way: Way, bytes: Buffer, dueAt: number) => {
    if (treatments[way].hold) {
      held[way] += bytes.length;
      await new Promise<void>((resolve) => released.push(resolve));
      held[way] -= bytes.length;
    }
    if (dueAt > performance.now()) await delay(dueAt - performance.now());
    const { trickleBytes } = treatments[way];
    for (let at = 0; at < bytes.length && !to.destroyed; at += trickleBytes || bytes.length) {
      to.write(bytes.subarray(at, at + (trickleBytes || bytes.length)));
      if (trickleBytes) await delay(1);
    }
  };
  const reset = ({ client, server }: Link) => {
    client.resetAndDestroy();
    server.resetAndDestroy();
  };

  const listening = createServer({ noDelay: true, allowHalfOpen: true }, (client) => {
    client.on('error', () => undefined);
    if (isRefusing) return void client.resetAndDestroy();
    accepted += 1;
    const server = connect({ port: target, host: '127.0.0.1', noDelay: true, allowHalfOpen: true });
    const link: Link = { client, server, last: { toServer: Promise.resolve(), fromServer: Promise.resolve() } };
    links.add(link);
    const carry = (from: Socket, to: Socket, way: Way) => {
      from.on('data', (bytes: Buffer) => {
        const dueAt = performance.now() + treatments[way].delayMs;
        link.last[way] = link.last[way].then(() => deliver(to, way, bytes, dueAt));
      });
      from.on('end', () => void link.last[way].then(() => to.end()));
      from.on('error', () => undefined);
      from.on('close', () => {
        links.delete(link);
        // The end of one side is told to the other once it was given all.
        void link.last[way].then(() => to.destroy());
      });
    };
    carry(client, server, 'toServer');
    carry(server, client, 'fromServer');
    listener(() => reset(link));
  });
  listening.listen(0, '127.0.0.1');
  await once(listening, 'listening');
  const ownPort = (listening.address() as AddressInfo).port;
  const release = () => {
    for (const way of ['toServer', 'fromServer'] as const) treatments[way].hold = false;
    const all = released;
    released = [];
    for (const go of all) go();
  };

  return {
    url: `http://127.0.0.1:${ownPort}`,
    port: ownPort,
    get open() {
      return links.size;
    },
    get accepted() {
      return accepted;
    },
    treat: (way, treatment) => void Object.assign(treatments[way], treatment),
    held: (way) => held[way],
    release,
    cut() {
      const all = [...links];
      for (const link of all) reset(link);
      return all.length;
    },
    halfClose(way) {
      for (const { client, server } of links) (way === 'toServer' ? server : client).end();
    },
    redirect: (to) => void (target = to),
    refuse: (is) => void (isRefusing = is),
    onConnection: (given) => void (listener = given),
    async close() {
      for (const link of links) reset(link);
      release();
      listening.close();
      await once(listening, 'close');
    },
  };
}
