// A primary with replicas under sentinels, of a test's own, on loopback: real processes, and what may happen to them.
// It never touches a Redis that it did not start.
import { spawn } from 'node:child_process';
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { endWithTests, exited, isRunning } from './child.js';
import { freePort, startRedis, type TestRedis } from './redis.js';
import { until } from './until.js';

/** What the sentinels call the primary. */
export const PRIMARY_NAME = 'the-primary';
/** A primary that does not answer for so long is down: short, for tests wait for it. */
const DOWN_AFTER_MS = 700;
const FAILOVER_TIMEOUT_MS = 3000;
const FORMED_DEADLINE_MS = 30_000;
const FAILED_OVER_DEADLINE_MS = 20_000;
const EXIT_DEADLINE_MS = 5000;
/** Whom nodes and tests log in as; the sentinels and replicas are `default`, so that they can be told apart. */
const USER = 'attune';

export interface SentinelOptions {
  sentinels?: number;
  replicas?: number;
  /** Of the user `attune`. */
  password?: string;
}

/** A data Redis, primary or replica. */
export interface SentinelServer extends TestRedis {
  /** Speaks to this process alone. */
  readonly direct: Redis;
}

export interface Sentinel {
  readonly port: number;
  readonly pid: number;
  readonly direct: Redis;
}

export interface TestSentinels {
  /** redis+sentinel:// with all sentinels and the credentials. */
  readonly url: string;
  readonly sentinels: readonly Sentinel[];
  /** The first was the primary at the start. */
  readonly servers: readonly SentinelServer[];
  /** Speaks to whoever is the primary. */
  readonly client: Redis;
  /** The primary of now, as all sentinels say. */
  primary(): Promise<SentinelServer>;
  /** Kills the primary, and resolves with its successor once all sentinels name it. */
  killPrimary(): Promise<SentinelServer>;
  /** Has a replica take over in order; resolves with it. */
  failOver(): Promise<SentinelServer>;
  /**
   * Cuts the sentinels off from the primary: they have a replica take over, and the old one goes on taking writes, for
   * nobody tells it. With `heal` they reach it again, and make it a replica of the new one.
   */
  splitBrain(): Promise<{ old: SentinelServer; promoted: SentinelServer; heal: () => Promise<void> }>;
  /** SIGKILL to all data servers; sentinels and data stay. */
  kill(): Promise<void>;
  /** Starts all data servers again, as they were at first. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

/** Resolves when the sentinels know each other and the replicas, and the replicas follow. */
export async function startSentinels(options: SentinelOptions = {}): Promise<TestSentinels> {
  const { sentinels: count = 3, replicas = 1, password = 'of tests' } = options;
  const undo: (() => Promise<void> | void)[] = [];
  const stop = async () => {
    for (const end of undo.splice(0).toReversed()) await end();
  };
  try {
    const dir = mkdtempSync(join(realpathSync(tmpdir()), 'attune-sentinel-'));
    undo.push(() => rmSync(dir, { recursive: true, force: true }));
    const first = await startServer(undo, [], password);
    const followers = await Promise.all(
      Array.from({ length: replicas }, () => startServer(undo, ['--replicaof', `127.0.0.1 ${first.port}`], password)),
    );
    for (const { direct } of followers) {
      const follows = async () => (await direct.info('replication')).includes('master_link_status:up');
      await until(follows, { deadlineMs: FORMED_DEADLINE_MS, what: 'a synced replica' });
    }
    const quorum = Math.floor(count / 2) + 1;
    const watch = { dir, quorum, port: first.port };
    const sentinels = await Promise.all(Array.from({ length: count }, (_, n) => startSentinel(undo, n, watch)));
    for (const { direct } of sentinels) await knowsAll(direct, count - 1, replicas);
    const hosts = sentinels.map(({ port }) => ({ host: '127.0.0.1', port }));
    const client = new Redis({
      sentinels: hosts,
      name: PRIMARY_NAME,
      username: USER,
      password,
      // It must not read from one that is no primary any more.
      failoverDetector: true,
    });
    client.on('error', () => undefined);
    undo.push(() => client.disconnect());
    const at = hosts.map(({ port }) => `127.0.0.1:${port}`).join(',');
    const url = `redis+sentinel://${USER}:${encodeURIComponent(password)}@${at}/${PRIMARY_NAME}`;
    return sentinelsOf([first, ...followers], sentinels, client, url, stop);
  } catch (error) {
    await stop();
    throw error;
  }
}

type Undo = (() => Promise<void> | void)[];

async function startServer(undo: Undo, more: string[], password: string): Promise<SentinelServer> {
  const user = ['--user', USER, 'on', `>${password}`, '~*', '&*', '+@all'];
  const redis = await startRedis({ config: ['--repl-diskless-sync-delay', '0', ...user, ...more] });
  undo.push(() => redis.stop());
  // A look at one that was killed fails at once: whoever asks looks again.
  const direct = new Redis(redis.port, '127.0.0.1', { username: USER, password, maxRetriesPerRequest: 0 });
  direct.on('error', () => undefined);
  undo.push(() => direct.disconnect());
  // A getter (`pid`) must stay one.
  return Object.defineProperties({ direct } as SentinelServer, Object.getOwnPropertyDescriptors(redis));
}

async function startSentinel(
  undo: Undo,
  n: number,
  watch: { dir: string; quorum: number; port: number },
): Promise<Sentinel> {
  const port = await freePort();
  const file = join(watch.dir, `sentinel-${n}.conf`);
  const lines = [
    `port ${port}`,
    'bind 127.0.0.1',
    `dir "${watch.dir}"`,
    'protected-mode no',
    `sentinel monitor ${PRIMARY_NAME} 127.0.0.1 ${watch.port} ${watch.quorum}`,
    `sentinel down-after-milliseconds ${PRIMARY_NAME} ${DOWN_AFTER_MS}`,
    `sentinel failover-timeout ${PRIMARY_NAME} ${FAILOVER_TIMEOUT_MS}`,
  ];
  writeFileSync(file, `${lines.join('\n')}\n`);
  const child = spawn('redis-server', [file, '--sentinel'], { stdio: 'ignore' });
  const forget = endWithTests(() => void (isRunning(child) && child.kill('SIGKILL')));
  undo.push(async () => {
    if (isRunning(child)) child.kill('SIGKILL');
    await exited(child, EXIT_DEADLINE_MS);
    forget();
  });
  const direct = new Redis(port, '127.0.0.1');
  direct.on('error', () => undefined);
  undo.push(() => direct.disconnect());
  await until(async () => (await primaryPort(direct)) === watch.port, { what: 'a sentinel' });
  return { port, pid: child.pid as number, direct };
}

async function primaryPort(sentinel: Redis): Promise<number> {
  const address = (await sentinel.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', PRIMARY_NAME)) as string[] | null;
  return Number(address?.[1]);
}

async function knowsAll(sentinel: Redis, others: number, replicas: number): Promise<void> {
  const knows = async () => {
    const fields = (await sentinel.call('SENTINEL', 'MASTER', PRIMARY_NAME)) as string[];
    const value = (name: string) => Number(fields[fields.indexOf(name) + 1]);
    return value('num-other-sentinels') === others && value('num-slaves') === replicas;
  };
  await until(knows, { deadlineMs: FORMED_DEADLINE_MS, what: 'a sentinel that knows all others' });
}

function sentinelsOf(
  servers: SentinelServer[],
  sentinels: readonly Sentinel[],
  client: Redis,
  url: string,
  stop: () => Promise<void>,
): TestSentinels {
  const named = async () => {
    const ports = await Promise.all(sentinels.map(({ direct }) => primaryPort(direct)));
    return ports.every((port) => port === ports[0]) ? servers.find(({ port }) => port === ports[0]) : undefined;
  };
  const primary = () => until(named, { deadlineMs: FAILED_OVER_DEADLINE_MS, what: 'a primary that all name' });
  const successor = (before: SentinelServer) =>
    until(
      async () => {
        const found = await named();
        return found && found !== before && (await found.direct.role())[0] === 'master' && found;
      },
      { deadlineMs: FAILED_OVER_DEADLINE_MS, what: 'another primary' },
    );
  return {
    url,
    sentinels,
    servers,
    client,
    primary,
    async killPrimary() {
      const before = await primary();
      await before.kill();
      return successor(before);
    },
    async failOver() {
      const before = await primary();
      const ask = () => sentinels[0]!.direct.call('SENTINEL', 'FAILOVER', PRIMARY_NAME);
      await until(ask, { deadlineMs: FAILED_OVER_DEADLINE_MS, what: 'a failover' });
      return successor(before);
    },
    async splitBrain() {
      const old = await primary();
      // As nobody they take it for dead, and it hears of nothing. Who is logged in stays so.
      await old.direct.call('ACL', 'SETUSER', 'default', 'off');
      await old.direct.call('CLIENT', 'KILL', 'USER', 'default');
      const heal = async () => void (await old.direct.call('ACL', 'SETUSER', 'default', 'on'));
      return { old, promoted: await successor(old), heal };
    },
    async kill() {
      await Promise.all(servers.map((server) => server.kill()));
    },
    async restart() {
      await Promise.all(servers.map((server) => server.kill()));
      for (const server of servers) await server.restart();
    },
    stop,
  };
}
