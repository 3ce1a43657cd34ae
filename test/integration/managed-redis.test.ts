// What the managed Redis promises, against real processes: durability, ownership, adoption, restarts, repair, end.
import { spawn, type ChildProcess } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  appendFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { Redis } from 'ioredis';
import { pino, type Logger } from 'pino';
import { commandEnd } from '../../server/redis/append-only-repair.js';
import { startManagedRedis, type ManagedRedis, type ManagedRedisOptions } from '../../server/redis/managed-redis.js';
import { logLimitBytes } from '../../server/redis/redis-process.js';

const deadlineMs = 10_000;

describe('managed Redis', function () {
  this.timeout(40_000);
  let dataDir = '';
  const running: ManagedRedis[] = [];
  const strays: number[] = [];

  beforeEach(() => {
    dataDir = join(mkdtempSync(join(tmpdir(), 'attune-test-')), 'data');
  });

  afterEach(async () => {
    for (const redis of running.splice(0)) await redis.close();
    for (const pid of strays.splice(0)) killQuietly(pid);
    rmSync(dirname(dataDir), { recursive: true, force: true });
  });

  async function start(more: Partial<ManagedRedisOptions> = {}): Promise<ManagedRedis> {
    const redis = await startManagedRedis({ dataDir, logger: logTo([]), ...more });
    running.push(redis);
    return redis;
  }

  it('[M1] answers on a unix socket inside the data directory as soon as it resolves, and on no port', async () => {
    const redis = await start();
    expect(redis.socketPath).to.equal(join(dataDir, 'redis.sock'));
    const info = await ask(redis.socketPath, (client) => client.info('server'));
    expect(info)
      .to.contain(`run_id:${redis.runId}`)
      .and.to.match(/tcp_port:0\r/);
    expect(statSync(redis.socketPath).mode & 0o077).to.equal(0);
  });

  it('[M2] runs with a configuration in which an acknowledged write is on disk, and with the extra directives', async () => {
    const redis = await start({ extraConfig: { 'client-output-buffer-limit': 'pubsub 1mb 1mb 7', maxmemory: '64mb' } });
    const expected: Record<string, string> = {
      appendonly: 'yes',
      appendfsync: 'always',
      'no-appendfsync-on-rewrite': 'no',
      'maxmemory-policy': 'noeviction',
      save: '',
      port: '0',
      'enable-debug-command': 'no',
      maxmemory: String(64 * 1024 * 1024),
    };
    const actual = await ask(redis.socketPath, async (client) => {
      const found: Record<string, unknown> = {};
      for (const name of Object.keys(expected)) found[name] = await directive(client, name);
      return found;
    });
    expect(actual).to.deep.equal(expected);
    expect(await ask(redis.socketPath, (client) => directive(client, 'client-output-buffer-limit'))).to.match(
      /pubsub 1048576 1048576 7/,
    );
  });

  it('[M3] a second server on the same data directory is refused with the pid of the first, which goes on unharmed', async () => {
    const first = await start();
    const pid = await redisPid(first.socketPath);
    const error = await failure(start());
    expect(error.name).to.equal('DataDirOwnedError');
    expect(error.message).to.contain(String(process.pid)).and.to.contain(dataDir);
    expect(await redisPid(first.socketPath)).to.equal(pid);
    expect((await failure(start())).name).to.equal('DataDirOwnedError');
  });

  it('[M4] the Redis of a server that was killed is adopted with its data, and ends with the new owner', async () => {
    const former = await spawnOwner(dataDir, strays);
    const pid = await redisPid(former.socketPath);
    await ask(former.socketPath, (client) => client.set('kept', 'yes'));
    await kill(former.process);
    const lines: LogLine[] = [];
    const redis = await start({ logger: logTo(lines) });
    expect(redis.runId).to.equal(former.runId);
    expect(await redisPid(redis.socketPath)).to.equal(pid);
    expect(await ask(redis.socketPath, (client) => client.get('kept'))).to.equal('yes');
    expect(lines.some((line) => line.msg.includes('adopted'))).to.equal(true);
    await redis.close();
    expect(isAlive(pid)).to.equal(false);
  });

  it('[M4] an adopted Redis that dies is started again', async () => {
    const former = await spawnOwner(dataDir, strays);
    await kill(former.process);
    const redis = await start();
    const restarted = redis.runId;
    killQuietly(await redisPid(redis.socketPath));
    await until(() => redis.runId !== restarted, 'another run id');
    expect(await ask(redis.socketPath, (client) => client.ping())).to.equal('PONG');
  });

  it('[M5] of many servers that take over a stale data directory at once exactly one wins', async () => {
    const former = await spawnOwner(dataDir, strays);
    await kill(former.process);
    const outcomes = await Promise.allSettled(Array.from({ length: 8 }, () => start()));
    const refused = outcomes
      .filter((outcome) => outcome.status === 'rejected')
      .map(({ reason }) => (reason as Error).name);
    expect(refused).to.deep.equal(Array.from({ length: 7 }, () => 'DataDirOwnedError'));
    expect(running[0]?.runId).to.equal(former.runId);
    expect(readdirSync(dataDir).filter((name) => name.startsWith('owner'))).to.deep.equal(['owner.json']);
  });

  it('[M6] a foreign Redis in the data directory is never adopted and never ended', async () => {
    mkdirSync(dataDir);
    const socketPath = join(dataDir, 'redis.sock');
    const foreign = spawn('redis-server', ['--port', '0', '--unixsocket', socketPath, '--save', '', '--dir', dataDir], {
      stdio: 'ignore',
    });
    strays.push(foreign.pid ?? 0);
    await until(() => existsSync(socketPath), 'the socket of the foreign Redis');
    for (const attempt of [1, 2]) {
      const error = await failure(start());
      expect(error.message, `attempt ${attempt}`)
        .to.match(/foreign Redis/)
        .and.to.contain(String(foreign.pid));
    }
    expect(await redisPid(socketPath)).to.equal(foreign.pid);
  });

  it('[M6] a Redis whose run id is not the one in the owner file is foreign, and the owner file survives the refusal', async () => {
    const former = await spawnOwner(dataDir, strays);
    await kill(former.process);
    const ownerPath = join(dataDir, 'owner.json');
    const forged = readFileSync(ownerPath, 'utf8').replace(former.runId, 'f'.repeat(40));
    writeFileSync(ownerPath, forged);
    expect((await failure(start())).message).to.match(/foreign Redis/);
    expect(JSON.parse(readFileSync(ownerPath, 'utf8'))).to.deep.equal(JSON.parse(forged));
    writeFileSync(ownerPath, forged.replace('f'.repeat(40), former.runId));
    expect((await start()).runId).to.equal(former.runId);
  });

  it('[M7] a Redis that dies is started again with all it acknowledged, on the same socket and with a new run id', async () => {
    let restarts = 0;
    const redis = await start({ onRestart: () => (restarts += 1) });
    const { runId, socketPath } = redis;
    for (let round = 1; round <= 3; round++) {
      await ask(socketPath, (client) => client.rpush('rounds', String(round)));
      killQuietly(await redisPid(socketPath));
      await until(() => restarts === round, `restart ${round}`);
    }
    expect(redis.socketPath).to.equal(socketPath);
    expect(redis.runId).to.not.equal(runId);
    expect(await ask(socketPath, (client) => client.lrange('rounds', 0, -1))).to.deep.equal(['1', '2', '3']);
  });

  it('[M7] while nothing can be written down of it none is left in the way, and then it is started again', async () => {
    let restarts = 0;
    const lines: LogLine[] = [];
    const redis = await start({ onRestart: () => (restarts += 1), logger: logTo(lines) });
    await ask(redis.socketPath, (client) => client.set('kept', 'yes'));
    // As on a full disk: what is to stand there cannot be put there.
    const owner = join(dataDir, 'owner.json');
    rmSync(owner);
    mkdirSync(owner);
    killQuietly(await redisPid(redis.socketPath));
    const failed = () => lines.filter(({ msg }) => msg === 'Redis could not be started again').length;
    await until(() => failed() >= 2, 'two starts that failed');
    rmSync(owner, { recursive: true });
    await until(() => restarts === 1, 'the restart');
    expect(await ask(redis.socketPath, (client) => client.get('kept'))).to.equal('yes');
  });

  it('[M8] zeroes behind the last write are cut off, with a copy kept and one line that says how much', async () => {
    const file = await withWrites();
    const intact = statSync(file).size;
    appendFileSync(file, Buffer.alloc(3000));
    const lines: LogLine[] = [];
    const redis = await start({ logger: logTo(lines) });
    expect(await ask(redis.socketPath, (client) => client.dbsize())).to.equal(20);
    const cuts = lines.filter((line) => line.msg.startsWith('cut '));
    expect(cuts.map((line) => line.cutBytes)).to.deep.equal([3000]);
    const copy = join(String(cuts[0]?.copy), 'appendonly.aof.1.incr.aof');
    expect(statSync(copy).size).to.equal(intact + 3000);
    expect(dirname(dirname(copy))).to.equal(dataDir);
  });

  it('[M8] a script whose end is missing goes as a whole, and what came before stays', async () => {
    const file = await withWrites();
    const whole = statSync(file).size;
    const script = "redis.call('SET', 'a', '1') redis.call('SET', 'b', '2') return redis.call('SET', 'c', '3')";
    const redis = await start();
    await ask(redis.socketPath, (client) => client.eval(script, 0));
    await redis.close();
    truncateSync(file, statSync(file).size - 20);
    appendFileSync(file, Buffer.alloc(50));
    const again = await start();
    expect(await ask(again.socketPath, (client) => client.exists('a', 'b', 'c'))).to.equal(0);
    expect(await ask(again.socketPath, (client) => client.dbsize())).to.equal(20);
    expect(statSync(file).size).to.be.at.least(whole);
  });

  it('[M9] damage that whole commands follow is not cut: the start fails and says where, and the file stays as it was', async () => {
    const file = await withWrites();
    const bytes = readFileSync(file);
    bytes.write('XXXX', Math.floor(bytes.length / 2), 'latin1');
    writeFileSync(file, bytes);
    const error = await failure(start());
    expect(error.message)
      .to.match(/whole commands follow/)
      .and.to.contain(file);
    expect(readFileSync(file).equals(bytes)).to.equal(true);
    expect(readdirSync(dataDir).filter((name) => name.includes('before-repair'))).to.deep.equal([]);
  });

  it('[M9] a whole command is known by its length, so that no cut can go unseen', () => {
    const bytes = Buffer.from('*2\r\n$3\r\nGET\r\n$1\r\na\r\n*1\r\n$4\r\nPIN');
    expect(commandEnd(bytes, 0)).to.equal(20);
    expect(commandEnd(bytes, 20)).to.equal(null);
    expect(commandEnd(Buffer.from('*1\r\n$4\r\nPING\n\n'), 0)).to.equal(null);
  });

  it('[M10] close is idempotent, leaves no process and no owner file, and the directory can be started again', async () => {
    const redis = await start();
    const pid = await redisPid(redis.socketPath);
    await ask(redis.socketPath, (client) => client.set('kept', 'yes'));
    await Promise.all([redis.close(), redis.close()]);
    await redis.close();
    expect(isAlive(pid)).to.equal(false);
    expect(readdirSync(dataDir).sort()).to.deep.equal(['appendonlydir', 'redis.log']);
    expect(await ask((await start()).socketPath, (client) => client.get('kept'))).to.equal('yes');
  });

  it('[M10] close while a dead Redis waits to be started again leaves none behind', async () => {
    const redis = await start();
    killQuietly(await redisPid(redis.socketPath));
    await redis.close();
    expect(await failure(ask(redis.socketPath, (client) => client.ping()))).to.be.an('error');
    expect(existsSync(join(dataDir, 'owner.json'))).to.equal(false);
  });

  it('[M11] a data directory with a long path works: the socket is elsewhere, and goes with close', async () => {
    dataDir = join(dataDir, 'long'.repeat(40), 'deep'.repeat(20));
    const redis = await start();
    expect(redis.socketPath.length).to.be.at.most(103);
    expect(await ask(redis.socketPath, (client) => client.ping())).to.equal('PONG');
    expect(readFileSync(join(dataDir, 'owner.json'), 'utf8')).to.contain(redis.socketPath);
    await redis.close();
    expect(existsSync(dirname(redis.socketPath))).to.equal(false);
    dataDir = join(dataDir, '../..');
  });

  it('[M11] a log that has grown too large is emptied at the start', async () => {
    mkdirSync(dataDir);
    const log = join(dataDir, 'redis.log');
    writeFileSync(log, Buffer.alloc(logLimitBytes + 1, 'x'));
    await start();
    expect(statSync(log).size).to.be.within(1, 64 * 1024);
  });

  it('[M12] a start that fails says why, with the end of the log of Redis, and gives the directory up', async () => {
    const error = await failure(start({ extraConfig: { 'no-such-directive': '1' } }));
    expect(error.message).to.contain('no-such-directive').and.to.contain(dataDir);
    expect(existsSync(join(dataDir, 'owner.json'))).to.equal(false);
    const file = join(dirname(dataDir), 'a-file');
    writeFileSync(file, '');
    expect((await failure(start({ dataDir: file }))).message).to.match(/cannot be used \(DATA_DIR\)/);
  });

  /** The incremental file of a data directory that holds 20 keys and runs no more. */
  async function withWrites(): Promise<string> {
    const redis = await start();
    await ask(redis.socketPath, async (client) => {
      for (let index = 0; index < 20; index++) await client.set(`key-${index}`, `value-${index}`);
    });
    await redis.close();
    return join(dataDir, 'appendonlydir/appendonly.aof.1.incr.aof');
  }
});

interface LogLine {
  readonly msg: string;
  readonly [field: string]: unknown;
}

function logTo(lines: LogLine[]): Logger {
  return pino({}, { write: (line: string) => void lines.push(JSON.parse(line) as LogLine) });
}

/** One connection for one question. */
async function ask<T>(path: string, question: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis({ path, lazyConnect: true, retryStrategy: () => null, maxRetriesPerRequest: 0 });
  client.on('error', () => undefined);
  try {
    await client.connect();
    return await question(client);
  } finally {
    client.disconnect();
  }
}

async function directive(client: Redis, name: string): Promise<unknown> {
  const reply: unknown = await client.config('GET', name);
  return Array.isArray(reply) ? reply[1] : (reply as Record<string, unknown>)[name];
}

async function redisPid(path: string): Promise<number> {
  return Number(/process_id:(\d+)/.exec(await ask(path, (client) => client.info('server')))?.[1]);
}

/** A process of its own that holds the data directory. Its Redis is ended with the test, whatever happens. */
async function spawnOwner(dataDir: string, strays: number[]) {
  const ending = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  const script = fileURLToPath(new URL(`../support/managed-redis-owner.${ending}`, import.meta.url));
  const loader = ending === 'ts' ? ['--import', 'tsx'] : [];
  const child = spawn(process.execPath, [...loader, script, dataDir], { stdio: ['ignore', 'pipe', 'inherit'] });
  strays.push(child.pid ?? 0);
  let output = '';
  child.stdout.on('data', (data: Buffer) => (output += data.toString()));
  await until(() => output.includes('\n'), 'the line of the owner');
  const owner = JSON.parse(output) as { runId: string; socketPath: string };
  strays.push(await redisPid(owner.socketPath));
  return { ...owner, process: child };
}

async function kill(child: ChildProcess): Promise<void> {
  const exited = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await exited;
}

function killQuietly(pid: number): void {
  try {
    if (pid > 0) process.kill(pid, 'SIGKILL');
  } catch {
    // It is gone, which is what was wanted.
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

async function failure(promise: Promise<unknown>): Promise<Error> {
  const outcome = await promise.then(
    () => null,
    (error: unknown) => error as Error,
  );
  if (outcome === null) throw new Error('it was expected to fail, and did not');
  return outcome;
}

async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + deadlineMs;
  for (; !condition(); await sleep(10)) {
    if (performance.now() > deadline) throw new Error(`no ${what} within ${deadlineMs} ms`);
  }
}
