// What a fault is put into: server processes, their data Redis and lock Redis, and a proxy on each edge that the fault wants.
// It starts and ends them, and judges nothing.
import { mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { startAttune, type Attune } from './attune.js';
import { seeded, type Random } from './history-model.js';
import { createRecorder, type Recorder } from './history-recorder.js';
import { startRedisProxy, type RedisProxy } from './proxy.js';
import { startRedis, type TestRedis } from './redis.js';
import { metric, wholeLog } from './session-log.js';

export const HOT_SESSION = 'hot';
/** The nodes lock on so many servers of their own. */
const LOCK_SERVERS = 5;
/** Neither messages nor calls are to run out in a run. */
const ROOMY = { ...wholeLog, SESSION_MESSAGES_MAX: '1000000', RATE_CALLS_PER_S: '1000000' };

/** What a world is made of, where it differs from the usual. */
export interface WorldNeeds {
  /** Where each node has a proxy of its own to go through; the others are reached directly. */
  proxies?: readonly ('data' | 'locks')[];
  /** One node only, with the Redis that it runs for itself. */
  managed?: boolean;
  /** More environment of each node. */
  env?: Record<string, string>;
  /** More arguments of the data Redis. */
  redisConfig?: string[];
  /** Directory of the data Redis, or of the managed one's node; default a new temporary one. */
  dir?: string;
  /** How many lock servers there are; default 5. */
  lockServers?: number;
  /** Another build's main.js in place of the server's own. */
  main?: string;
}

/** How large a run is. */
export interface Size {
  nodes: number;
  writers: number;
  observers: number;
  sessions: number;
  /** Mean pause of a writer between two requests, milliseconds. */
  pauseMs: number;
  /** A run of `npm test`: faults take fewer rounds, and shorter ones. */
  isShort: boolean;
}

/** One place for a server node: its process may end and another take its place. */
export interface NodeSlot {
  readonly name: string;
  /** The process that was started last. */
  readonly attune: Attune;
  /** Its own proxies, where the fault wanted them: to the data Redis, and to each lock server. */
  readonly data: RedisProxy;
  readonly locks: readonly RedisProxy[];
  /** Whether clients that look for a node are sent here; as it was set last, false from kill() to start(). */
  takesClients: boolean;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** Starts the next process, on a port of its own. */
  start(): Promise<void>;
}

export interface World {
  readonly size: Size;
  readonly random: Random;
  readonly recorder: Recorder;
  readonly nodes: readonly NodeSlot[];
  /** The data Redis; absent where it is managed. */
  readonly data: TestRedis;
  readonly locks: readonly TestRedis[];
  /** A connection of the test's own to the data Redis: it comes back by itself. */
  readonly direct: Redis;
  /** The hot session, named more often than the others, comes first. */
  readonly sessionIds: readonly string[];
  /** Where clients may connect now. */
  urls: () => string[];
  /** Resolves when writes were answered `ok` so many times more. */
  load(more: number): Promise<void>;
  /** A counter over all nodes that answer. */
  metric(name: string, labels?: string): Promise<number>;
  close(): Promise<void>;
}

/** How long a number of answers may take in coming, milliseconds. */
const LOAD_DEADLINE_MS = 60_000;
const LOAD_POLL_MS = 5;

/** Starts everything but clients; what was started is ended where something fails. */
export async function startWorld(needs: WorldNeeds, size: Size, seed: number): Promise<World> {
  const undo: (() => unknown)[] = [];
  const close = async () => {
    for (const step of undo.splice(0).toReversed()) await step();
  };
  try {
    return await buildWorld(needs, size, seed, undo, close);
  } catch (error) {
    await close();
    throw error;
  }
}

async function buildWorld(
  needs: WorldNeeds,
  size: Size,
  seed: number,
  undo: (() => unknown)[],
  close: () => Promise<void>,
): Promise<World> {
  const owned = async <T extends { stop(): Promise<void> }>(starting: Promise<T>) => {
    const started = await starting;
    undo.push(() => started.stop());
    return started;
  };
  const ofData = { config: needs.redisConfig ?? [], ...(needs.dir !== undefined && { dir: needs.dir }) };
  const data = needs.managed ? undefined : await owned(startRedis(ofData));
  const locks = await Promise.all(
    Array.from({ length: needs.managed ? 0 : (needs.lockServers ?? LOCK_SERVERS) }, () =>
      // Killed, it comes back empty.
      owned(startRedis({ config: ['--appendonly', 'no'] })),
    ),
  );
  const recorder = createRecorder();
  const names = Array.from({ length: needs.managed ? 1 : size.nodes }, (_, n) => `node${n}`);
  const nodes = await Promise.all(names.map((name) => startSlot(name, needs, data, locks, undo)));
  undo.push(() => recorder.close());
  const at = needs.managed ? { path: join(nodes[0]!.attune.dataDir, 'redis.sock') } : { port: data!.port };
  const direct = new Redis({ ...at, retryStrategy: () => 20, maxRetriesPerRequest: null });
  direct.on('error', () => undefined);
  undo.push(() => direct.disconnect());
  const urls = () => nodes.filter(({ takesClients }) => takesClients).map(({ attune }) => attune.url);
  return {
    size,
    random: seeded(seed),
    recorder,
    nodes,
    data: data!,
    locks,
    direct,
    sessionIds: Array.from({ length: size.sessions }, (_, n) => (n === 0 ? HOT_SESSION : `calm${n}`)),
    urls,
    load: (more) => loaded(recorder, more),
    async metric(name, labels = '') {
      const values = await Promise.all(urls().map((url) => metric(url, name, labels)));
      return values.reduce((sum, value) => sum + value, 0);
    },
    close,
  };
}

async function startSlot(
  name: string,
  needs: WorldNeeds,
  data: TestRedis | undefined,
  locks: readonly TestRedis[],
  undo: (() => unknown)[],
): Promise<NodeSlot> {
  const proxied = async (edge: 'data' | 'locks', port: number) => {
    if (!needs.proxies?.includes(edge)) return undefined;
    const proxy = await startRedisProxy(port);
    undo.push(() => proxy.close());
    return proxy;
  };
  const dataProxy = data && (await proxied('data', data.port));
  const lockProxies = await Promise.all(locks.map(({ port }) => proxied('locks', port)));
  const lockUrls = locks.map(({ url }, n) => lockProxies[n]?.url ?? url);
  const isGivenDir = needs.managed && needs.dir !== undefined;
  const dir = isGivenDir ? needs.dir! : mkdtempSync(join(realpathSync(tmpdir()), 'attune-fault-'));
  const start = () =>
    startAttune({
      dataDir: dir,
      ...(needs.main !== undefined && { main: needs.main }),
      ...(data && { redisUrl: dataProxy?.url ?? data.url }),
      env: { ...ROOMY, ...(locks.length > 0 && { LOCK_REDIS_URLS: lockUrls.join(',') }), ...needs.env },
    });
  let attune = await start();
  undo.push(async () => {
    // One that was stopped by a signal would not hear of its end.
    resume(attune.pid);
    await attune.destroy();
    if (needs.managed) await attune.killRedis();
    if (!isGivenDir) rmSync(dir, { recursive: true, force: true });
  });
  const slot: NodeSlot = {
    name,
    get attune() {
      return attune;
    },
    get data() {
      if (!dataProxy) throw new Error('the fault did not ask for proxies before the data Redis');
      return dataProxy;
    },
    get locks() {
      return lockProxies.map((proxy) => {
        if (!proxy) throw new Error('the fault did not ask for proxies before the lock servers');
        return proxy;
      });
    },
    takesClients: true,
    async kill() {
      slot.takesClients = false;
      await attune.kill();
    },
    async start() {
      attune = await start();
      slot.takesClients = true;
    },
  };
  return slot;
}

async function loaded(recorder: Recorder, more: number): Promise<void> {
  const goal = recorder.okCount() + more;
  const endsAt = performance.now() + LOAD_DEADLINE_MS;
  while (recorder.okCount() < goal) {
    if (performance.now() > endsAt) {
      throw new Error(`${goal - recorder.okCount()} of ${more} answers did not come within ${LOAD_DEADLINE_MS} ms`);
    }
    await new Promise((resolve) => setTimeout(resolve, LOAD_POLL_MS));
  }
}

/** SIGCONT, also to a process that is gone. */
export function resume(pid: number): void {
  try {
    process.kill(pid, 'SIGCONT');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
