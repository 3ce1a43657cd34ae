// A redis-server child of a baseline, with the settings of the product's managed Redis. Never shared between servers.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';

const startTimeoutMs = 10_000;
const startPollMs = 10;

export interface RedisChild {
  socketPath: string;
  /** Resolves when the process has ended. */
  stop(): Promise<void>;
}

/** The first line of `--version` of the server binary on PATH, and its name. Throws when there is none. */
export function findRedisServer(): { command: string; version: string } {
  for (const command of ['redis-server', 'valkey-server']) {
    const run = spawnSync(command, ['--version'], { encoding: 'utf8' });
    if (run.status === 0) return { command, version: run.stdout.trim() };
  }
  throw new Error('neither redis-server nor valkey-server is on PATH; run: node scripts/setup.mjs');
}

/** Starts a Redis on a unix socket in `directory` and waits until it answers PING. */
export async function startRedis(directory: string): Promise<RedisChild> {
  mkdirSync(directory, { recursive: true });
  const socketPath = join(directory, 'redis.sock');
  const settings = ['--port', '0', '--unixsocket', socketPath, '--dir', directory, '--save', ''];
  const durable = ['--appendonly', 'yes', '--appendfsync', 'always', '--maxmemory-policy', 'noeviction'];
  const child = spawn(findRedisServer().command, [...settings, ...durable], { stdio: 'ignore' });
  const ended = once(child, 'exit');
  await untilAnswering(socketPath, child);
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM');
    await ended;
  };
  return { socketPath, stop };
}

async function untilAnswering(socketPath: string, child: ChildProcess): Promise<void> {
  const deadline = performance.now() + startTimeoutMs;
  while (performance.now() < deadline) {
    if (child.exitCode !== null) throw new Error(`redis-server ended at start with status ${child.exitCode}`);
    const probe = new Redis({ path: socketPath, lazyConnect: true, retryStrategy: null, maxRetriesPerRequest: 0 });
    probe.on('error', () => undefined);
    const answered = await probe.ping().catch(() => undefined);
    probe.disconnect();
    if (answered === 'PONG') return;
    await delay(startPollMs);
  }
  child.kill('SIGKILL');
  throw new Error(`redis-server did not answer on ${socketPath} within ${startTimeoutMs} ms`);
}
