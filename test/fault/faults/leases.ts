// Faults of leases and lock servers: L1 to L4.
import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { LEASE_TTL_MS } from '../../../server/redis/lease.js';
import { scriptSource } from '../../../server/redis/scripts.js';
import { counted, timed, type Fault, type NodeSlot, type World } from '../../support/fault-run.js';
import type { Measures } from '../../support/fault-measures.js';
import { resume } from '../../support/fault-world.js';
import { pick } from '../../support/history-model.js';
import { keysOf } from '../../support/session-log.js';
import { until } from '../../support/until.js';

const NS_PER_MS = 1_000_000;
const COMMIT_SHA = createHash('sha1').update(scriptSource('commit')).digest('hex');
/** What the commit script answers where it wrote nothing. */
const REFUSALS = ['STALE', 'FENCED', 'DUPLICATE'].map((tag) => `$${tag.length}\r\n${tag}\r\n`);
/** How long a commit of the hot session may take to come by, milliseconds. */
const COMMIT_DEADLINE_MS = 10_000;
/** From the end of a lease others write on within so long, milliseconds. */
const TAKE_OVER_MS = 500;

/**
 * Delays the next commit of the hot session that a node sends, and all behind it on that connection; `sent` is called in the
 * turn in which it was sent. Resolves when it has gone on, with how many late commits were refused since.
 */
async function delayCommit(world: World, { data }: NodeSlot, delayMs: number, sent: () => void): Promise<() => number> {
  const { doc } = keysOf(world.sessionIds[0]!);
  let dueAt = 0;
  let refused = 0;
  data.frames(
    'attune-data',
    (frame) => {
      if (dueAt > 0 || !frame.includes(COMMIT_SHA) || !frame.includes(doc)) return [frame];
      dueAt = performance.now() + delayMs;
      sent();
      return { delayMs };
    },
    'toRedis',
  );
  await until(() => dueAt > 0, { deadlineMs: COMMIT_DEADLINE_MS, what: 'a commit of the hot session' });
  data.frames('attune-data', undefined, 'toRedis');
  data.frames('attune-data', (frame) => {
    if (performance.now() >= dueAt && REFUSALS.some((tag) => frame.includes(tag))) refused += 1;
    return [frame];
  });
  await delay(dueAt - performance.now());
  return () => refused;
}

/** From a moment to the first `ok` of a write of the hot session at another node, milliseconds. */
function othersWriteOn({ answers }: Measures, world: World, from: bigint, apart: string): number {
  const first = answers.find(
    ({ end, updateId, sessionId, node, invokedAt }) =>
      end === 'ok' && updateId !== undefined && sessionId === world.sessionIds[0] && node !== apart && invokedAt > from,
  );
  return first ? Number(first.endedAt - from) / NS_PER_MS : Infinity;
}

export const sleeper: Fault = {
  id: 'L1',
  title: 'SIGSTOP of a node that holds a lease, for 3 times its life, with a commit under way',
  needs: { proxies: ['data'] },
  async inject(world) {
    const node = pick(world.random, world.nodes)!;
    const { pid, url } = node.attune;
    let from = 0n;
    const refused = await delayCommit(world, node, world.size.isShort ? 1500 : 3 * LEASE_TTL_MS, () => {
      process.kill(pid, 'SIGSTOP');
      node.takesClients = false;
      from = process.hrtime.bigint();
    });
    resume(pid);
    return {
      heal: () => Promise.resolve(void (node.takesClients = true)),
      effect: refused,
      counted: 'late commits refused',
      beside: (measures) => {
        const took = othersWriteOn(measures, world, from, url);
        return [timed('others write on after ms', took, LEASE_TTL_MS + TAKE_OVER_MS)];
      },
    };
  },
};

export const commitLate: Fault = {
  id: 'L2',
  title: 'a commit is delayed for 3 times the life of a lease, and others come between',
  needs: { proxies: ['data'] },
  async inject(world) {
    const node = pick(world.random, world.nodes)!;
    let from = 0n;
    const refused = await delayCommit(world, node, world.size.isShort ? 2000 : 3 * LEASE_TTL_MS, () => {
      from = process.hrtime.bigint();
    });
    return {
      heal: () => Promise.resolve(),
      effect: refused,
      counted: 'late commits refused',
      beside: (measures) => {
        const took = othersWriteOn(measures, world, from, node.attune.url);
        return [timed('others write on after ms', took, LEASE_TTL_MS + TAKE_OVER_MS)];
      },
    };
  },
};

/** A step of the clock of a lock server: every expiry that it keeps, which is a time of the day, is nearer or farther. */
async function stepClock(url: string, byMs: number): Promise<number> {
  const redis = new Redis(url);
  try {
    const keys = await redis.keys('*');
    for (const key of keys) {
      const leftMs = await redis.pttl(key);
      if (leftMs > 0) await redis.pexpire(key, Math.max(1, leftMs - byMs));
    }
    return keys.length;
  } finally {
    redis.disconnect();
  }
}

/** Of the lock servers, a majority and a minority. */
const MAJORITY = 3;
const MINORITY = 2;
/** A lock connection loses one answer in so many. */
const REPLY_LOST = 0.2;
const CLOCK_STEP_MS = 60_000;

/** What happens to the lock servers, one after the other; each is healed before the next. */
const lockTroubles: readonly ((world: World) => Promise<() => unknown>)[] = [
  // Killed and started again, empty.
  async (world) => {
    const { locks, size } = world;
    for (const lock of locks.slice(0, MAJORITY)) {
      await lock.kill();
      await world.load(size.isShort ? 20 : 60);
      await lock.restart();
    }
    return () => undefined;
  },
  // A minority behind a black hole.
  ({ nodes }) => {
    const holds = nodes.flatMap(({ locks }) =>
      locks.slice(0, MINORITY).map((lock) => lock.hold('attune-lock', 'toRedis')),
    );
    return Promise.resolve(() => holds.forEach((hold) => hold.release()));
  },
  // A majority hangs.
  ({ locks }) => {
    const pids = locks.slice(-MAJORITY).map(({ pid }) => pid);
    for (const pid of pids) process.kill(pid, 'SIGSTOP');
    return Promise.resolve(() => pids.forEach(resume));
  },
  // Answers lost.
  ({ nodes, random }) => {
    const all = nodes.flatMap(({ locks }) => locks);
    for (const lock of all) lock.frames('attune-lock', (frame) => (random() < REPLY_LOST ? 'cut' : [frame]));
    return Promise.resolve(() => all.forEach((lock) => lock.frames('attune-lock', undefined)));
  },
  // Clocks stepped, forth and back.
  async (world) => {
    const { locks, size } = world;
    for (const [n, { url }] of locks.slice(0, MAJORITY).entries()) {
      await stepClock(url, n % 2 === 0 ? CLOCK_STEP_MS : -CLOCK_STEP_MS);
      await world.load(size.isShort ? 20 : 60);
    }
    return () => undefined;
  },
];

export const locksTrouble: Fault = {
  id: 'L3',
  title: 'lock servers restarted empty, cut off, hung, their answers lost, their clocks stepped',
  needs: { proxies: ['locks'] },
  async inject(world) {
    let hungFrom = 0n;
    let hungTo = 0n;
    for (const [n, trouble] of lockTroubles.entries()) {
      const from = process.hrtime.bigint();
      const heal = await trouble(world);
      await world.load(world.size.isShort ? 60 : 300);
      await heal();
      if (n === 2) [hungFrom, hungTo] = [from, process.hrtime.bigint()];
    }
    return {
      heal: () => Promise.resolve(),
      effect: () => world.metric('attune_lease_bypasses_total', 'reason="lost"'),
      counted: 'batches went on without locks',
      beside: ({ writesSinceFault, errorShare, longestMs, pending, answers }) => {
        const hung = writesSinceFault.filter(({ invokedAt }) => invokedAt > hungFrom && invokedAt < hungTo);
        const slowest = Math.max(...hung.map(({ tookMs }) => tookMs));
        return [
          timed('slowest write while locks hang ms', slowest, 300),
          counted('errors %', 100 * errorShare, 1),
          counted('not answered', pending + answers.filter(({ code }) => code.includes('timed out')).length),
          timed('longest ms', longestMs, 5000),
        ];
      },
    };
  },
};

/** Words of a release: EVALSHA, the script, 1, the lock and its value; taking a lock has its life, too. */
const RELEASE = '*5\r\n';
/** Later than a lock server may answer, milliseconds. */
const RELEASE_LATE_MS = 250;

export const releasesLost: Fault = {
  id: 'L4',
  title: 'releases of locks fail, or come late',
  needs: { proxies: ['locks'] },
  async inject(world) {
    let troubled = 0;
    const all = world.nodes.flatMap(({ locks }) => locks);
    for (const lock of all) {
      const fate = (frame: Buffer) => {
        if (!frame.subarray(0, RELEASE.length).equals(Buffer.from(RELEASE))) return [frame];
        troubled += 1;
        return world.random() < 0.5 ? 'cut' : { delayMs: RELEASE_LATE_MS };
      };
      lock.frames('attune-lock', fate, 'toRedis');
    }
    await world.load(world.size.isShort ? 200 : 1000);
    return {
      heal: () => Promise.resolve(all.forEach((lock) => lock.frames('attune-lock', undefined, 'toRedis'))),
      effect: () => troubled,
      counted: 'releases cut or late',
      beside: ({ errorShare }) => [counted('errors %', 100 * errorShare)],
    };
  },
};
