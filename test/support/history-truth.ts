// What is true at the end of a run: the log as Redis's stream has it, and as the bytes of its append-only file give it.
// It never asks the server.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import type { SessionTruth } from './history-entries.js';
import { keysOf, readLog, type LoggedCommit } from './session-log.js';

/** Characters of Redis's replication id in an epoch. */
const REPLID_CHARS = 8;
const LINE_END = Buffer.from('\r\n');

/**
 * The truth about sessions, from the Redis at hand. The append-only file is read where it was never rewritten: else what it
 * once held is gone. Throws where the file says that a log was trimmed: the run needs the log's limits raised.
 */
export async function readTruth(redis: Redis, sessionIds: readonly string[]): Promise<SessionTruth[]> {
  const replid = /master_replid:(\w+)/.exec(await redis.info('replication'))?.[1] ?? '';
  const files = await readAppendOnlyLogs(redis, sessionIds);
  const truth = sessionIds.map(async (sessionId): Promise<SessionTruth> => {
    const birth = await redis.hget(keysOf(sessionId).doc, 'birth');
    const stream = await readLog(redis, sessionId);
    const epoch = `${birth}-${replid.slice(0, REPLID_CHARS)}`;
    return { sessionId, epoch, stream, ...(files ? { file: files.get(sessionId)! } : {}) };
  });
  return Promise.all(truth);
}

/** The logs of all lives of each session by the append-only file; undefined where it was rewritten. */
async function readAppendOnlyLogs(
  redis: Redis,
  sessionIds: readonly string[],
): Promise<Map<string, LoggedCommit[][]> | undefined> {
  const setting = async (name: string) => ((await redis.config('GET', name)) as string[])[1] ?? '';
  const dir = join(await setting('dir'), await setting('appenddirname'));
  const manifest = readFileSync(join(dir, `${await setting('appendfilename')}.manifest`), 'utf8');
  const parts = [...manifest.matchAll(/^file (\S+) seq (\d+) type ([bhi])/gm)];
  const increments = parts.filter(([, , , type]) => type === 'i');
  const isRewritten = parts.length !== 2 || parts.some(([, , seq]) => seq !== '1') || increments.length !== 1;
  return isRewritten ? undefined : logsOf(readFileSync(join(dir, increments[0]![1]!)), sessionIds);
}

/**
 * The logs that an append-only file's bytes write, by session and life, oldest first, with what clears and removed messages
 * took out again. A transaction counts where it is whole. A session without a commit has one empty life.
 */
export function logsOf(bytes: Buffer, sessionIds: readonly string[]): Map<string, LoggedCommit[][]> {
  const byKey = new Map(sessionIds.map((id): [string, LoggedCommit[][]] => [keysOf(id).log, [[]]]));
  for (const [name = '', ...args] of committed(bytes)) apply(byKey, name.toUpperCase(), args);
  return new Map(sessionIds.map((id) => [id, byKey.get(keysOf(id).log)!]));
}

function apply(byKey: Map<string, LoggedCommit[][]>, name: string, args: readonly string[]): void {
  const [key = '', id = '', ...fields] = args;
  if (name === 'XADD') byKey.get(key)?.at(-1)!.push(entryOf(id, fields));
  // A clear or a removed message takes what it removes out of the log, by the lowest id that stays; nothing else may.
  const isRemoval = name === 'XTRIM' && id === 'MINID';
  if ((name === 'XTRIM' || name === 'XDEL') && byKey.has(key) && !isRemoval) {
    throw new Error(`${key} was trimmed: ${args.join(' ')}`);
  }
  if (name === 'FLUSHALL' || name === 'FLUSHDB') for (const lives of byKey.values()) beginLife(lives);
  if (name !== 'DEL' && name !== 'UNLINK') return;
  for (const removed of args) beginLife(byKey.get(removed) ?? []);
}

function beginLife(lives: LoggedCommit[][]): void {
  if (lives.at(-1)?.length) lives.push([]);
}

function entryOf(id: string, fields: readonly string[]): LoggedCommit {
  const value = (name: string) => fields[fields.indexOf(name) + 1] ?? '';
  const [revision] = id.split('-');
  return { revision: Number(revision), event: value('e'), fence: Number(value('f')), body: JSON.parse(value('b')) };
}

/** The commands of the file in order; those between MULTI and EXEC once the EXEC is there. */
function* committed(bytes: Buffer): Generator<string[]> {
  let transaction: string[][] | undefined;
  for (const command of commands(bytes)) {
    const name = command[0]?.toUpperCase();
    if (name === 'MULTI') transaction = [];
    else if (name === 'EXEC') {
      yield* transaction ?? [];
      transaction = undefined;
    } else if (transaction) transaction.push(command);
    else yield command;
  }
}

/** The whole commands of the file: `*<count>`, then for each word `$<length>` and its bytes. A torn last one is left out. */
function* commands(bytes: Buffer): Generator<string[]> {
  let at = 0;
  /** The number behind the mark of a line, and moves behind the line; NaN at the end of the bytes. */
  const number = (mark: string): number => {
    const end = bytes.indexOf(LINE_END, at);
    if (end < 0) return Number.NaN;
    const line = bytes.toString('latin1', at, end);
    if (!line.startsWith(mark)) throw new Error(`at byte ${at} of the append-only file stands ${line.slice(0, 40)}`);
    at = end + LINE_END.length;
    return Number(line.slice(mark.length));
  };
  while (at < bytes.length) {
    const count = number('*');
    const words: string[] = [];
    while (words.length < count) {
      const length = number('$');
      const end = at + length;
      if (Number.isNaN(length) || end + LINE_END.length > bytes.length) return;
      words.push(bytes.toString('utf8', at, end));
      at = end + LINE_END.length;
    }
    if (Number.isNaN(count)) return;
    yield words;
  }
}
