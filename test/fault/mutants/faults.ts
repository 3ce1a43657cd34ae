// The faults under which a mutant's mistake shows. Each is got over by a server that is right.
import { Redis } from 'ioredis';
import type { Fault, World } from '../../support/fault-run.js';
import { keysOf } from '../../support/session-log.js';
import { until } from '../../support/until.js';

/** Answers while a fault lasts. */
const DURING = 150;
/** One of so many frames is lost, one comes twice, one after the next. */
const ONE_IN = 20;
/** One of so many commits, or replies to them, is lost with its connection. */
const CUT_ONE_IN = 12;
/** So many are lost at least. */
const CUTS_MIN = 14;
/** How often a reader goes away, and for how long, milliseconds. */
const AWAY_ROUNDS = 10;
const AWAY_MS = 50;
/** How often the keys of all locks are removed, milliseconds. */
const REMOVAL_MS = 3;

const oneLock = { lockServers: 1 } as const;

/** Without lock servers nodes write the same session without knowing of each other. */
export const locksLost: Fault = {
  id: 'MU locks lost',
  title: 'the lock server is gone while two nodes write',
  needs: oneLock,
  async inject(world) {
    await Promise.all(world.locks.map((lock) => lock.kill()));
    await world.load(4 * DURING);
    return {
      heal: async () => void (await Promise.all(world.locks.map((lock) => lock.restart()))),
      effect: () => world.metric('attune_commit_replies_total', 'reply="stale"'),
      counted: 'commits over another node',
    };
  },
};

/** Nothing beyond the load: the mistake is the mutant's own. */
export const none: Fault = {
  id: 'MU none',
  title: 'nothing',
  needs: oneLock,
  async inject(world) {
    await world.load(DURING);
    return { heal: () => Promise.resolve(), effect: () => 1, counted: 'runs without a fault' };
  },
};

/** kill -9 of the data Redis, which is there again at once. */
export const redisKilled: Fault = {
  id: 'MU redis killed',
  title: 'kill -9 of the data Redis under load',
  needs: oneLock,
  async inject(world) {
    const rounds = 3;
    for (let round = 0; round < rounds; round += 1) {
      await world.load(DURING / rounds);
      await world.data.kill();
      await world.data.restart();
    }
    return { heal: () => Promise.resolve(), effect: () => rounds, counted: 'kills of Redis' };
  },
};

/** A reader goes away, again and again, and comes back with its cursor when the session was written. */
export const readerAway: Fault = {
  id: 'MU reader away',
  title: 'a reader misses something, and goes on from where it was',
  needs: oneLock,
  async inject(world) {
    const { recorder, urls } = world;
    const sessionId = world.sessionIds[0]!;
    const reader = recorder.startReader({ name: 'comer', urls, sessionId, awayMs: AWAY_MS });
    for (let round = 0; round < AWAY_ROUNDS; round += 1) {
      await until(() => reader.position(), { what: 'the join' });
      reader.drop();
      await world.load(DURING / AWAY_ROUNDS);
    }
    await until(() => reader.position(), { what: 'the last join' });
    await reader.stop();
    const missed = recorder.entries.filter((entry) => entry.kind === 'ok' && entry.answer.commits?.length > 0);
    return { heal: () => Promise.resolve(), effect: () => missed.length, counted: 'resumes with commits' };
  },
};

/** The feed loses, doubles and swaps. */
export const feedTorn: Fault = {
  id: 'MU feed torn',
  title: 'the feed loses, doubles and swaps what it brings',
  needs: { ...oneLock, proxies: ['data'] },
  async inject(world) {
    let torn = 0;
    for (const { data } of world.nodes)
      data.frames(
        'attune-feed',
        fateOf(world, () => (torn += 1)),
      );
    await world.load(DURING);
    return {
      heal: () => {
        for (const { data } of world.nodes) data.frames('attune-feed', undefined);
        return Promise.resolve();
      },
      effect: () => torn,
      counted: 'publications lost, doubled or swapped',
    };
  },
};

function fateOf({ random }: World, count: () => void): (frame: Buffer) => readonly Buffer[] {
  let kept: Buffer | undefined;
  return (frame) => {
    if (!frame.includes('smessage') || !frame.includes('"commits"')) return [frame];
    const before = kept;
    kept = undefined;
    if (before) return [frame, before];
    const dice = Math.floor(random() * ONE_IN);
    if (dice > 2) return [frame];
    count();
    if (dice === 2) kept = frame;
    return dice === 1 ? [frame, frame] : [];
  };
}

/** Commits, or replies to them, are lost with their connections. */
const cut = (id: string, title: string, direction: 'toRedis' | 'fromRedis', mark: string): Fault => ({
  id,
  title,
  needs: { ...oneLock, proxies: ['data'] },
  async inject(world) {
    let lost = 0;
    const fate = (frame: Buffer) => {
      if (!frame.includes(mark) || world.random() > 1 / CUT_ONE_IN) return [frame];
      lost += 1;
      return 'cut';
    };
    for (const { data } of world.nodes) data.frames('attune-data', fate, direction);
    await until(() => lost >= CUTS_MIN, { deadlineMs: 20_000, what: 'commits that are lost' });
    return {
      heal: () => {
        for (const { data } of world.nodes) data.frames('attune-data', undefined, direction);
        return Promise.resolve();
      },
      effect: () => lost,
      counted: 'lost',
    };
  },
});

/** Redis commits, and nobody hears of it. */
export const repliesLost = cut('MU replies lost', 'replies to commits are lost', 'fromRedis', 'COMMITTED');

/** Redis never hears of a commit. */
export const commitsLost = cut('MU commits lost', 'commits are lost on the way', 'toRedis', 'settings:updated');

/** The keys of locks are removed again and again, so that no release finds its own. */
export const locksRemoved: Fault = {
  id: 'MU locks removed',
  title: 'no release of a lock succeeds',
  needs: oneLock,
  async inject(world) {
    const clients = world.locks.map(({ url }) => new Redis(url));
    const keys = world.sessionIds.map((id) => keysOf(id).lock);
    const removal = setInterval(() => {
      for (const client of clients) for (const key of keys) void client.del(key).catch(() => undefined);
    }, REMOVAL_MS);
    await world.load(2 * DURING);
    return {
      heal: () => {
        clearInterval(removal);
        for (const client of clients) client.disconnect();
        return Promise.resolve();
      },
      effect: () => world.metric('attune_lease_release_failures_total'),
      counted: 'releases failed',
    };
  },
};

/** A session is written once while a reader enters whose node's subscription is on its way. */
export const subscriptionLate: Fault = {
  id: 'MU subscription late',
  title: 'a reader enters while its subscription is held back and the session is written',
  needs: { ...oneLock, proxies: ['data'] },
  async inject(world) {
    const { recorder } = world;
    const [far, near] = world.nodes;
    const sessionId = 'rare';
    await recorder.open(far!.attune.url, sessionId);
    const hold = near!.data.hold('attune-feed', 'toRedis');
    const reader = recorder.startReader({ name: 'late', urls: () => [near!.attune.url], sessionId });
    await until(() => hold.bytes().toUpperCase().includes('SSUBSCRIBE'), { what: 'the subscription' });
    // Not a read, not a message, no guard.
    const random = () => 0.99;
    const writer = recorder.startWriter({
      name: 'once',
      urls: () => [far!.attune.url],
      sessionIds: [sessionId],
      random,
    });
    await writer.stop();
    hold.release();
    await until(() => reader.position(), { what: 'the join' });
    await world.load(DURING);
    return {
      heal: () => Promise.resolve(),
      effect: () => 1,
      counted: 'subscriptions held back',
      opened: [sessionId],
    };
  },
};
