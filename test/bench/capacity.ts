// `npm run bench:capacity`: what each thing costs, in processor time, memory and bytes, of the server and of its Redis: the
// numbers that docs/scaling.md reckons with. Processor time is what the system charged to the processes, so that others on
// the machine change it little; nothing here says how fast anything is.
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { startAttune } from '../support/attune.js';
import { startRedis } from '../support/redis.js';
import { createSession, inParallel, joinSession } from './load/session-setup.js';
import { describeMachine } from './machine.js';
import { costTable, needsTable, readCosts, type Costs } from './scaling-model.js';
import { isSettingsUpdated, Tab } from './tab.js';
import { temperatureOf } from './settings.js';

/** Tabs, and sessions, of a measurement of memory and of idle work. */
const TABS = 4_000;
const SETUP_WIDTH = 25;
/** After a step, until the collector and the checks go their even way. */
const SETTLE_MS = 3_000;
const WINDOW_MS = 10_000;
/** Offered updates per second, well below what either process can take. */
const UPDATES_PER_S = 500;
const WRITTEN_SESSIONS = 200;
const READERS = 500;
const HOT_UPDATES_PER_S = 20;
/** The system counts processor time in these, per second. */
const TICKS_PER_S = 100;

interface Spent {
  /** Microseconds of processor time in the window. */
  server: number;
  redis: number;
  lock: number;
  seconds: number;
}

interface World {
  url: string;
  direct: Redis;
  serverRss(): number;
  redisBytes(): Promise<number>;
  aofBytes(): Promise<number>;
  during(work: () => Promise<unknown>): Promise<Spent>;
  stop(): Promise<void>;
}

async function start(): Promise<World> {
  const redis = await startRedis({ config: ['--auto-aof-rewrite-percentage', '0'] });
  const locks = await startRedis({ config: ['--appendonly', 'no'] });
  const env = { RATE_CALLS_PER_S: '100000', LOCK_REDIS_URLS: locks.url };
  const attune = await startAttune({ redisUrl: redis.url, env });
  const direct = new Redis(redis.port, '127.0.0.1');
  const info = async (section: string, field: string) =>
    Number(new RegExp(`^${field}:(\\d+)`, 'm').exec(await direct.info(section))?.[1]);
  return {
    url: attune.url,
    direct,
    serverRss: () =>
      Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${attune.pid}/status`, 'utf8'))?.[1]) * 1024,
    redisBytes: () => info('memory', 'used_memory'),
    aofBytes: () => info('persistence', 'aof_current_size'),
    async during(work) {
      const now = () => [attune, redis, locks].map(({ pid }) => processorUs(pid)) as [number, number, number];
      const [before, began] = [now(), performance.now()];
      await work();
      const [server, redisUs, lock] = now().map((us, i) => us - before[i]!) as [number, number, number];
      return { server, redis: redisUs, lock, seconds: (performance.now() - began) / 1000 };
    },
    async stop() {
      direct.disconnect();
      await attune.destroy();
      await Promise.all([redis.stop(), locks.stop()]);
    },
  };
}

/** Microseconds that a process and its threads have computed so far. */
function processorUs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return ((Number(fields[11]) + Number(fields[12])) / TICKS_PER_S) * 1e6;
}

const openTabs = (url: string, count: number) => inParallel(count, SETUP_WIDTH, (n) => Tab.open(url, `tab-${n}`));

/** What is there, and what it takes while nothing happens. */
async function idle() {
  const world = await start();
  try {
    await delay(SETTLE_MS);
    const empty = await world.during(() => delay(WINDOW_MS));
    const [maker] = await openTabs(world.url, 1);
    const redisBefore = await world.redisBytes();
    await inParallel(TABS, SETUP_WIDTH, (n) => createSession(maker!, `s${n}`));
    const redisMade = await world.redisBytes();
    await delay(SETTLE_MS);
    const rssBefore = world.serverRss();
    const tabs = await openTabs(world.url, TABS);
    await delay(SETTLE_MS);
    const rssOpen = world.serverRss();
    const connected = await world.during(() => delay(WINDOW_MS));
    await inParallel(TABS, SETUP_WIDTH, (n) => joinSession(tabs[n]!, `s${n}`));
    await delay(SETTLE_MS);
    const [rssJoined, redisJoined] = [world.serverRss(), await world.redisBytes()];
    const joined = await world.during(() => delay(WINDOW_MS));
    await Promise.all([...tabs, maker!].map((tab) => tab.close()));
    const perTabAndSecond = (costs: Spent, before: Spent, who: 'server' | 'redis') =>
      (costs[who] / costs.seconds - before[who] / before.seconds) / TABS;
    return {
      sessionBytes: (redisMade - redisBefore) / TABS,
      heardBytes: (redisJoined - redisMade) / TABS,
      connectionBytes: (rssOpen - rssBefore) / TABS,
      roomBytes: (rssJoined - rssOpen) / TABS,
      connectionUs: perTabAndSecond(connected, empty, 'server'),
      roomUs: perTabAndSecond(joined, connected, 'server'),
      heardUs: perTabAndSecond(joined, connected, 'redis'),
    };
  } finally {
    await world.stop();
  }
}

/** An open loop over sessions with so many tabs each; what it took, and how long the events were. */
async function written(sessions: number, tabsEach: number, perSecond: number) {
  const world = await start();
  try {
    let events = 0;
    let eventBytes = 0;
    const rooms = await inParallel(sessions, SETUP_WIDTH, async (n) => {
      const tabs = await inParallel(tabsEach, SETUP_WIDTH, (t) => Tab.open(world.url, `s${n}-${t}`));
      await createSession(tabs[0]!, `s${n}`);
      for (const tab of tabs) await joinSession(tab, `s${n}`);
      for (const tab of tabs) {
        tab.onEvent = (buffer, from, to) => {
          if (!isSettingsUpdated(buffer, from, to)) return;
          events += 1;
          eventBytes += to - from;
        };
      }
      return tabs;
    });
    await offer(rooms, perSecond, SETTLE_MS, 0);
    const [aof, redisBytes] = [await world.aofBytes(), await world.redisBytes()];
    events = eventBytes = 0;
    let sent = 0;
    const costs = await world.during(async () => (sent = await offer(rooms, perSecond, WINDOW_MS, 1_000_000)));
    const fileBytes = ((await world.aofBytes()) - aof) / sent;
    const keptBytes = ((await world.redisBytes()) - redisBytes) / sent;
    await Promise.all(rooms.flat().map((tab) => tab.close()));
    return { costs, sent, events, eventBytes: eventBytes / events, fileBytes, keptBytes };
  } finally {
    await world.stop();
  }
}

/** Sends at even times; resolves with how many when all are answered. Throws where one was not `ok`. */
async function offer(rooms: Tab[][], perSecond: number, forMs: number, first: number): Promise<number> {
  const count = Math.round((perSecond * forMs) / 1000);
  const began = performance.now();
  const answers: Promise<unknown>[] = [];
  for (let n = 0; n < count; n += 1) {
    const waitMs = began + (n * 1000) / perSecond - performance.now();
    if (waitMs > 0) await delay(waitMs);
    const room = n % rooms.length;
    const merge = { options: { temperature: temperatureOf(first + n) } };
    answers.push(
      rooms[room]![0]!.request('settings:update', { sessionId: `s${room}`, updateId: `n${first + n}`, merge }),
    );
  }
  await Promise.all(answers);
  return count;
}

async function main(): Promise<void> {
  const { cores, processor, node, redis, date, commit, loadBefore } = describeMachine(tmpdir());
  const still = await idle();
  const few = await written(WRITTEN_SESSIONS, 1, UPDATES_PER_S);
  const hot = await written(1, READERS, HOT_UPDATES_PER_S);
  const perUpdate = (run: typeof few, who: 'server' | 'redis' | 'lock') => run.costs[who] / run.sent;
  const costs: Costs = {
    ...still,
    keptBytes: few.keptBytes,
    updateUs: perUpdate(few, 'server'),
    deliveryUs: (hot.costs.server - hot.sent * perUpdate(few, 'server')) / hot.events,
    commitUs: perUpdate(few, 'redis'),
    lockUs: perUpdate(few, 'lock'),
    eventBytes: few.eventBytes,
    fileBytes: few.fileBytes,
  };
  const table = costTable(costs);
  const lines = [
    `Measured ${date} at ${commit}: ${cores} cores (${processor}), Node ${node}, load before ${loadBefore}. ${redis}.`,
    '',
    ...table,
    '',
    // From the figures as they are printed, so that a reader can reckon it again.
    ...needsTable(readCosts(table.join('\n'))),
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}

await main();
