// Every way to run Attune, started by one call with real processes on loopback: the managed Redis, one by an address, a
// primary under sentinels, a Cluster; with lock servers and several nodes. And what may happen to its Redis.
import { join } from 'node:path';
import { Redis, type Cluster } from 'ioredis';
import { startAttune, type Attune } from './attune.js';
import { startCluster, type TestCluster } from './cluster.js';
import { startRedis, type TestRedis } from './redis.js';
import { startSentinels, type TestSentinels } from './sentinel.js';

export const topologyKinds = ['managed', 'external', 'sentinel', 'cluster'] as const;
export type TopologyKind = (typeof topologyKinds)[number];

export interface TopologyOptions {
  /** Server nodes, 1 (default) to 4; only one with the managed Redis. */
  nodes?: number;
  /** Lock servers: 0 (default: the data Redis has the locks), 1, 3 or 5. */
  locks?: number;
  /** Of every node. */
  env?: Record<string, string>;
  /** Ports of the nodes, default 0: a free one each. */
  ports?: readonly number[];
}

export interface Topology {
  readonly kind: TopologyKind;
  /** As REDIS_URL takes it; undefined: the managed Redis. */
  readonly redisUrl: string | undefined;
  readonly nodes: readonly Attune[];
  readonly locks: readonly TestRedis[];
  /** The Redis by an address, for `external`. */
  readonly external: TestRedis | undefined;
  readonly sentinels: TestSentinels | undefined;
  readonly cluster: TestCluster | undefined;
  /** Speaks to Redis past the nodes, to whoever has the key now. */
  readonly direct: Redis | Cluster;
  /** Starts one more node on the same Redis. */
  addNode(): Promise<Attune>;
  /** SIGKILL to all of the data Redis, then starts it again with its data. */
  restartRedis(): Promise<void>;
  /** Ends everything, the nodes first and in order, and removes what they wrote. Idempotent. */
  stop(): Promise<void>;
}

/** Resolves when every node is ready; what had been started is stopped when it fails. */
export async function startTopology(kind: TopologyKind, options: TopologyOptions = {}): Promise<Topology> {
  const { nodes = 1, locks = 0, ports = [] } = options;
  if (kind === 'managed' && nodes > 1) throw new Error('the managed Redis belongs to one node: use another kind');
  if (![0, 1, 3, 5].includes(locks)) throw new Error('lock servers are 0, 1, 3 or 5');
  const undo: (() => Promise<unknown> | void)[] = [];
  const stop = async () => {
    for (const end of undo.splice(0).toReversed()) await end();
  };
  try {
    const data = await startData(kind, undo);
    const lockServers = await Promise.all(
      Array.from({ length: locks }, () => startRedis({ config: ['--appendonly', 'no'] })),
    );
    undo.push(() => Promise.all(lockServers.map((one) => one.stop())));
    const running: Attune[] = [];
    undo.push(() => Promise.all(running.map((node) => node.destroy())));
    const startNode = async (port = 0) => {
      const env = { ...options.env, PORT: String(port), LOCK_REDIS_URLS: lockServers.map(({ url }) => url).join(',') };
      const node = await startAttune({ env, ...(data.redisUrl === undefined ? {} : { redisUrl: data.redisUrl }) });
      running.push(node);
      return node;
    };
    await Promise.all(Array.from({ length: nodes }, (_, n) => startNode(ports[n])));
    const direct = data.direct ?? managedClient(running[0]!, undo);
    return {
      kind,
      ...data,
      direct,
      nodes: running,
      locks: lockServers,
      addNode: () => startNode(),
      // The node starts its own again by itself.
      restartRedis: () => data.restart?.() ?? running[0]!.killRedis(),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

type Data = Pick<Topology, 'redisUrl' | 'external' | 'sentinels' | 'cluster'> & {
  direct: Redis | Cluster | undefined;
  restart?: () => Promise<void>;
};

async function startData(kind: TopologyKind, undo: (() => Promise<unknown> | void)[]): Promise<Data> {
  const none = { external: undefined, sentinels: undefined, cluster: undefined };
  switch (kind) {
    case 'managed':
      return { ...none, redisUrl: undefined, direct: undefined };
    case 'external': {
      const external = await startRedis();
      const direct = quiet(new Redis(external.url));
      undo.push(
        () => external.stop(),
        () => direct.disconnect(),
      );
      return { ...none, external, direct, redisUrl: external.url, restart: () => external.restart() };
    }
    case 'sentinel': {
      const sentinels = await startSentinels();
      undo.push(() => sentinels.stop());
      const restart = () => sentinels.restart();
      return { ...none, sentinels, direct: sentinels.client, redisUrl: sentinels.url, restart };
    }
    case 'cluster': {
      const cluster = await startCluster();
      undo.push(() => cluster.stop());
      return { ...none, cluster, direct: cluster.client, redisUrl: cluster.url, restart: () => cluster.restart() };
    }
    default:
      return kind satisfies never;
  }
}

function managedClient(node: Attune, undo: (() => Promise<unknown> | void)[]): Redis {
  const direct = quiet(new Redis({ path: join(node.dataDir, 'redis.sock') }));
  undo.push(() => direct.disconnect());
  return direct;
}

function quiet(client: Redis): Redis {
  client.on('error', () => undefined);
  return client;
}
