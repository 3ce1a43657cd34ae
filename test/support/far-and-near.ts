// Two nodes on one Redis, one of them behind a proxy, for tests of what is lost, late or cut on the way.
import type { Redis } from 'ioredis';
import { startAttune, type Attune } from './attune.js';
import { startDataRedis, type DataRedis } from './data-redis.js';
import type { Hold, RedisProxy } from './proxy.js';
import { wholeLog } from './session-log.js';
import { freshId, type Wire } from './shapes.js';
import { closeSockets, connect, type TestSocket } from './socket.js';
import { until } from './until.js';
import { abandonWriters } from './writer.js';

/** How long a room may be behind before the check must have found it: generous, the check comes every 1.0–1.5 s. */
export const MENDED_MS = 5000;
/** What the feed is told of commits, in Redis's own words. */
export const isPublication = (frame: Buffer): boolean => frame.includes('smessage') && frame.includes('"commits"');

export interface FarAndNear {
  readonly redis: DataRedis;
  /** Speaks to Redis past everything. */
  readonly direct: Redis;
  readonly proxy: RedisProxy;
  /** Speaks to Redis through the proxy. */
  readonly far: Attune;
  readonly near: Attune;
  /** Holds back on connections of the far node with this name, at most until the end of the test. */
  readonly hold: (name: string, direction: 'toRedis' | 'fromRedis') => Hold;
  /** A new session, and a socket at the near node that made it. */
  readonly opened: (more?: Wire) => Promise<{ socket: TestSocket; sessionId: string }>;
  /** A socket that is in the room, and the document with which it was let in. */
  readonly joined: (node: Attune, sessionId: string, more?: Wire) => Promise<{ socket: TestSocket; from: Wire }>;
}

/** Call it in a `describe`: all is there from before its first test until after its last. */
export function farAndNear(): FarAndNear {
  const all = {} as { redis: DataRedis; direct: Redis; proxy: RedisProxy; far: Attune; near: Attune };
  const holds: Hold[] = [];
  before(async () => {
    all.redis = await startDataRedis();
    all.direct = all.redis.direct();
    all.direct.on('error', () => undefined);
    all.proxy = await all.redis.proxy();
    [all.far, all.near] = await Promise.all([
      startAttune({ redisUrl: all.proxy.url, env: wholeLog }),
      startAttune({ redisUrl: all.redis.url, env: wholeLog }),
    ]);
  });
  after(async () => {
    await Promise.all([all.far?.destroy(), all.near?.destroy()]);
    await all.proxy?.close();
    all.direct?.disconnect();
    await all.redis?.stop();
  });
  afterEach(abandonWriters);
  afterEach(closeSockets);
  afterEach(() => {
    all.proxy.frames('attune-feed', undefined);
    for (const one of holds.splice(0)) one.release();
  });
  return Object.assign(all, {
    hold(name: string, direction: 'toRedis' | 'fromRedis') {
      const made = all.proxy.hold(name, direction);
      holds.push(made);
      return made;
    },
    async opened(more: Wire = {}) {
      const socket = await connect(all.near.url);
      const { session } = await socket.ok('session:open', { sessionId: freshId('f'), ...more });
      return { socket, sessionId: session.id as string };
    },
    async joined(node: Attune, sessionId: string, more: Wire = {}) {
      const socket = await connect(node.url);
      const { session: from } = await socket.ok('session:join', { sessionId, ...more });
      return { socket, from };
    },
  });
}

/** Resolves when the socket has been given that revision of the session, or a later one, by its commit or a snapshot. */
export async function reached(socket: TestSocket, sessionId: string, revision: number): Promise<void> {
  const has = ({ body }: { body: Wire }) =>
    body?.sessionId === sessionId && (body.revision ?? body.session?.revision) >= revision;
  await until(() => socket.events.some(has), { deadlineMs: MENDED_MS, what: `revision ${revision} at an observer` });
}

/** Sets `n`. */
export const updateN = (socket: TestSocket, sessionId: string, n: number): Promise<Wire> =>
  socket.ok('settings:update', { sessionId, merge: { n } });
