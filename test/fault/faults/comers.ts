// Faults of clients that come, go, come back and vanish: C2, C3, N4.
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Attune } from '../../support/attune.js';
import { counted, timed, type Fault, type World } from '../../support/fault-run.js';
import { pick, seeded } from '../../support/history-model.js';
import type { Client } from '../../support/history-recorder.js';
import { openRaw, type RawSocket } from '../../support/raw-socket.js';
import { metric } from '../../support/session-log.js';
import { startTcpProxy } from '../../support/tcp-proxy.js';
import { until } from '../../support/until.js';

/** Clients that join and leave, for how long on average each time, and how long all that goes on, milliseconds. */
const JOINERS = 16;
const JOIN_PAUSE_MS = 10;
const STORM_MS = 8000;
const SHORT_STORM_MS = 2500;
/** Clients that lose their connection each second, and those that come with a cursor that is none. */
const DROPPERS = 8;
const FORGERS = 4;
const FORGE_PAUSE_MS = 20;
const DROP_EVERY_MS = 1000;
/** Clients that vanish without a word, and how many come at once. */
const HALF_OPEN = 1000;
const SHORT_HALF_OPEN = 100;
const AT_ONCE = 50;
/** A connection that gives no sign of life is gone within so long, milliseconds. */
const GONE_MS = 20_000;
/** What memory may be afterwards, per cent of before: promised, and asserted: the load goes on. */
const MEMORY_PERCENT = 110;
const MEMORY_ASSERTED_PERCENT = 200;

/** Answers of clients whose name begins so. */
function answersOf({ recorder }: World, name: string, event: string) {
  const attempts = new Set(
    recorder.entries.flatMap((entry) =>
      entry.kind === 'invoke' && entry.event === event && entry.socket.startsWith(name) ? [entry.attempt] : [],
    ),
  );
  return recorder.entries.flatMap((entry) =>
    entry.kind === 'ok' && attempts.has(entry.attempt) ? [entry.answer] : [],
  );
}

const stopAll = async (clients: readonly Client[]) => void (await Promise.all(clients.map((client) => client.stop())));

export const joinStorm: Fault = {
  id: 'C2',
  title: 'joins and leaves without a pause while the sessions are written',
  async inject(world) {
    const { recorder, sessionIds, urls, random } = world;
    const stormMs = world.size.isShort ? SHORT_STORM_MS : STORM_MS;
    const joiners = Array.from({ length: JOINERS }, (_, n) => {
      const own = seeded(Math.floor(random() * 2 ** 31));
      return recorder.startJoiner({ name: `joiner${n}`, urls, sessionIds, random: own, pauseMs: JOIN_PAUSE_MS });
    });
    await delay(stormMs);
    await stopAll(joiners);
    const joins = answersOf(world, 'joiner', 'session:join').length;
    return {
      heal: () => Promise.resolve(),
      effect: () => joins,
      counted: `joins, ${Math.round((1000 * joins) / stormMs)} a second`,
      beside: ({ codes }) => [counted('errors', Object.keys(codes).length)],
    };
  },
};

export const droppers: Fault = {
  id: 'C3',
  title:
    'clients that lose their connection each second and resume; cursors that are forged, of the future, of another epoch',
  async inject(world) {
    const { recorder, sessionIds, urls, random } = world;
    const readers = Array.from({ length: DROPPERS }, (_, n) => {
      const sessionId = sessionIds[n % sessionIds.length]!;
      return recorder.startReader({ name: `dropper${n}`, urls, sessionId, awayMs: 50 * (n % 4) });
    });
    const forgers = Array.from({ length: FORGERS }, (_, n) =>
      recorder.startJoiner({
        name: `forger${n}`,
        urls,
        sessionIds,
        random: seeded(Math.floor(random() * 2 ** 31)),
        pauseMs: FORGE_PAUSE_MS,
        cursor: (last) =>
          pick(random, [
            { epoch: 'forged', revision: 3 },
            { epoch: last?.epoch ?? 'forged', revision: (last?.revision ?? 0) + 1_000_000 },
            { epoch: `${last?.epoch.slice(0, -1) ?? ''}~`, revision: last?.revision ?? 1 },
          ]),
      }),
    );
    const rounds = world.size.isShort ? 2 : 10;
    for (let round = 0; round < rounds; round += 1) {
      await delay(DROP_EVERY_MS);
      for (const reader of readers) reader.drop();
    }
    await stopAll(forgers);
    await stopAll(readers);
    const resumed = answersOf(world, 'dropper', 'session:join').filter((answer) => answer.resumed).length;
    const forged = answersOf(world, 'forger', 'session:join');
    return {
      heal: () => Promise.resolve(),
      effect: () => Math.min(resumed, forged.length),
      counted: `resumes or forged cursors, ${resumed} and ${forged.length}`,
      beside: () => [counted('forged cursors that were resumed', forged.filter(({ resumed: is }) => is).length)],
    };
  },
};

/** What a node's heap holds after a full collection, bytes: V8 does one before it writes a snapshot on this signal. */
const COLLECTING = { NODE_OPTIONS: '--heapsnapshot-signal=SIGWINCH' };
async function heapOf({ pid, url, dataDir }: Attune): Promise<number> {
  process.kill(pid, 'SIGWINCH');
  const written = () => readdirSync(dataDir).find((name) => name.endsWith('.heapsnapshot'));
  const file = await until(written, { deadlineMs: 30_000, what: 'a snapshot of the heap' });
  // The node answers again once it has written all of it.
  const bytes = await metric(url, 'nodejs_heap_size_used_bytes');
  rmSync(join(dataDir, file));
  return bytes;
}

export const halfOpen: Fault = {
  id: 'N4',
  title: 'many clients vanish, and their connections with no word',
  needs: { env: COLLECTING },
  async inject(world) {
    const node = pick(world.random, world.nodes)!.attune;
    const { url, port } = node;
    const proxy = await startTcpProxy(port);
    const wanted = world.size.isShort ? SHORT_HALF_OPEN : HALF_OPEN;
    const before = await metric(url, 'attune_sockets');
    const heapBefore = await heapOf(node);
    const vanishing: RawSocket[] = [];
    while (vanishing.length < wanted) {
      const some = await Promise.all(Array.from({ length: AT_ONCE }, () => openRaw(proxy.url)));
      vanishing.push(...some);
      const request = JSON.stringify({ sessionId: `quiet${vanishing.length}`, create: true });
      await Promise.all(some.map((socket) => socket.ask('session:join', request)));
    }
    const heapWith = await heapOf(node);
    for (const way of ['toServer', 'fromServer'] as const) proxy.treat(way, { hold: true });
    const from = performance.now();
    await until(
      async () => (await metric(url, 'attune_sockets')) <= before + world.size.writers + world.size.observers,
      {
        deadlineMs: 10 * GONE_MS,
        everyMs: 200,
        what: 'the end of half-open connections',
      },
    );
    const goneMs = performance.now() - from;
    for (const { ws } of vanishing) ws.terminate();
    await proxy.close();
    return {
      heal: () => Promise.resolve(),
      effect: () => wanted,
      counted: 'connections gone',
      beside: async () => {
        const measured = (100 * (await heapOf(node))) / heapBefore;
        const withThem = Math.round((100 * heapWith) / heapBefore);
        return [
          timed('all gone after ms', goneMs, GONE_MS),
          {
            what: `memory % of before (with them ${withThem})`,
            measured,
            promised: MEMORY_PERCENT,
            asserted: MEMORY_ASSERTED_PERCENT,
          },
        ];
      },
    };
  },
};
