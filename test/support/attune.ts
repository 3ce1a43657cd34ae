// Starts the compiled server as a process of its own, for black-box tests. It never imports server code.
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, readlinkSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { endWithTests, exited, isRunning, killPid } from './child.js';
import { sharedRedis } from './data-redis.js';

const READY_DEADLINE_MS = 15_000;
const EXIT_DEADLINE_MS = 15_000;
const READY_LINE = /^attune ready at (https?:\/\/\S+?:(\d+))\/?$/m;
/** What of the tester's own environment a server sees: nothing that could configure it. */
const INHERITED = ['PATH', 'HOME', 'TMPDIR', 'LANG', 'NODE_V8_COVERAGE'];

/** The project's folder: the nearest one above this file, compiled or not, with a package.json. */
export const projectDir = findProject(dirname(fileURLToPath(import.meta.url)));
const serverMain = join(projectDir, 'dist/server/main.js');

export interface AttuneOptions {
  /** Added to, or with undefined taken from, the defaults PORT=0, HOST=127.0.0.1, DATA_DIR, LOG_LEVEL=warn. */
  env?: Record<string, string | undefined>;
  /** Default: a new temporary directory, which destroy() removes. */
  dataDir?: string;
  redisUrl?: string;
  /** Working directory, default the data directory. */
  cwd?: string;
  /** Another build's main.js, default the project's own. */
  main?: string;
}

export interface Attune {
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  readonly process: ChildProcess;
  readonly dataDir: string;
  stdout: () => string;
  stderr: () => string;
  /** SIGTERM (or the given signal), then waits; the exit status. */
  stop(signal?: NodeJS.Signals): Promise<number | null>;
  /** SIGKILL to the server alone: its managed Redis stays, and the next server on this data directory adopts it. */
  kill(): Promise<void>;
  /** Process id of the managed Redis, undefined when none runs. */
  redisPid(): number | undefined;
  /** SIGKILL to the managed Redis. */
  killRedis(): Promise<void>;
  /** Ends whatever still runs and removes a temporary data directory. Idempotent. */
  destroy(): Promise<void>;
}

export interface Ended {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** Starts a server and resolves when it is ready. The error of a start that failed holds stderr and the command. */
export async function startAttune(options: AttuneOptions = {}): Promise<Attune> {
  const spawned = spawnServer(options);
  try {
    const [, url, port] = await readyLine(spawned);
    return attuneOf(spawned, url.replace('//0.0.0.0:', '//127.0.0.1:'), Number(port));
  } catch (error) {
    await endAll(spawned);
    throw error;
  }
}

/** Starts a server that is expected to end by itself (a refused configuration) and resolves with how it ended. */
export async function runAttune(options: AttuneOptions = {}): Promise<Ended> {
  const spawned = spawnServer(options);
  try {
    const status = await exited(spawned.child, READY_DEADLINE_MS).catch((cause: unknown) => {
      throw new Error(`the server was to end by itself and runs on\n${spawned.report()}`, { cause });
    });
    return { status, stdout: spawned.stdout(), stderr: spawned.stderr() };
  } finally {
    await endAll(spawned);
  }
}

interface Spawned {
  child: ChildProcess;
  dataDir: string;
  ownsDataDir: boolean;
  stdout: () => string;
  stderr: () => string;
  report: () => string;
  /** True from the moment a test ends it: an end before that is printed with the server's stderr. */
  isEnding: boolean;
  forget: () => void;
}

function spawnServer(options: AttuneOptions): Spawned {
  const { main = serverMain } = options;
  if (!existsSync(main)) throw new Error(`${main} is missing: run \`npm run build\``);
  const ownsDataDir = options.dataDir === undefined;
  const dataDir = options.dataDir ?? mkdtempSync(join(realpathSync(tmpdir()), 'attune-test-'));
  const settings = {
    PORT: '0',
    HOST: '127.0.0.1',
    DATA_DIR: dataDir,
    LOG_LEVEL: 'warn',
    ...(options.redisUrl === undefined && ownsDataDir ? sharedRedis() : { REDIS_URL: options.redisUrl }),
    ...options.env,
  };
  const env = Object.fromEntries(
    [...INHERITED.map((name) => [name, process.env[name]]), ...Object.entries(settings)].filter(
      (pair): pair is [string, string] => pair[1] !== undefined,
    ),
  );
  const child = spawn(process.execPath, ['--enable-source-maps', main], {
    env,
    cwd: options.cwd ?? dataDir,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const out = collect(child.stdout);
  const err = collect(child.stderr);
  const assignments = Object.entries(settings).flatMap(([name, value]) =>
    value === undefined ? [] : `${name}='${value}'`,
  );
  const command = `${assignments.join(' ')} node --enable-source-maps ${main}`;
  const forget = endWithTests(() => {
    if (isRunning(child)) child.kill('SIGKILL');
    for (const pid of managedRedisPids(dataDir)) process.kill(pid, 'SIGKILL');
  });
  const report = () => `stdout:\n${out()}\nstderr:\n${err()}\nby hand: ${command}`;
  return { child, dataDir, ownsDataDir, stdout: out, stderr: err, report, isEnding: false, forget };
}

function collect(stream: NodeJS.ReadableStream): () => string {
  let text = '';
  stream.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  return () => text;
}

function readyLine(spawned: Spawned): Promise<[string, string, string]> {
  const { child } = spawned;
  return new Promise((resolve, reject) => {
    const fail = (why: string) => done(() => reject(new Error(`the server ${why}\n${spawned.report()}`)));
    const timer = setTimeout(() => fail(`was not ready within ${READY_DEADLINE_MS} ms`), READY_DEADLINE_MS);
    const look = () => {
      const match = READY_LINE.exec(spawned.stdout());
      if (match) done(() => resolve(match as unknown as [string, string, string]));
    };
    const ended = (status: number | null) => fail(`ended with status ${status} before it was ready`);
    const done = (settle: () => void) => {
      clearTimeout(timer);
      child.stdout?.off('data', look);
      child.off('close', ended);
      settle();
    };
    child.stdout?.on('data', look);
    child.once('close', ended);
    child.once('error', (error) => fail(`could not be spawned: ${error.message}`));
  });
}

function attuneOf(spawned: Spawned, url: string, port: number): Attune {
  const { child, dataDir } = spawned;
  child.once('exit', (status, signal) => {
    if (!spawned.isEnding) console.error(`the server ended by itself (${status ?? signal})\n${spawned.report()}`);
  });
  return {
    url,
    port,
    pid: child.pid as number,
    process: child,
    dataDir,
    stdout: spawned.stdout,
    stderr: spawned.stderr,
    async stop(signal = 'SIGTERM') {
      spawned.isEnding = true;
      if (isRunning(child)) child.kill(signal);
      return exited(child, EXIT_DEADLINE_MS);
    },
    async kill() {
      spawned.isEnding = true;
      if (isRunning(child)) child.kill('SIGKILL');
      await exited(child, EXIT_DEADLINE_MS);
    },
    redisPid: () => managedRedisPids(dataDir)[0],
    killRedis: () => killManagedRedis(dataDir),
    destroy: () => endAll(spawned),
  };
}

async function endAll(spawned: Spawned): Promise<void> {
  spawned.isEnding = true;
  const { child, dataDir } = spawned;
  if (isRunning(child)) {
    child.kill('SIGTERM');
    await exited(child, EXIT_DEADLINE_MS).catch(() => {
      child.kill('SIGKILL');
      return exited(child, EXIT_DEADLINE_MS);
    });
  }
  if (spawned.ownsDataDir) {
    await killManagedRedis(dataDir);
    rmSync(dataDir, { recursive: true, force: true });
  }
  spawned.forget();
}

async function killManagedRedis(dataDir: string): Promise<void> {
  for (const pid of managedRedisPids(dataDir)) {
    await killPid(pid, () => !managedRedisPids(dataDir).includes(pid));
  }
}

/** The Redis (or Valkey) processes that work in this data directory: found through /proc, else by redis.pid. */
function managedRedisPids(dataDir: string): number[] {
  if (!existsSync('/proc/self/cwd')) return pidFromFile(join(dataDir, 'redis.pid'));
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && worksIn(name, dataDir))
    .map(Number);
}

function worksIn(pid: string, dataDir: string): boolean {
  try {
    if (!/^(redis|valkey)-/.test(readFileSync(`/proc/${pid}/comm`, 'utf8'))) return false;
    const cwd = readlinkSync(`/proc/${pid}/cwd`);
    if (cwd === dataDir || cwd.startsWith(`${dataDir}/`)) return true;
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(`${dataDir}/`);
  } catch {
    return false; // it ended while we looked, or it is not ours to read
  }
}

function pidFromFile(file: string): number[] {
  try {
    const pid = Number(readFileSync(file, 'utf8').trim());
    process.kill(pid, 0);
    return [pid];
  } catch {
    return [];
  }
}

function findProject(from: string): string {
  if (existsSync(join(from, 'package.json'))) return from;
  const parent = dirname(from);
  if (parent === from) throw new Error('no package.json above the tests');
  return findProject(parent);
}
