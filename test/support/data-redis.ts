// The data Redis of the suite's tests: one by an address, or what `npm run test:topologies` asks for, a primary under
// sentinels or a Cluster. The tests are the same; what one of them cannot do there is in test/topologies/exceptions.ts.
import { Redis } from 'ioredis';
import { startCluster, type TestCluster } from './cluster.js';
import { startRedisProxy, type RedisProxy } from './proxy.js';
import { startRedis } from './redis.js';
import { startSentinels, type TestSentinels } from './sentinel.js';

export const suiteKinds = ['standalone', 'sentinel', 'cluster'] as const;
export type SuiteKind = (typeof suiteKinds)[number];

/** What this run of the suite is on. */
export const suiteKind: SuiteKind =
  suiteKinds.find((kind) => kind === process.env['ATTUNE_TEST_TOPOLOGY']) ?? 'standalone';

export interface DataRedis {
  /** As REDIS_URL takes it. */
  readonly url: string;
  /** A client past the nodes. On a Cluster what names no key goes to all primaries, and their answers are put together. */
  direct(): Redis;
  /**
   * A proxy before it. Where the addresses are announced by Redis itself nobody can be made to use one: there its `url` is
   * that of the data Redis, and tests that need it are exceptions.
   */
  proxy(): Promise<RedisProxy>;
  /** SIGKILL to every data server; the data stay. */
  kill(): Promise<void>;
  /** Starts again what was killed, or kills it first. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

export async function startDataRedis(kind: SuiteKind = suiteKind): Promise<DataRedis> {
  if (kind === 'sentinel') return ofSentinels(await startSentinels());
  if (kind === 'cluster') return ofCluster(await startCluster());
  const redis = await startRedis();
  return {
    url: redis.url,
    direct: () => new Redis(redis.url),
    proxy: () => startRedisProxy(redis.port),
    kill: () => redis.kill(),
    restart: () => redis.restart(),
    stop: () => redis.stop(),
  };
}

function ofSentinels(sentinels: TestSentinels): DataRedis {
  return {
    url: sentinels.url,
    direct: () => sentinels.client,
    proxy: () => unusedProxy(sentinels.servers[0]!.port, sentinels.url),
    kill: () => sentinels.kill(),
    restart: () => sentinels.restart(),
    stop: () => sentinels.stop(),
  };
}

function ofCluster(cluster: TestCluster): DataRedis {
  return {
    url: cluster.url,
    direct: () => overAll(cluster),
    proxy: () => unusedProxy(cluster.servers[0]!.port, cluster.url),
    kill: () => cluster.kill(),
    restart: () => cluster.restart(),
    stop: () => cluster.stop(),
  };
}

async function unusedProxy(port: number, url: string): Promise<RedisProxy> {
  return Object.assign(await startRedisProxy(port), { url });
}

/** Commands that name no key, as tests use them. */
const KEYLESS = new Set<string | symbol>(['keys', 'flushall', 'script', 'config', 'client', 'call', 'info']);

type Command = (...args: unknown[]) => Promise<unknown>;

function overAll(cluster: TestCluster): Redis {
  const all = async (name: string, args: unknown[]) => {
    const primaries = await cluster.primaries();
    const answers = await Promise.all(
      primaries.map(({ direct }) => (direct as unknown as Record<string, Command>)[name]!(...args)),
    );
    if (Array.isArray(answers[0])) return answers.flat();
    return typeof answers[0] === 'number' ? (answers as number[]).reduce((sum, one) => sum + one, 0) : answers[0];
  };
  return new Proxy(cluster.client as unknown as Redis, {
    get(client, name) {
      if (KEYLESS.has(name)) return (...args: unknown[]) => all(String(name), args);
      const value: unknown = Reflect.get(client, name, client);
      return typeof value === 'function' ? (value as Command).bind(client) : value;
    },
  });
}

/** The Redis of nodes that are started without one of their own; each has keys of its own. */
let shared: DataRedis | undefined;
let prefixes = 0;

/** The environment that puts a node on the suite's Redis; nothing where it has a managed one as usual. */
export function sharedRedis(): Record<string, string> {
  if (!shared) return {};
  prefixes += 1;
  return { REDIS_URL: shared.url, REDIS_KEY_PREFIX: `suite-${prefixes}` };
}

/** Mocha's root hooks for `npm run test:topologies`. */
export const mochaHooks = {
  async beforeAll(this: Mocha.Context): Promise<void> {
    this.timeout(60_000);
    if (suiteKind !== 'standalone') shared = await startDataRedis();
  },
  async afterAll(): Promise<void> {
    await shared?.stop();
    shared = undefined;
  },
};
