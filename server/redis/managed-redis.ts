// Owns the Redis that a server without REDIS_URL runs for itself: its start, durability, adoption, restarts and end.
// Never kills it when this process dies by accident: the next server adopts it.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { repairTornTail, RepairRefusedError, unreadableFileIn } from './append-only-repair.js';
import {
  countsProcessesHere,
  isRunning,
  takeDataDir,
  type OwnerFile,
  type OwnerRecord,
  type ProcessIdentity,
} from './data-dir-owner.js';
import {
  askRedis,
  checkPrograms,
  configureRedis,
  endRedis,
  logSince,
  prepareLog,
  spawnRedis,
  watchRedis,
  type RedisAnswer,
  type RedisProcess,
} from './redis-process.js';

export { DataDirOwnedError } from './data-dir-owner.js';

export interface ManagedRedis {
  readonly socketPath: string;
  /** Of the Redis that runs now: each restart has another. */
  readonly runId: string;
  /** Ends Redis and gives the data directory up. Idempotent; resolves when no process of ours is left. */
  close(): Promise<void>;
}

export interface ManagedRedisOptions {
  readonly dataDir: string;
  readonly logger: Logger;
  /** More directives of Redis's configuration; they win over ours. */
  readonly extraConfig?: Record<string, string>;
  /** Called each time a Redis that died serves again. */
  readonly onRestart?: () => void;
}

/** The address of a unix socket holds 104 bytes on macOS and 108 on Linux, the closing zero included. */
const socketPathLimitBytes = 103;
const shortSocketDirPrefix = 'attune-redis-';
const readyPollMs = 10;
/** From spawn to the first answer, which Redis gives before it loads its data. Loading itself may take as long as it takes. */
const answerDeadlineMs = 20_000;
const restartDelayMinMs = 100;
/** Short enough that it serves within 3 s of when its disk is well again. */
const restartDelayMaxMs = 2_000;
/** A Redis that lived this long starts the back-off anew. */
const healthyAfterMs = 10_000;
const oldestMajorVersion = 7;
const appendOnlyDir = 'appendonlydir';

/** What makes an acknowledgement mean "on disk", and nothing that a client could turn against us. */
const durableConfig: Readonly<Record<string, string>> = {
  appendonly: 'yes',
  appendfsync: 'always',
  'no-appendfsync-on-rewrite': 'no',
  'maxmemory-policy': 'noeviction',
  save: '',
};
const startConfig: Readonly<Record<string, string>> = {
  ...durableConfig,
  port: '0',
  unixsocketperm: '700',
  // Under load 64 MiB are a few seconds' worth: each rewrite costs a fork and the disk's time.
  'auto-aof-rewrite-min-size': '256mb',
  appenddirname: appendOnlyDir,
  // A torn end is ours to cut, with a copy and a line that says how much: Redis would cut without either.
  'aof-load-truncated': 'no',
  daemonize: 'no',
  'enable-debug-command': 'no',
  'enable-module-command': 'no',
  'enable-protected-configs': 'no',
};

/**
 * Starts the Redis of a data directory, or adopts the one that a killed server left behind, and keeps one running until `close()`.
 * Resolves when it answers and has loaded its data.
 * @throws DataDirOwnedError when another live server has the directory.
 * @throws Error when the directory cannot be used, no Redis is installed, a foreign one is in the way, or it does not start;
 *   the message ends with the last lines of Redis's log where there are any.
 */
export async function startManagedRedis(options: ManagedRedisOptions): Promise<ManagedRedis> {
  const dataDir = resolve(options.dataDir);
  const ownerPath = join(dataDir, 'owner.json');
  let taken: { owner: OwnerFile; former: OwnerRecord | null };
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    taken = await takeDataDir(ownerPath, dataDir, isServed);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    throw new Error(`the data directory ${dataDir} cannot be used (DATA_DIR): ${message}`, { cause: error });
  }
  const run = new RedisRun(options, dataDir, taken.owner);
  try {
    await run.begin(taken.former);
    return run;
  } catch (error) {
    await run.close();
    throw error;
  }
}

async function isServed(record: OwnerRecord): Promise<boolean> {
  if (record.socketPath === null || record.redis === null) return false;
  return (await askRedis(record.socketPath))?.runId === record.redis.runId;
}

class RedisRun implements ManagedRedis {
  readonly #options: ManagedRedisOptions;
  readonly #dataDir: string;
  readonly #logPath: string;
  readonly #owner: OwnerFile;
  #socketPath = '';
  #runId = '';
  #process: RedisProcess | null = null;
  #closed: Promise<void> | null = null;
  readonly #stopping = new AbortController();
  #supervision: Promise<void> = Promise.resolve();

  constructor(options: ManagedRedisOptions, dataDir: string, owner: OwnerFile) {
    this.#options = options;
    this.#dataDir = dataDir;
    this.#logPath = join(dataDir, 'redis.log');
    this.#owner = owner;
  }

  get socketPath(): string {
    return this.#socketPath;
  }

  get runId(): string {
    return this.#runId;
  }

  async begin(former: OwnerRecord | null): Promise<void> {
    if (former === null || !(await this.#adoptOrRestore(former))) {
      this.#socketPath = this.#chooseSocketPath();
      await this.#refuseForeign(this.#socketPath);
      this.#owner.update({ socketPath: this.#socketPath, redis: null });
      await this.#launch();
    }
    this.#supervision = this.#supervise();
  }

  close(): Promise<void> {
    this.#closed ??= this.#end();
    return this.#closed;
  }

  async #end(): Promise<void> {
    this.#stopping.abort();
    // A start that is under way sees the abort, but may have spawned already: end that one, then wait, then look again.
    if (this.#process !== null) await endRedis(this.#process.identity);
    await this.#supervision;
    if (this.#process !== null) await endRedis(this.#process.identity);
    removeShortSocketDir(this.#socketPath);
    this.#owner.release();
  }

  async #adoptOrRestore(former: OwnerRecord): Promise<boolean> {
    try {
      return await this.#adopt(former);
    } catch (error) {
      this.#owner.restore(former);
      throw error;
    }
  }

  /** Takes over what a killed server left: its Redis when it is the very one that it wrote down. False where there is none. */
  async #adopt(former: OwnerRecord): Promise<boolean> {
    const { redis, socketPath } = former;
    if (socketPath === null) return false;
    const alive = redis !== null && countsProcessesHere(former) && isRunning(redis);
    const answer = await askRedis(socketPath);
    if (alive && answer !== null && redis.runId === answer.runId) {
      await this.#adoptRunning(redis, socketPath);
      this.#options.logger.warn(
        { redisPid: redis.pid, formerPid: former.server.pid },
        'adopted the Redis of a server that was killed',
      );
      return true;
    }
    const unfinished =
      alive && redis.startTime !== null && (answer === null || (redis.runId === null && answer.pid === redis.pid));
    if (answer !== null && !unfinished) throw this.#foreign(answer, socketPath);
    // Its owner died before it was up, or its socket is gone. Number and start time prove whose it is; a start of our own is the sure way on.
    if (unfinished) await endRedis(redis);
    removeShortSocketDir(socketPath);
    return false;
  }

  async #adoptRunning(identity: ProcessIdentity & { runId: string | null }, socketPath: string): Promise<void> {
    this.#socketPath = socketPath;
    const redis = watchRedis(identity);
    await this.#waitUntilReady(redis, prepareLog(this.#logPath));
    const refused = await configureRedis(socketPath, { ...durableConfig, ...this.#options.extraConfig });
    if (refused.length > 0)
      this.#options.logger.warn({ refused }, 'the adopted Redis keeps some of its former configuration');
    this.#process = redis;
    this.#owner.update({ socketPath, redis: identity });
  }

  async #refuseForeign(socketPath: string): Promise<void> {
    const answer = await askRedis(socketPath);
    if (answer !== null) throw this.#foreign(answer, socketPath);
  }

  #foreign(answer: RedisAnswer, socketPath: string): Error {
    return new Error(
      `a foreign Redis (pid ${answer.pid}, run id ${answer.runId}) listens on ${socketPath} in the data directory ${this.#dataDir}: ` +
        'it was not started by an Attune server, so it is not adopted. Stop it, or use another DATA_DIR',
    );
  }

  #chooseSocketPath(): string {
    const inside = join(this.#dataDir, 'redis.sock');
    if (Buffer.byteLength(inside) <= socketPathLimitBytes) return inside;
    const short = join(mkdtempSync(join(tmpdir(), shortSocketDirPrefix)), 'redis.sock');
    if (Buffer.byteLength(short) <= socketPathLimitBytes) return short;
    removeShortSocketDir(short);
    throw new Error(
      `no path for a unix socket is short enough: neither ${inside} nor one in ${tmpdir()}. Use a shorter DATA_DIR`,
    );
  }

  /** Starts Redis; where the end of its append-only file is torn, repairs that once and starts it again. */
  async #launch(): Promise<void> {
    try {
      await this.#start();
    } catch (error) {
      const unreadable = error instanceof RedisStartError ? unreadableFileIn(error.log) : null;
      if (unreadable === null || this.#stopping.signal.aborted) throw error;
      await this.#repair(unreadable, error as Error);
      await this.#start();
    }
  }

  async #repair(unreadable: string, startError: Error): Promise<void> {
    try {
      const repair = await repairTornTail(join(this.#dataDir, appendOnlyDir), unreadable, checkPrograms);
      this.#options.logger.warn(
        repair,
        `cut ${repair.cutBytes} bytes of a torn write off ${repair.file}; the files as they were are in ${repair.copy}`,
      );
    } catch (error) {
      if (!(error instanceof RepairRefusedError)) throw error;
      throw new Error(`${error.message}\n${startError.message}`, { cause: error });
    }
  }

  async #start(): Promise<void> {
    mkdirSync(dirname(this.#socketPath), { recursive: true, mode: 0o700 });
    const logStart = prepareLog(this.#logPath);
    const redis = await spawnRedis(this.#arguments(), this.#dataDir, this.#logPath);
    this.#process = redis;
    try {
      // On a full disk this throws: a Redis that nobody would look after must not be left in the way of the next.
      this.#owner.update({ redis: { ...redis.identity, runId: null } });
      const answer = await this.#waitUntilReady(redis, logStart);
      this.#owner.update({ redis: { ...redis.identity, runId: answer.runId } });
    } catch (error) {
      await endRedis(redis.identity);
      this.#process = null;
      throw error;
    }
  }

  #arguments(): string[] {
    const args = ['--dir', this.#dataDir, '--unixsocket', this.#socketPath];
    for (const [name, value] of Object.entries({ ...startConfig, ...this.#options.extraConfig })) {
      // Directives of several values are several arguments; an empty value is one.
      args.push(`--${name}`, ...(value === '' ? [''] : value.split(/\s+/)));
    }
    return args;
  }

  async #waitUntilReady(redis: RedisProcess, logStart: number): Promise<RedisAnswer> {
    let gone: string | null = null;
    void redis.exited.then((reason) => (gone = reason));
    const deadline = performance.now() + answerDeadlineMs;
    for (let answered = false; ; await sleep(readyPollMs)) {
      if (gone !== null) throw this.#startError(gone, logStart);
      if (this.#stopping.signal.aborted) throw new Error('Redis is being closed');
      const answer = await askRedis(this.#socketPath).catch(() => null);
      if (answer?.ready === true) return this.#accept(answer, redis);
      answered ||= answer !== null;
      if (!answered && performance.now() > deadline)
        throw this.#startError(`it gave no answer in ${answerDeadlineMs} ms`, logStart);
    }
  }

  #accept(answer: RedisAnswer, redis: RedisProcess): RedisAnswer {
    if (answer.pid !== redis.identity.pid) throw this.#foreign(answer, this.#socketPath);
    if (Number.parseInt(answer.version, 10) < oldestMajorVersion) {
      throw new Error(
        `Redis or Valkey ${oldestMajorVersion}.0 or newer is needed, the installed one is ${answer.version}`,
      );
    }
    this.#runId = answer.runId;
    return answer;
  }

  #startError(reason: string, logStart: number): RedisStartError {
    const log = logSince(this.#logPath, logStart);
    return new RedisStartError(
      `Redis (${oldestMajorVersion}.0 or newer is needed) did not start in ${this.#dataDir}: ${reason}. The end of its log, ${this.#logPath}:\n${log}`,
      log,
    );
  }

  /** Waits for each death and starts Redis again, later each time, until `close()`. */
  async #supervise(): Promise<void> {
    const { signal } = this.#stopping;
    const aborted = new Promise<null>((resolve) =>
      signal.addEventListener('abort', () => resolve(null), { once: true }),
    );
    let delayMs = restartDelayMinMs;
    while (this.#process !== null && !signal.aborted) {
      const { identity, exited } = this.#process;
      const upSince = performance.now();
      const reason = await Promise.race([exited, aborted]);
      if (reason === null) return;
      this.#process = null;
      if (performance.now() - upSince >= healthyAfterMs) delayMs = restartDelayMinMs;
      const log = { redisPid: identity.pid, redisLog: logSince(this.#logPath, 0) };
      this.#options.logger.error(log, `Redis died: ${reason}`);
      for (let serving = false; !serving && !signal.aborted; delayMs = Math.min(delayMs * 2, restartDelayMaxMs)) {
        await sleep(delayMs, undefined, { signal }).catch(() => undefined);
        serving = await this.#restart();
      }
    }
  }

  async #restart(): Promise<boolean> {
    const { logger, onRestart } = this.#options;
    const { signal } = this.#stopping;
    if (signal.aborted) return false;
    try {
      await this.#launch();
    } catch (error) {
      if (!signal.aborted) logger.error({ err: error }, 'Redis could not be started again');
      return false;
    }
    logger.warn({ redisPid: this.#process?.identity.pid, runId: this.#runId }, 'Redis runs again');
    try {
      onRestart?.();
    } catch (error) {
      logger.error({ err: error }, 'what was to happen after a restart of Redis failed');
    }
    return true;
  }
}

class RedisStartError extends Error {
  override readonly name = 'RedisStartError';
  readonly log: string;

  constructor(message: string, log: string) {
    super(message);
    this.log = log;
  }
}

/** Removes the directory that was made for a socket alone, and never any other. */
function removeShortSocketDir(socketPath: string): void {
  const dir = dirname(socketPath);
  if (basename(dir).startsWith(shortSocketDirPrefix) && resolve(dirname(dir)) === resolve(tmpdir())) {
    rmSync(dir, { recursive: true, force: true });
  }
}
