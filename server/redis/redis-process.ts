// Owns one operating-system process of Redis: how it is spawned, asked who it is, and ended.
// Never decides whether one should run.
import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readSync, fstatSync, statSync, truncateSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { identifyProcess, isRunning, type ProcessIdentity } from './data-dir-owner.js';

/** Programs that serve as Redis, in the order in which they are tried. */
const serverPrograms = ['redis-server', 'valkey-server'] as const;
export const checkPrograms = ['redis-check-aof', 'valkey-check-aof'] as const;

/** Redis's own log is emptied at a start when it is larger than this. */
export const logLimitBytes = 4 * 1024 * 1024;
/** How much of the log goes into an error. */
const logTailBytes = 4 * 1024;
const askTimeoutMs = 2_000;
/** How often an adopted process, which is no child of ours and so sends no event, is looked at. */
const watchPeriodMs = 250;
const endPollMs = 20;
export const termGraceMs = 10_000;

/** Who answers on a socket. `ready` is false while it loads its data. */
export interface RedisAnswer {
  readonly runId: string;
  readonly pid: number;
  readonly version: string;
  readonly ready: boolean;
}

/** A running Redis: `exited` settles, never rejects, with the reason in words. */
export interface RedisProcess {
  readonly identity: ProcessIdentity;
  readonly exited: Promise<string>;
}

/** Asks the Redis behind a unix socket who it is; null when nobody listens there. Rejects when somebody does but gives no sensible answer. */
export async function askRedis(socketPath: string): Promise<RedisAnswer | null> {
  const client = oneShotClient(socketPath);
  let failure: NodeJS.ErrnoException | undefined;
  client.on('error', (error: NodeJS.ErrnoException) => (failure ??= error));
  try {
    await client.connect();
    return parseInfo(await client.info(), socketPath);
  } catch (error) {
    const reason = failure ?? (error as NodeJS.ErrnoException);
    if (reason.code === 'ENOENT' || reason.code === 'ECONNREFUSED') return null;
    throw new Error(`what listens on ${socketPath} does not answer as a Redis does: ${reason.message}`, {
      cause: error,
    });
  } finally {
    client.disconnect();
  }
}

/** Sets directives on a running Redis, one by one, and gives the names of those that it refused. */
export async function configureRedis(socketPath: string, config: Readonly<Record<string, string>>): Promise<string[]> {
  const client = oneShotClient(socketPath);
  client.on('error', () => undefined);
  const refused: string[] = [];
  try {
    await client.connect();
    for (const [name, value] of Object.entries(config)) {
      await client.call('CONFIG', 'SET', name, value).catch(() => refused.push(name));
    }
    return refused;
  } finally {
    client.disconnect();
  }
}

function oneShotClient(socketPath: string): Redis {
  return new Redis({
    path: socketPath,
    lazyConnect: true,
    retryStrategy: () => null,
    maxRetriesPerRequest: 0,
    enableOfflineQueue: false,
    enableReadyCheck: false,
    disableClientInfo: true,
    connectTimeout: askTimeoutMs,
    commandTimeout: askTimeoutMs,
  });
}

function parseInfo(info: string, socketPath: string): RedisAnswer {
  const field = (name: string) => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1];
  const [runId, pid, version] = [field('run_id'), Number(field('process_id')), field('redis_version')];
  if (runId === undefined || version === undefined || !Number.isInteger(pid)) {
    throw new Error(`what listens on ${socketPath} is no Redis: its INFO has no run id`);
  }
  return { runId, pid, version, ready: field('loading') === '0' };
}

/**
 * Spawns a Redis of its own session, so that a Ctrl-C at our terminal does not end it before we have drained.
 * What it prints goes to the end of `logPath`.
 * @throws Error when neither program is installed; it says how to get one.
 */
export async function spawnRedis(args: readonly string[], cwd: string, logPath: string): Promise<RedisProcess> {
  for (const program of serverPrograms) {
    const started = await trySpawn(program, args, cwd, logPath);
    if (started !== null) return started;
  }
  throw new Error(
    `neither ${serverPrograms.join(' nor ')} is on PATH. Install one (Debian, Ubuntu: apt-get install redis-server; ` +
      'Fedora: dnf install valkey; Alpine: apk add redis; macOS: brew install redis), or set REDIS_URL to a Redis that runs already',
  );
}

async function trySpawn(
  program: string,
  args: readonly string[],
  cwd: string,
  logPath: string,
): Promise<RedisProcess | null> {
  const log = openSync(logPath, 'a', 0o600);
  try {
    const child = spawn(program, args, { cwd, detached: true, stdio: ['ignore', log, log] });
    const exited = new Promise<string>((resolve) => {
      child.once('exit', (code, signal) =>
        resolve(signal === null ? `it exited with ${code}` : `it was ended by ${signal}`),
      );
    });
    const { pid } = child;
    if (pid === undefined) {
      const error = await new Promise<NodeJS.ErrnoException>((resolve) => child.once('error', resolve));
      if (error.code === 'ENOENT') return null;
      throw new Error(`${program} could not be started: ${error.message}`, { cause: error });
    }
    child.on('error', () => undefined);
    // Its life must not keep ours going.
    child.unref();
    return { identity: identifyProcess(pid) ?? { pid, startTime: null }, exited };
  } finally {
    closeSync(log);
  }
}

/** Watches a Redis that is no child of ours. */
export function watchRedis(identity: ProcessIdentity): RedisProcess {
  const exited = new Promise<string>((resolve) => {
    const timer = setInterval(() => {
      if (isRunning(identity)) return;
      clearInterval(timer);
      resolve('it is gone');
    }, watchPeriodMs);
    timer.unref();
  });
  return { identity, exited };
}

/** SIGTERM, and SIGKILL after the grace period; resolves when the process is gone. */
export async function endRedis(identity: ProcessIdentity, graceMs = termGraceMs): Promise<void> {
  let deadline = performance.now() + graceMs;
  let signal: NodeJS.Signals = 'SIGTERM';
  for (let sent = false; isRunning(identity); await sleep(endPollMs)) {
    if (performance.now() > deadline) {
      [signal, sent, deadline] = ['SIGKILL', false, Number.POSITIVE_INFINITY];
    }
    if (sent) continue;
    sent = true;
    signalQuietly(identity.pid, signal);
  }
}

function signalQuietly(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    // It went between the look and the signal.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Empties a log that has grown too large, and gives the size from which the next start writes. */
export function prepareLog(logPath: string): number {
  const size = statSync(logPath, { throwIfNoEntry: false })?.size ?? 0;
  if (size <= logLimitBytes) return size;
  truncateSync(logPath);
  return 0;
}

/** What was logged since `from`, at most its last few KiB. */
export function logSince(logPath: string, from: number): string {
  if (!existsSync(logPath)) return '';
  const log = openSync(logPath, 'r');
  try {
    const size = fstatSync(log).size;
    const start = Math.max(from, size - logTailBytes);
    const tail = Buffer.alloc(Math.max(0, size - start));
    return tail.toString('utf8', 0, readSync(log, tail, 0, tail.length, start)).trimEnd();
  } finally {
    closeSync(log);
  }
}
