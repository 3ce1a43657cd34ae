// A TCP balancer of a test's own before several nodes: each connection goes to the next node that takes one. It knows
// nothing of health but that, and never changes a byte.
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

export interface Balancer {
  readonly url: string;
  /** Connections that are open now. */
  readonly open: number;
  /** The ports of the nodes, from now on. Connections that are open stay where they are. */
  use(ports: readonly number[]): void;
  close(): Promise<void>;
}

/** Starts a balancer before the nodes at these ports of this machine. */
export async function startBalancer(ports: readonly number[]): Promise<Balancer> {
  let nodes = ports;
  let turn = 0;
  const clients = new Set<Socket>();

  /** A connection to the first node, from this one's turn on, that takes it. */
  async function connected(): Promise<Socket | undefined> {
    const from = (turn += 1);
    const all = nodes;
    for (let i = 0; i < all.length; i += 1) {
      const socket = connect({ port: all[(from + i) % all.length]!, host: '127.0.0.1', noDelay: true });
      const isThere = await new Promise<boolean>((resolve) => {
        socket.once('connect', () => resolve(true));
        socket.once('error', () => resolve(false));
      });
      if (isThere) return socket;
    }
    return undefined;
  }

  async function carry(client: Socket): Promise<void> {
    const node = await connected();
    if (!node || client.destroyed) {
      node?.destroy();
      client.destroy();
      return;
    }
    for (const [from, to] of [
      [client, node],
      [node, client],
    ] as const) {
      from.on('error', () => to.destroy());
      from.on('close', () => to.destroy());
      from.pipe(to);
    }
  }

  const listening = createServer({ noDelay: true, pauseOnConnect: true }, (client) => {
    clients.add(client);
    client.on('close', () => clients.delete(client));
    client.on('error', () => undefined);
    void carry(client);
  });
  listening.listen(0, '127.0.0.1');
  await once(listening, 'listening');
  return {
    url: `http://127.0.0.1:${(listening.address() as AddressInfo).port}`,
    get open() {
      return clients.size;
    },
    use: (to) => void (nodes = to),
    async close() {
      for (const client of clients) client.destroy();
      listening.close();
      await once(listening, 'close');
    },
  };
}
