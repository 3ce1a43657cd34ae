// A Redis Cluster of a test's own on loopback: primaries and replicas as real processes, and what may happen to them.
// It never touches a Redis that it did not start.
import { Cluster, Redis } from 'ioredis';
import { SLOTS } from '../../server/redis/slot.js';
import { freePort, startRedis, type TestRedis } from './redis.js';
import { until } from './until.js';

/** A primary that does not answer for so long is replaced by its replica: short, for tests wait for it. */
const NODE_TIMEOUT_MS = 1000;
const FORMED_DEADLINE_MS = 30_000;
const FAILED_OVER_DEADLINE_MS = 20_000;
/** For MIGRATE, of one batch of keys. */
const MIGRATE_MS = 5000;
const MIGRATE_KEYS = 100;

export interface ClusterOptions {
  primaries?: number;
  /** Of each primary, 0 or 1. */
  replicas?: number;
  password?: string;
}

/** One process of the cluster. */
export interface ClusterServer extends TestRedis {
  /** Speaks to this process alone. */
  readonly direct: Redis;
  /** The id it has in the cluster. */
  readonly id: string;
}

export interface TestCluster {
  /** redis+cluster:// with all processes, without credentials. */
  readonly url: string;
  readonly servers: readonly ClusterServer[];
  /** Speaks to whoever owns the key. */
  readonly client: Cluster;
  /** The primary that owns a slot now, as most of the living say. */
  ownerOf(slot: number): Promise<ClusterServer>;
  /** All that own slots now. */
  primaries(): Promise<ClusterServer[]>;
  /** Hands a slot over, with its keys; resolves when everybody knows. */
  moveSlot(slot: number, to: ClusterServer): Promise<void>;
  /** Kills the owner of a slot, and resolves with its successor once that serves the slot. */
  killOwnerOf(slot: number): Promise<ClusterServer>;
  /** Has a replica of the slot's owner take over in order; resolves with it. The owner goes on as its replica. */
  failOver(slot: number): Promise<ClusterServer>;
  /** SIGKILL to all; the data stay. */
  kill(): Promise<void>;
  /** Starts all again; resolves when the cluster serves. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

/** Resolves when all slots are served and every replica follows its primary. */
export async function startCluster(options: ClusterOptions = {}): Promise<TestCluster> {
  const { primaries = 3, replicas = 1, password } = options;
  const servers: ClusterServer[] = [];
  const undo: (() => Promise<void> | void)[] = [];
  const stop = async () => {
    for (const end of undo.splice(0).toReversed()) await end();
  };
  try {
    const count = primaries * (1 + replicas);
    servers.push(...(await Promise.all(Array.from({ length: count }, () => startServer(undo, password)))));
    await form(servers, primaries);
    const hosts = servers.map(({ port }) => `127.0.0.1:${port}`);
    const client = clientOf(servers, password);
    undo.push(() => client.disconnect());
    await client.connect();
    return clusterOf(servers, client, `redis+cluster://${hosts.join(',')}`, stop);
  } catch (error) {
    await stop();
    throw error;
  }
}

async function startServer(undo: (() => Promise<void> | void)[], password?: string): Promise<ClusterServer> {
  const settings: Record<string, string | number> = {
    'cluster-enabled': 'yes',
    // A bus port of its own: the usual one, 10,000 above, may not exist.
    'cluster-port': await freePort(),
    'cluster-node-timeout': NODE_TIMEOUT_MS,
    'cluster-require-full-coverage': 'no',
    'cluster-allow-replica-migration': 'no',
    'repl-diskless-sync-delay': 0,
    ...(password === undefined ? {} : { requirepass: password, masterauth: password }),
  };
  const config = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const redis = await startRedis({ config });
  undo.push(() => redis.stop());
  // A look at one that was killed fails at once: whoever asks looks again.
  const options = { maxRetriesPerRequest: 0, ...(password === undefined ? {} : { password }) };
  const direct = new Redis(redis.port, '127.0.0.1', options);
  direct.on('error', () => undefined);
  undo.push(() => direct.disconnect());
  const id = (await direct.call('CLUSTER', 'MYID')) as string;
  // A getter (`pid`) must stay one.
  return Object.defineProperties({ direct, id } as ClusterServer, Object.getOwnPropertyDescriptors(redis));
}

function clientOf(servers: readonly ClusterServer[], password?: string): Cluster {
  const redisOptions = password === undefined ? {} : { password };
  const client = new Cluster(
    servers.map(({ port }) => ({ host: '127.0.0.1', port })),
    { lazyConnect: true, redisOptions },
  );
  client.on('error', () => undefined);
  return client;
}

/** Slots for the primaries, in equal parts; then everybody meets, and each replica follows. */
async function form(servers: readonly ClusterServer[], primaries: number): Promise<void> {
  const share = Math.ceil(SLOTS / primaries);
  for (const [n, { direct }] of servers.entries()) {
    await direct.call('CLUSTER', 'SET-CONFIG-EPOCH', n + 1);
    if (n >= primaries) continue;
    await direct.call('CLUSTER', 'ADDSLOTSRANGE', n * share, Math.min((n + 1) * share, SLOTS) - 1);
  }
  for (const { direct } of servers.slice(1)) {
    const bus = ((await servers[0]!.direct.config('GET', 'cluster-port')) as string[])[1]!;
    await direct.call('CLUSTER', 'MEET', '127.0.0.1', servers[0]!.port, bus);
  }
  await everybody(servers, 'all processes', (info) => info.includes(`cluster_known_nodes:${servers.length}\r`));
  for (const [n, { direct }] of servers.entries()) {
    if (n < primaries) continue;
    const primary = servers[n % primaries]!;
    await until(() => direct.call('CLUSTER', 'REPLICATE', primary.id), { what: 'a replica' });
  }
  await everybody(servers, 'the cluster', (info) => /cluster_state:ok/.test(info));
  for (const { direct } of servers.slice(primaries)) await until(() => follows(direct), { what: 'a synced replica' });
}

async function everybody(servers: readonly ClusterServer[], what: string, fits: (info: string) => boolean) {
  for (const { direct } of servers) {
    const knows = async () => fits((await direct.call('CLUSTER', 'INFO')) as string);
    await until(knows, { deadlineMs: FORMED_DEADLINE_MS, what });
  }
}

const follows = async (direct: Redis) => (await direct.info('replication')).includes('master_link_status:up');

/** [first slot, last slot, ids: the primary's, then those of its replicas]. */
async function ranges(direct: Redis): Promise<[number, number, string[]][]> {
  const slots = (await direct.call('CLUSTER', 'SLOTS')) as [number, number, ...[string, number, string][]][];
  return slots.map(([first, last, ...nodes]) => [first, last, nodes.map(([, , id]) => id)]);
}

function clusterOf(servers: ClusterServer[], client: Cluster, url: string, stop: () => Promise<void>): TestCluster {
  const living = () => servers.filter(({ direct }) => direct.status === 'ready');
  const byId = (id: string | undefined) => servers.find((server) => server.id === id);
  /** The slot's ids as everybody who lives says; null while they differ. */
  const agreed = async (slot: number) => {
    const views = await Promise.all(living().map(({ direct }) => ranges(direct)));
    const said = views.map((view) => view.find(([first, last]) => first <= slot && slot <= last)?.[2] ?? []);
    return said.length > 0 && said.every(([id]) => id !== undefined && id === said[0]![0]) ? said[0]! : null;
  };
  const owned = (slot: number) => until(() => agreed(slot), { deadlineMs: FAILED_OVER_DEADLINE_MS, what: 'an owner' });
  /** Resolves with who serves a slot once that is not `before` any more. */
  const successor = async (slot: number, before: ClusterServer) =>
    until(
      async () => {
        const id = (await agreed(slot))?.[0];
        return id !== undefined && id !== before.id && byId(id);
      },
      { deadlineMs: FAILED_OVER_DEADLINE_MS, what: `a successor for slot ${slot}` },
    );
  const cluster: TestCluster = {
    url,
    servers,
    client,
    ownerOf: async (slot) => byId((await owned(slot))[0])!,
    async primaries() {
      const view = await ranges(living()[0]!.direct);
      return [...new Set(view.map(([, , ids]) => ids[0]!))].map((id) => byId(id)!);
    },
    async moveSlot(slot, to) {
      await migrate(slot, await cluster.ownerOf(slot), to, await cluster.primaries());
      await until(async () => (await agreed(slot))?.[0] === to.id, { what: `slot ${slot} at its new owner` });
    },
    async killOwnerOf(slot) {
      const owner = await cluster.ownerOf(slot);
      await owner.kill();
      return successor(slot, owner);
    },
    async failOver(slot) {
      const owner = await cluster.ownerOf(slot);
      const ask = async () => {
        const [line] = (await owner.direct.call('CLUSTER', 'REPLICAS', owner.id)) as string[];
        return byId(line?.split(' ', 1)[0])!.direct.call('CLUSTER', 'FAILOVER');
      };
      await until(ask, { deadlineMs: FAILED_OVER_DEADLINE_MS, what: 'a replica to take over' });
      return successor(slot, owner);
    },
    async kill() {
      await Promise.all(servers.map((server) => server.kill()));
    },
    async restart() {
      await Promise.all(servers.map((server) => server.restart()));
      await everybody(servers, 'the cluster', (info) => /cluster_state:ok/.test(info));
    },
    stop,
  };
  return cluster;
}

/** As the Redis documentation says it is done: marked on both sides, keys in batches, then told to everybody. */
async function migrate(slot: number, from: ClusterServer, to: ClusterServer, all: readonly ClusterServer[]) {
  await to.direct.call('CLUSTER', 'SETSLOT', slot, 'IMPORTING', from.id);
  await from.direct.call('CLUSTER', 'SETSLOT', slot, 'MIGRATING', to.id);
  for (;;) {
    const keys = (await from.direct.call('CLUSTER', 'GETKEYSINSLOT', slot, MIGRATE_KEYS)) as string[];
    if (keys.length === 0) break;
    await from.direct.call('MIGRATE', '127.0.0.1', to.port, '', 0, MIGRATE_MS, 'KEYS', ...keys);
  }
  for (const { direct } of [to, from, ...all.filter((one) => one !== to && one !== from)]) {
    await direct.call('CLUSTER', 'SETSLOT', slot, 'NODE', to.id);
  }
}
