// Faults of server nodes: N1 to N3.
import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { LEASE_TTL_MS } from '../../../server/redis/lease.js';
import { scriptSource } from '../../../server/redis/scripts.js';
import { isPublication } from '../../support/far-and-near.js';
import { counted, timed, type Fault, type NodeSlot, type World } from '../../support/fault-run.js';
import { pick } from '../../support/history-model.js';
import type { FrameFate, Hold } from '../../support/proxy.js';
import { until } from '../../support/until.js';

type Direction = 'toRedis' | 'fromRedis';

/** How long a node may take to come by a point of the walk, milliseconds. */
const POINT_DEADLINE_MS = 15_000;
/** Points of a short run. */
const SHORT_POINTS = 4;
/** What a leaving node may take, milliseconds. */
const LEAVE_MS = 5000;
/** How long a node is cut off, and what is promised of its answers meanwhile, milliseconds. */
const CUT_MS = 6000;
const SHORT_CUT_MS = 3000;
const REFUSED_MS = 2000;
/** The longest period of the check of revisions, and what comes on top, milliseconds. */
const STALENESS_MS = 2000;

const calls = (name: 'commit' | 'fence' | 'read') => {
  const sha = createHash('sha1').update(scriptSource(name)).digest('hex');
  return (frame: Buffer) => frame.includes(sha);
};
const tagged = (tag: string) => (frame: Buffer) => frame.includes(`$${tag.length}\r\n${tag}\r\n`);

/** A point of the walk of an update, as it can be seen between a node and Redis. */
interface Point {
  readonly name: string;
  readonly connection: 'attune-data' | 'attune-feed' | 'attune-lock';
  readonly direction: Direction;
  readonly isSeen: (frame: Buffer) => boolean;
  /** The node is killed after the frame went on, not before. */
  readonly isAfter?: true;
  /** The feed loses all meanwhile, so that there is something to read again. */
  readonly isOfRefill?: true;
}

const points: readonly Point[] = [
  {
    name: 'before the lease',
    connection: 'attune-lock',
    direction: 'toRedis',
    isSeen: (frame) => frame.includes(`\r\n${LEASE_TTL_MS}\r\n`),
  },
  { name: 'before its token', connection: 'attune-data', direction: 'toRedis', isSeen: calls('fence') },
  { name: 'with its token', connection: 'attune-data', direction: 'fromRedis', isSeen: tagged('TAKEN') },
  { name: 'before the commit', connection: 'attune-data', direction: 'toRedis', isSeen: calls('commit') },
  { name: 'before the node knows', connection: 'attune-data', direction: 'fromRedis', isSeen: tagged('COMMITTED') },
  {
    name: 'when it answers',
    connection: 'attune-data',
    direction: 'fromRedis',
    isSeen: tagged('COMMITTED'),
    isAfter: true,
  },
  { name: 'before the fan-out', connection: 'attune-feed', direction: 'fromRedis', isSeen: isPublication },
  { name: 'when it fans out', connection: 'attune-feed', direction: 'fromRedis', isSeen: isPublication, isAfter: true },
  {
    name: 'before a refill',
    connection: 'attune-data',
    direction: 'toRedis',
    isSeen: calls('read'),
    isOfRefill: true,
  },
  {
    name: 'with a refill',
    connection: 'attune-data',
    direction: 'fromRedis',
    isSeen: tagged('TAIL'),
    isOfRefill: true,
  },
];

/** Kills the node that comes by the point first, and starts the next one in its place. */
async function killAt(world: World, point: Point): Promise<void> {
  let killed: NodeSlot | undefined;
  const fateOf =
    (node: NodeSlot): FrameFate =>
    (frame) => {
      // Of what comes behind it the node knows nothing any more.
      if (killed || !point.isSeen(frame)) return [frame];
      killed = node;
      const kill = () => process.kill(node.attune.pid, 'SIGKILL');
      if (!point.isAfter) kill();
      // Once it was written on.
      else setImmediate(kill);
      return point.isAfter ? [frame] : [];
    };
  const proxiesOf = (node: NodeSlot) => (point.connection === 'attune-lock' ? node.locks : [node.data]);
  for (const node of world.nodes) {
    if (point.isOfRefill) node.data.frames('attune-feed', (frame) => (isPublication(frame) ? [] : [frame]));
    for (const proxy of proxiesOf(node)) proxy.frames(point.connection, fateOf(node), point.direction);
  }
  const first = await until(() => killed, { deadlineMs: POINT_DEADLINE_MS, everyMs: 1, what: `a node ${point.name}` });
  await first.kill();
  for (const node of world.nodes) {
    if (point.isOfRefill) node.data.frames('attune-feed', undefined);
    for (const proxy of proxiesOf(node)) proxy.frames(point.connection, undefined, point.direction);
  }
  await first.start();
}

export const nodeKilled: Fault = {
  id: 'N1',
  title: 'kill -9 of a node at each point of the walk of an update',
  needs: { proxies: ['data', 'locks'] },
  async inject(world) {
    const all = [...points];
    const some: Point[] = [];
    const count = world.size.isShort ? SHORT_POINTS : all.length;
    while (some.length < count) some.push(...all.splice(Math.floor(world.random() * all.length), 1));
    for (const point of some) await killAt(world, point);
    return {
      heal: () => Promise.resolve(),
      effect: () => some.length,
      counted: `kills (${some.map(({ name }) => name).join(', ')})`,
    };
  },
};

/** All that a client may be told while nodes leave: it tries again elsewhere, or under the same id. */
const ABSORBED = new Set(['UNAVAILABLE', 'operation has timed out', 'socket has been disconnected']);

export const rollingRestart: Fault = {
  id: 'N2',
  title: 'SIGTERM of all nodes, one after the other, under load',
  async inject(world) {
    let slowestMs = 0;
    let badExits = 0;
    for (const node of world.nodes) {
      node.takesClients = false;
      const from = performance.now();
      if ((await node.attune.stop()) !== 0) badExits += 1;
      slowestMs = Math.max(slowestMs, performance.now() - from);
      await node.start();
      await world.load(1);
    }
    return {
      heal: () => Promise.resolve(),
      effect: () => world.nodes.length,
      counted: 'nodes restarted',
      beside: ({ codes }) => {
        const others = Object.entries(codes).filter(([code]) => !ABSORBED.has(code));
        return [
          timed('slowest exit ms', slowestMs, LEAVE_MS),
          counted('exits with another status than 0', badExits),
          counted(`errors that the SDK does not absorb ${others.map(([code]) => code).join(' ')}`, others.length),
        ];
      },
    };
  },
};

/** What a node is cut off from, and the connections that are cut. */
const edges = {
  data: ['attune-data', 'attune-bulk', 'attune-presence'],
  feed: ['attune-feed'],
  locks: ['attune-lock'],
} as const;

function partition(edge: keyof typeof edges, direction: Direction): Fault {
  const way = direction === 'toRedis' ? 'calls' : 'replies';
  return {
    id: `N3 ${edge} ${way}`,
    title: `a node's ${way} on its way ${direction === 'toRedis' ? 'to' : 'from'} ${edge} are lost, the other way is open`,
    needs: { proxies: ['data', 'locks'] },
    async inject(world) {
      const node = pick(world.random, world.nodes)!;
      const { url } = node.attune;
      const proxies = edge === 'locks' ? node.locks : [node.data];
      const before = await seenBy(world, edge);
      const cutAt = process.hrtime.bigint();
      const holds: Hold[] = proxies.flatMap((proxy) => edges[edge].map((name) => proxy.hold(name, direction)));
      await delay(world.size.isShort ? SHORT_CUT_MS : CUT_MS);
      const seen = (await seenBy(world, edge)) - before;
      return {
        heal: () => Promise.resolve(holds.forEach((hold) => hold.release())),
        effect: () => (edge === 'data' ? refusedBy(world, cutAt) : seen),
        counted: { data: 'refusals', feed: 'reads that mended a gap', locks: 'leases without locks' }[edge],
        beside: ({ answers, stalenessMs, codes }) => {
          const its = answers.filter(({ node: at, invokedAt }) => at === url && invokedAt >= cutAt);
          const slowest = Math.max(0, ...its.map(({ tookMs }) => tookMs));
          const besides = [timed('slowest answer of the cut node ms', slowest, REFUSED_MS)];
          if (edge === 'feed') besides.push(timed('staleness ms', stalenessMs, STALENESS_MS));
          if (edge === 'locks') besides.push(counted('errors', Object.keys(codes).length));
          return besides;
        },
      };
    },
  };
}

/** What tells that an edge is cut, over all nodes. */
function seenBy(world: World, edge: keyof typeof edges): Promise<number> {
  if (edge === 'data') return Promise.resolve(0);
  return edge === 'feed'
    ? world.metric('attune_feed_repairs_total')
    : world.metric('attune_lease_bypasses_total', 'reason="lost"');
}

function refusedBy({ recorder }: World, since: bigint): number {
  return recorder.entries.filter(({ kind, at }) => at >= since && (kind === 'fail' || kind === 'info')).length;
}

export const partitions: readonly Fault[] = (Object.keys(edges) as (keyof typeof edges)[]).flatMap((edge) => [
  partition(edge, 'toRedis'),
  partition(edge, 'fromRedis'),
]);
