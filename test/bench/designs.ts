// The servers that are measured side by side: how each is started, and that nothing of it stays behind.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { projectRoot, siblingModule } from './siblings.js';

const startTimeoutMs = 30_000;
/** A server may take 5 s to drain and 11 s to end its Redis. */
const stopTimeoutMs = 20_000;
const stderrKeptChars = 4_000;

export interface Design {
  name: string;
  /** What the table's reader should know about it. */
  about: string;
  /** Arguments of node. */
  command: string[];
}

export const designs: Design[] = [
  {
    name: 'ours',
    about: 'this server as `npm start` runs it, with its managed Redis',
    command: ['--enable-source-maps', '--max-semi-space-size=64', join(projectRoot, 'dist/server/main.js')],
  },
  {
    name: 'literal',
    about: 'for each update: lock (redlock, its defaults), GET, change, SET, unlock, emit; same Redis settings',
    command: [...process.execArgv, siblingModule('literal')],
  },
];

export interface RunningServer {
  url: string;
  /** Ends the server and its Redis and removes its data. Idempotent. */
  stop(): Promise<void>;
}

/**
 * Starts the server of a design on a free port and waits for its ready line. Its data is in a directory of its own
 * below `dataBase`.
 */
export async function startServer(design: Design, dataBase: string): Promise<RunningServer> {
  const directory = mkdtempSync(join(dataBase, `bench-${design.name}-`));
  const child = spawn(process.execPath, design.command, {
    cwd: projectRoot,
    env: serverEnvironment(directory),
    stdio: ['ignore', 'pipe', 'pipe'],
    // A process group of its own: Ctrl-C is for main, which then stops the server in order.
    detached: true,
  });
  const exited = once(child, 'exit');
  let stopped: Promise<void> | undefined;
  const stop = (): Promise<void> => (stopped ??= tearDown(child, exited, directory));
  try {
    return { url: await readyUrl(child, design.name), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The caller's environment without what would configure a server, so that every run measures the defaults. */
function serverEnvironment(directory: string): NodeJS.ProcessEnv {
  const { PATH, HOME, LANG } = process.env;
  return { PATH, HOME, LANG, NODE_ENV: 'production', PORT: '0', DATA_DIR: directory, LOG_LEVEL: 'warn' };
}

function readyUrl(child: ChildProcess, name: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let stdout = '';
    let stderr = '';
    const fail = (reason: string): void => {
      clearTimeout(timer);
      reject(new Error(`${name} ${reason}\n${stderr}`.trim()));
    };
    const timer = setTimeout(() => fail(`was not ready within ${startTimeoutMs} ms`), startTimeoutMs);
    child.once('error', (error) => fail(`could not be started: ${error.message}`));
    child.once('exit', (code, signal) => fail(`ended at start (${signal ?? `status ${code}`})`));
    child.stderr?.on('data', (chunk: Buffer) => {
      stderr = (stderr + chunk.toString()).slice(-stderrKeptChars);
    });
    child.stdout?.on('data', (chunk: Buffer) => {
      stdout = (stdout + chunk.toString()).slice(-stderrKeptChars);
      const url = /ready (?:at )?(http:\/\/\S+)\n/.exec(stdout)?.[1];
      if (url === undefined) return;
      clearTimeout(timer);
      resolve(url);
    });
  });
}

async function tearDown(child: ChildProcess, exited: Promise<unknown>, directory: string): Promise<void> {
  if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) {
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), stopTimeoutMs);
    await exited.catch(() => undefined);
    clearTimeout(timer);
  }
  await shutDownStrayRedis(directory);
  rmSync(directory, { recursive: true, force: true });
}

/** A server that had to be killed leaves its Redis behind, on a unix socket in its data directory. */
async function shutDownStrayRedis(directory: string): Promise<void> {
  const names = readdirSync(directory, { recursive: true }).map(String);
  for (const path of names.map((name) => join(directory, name))) {
    if (!statSync(path, { throwIfNoEntry: false })?.isSocket()) continue;
    const redis = new Redis({ path, lazyConnect: true, retryStrategy: null, maxRetriesPerRequest: 0 });
    redis.on('error', () => undefined);
    // The reply to a shutdown that worked is the end of the connection.
    await redis.shutdown('NOSAVE').catch(() => undefined);
    redis.disconnect();
  }
}
