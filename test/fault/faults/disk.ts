// Faults of the disk below the managed Redis, and work that Redis has beside commits: D4, D5.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, realpathSync, rmSync, writeSync, openSync, closeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { endWithTests, exited } from '../../support/child.js';
import { counted, timed, type Beside, type Fault, type World } from '../../support/fault-run.js';
import type { Measures } from '../../support/fault-measures.js';
import { until } from '../../support/until.js';

/** The small disk: enough for a run without the ballast. */
const DISK_MIB = 48;
const BALLAST_CHUNK = Buffer.alloc(64 * 1024, 1);
/** A Redis whose disk fails ends within so long under load, milliseconds. */
const DEATH_DEADLINE_MS = 20_000;
/** From when the disk is well again, milliseconds. */
const SERVES_AGAIN_MS = 3000;

/** Codes that tell the truth about a Redis that is away: the first is certain, the second is not. */
const TYPED = new Set(['UNAVAILABLE', 'OUTCOME_UNKNOWN']);
function untyped({ codes }: Measures): Beside {
  const others = Object.entries(codes).filter(([code]) => !TYPED.has(code));
  const names = others.map(([code, count]) => `${code} × ${count}`).join(', ');
  const count = others.reduce((sum, [, one]) => sum + one, 0);
  return counted(`other errors${names && ` (${names})`}`, count);
}

let mounted: string | undefined;

function mountDisk(): string {
  const dir = mkdtempSync(join(realpathSync(tmpdir()), 'attune-disk-'));
  const { status, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_MIB}m`, 'tmpfs', dir]);
  if (status !== 0) {
    rmSync(dir, { recursive: true, force: true });
    throw new Error(`no tmpfs could be mounted: ${String(stderr).trim()}`);
  }
  mounted = dir;
  return dir;
}

function unmountDisk(): void {
  if (mounted === undefined) return;
  spawnSync('umount', ['-l', mounted]);
  rmSync(mounted, { recursive: true, force: true });
  mounted = undefined;
}

/** Writes a file until no byte more fits. */
function fillDisk(file: string): void {
  const opened = openSync(file, 'w');
  try {
    for (let chunk = BALLAST_CHUNK; chunk.length > 0;) {
      try {
        writeSync(opened, chunk);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
        chunk = chunk.subarray(0, Math.floor(chunk.length / 2));
      }
    }
  } finally {
    closeSync(opened);
  }
}

async function deathOf(world: World, pid: number): Promise<void> {
  await until(() => world.nodes[0]!.attune.redisPid() !== pid, {
    deadlineMs: DEATH_DEADLINE_MS,
    what: 'the end of a Redis whose disk fails',
  });
}

export const diskFull: Fault = {
  id: 'D4',
  title: 'the disk below the managed Redis is full for a time',
  cannot() {
    try {
      mountDisk();
      return undefined;
    } catch (error) {
      return (error as Error).message;
    } finally {
      unmountDisk();
    }
  },
  needs: () => ({ managed: true, dir: mountDisk() }),
  tidy: unmountDisk,
  async inject(world) {
    const ballast = join(mounted!, 'ballast');
    let deaths = 0;
    let slowestMs = 0;
    for (let round = 0; round < (world.size.isShort ? 1 : 4); round += 1) {
      await world.load(50);
      const pid = world.nodes[0]!.attune.redisPid()!;
      fillDisk(ballast);
      await deathOf(world, pid);
      deaths += 1;
      // Longer each time, for the pauses of whoever starts Redis again.
      await delay((round + 1) * (world.size.isShort ? 1000 : 3000));
      rmSync(ballast);
      const from = performance.now();
      await world.load(1);
      slowestMs = Math.max(slowestMs, performance.now() - from);
    }
    return {
      heal: () => Promise.resolve(),
      effect: () => deaths,
      counted: 'times Redis ended for want of room',
      beside: (measures) => [timed('serves again after ms', slowestMs, SERVES_AGAIN_MS), untyped(measures)],
    };
  },
};

const hasStrace = () => spawnSync('strace', ['-e', 'trace=none', 'true'], { stdio: 'ignore' }).status === 0;

export const syncFailing: Fault = {
  id: 'D4 fsync',
  title: 'fdatasync fails below the managed Redis',
  cannot: () => (hasStrace() ? undefined : 'strace is missing or may not trace'),
  needs: { managed: true },
  async inject(world) {
    let deaths = 0;
    let slowestMs = 0;
    for (let round = 0; round < (world.size.isShort ? 1 : 5); round += 1) {
      await world.load(50);
      const pid = world.nodes[0]!.attune.redisPid()!;
      const inject = ['-e', 'trace=fdatasync', '-e', 'inject=fdatasync:error=EIO'];
      const strace = spawn('strace', ['-f', '-qq', '-p', String(pid), ...inject], { stdio: 'ignore' });
      const forget = endWithTests(() => strace.kill('SIGKILL'));
      await deathOf(world, pid);
      deaths += 1;
      const from = performance.now();
      await exited(strace, DEATH_DEADLINE_MS);
      forget();
      await world.load(1);
      slowestMs = Math.max(slowestMs, performance.now() - from);
    }
    return {
      heal: () => Promise.resolve(),
      effect: () => deaths,
      counted: 'times Redis ended because it could not sync',
      beside: (measures) => [timed('serves again after ms', slowestMs, SERVES_AGAIN_MS), untyped(measures)],
    };
  },
};

/** How often the append-only file is rewritten, and how long memory is full, milliseconds. */
const REWRITE_EVERY_MS = 2000;
const FULL_FOR_MS = 1000;
/** Times that Redis is made to forget its scripts between two rewrites. */
const SCRIPT_FLUSHES = 5;

export const workBesides: Fault = {
  id: 'D5',
  title: 'the append-only file is rewritten every 2 s, scripts are forgotten, memory is full for a time',
  async inject(world) {
    const { direct, size } = world;
    const rounds = size.isShort ? 2 : 8;
    let refused = 0;
    const fullFrom: bigint[] = [];
    const fullTo: bigint[] = [];
    for (let round = 0; round < rounds; round += 1) {
      await direct.bgrewriteaof();
      for (let n = 0; n < SCRIPT_FLUSHES; n += 1) {
        await direct.script('FLUSH');
        await delay(REWRITE_EVERY_MS / SCRIPT_FLUSHES / (size.isShort ? 4 : 1));
      }
      fullFrom.push(process.hrtime.bigint());
      await direct.config('SET', 'maxmemory', '1mb');
      await delay(size.isShort ? FULL_FOR_MS / 2 : FULL_FOR_MS);
      await direct.config('SET', 'maxmemory', '0');
      fullTo.push(process.hrtime.bigint());
      await world.load(20);
    }
    const isIn = (at: bigint) => fullFrom.some((from, n) => at >= from && at <= fullTo[n]! + 100_000_000n);
    return {
      heal: () => Promise.resolve(),
      async effect() {
        const rewrites = Number(/aof_rewrites:(\d+)/.exec(await direct.info('persistence'))?.[1] ?? 0);
        refused = Number(/errorstat_OOM:count=(\d+)/.exec(await direct.info('errorstats'))?.[1] ?? 0);
        return Math.min(rewrites, refused);
      },
      counted: 'rewrites, or writes refused for want of memory',
      beside: ({ answers, faultAt }) => {
        const since = answers.filter(({ invokedAt, code }) => invokedAt > faultAt && code !== 'REVISION_CONFLICT');
        const errors = since.filter(({ end }) => end !== 'ok');
        return [
          counted('errors but UNAVAILABLE', errors.filter(({ code }) => code !== 'UNAVAILABLE').length),
          counted('errors while there is memory', errors.filter(({ endedAt }) => !isIn(endedAt)).length),
        ];
      },
    };
  },
};
