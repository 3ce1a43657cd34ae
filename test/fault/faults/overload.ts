// Faults of too much: readers that do not read (O1, O2) and a session that is offered more than it can take (O4).
import { setTimeout as delay } from 'node:timers/promises';
import type { Answer, Measures } from '../../support/fault-measures.js';
import { counted, timed, type Beside, type Fault, type World } from '../../support/fault-run.js';
import { metric } from '../../support/session-log.js';
import type { Wire } from '../../support/shapes.js';
import { openSlowReader } from '../../support/slow-reader.js';
import { connect, type TestSocket } from '../../support/socket.js';
import { until } from '../../support/until.js';

const MIB = 1024 * 1024;
/** Readers that read too slowly, how slowly, and what they are sent: settings of so many characters, so often. */
const SLOW_READERS = 50;
const SLOW_BYTES_PER_S = 1000;
const SETTINGS_CHARS = 20_000;
const WRITE_EVERY_MS = 50;
const SHORT_WRITE_EVERY_MS = 20;
const SLOW_MS = 15_000;
/** Those that read nothing, and within what time they are cut, milliseconds. */
const DEAF_READERS = 10;
const CUT_MS = 15_000;
/** What one of them may cost the server: promised; and asserted, of a process whose memory has other reasons to grow. */
const BACKLOG_PROMISED_MIB = 1;
const BACKLOG_ASSERTED_MIB = 4;
/** How much slower others may be, of a hundred: promised, and asserted. */
const P99_PROMISED = 1.5;
const P99_ASSERTED = 15;

const p99 = (answers: readonly Answer[]): number => {
  const times = answers.map(({ tookMs }) => tookMs).sort((a, b) => a - b);
  return times[Math.floor(times.length * 0.99)] ?? 0;
};

/** The p99 of writes in the time of the fault against before it. */
function othersAre({ answers, faultAt, healAt }: Measures): Beside {
  const oks = answers.filter(({ end, updateId }) => end === 'ok' && updateId !== undefined);
  const before = p99(oks.filter(({ endedAt }) => endedAt < faultAt));
  const during = p99(oks.filter(({ invokedAt, endedAt }) => invokedAt > faultAt && endedAt < healAt));
  const what = `p99 of others, times as before (${before.toFixed(1)} to ${during.toFixed(1)} ms)`;
  return { what, measured: during / before, promised: P99_PROMISED, asserted: P99_ASSERTED };
}

/** A writer of large settings to a session of its own. */
async function startFlood(url: string, everyMs: number): Promise<{ sessionId: string; stop: () => void }> {
  const sessionId = 'large';
  const socket = await connect(url);
  await socket.ok('session:open', { sessionId });
  let n = 0;
  const writing = setInterval(() => {
    const large = String((n += 1)).padEnd(SETTINGS_CHARS, '.');
    socket.send('settings:update', { sessionId, merge: { large } });
  }, everyMs);
  return {
    sessionId,
    stop() {
      clearInterval(writing);
      socket.close();
    },
  };
}

function slowReaders(id: string, title: string, count: number, bytesPerS: number): Fault {
  return {
    id,
    title,
    async inject(world) {
      const { url } = world.nodes[0]!.attune;
      const flood = await startFlood(url, world.size.isShort ? SHORT_WRITE_EVERY_MS : WRITE_EVERY_MS);
      const readers = await Promise.all(
        Array.from({ length: count }, () => openSlowReader(url, flood.sessionId, bytesPerS)),
      );
      const cuts = () => metric(url, 'attune_slow_readers_cut_total');
      const memory = () => metric(url, 'process_resident_memory_bytes');
      const memoryBefore = await memory();
      let mostMemory = memoryBefore;
      const from = performance.now();
      const allCut = until(
        async () => {
          mostMemory = Math.max(mostMemory, await memory());
          return (await cuts()) >= count || (bytesPerS > 0 && performance.now() - from > SLOW_MS);
        },
        { deadlineMs: 10 * CUT_MS, everyMs: 200, what: 'the end of readers that do not read' },
      );
      await allCut;
      const cutMs = performance.now() - from;
      flood.stop();
      for (const reader of readers) reader.close();
      const eachMib = (mostMemory - memoryBefore) / count / MIB;
      return {
        heal: () => Promise.resolve(),
        effect: cuts,
        counted: 'readers cut',
        beside: (measures) => [
          ...(bytesPerS > 0 ? [] : [timed('all cut after ms', cutMs, CUT_MS)]),
          {
            what: 'MiB of memory for each',
            measured: eachMib,
            promised: BACKLOG_PROMISED_MIB,
            asserted: BACKLOG_ASSERTED_MIB,
          },
          othersAre(measures),
        ],
      };
    },
  };
}

export const trickling = slowReaders('O1', 'readers at 1 kB/s of settings of 20 kB', SLOW_READERS, SLOW_BYTES_PER_S);
export const deaf = slowReaders('O2', 'readers that never read, but say that they live', DEAF_READERS, 0);

/** Redis answers so late, milliseconds: one session then has a rate that a test can offer twice of. */
const REDIS_DELAY_MS = 40;
/** Sockets that write, and updates of each that wait for an answer while the peak is looked for. */
const FLOODERS = 8;
const WINDOW = 128;
const PEAK_MS = 3000;
const OFFER_MS = 4000;
const OFFER_EVERY_MS = 20;
/** Of the peak, how much is still served: promised, and asserted. */
const SERVED_PROMISED = 0.8;
const SERVED_ASSERTED = 0.4;

/** What became of the writes of one socket. */
interface Tally {
  ok: number;
  readonly refused: Record<string, number>;
}

function write(socket: TestSocket, sessionId: string, n: number, tally: Tally): Promise<void> {
  return new Promise((resolve) => {
    socket.raw.emit('settings:update', { sessionId, merge: { n } }, ({ ok, error }: Wire) => {
      if (ok) tally.ok += 1;
      else tally.refused[error.code] = (tally.refused[error.code] ?? 0) + 1;
      resolve();
    });
  });
}

/** Updates a second that the session takes where each socket always has WINDOW of them on their way. */
async function peakOf(sockets: readonly TestSocket[], sessionId: string): Promise<number> {
  const tally: Tally = { ok: 0, refused: {} };
  const from = performance.now();
  const one = async (socket: TestSocket) => {
    for (let n = 0; performance.now() - from < PEAK_MS; n += 1) await write(socket, sessionId, n, tally);
  };
  await Promise.all(sockets.flatMap((socket) => Array.from({ length: WINDOW }, () => one(socket))));
  return (1000 * tally.ok) / (performance.now() - from);
}

/** Offers updates at a rate, whatever becomes of them. */
async function offer(sockets: readonly TestSocket[], sessionId: string, perS: number): Promise<Tally> {
  const tally: Tally = { ok: 0, refused: {} };
  const writes: Promise<void>[] = [];
  const from = performance.now();
  for (let n = 0; performance.now() - from < OFFER_MS; await delay(OFFER_EVERY_MS)) {
    const due = ((performance.now() - from) / 1000) * perS;
    for (; n < due; n += 1) writes.push(write(sockets[n % sockets.length]!, sessionId, n, tally));
  }
  const servedPerS = (1000 * tally.ok) / (performance.now() - from);
  await Promise.all(writes);
  return { ok: servedPerS, refused: tally.refused };
}

export const overloaded: Fault = {
  id: 'O4',
  title: 'one session is offered twice what it can take',
  needs: { proxies: ['data'] },
  async inject(world: World) {
    const node = world.nodes[0]!;
    const sessionId = 'wanted';
    const sockets = await Promise.all(Array.from({ length: FLOODERS }, () => connect(node.attune.url)));
    await sockets[0]!.ok('session:open', { sessionId });
    node.data.frames('attune-data', () => ({ delayMs: REDIS_DELAY_MS }));
    const peak = await peakOf(sockets, sessionId);
    const { ok: served, refused } = await offer(sockets, sessionId, 2 * peak);
    node.data.frames('attune-data', undefined);
    for (const socket of sockets) socket.close();
    const others = Object.keys(refused).filter((code) => !['OVERLOADED', 'RATE_LIMITED', 'UNAVAILABLE'].includes(code));
    return {
      heal: () => Promise.resolve(),
      effect: () => refused['OVERLOADED'] ?? 0,
      counted: `updates refused with OVERLOADED (${JSON.stringify(refused)})`,
      beside: () => [
        counted(`other errors ${others.join(' ')}`, others.length),
        {
          what: `peak (${Math.round(peak)}/s), times as much as is still served (${Math.round(served)}/s)`,
          measured: peak / served,
          promised: 1 / SERVED_PROMISED,
          asserted: 1 / SERVED_ASSERTED,
        },
      ],
    };
  },
};
