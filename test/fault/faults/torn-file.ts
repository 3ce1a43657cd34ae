// The append-only file cut at every byte of its last scripts, and with zeroes behind: D3. What was whole is there, and what
// was not is gone, wholly.
import { cpSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { startManagedRedis } from '../../../server/redis/managed-redis.js';
import { startAttune } from '../../support/attune.js';
import type { RunReport, Trial } from '../../support/fault-run.js';
import { pick, seeded } from '../../support/history-model.js';
import { logsOf } from '../../support/history-truth.js';
import { keysOf, readLog } from '../../support/session-log.js';
import { closeSockets, connect } from '../../support/socket.js';

const SESSION = 'torn';
const INCREMENT = join('appendonlydir', 'appendonly.aof.1.incr.aof');
/** Scripts at the end of the file of which every byte is tried; short: so many places, picked. */
const LAST_SCRIPTS = 2;
const SHORT_PLACES = 24;
/** Cuts tried at the same time. */
const AT_ONCE = 4;
/** Zeroes behind a cut, as a file system may leave them after its own loss of power, bytes. */
const ZEROES = [1, 4096, 100_000];
/** Every so manieth cut has zeroes behind. */
const ZEROES_EVERY = 5;

/** A data directory whose last writes were scripts of every kind. */
async function makeFile(dir: string): Promise<void> {
  const server = await startAttune({ dataDir: dir });
  try {
    const socket = await connect(server.url);
    await socket.ok('session:open', { sessionId: SESSION });
    for (let n = 0; n < 5; n += 1) await socket.ok('settings:update', { sessionId: SESSION, merge: { n } });
    const message = { id: 'm', role: 'user', content: 'torn' };
    await socket.ok('message:add', { sessionId: SESSION, message });
    await Promise.all([7, 8].map((n) => socket.ok('settings:update', { sessionId: SESSION, merge: { [`k${n}`]: n } })));
    await server.kill();
    await server.killRedis();
  } finally {
    closeSockets();
    await server.destroy();
  }
}

/** Where the last scripts begin: a script with several writes is a transaction in the file. */
function lastScriptsAt(bytes: Buffer, count: number): number {
  const begin = Buffer.from('*1\r\n$5\r\nMULTI\r\n');
  let at = bytes.length;
  for (let n = 0; n < count; n += 1) at = bytes.lastIndexOf(begin, at - 1);
  if (at < 0) throw new Error(`the append-only file has fewer than ${count} scripts`);
  return at;
}

/** Starts the managed Redis over a file cut there; what is wrong with what it then holds, and what it said. */
async function startCut(from: string, bytes: Buffer, cut: number, zeroes: number): Promise<string[]> {
  const dir = mkdtempSync(join(realpathSync(tmpdir()), 'attune-torn-'));
  const said: string[] = [];
  const logger = pino({}, { write: (line: string) => void said.push(line) });
  try {
    mkdirSync(join(dir, 'appendonlydir'));
    cpSync(join(from, 'appendonlydir'), join(dir, 'appendonlydir'), { recursive: true });
    writeFileSync(join(dir, INCREMENT), Buffer.concat([bytes.subarray(0, cut), Buffer.alloc(zeroes)]));
    const managed = await startManagedRedis({ dataDir: dir, logger });
    try {
      return await wrongWith(managed.socketPath, bytes.subarray(0, cut), isTorn(bytes, cut, zeroes), said);
    } finally {
      await managed.close();
    }
  } catch (error) {
    return [`it does not start: ${(error as Error).message}`];
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Whether something stands behind the last whole script. */
function isTorn(bytes: Buffer, cut: number, zeroes: number): boolean {
  const end = Buffer.from('*1\r\n$4\r\nEXEC\r\n');
  // What the last command of all was, nobody says: one that a script made alone is no transaction.
  return zeroes > 0 || (cut < bytes.length && !bytes.subarray(cut - end.length, cut).equals(end));
}

async function wrongWith(path: string, kept: Buffer, torn: boolean, said: readonly string[]): Promise<string[]> {
  const redis = new Redis({ path });
  try {
    const log = await readLog(redis, SESSION);
    const expected = logsOf(kept, [SESSION]).get(SESSION)!.at(-1)!;
    const { doc } = keysOf(SESSION);
    const [revision, settings] = await redis.hmget(doc, 'revision', 'settings');
    const newest = expected.findLast(({ body }) => body.settings)?.body.settings;
    const wrong: string[] = [];
    if (!isDeepStrictEqual(log, expected))
      wrong.push(`the log has ${log.length} commits, and ${expected.length} were whole`);
    if (Number(revision) !== expected.length)
      wrong.push(`the document is at ${revision}, the log at ${expected.length}`);
    if (!isDeepStrictEqual(JSON.parse(settings ?? 'null'), newest)) wrong.push('the settings are not those of the log');
    const isSaid = said.some((line) => /cut [1-9]\d* bytes/.test(line));
    if (isSaid !== torn) wrong.push(torn ? 'nothing was said of a cut' : 'a cut was told of where nothing was torn');
    return wrong;
  } finally {
    redis.disconnect();
  }
}

function placesOf(bytes: Buffer, seed: number, isShort: boolean): { cut: number; zeroes: number }[] {
  const random = seeded(seed);
  const first = lastScriptsAt(bytes, LAST_SCRIPTS);
  const all = Array.from({ length: bytes.length - first + 1 }, (_, n) => first + n);
  const cuts = isShort ? [first, bytes.length, ...Array.from({ length: SHORT_PLACES }, () => pick(random, all)!)] : all;
  const places = cuts.map((cut, n) => ({ cut, zeroes: n % ZEROES_EVERY === 0 ? pick(random, ZEROES)! : 0 }));
  // Before and within the name of a command: with zeroes behind Redis reads another name.
  const name = first + '*1\r\n$5\r\n'.length;
  return [...places, ...[name, name + 2].map((cut) => ({ cut, zeroes: ZEROES.at(-1)! }))];
}

async function run({ seed, isShort }: { seed: number; isShort: boolean }): Promise<RunReport> {
  const dir = mkdtempSync(join(realpathSync(tmpdir()), 'attune-torn-from-'));
  try {
    await makeFile(dir);
    const bytes = readFileSync(join(dir, INCREMENT));
    const places = placesOf(bytes, seed, isShort);
    const wrong: string[] = [];
    const began = performance.now();
    let next = 0;
    const worker = async () => {
      for (let place = places[next++]; place; place = places[next++]) {
        const { cut, zeroes } = place;
        const found = await startCut(dir, bytes, cut, zeroes);
        wrong.push(...found.map((text) => `cut at ${cut} of ${bytes.length}, ${zeroes} zeroes behind: ${text}`));
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    const result = wrong.length > 0 ? 'violated' : 'holds';
    const tookS = Math.round((performance.now() - began) / 1000);
    const first = `D3 seed ${seed} ${result}: ${places.length} cuts in the last ${bytes.length - lastScriptsAt(bytes, LAST_SCRIPTS)} bytes; ${tookS} s`;
    return {
      id: 'D3',
      seed,
      result,
      violations: wrong.length > 0 ? { I1: wrong.length } : {},
      text: [first, ...wrong.slice(0, 10)].join('\n  '),
    };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

export const tornFile: Trial = {
  id: 'D3',
  title: 'the append-only file is cut at every byte of its last scripts, some with zeroes behind',
  run,
};
