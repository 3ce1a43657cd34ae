// A real Redis of a test's own, on a free loopback port, with an append-only file that is synced at each write.
// It never touches a Redis that the test did not start.
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { endWithTests, exited, isRunning } from './child.js';

const READY_DEADLINE_MS = 10_000;
const EXIT_DEADLINE_MS = 10_000;
const START_ATTEMPTS = 3;

export interface RedisOptions {
  /** More arguments of redis-server, for instance ['--requirepass', 'x']; a later one wins. */
  config?: string[];
  /** Where it keeps its data, which stop() leaves there; default a new temporary directory. */
  dir?: string;
}

export interface TestRedis {
  /** redis://127.0.0.1:port, without credentials. */
  readonly url: string;
  readonly port: number;
  /** Process id of the one that runs now. */
  readonly pid: number;
  readonly dir: string;
  readonly isRunning: boolean;
  /** SIGKILL, and wait for its end. The data stay. */
  kill(): Promise<void>;
  /** Starts again on the same port and data; kills it first where it still runs. */
  restart(): Promise<void>;
  /** Ends it and removes its data. Idempotent. */
  stop(): Promise<void>;
}

export async function startRedis(options: RedisOptions = {}): Promise<TestRedis> {
  const dir = options.dir ?? mkdtempSync(join(realpathSync(tmpdir()), 'attune-redis-'));
  let { child, port } = await startOnFreePort(dir, options);
  const forget = endWithTests(() => {
    if (isRunning(child)) child.kill('SIGKILL');
  });
  const kill = async () => {
    if (isRunning(child)) child.kill('SIGKILL');
    await exited(child, EXIT_DEADLINE_MS);
  };
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    get pid() {
      return child.pid as number;
    },
    dir,
    get isRunning() {
      return isRunning(child);
    },
    kill,
    async restart() {
      await kill();
      child = await startOn(port, dir, options);
    },
    async stop() {
      await kill();
      if (options.dir === undefined) rmSync(dir, { recursive: true, force: true });
      forget();
    },
  };
}

/** Another process may take the port between our look and Redis's bind: then try the next one. */
async function startOnFreePort(dir: string, options: RedisOptions): Promise<{ child: ChildProcess; port: number }> {
  for (let attempt = 1; ; attempt += 1) {
    const port = await freePort();
    try {
      return { child: await startOn(port, dir, options), port };
    } catch (error) {
      if (attempt === START_ATTEMPTS) throw error;
    }
  }
}

async function startOn(port: number, dir: string, options: RedisOptions): Promise<ChildProcess> {
  const settings = { port, bind: '127.0.0.1', dir, appendonly: 'yes', appendfsync: 'always', save: '' };
  const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const child = spawn('redis-server', [...args, ...(options.config ?? [])], { stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  await new Promise<void>((resolve, reject) => {
    const fail = (why: string) => {
      clearTimeout(timer);
      child.kill('SIGKILL');
      reject(new Error(`redis-server on port ${port} ${why}\n${log}`));
    };
    const timer = setTimeout(() => fail(`was not ready within ${READY_DEADLINE_MS} ms`), READY_DEADLINE_MS);
    const read = (chunk: Buffer) => {
      log += chunk.toString();
      if (!log.includes('Ready to accept connections')) return;
      clearTimeout(timer);
      child.removeAllListeners();
      for (const stream of [child.stdout, child.stderr]) stream.off('data', read).resume();
      resolve();
    };
    child.stdout.on('data', read);
    child.stderr.on('data', read);
    child.once('error', (error) => fail(`could not be spawned: ${error.message}`));
    child.once('exit', (status) => fail(`ended with status ${status}`));
  });
  return child;
}

/** A loopback port that was free a moment ago. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as AddressInfo;
      probe.close(() => resolve(port));
    });
  });
}
