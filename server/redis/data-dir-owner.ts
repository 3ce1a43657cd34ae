// Owns the file that says which server process a data directory belongs to, for Redis itself locks nothing.
// Never starts, asks or stops a Redis.
import { randomUUID } from 'node:crypto';
import { linkSync, readFileSync, readlinkSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** How long a taker waits while another one is in the middle of taking the same directory. A take lasts under 1 ms. */
const takeoverWaitMs = 5_000;
const takeoverPollMs = 10;
const unreadableWaitMs = 50;
/** A crash inside a take leaves one more stale file to take first; more than a few of those in a row is no accident. */
const takeoverDepth = 4;

/** A process that can be told from a later one with the same number. `startTime` is in clock ticks since boot, null where there is no /proc. */
export interface ProcessIdentity {
  readonly pid: number;
  readonly startTime: string | null;
}

/** What the owner file holds. `redis` is null until one was spawned, its `runId` null until it answered. */
export interface OwnerRecord {
  readonly token: string;
  readonly server: ProcessIdentity;
  readonly bootId: string | null;
  readonly pidNamespace: string | null;
  readonly socketPath: string | null;
  readonly redis: (ProcessIdentity & { readonly runId: string | null }) | null;
}

/** The data directory belongs to a server that is alive. */
export class DataDirOwnedError extends Error {
  override readonly name = 'DataDirOwnedError';
}

/** The identity of a running process, or null where none (or only a zombie) has this number. */
export function identifyProcess(pid: number): ProcessIdentity | null {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return null;
  }
  const stat = readOrNull(`/proc/${pid}/stat`);
  if (stat === null) return { pid, startTime: null };
  // The second field is the program's name in parentheses and may hold anything: count from behind it.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  if (fields[0] === 'Z' || fields[0] === 'X') return null;
  return { pid, startTime: fields[19] ?? null };
}

/** Whether this very process still runs: the number alone may have been given to another one. */
export function isRunning(identity: ProcessIdentity): boolean {
  const now = identifyProcess(identity.pid);
  if (now === null) return false;
  return identity.startTime === null || now.startTime === null || identity.startTime === now.startTime;
}

/**
 * Takes the owner file at `path`, exclusively; of several takers of a stale one exactly one wins.
 * `isServed` is asked about an owner whose process number means nothing here (another container): does its Redis still answer?
 * Resolves with the file and, after a takeover, with what the former owner had written.
 * @throws DataDirOwnedError when the owner is alive.
 */
export async function takeDataDir(
  path: string,
  dataDir: string,
  isServed: (record: OwnerRecord) => Promise<boolean>,
): Promise<{ owner: OwnerFile; former: OwnerRecord | null }> {
  const record = newRecord();
  const former = await take(path, record, 0, async (holder) => {
    if (!(await isAlive(holder, isServed))) return false;
    throw new DataDirOwnedError(
      `the data directory ${dataDir} is in use by the Attune server with pid ${holder.server.pid}: ` +
        'stop that one, or give this one another DATA_DIR',
    );
  });
  return { owner: new OwnerFile(path, inherit(record, former)), former };
}

/** Whether the process numbers of a record mean anything here and now: the same boot, and the same container. */
export function countsProcessesHere(record: OwnerRecord): boolean {
  return record.bootId === bootId() && record.pidNamespace === pidNamespace();
}

/** A new owner keeps what is known of the former one's Redis until it has dealt with it: it may be killed before that. */
function inherit(record: OwnerRecord, former: OwnerRecord | null): OwnerRecord {
  if (former === null || !countsProcessesHere(former)) return record;
  return { ...record, socketPath: former.socketPath, redis: former.redis };
}

/** The owner file while it is ours. */
export class OwnerFile {
  readonly #path: string;
  #record: OwnerRecord;

  constructor(path: string, record: OwnerRecord) {
    this.#path = path;
    this.#record = record;
  }

  /** Writes what is new; a reader sees the old file or the new one, never a half. */
  update(change: Partial<Pick<OwnerRecord, 'socketPath' | 'redis'>>): void {
    this.#record = { ...this.#record, ...change };
    replaceFile(this.#path, this.#record);
  }

  /** Puts the former owner's file back, for the next server to try again with what it says. */
  restore(former: OwnerRecord): void {
    replaceFile(this.#path, former);
  }

  /** Gives the directory up. A file that meanwhile is another's stays. */
  release(): void {
    const now = readRecord(this.#path);
    if (now !== 'absent' && now?.token === this.#record.token) rmSync(this.#path, { force: true });
  }
}

/**
 * Puts `record` at `path` when nothing is there or when `isHeld` says no of what is there. A stale file is replaced only under
 * a second file taken the same way, and only if it is still the one that was judged: otherwise a slow taker could throw out a quick one.
 */
async function take(
  path: string,
  record: OwnerRecord,
  depth: number,
  isHeld: (holder: OwnerRecord) => Promise<boolean>,
): Promise<OwnerRecord | null> {
  const deadline = performance.now() + takeoverWaitMs;
  let unreadable = 0;
  for (;;) {
    if (createFile(path, record)) return null;
    const holder = readRecord(path);
    if (holder === 'absent') continue;
    // Where links cannot be made, a file that is just being written can be seen without its text.
    if (holder === null && (unreadable += 1) === 1) {
      await sleep(unreadableWaitMs);
      continue;
    }
    if (holder === null || !(await isHeld(holder))) {
      const outcome = await replaceStale(path, record, holder, depth);
      if (outcome === 'replaced') return holder;
      continue;
    }
    if (performance.now() > deadline)
      throw new Error(`another server has been taking ${path} for ${takeoverWaitMs} ms`);
    await sleep(takeoverPollMs);
  }
}

async function replaceStale(path: string, record: OwnerRecord, stale: OwnerRecord | null, depth: number) {
  if (depth >= takeoverDepth) throw new Error(`${path} is left over from a crash and cannot be taken over: remove it`);
  const guard = newRecord();
  const guardPath = `${path}.takeover`;
  await take(guardPath, guard, depth + 1, (holder) => isAlive(holder, () => Promise.resolve(false)));
  try {
    const now = readRecord(path);
    if (now === 'absent' || now?.token !== stale?.token) return 'changed';
    replaceFile(path, inherit(record, stale));
    return 'replaced';
  } finally {
    rmSync(guardPath, { force: true });
  }
}

async function isAlive(holder: OwnerRecord, isServed: (record: OwnerRecord) => Promise<boolean>): Promise<boolean> {
  if (holder.bootId !== null && bootId() !== null && holder.bootId !== bootId()) return false;
  if (holder.pidNamespace !== pidNamespace()) return isServed(holder);
  return isRunning(holder.server);
}

function newRecord(): OwnerRecord {
  const server = identifyProcess(process.pid) ?? { pid: process.pid, startTime: null };
  return { token: randomUUID(), server, bootId: bootId(), pidNamespace: pidNamespace(), socketPath: null, redis: null };
}

/** True when the file was made, false when one is there. A link makes it whole at once, where links can be made. */
function createFile(path: string, record: OwnerRecord): boolean {
  const draft = `${path}.${record.token}`;
  const text = JSON.stringify(record, null, 2) + '\n';
  try {
    writeFileSync(draft, text, { mode: 0o600 });
    linkSync(draft, path);
    return true;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? '';
    if (code === 'EEXIST') return false;
    if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'].includes(code)) throw error;
    return createWithoutLink(path, text);
  } finally {
    rmSync(draft, { force: true });
  }
}

function createWithoutLink(path: string, text: string): boolean {
  try {
    writeFileSync(path, text, { flag: 'wx', mode: 0o600 });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

function replaceFile(path: string, record: OwnerRecord): void {
  const draft = `${path}.${randomUUID()}`;
  try {
    writeFileSync(draft, JSON.stringify(record, null, 2) + '\n', { mode: 0o600 });
    renameSync(draft, path);
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  }
}

/** The record, 'absent' when there is no file, null when it cannot be understood (a power cut can leave an empty one). */
function readRecord(path: string): OwnerRecord | null | 'absent' {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 'absent';
    throw error;
  }
  try {
    const record = JSON.parse(text) as OwnerRecord;
    return typeof record.token === 'string' && Number.isInteger(record.server.pid) && record.server.pid > 0
      ? record
      : null;
  } catch {
    return null;
  }
}

function bootId(): string | null {
  return readOrNull('/proc/sys/kernel/random/boot_id')?.trim() ?? null;
}

/** Names the world in which our process numbers mean something: each container has its own. */
function pidNamespace(): string | null {
  try {
    return readlinkSync('/proc/self/ns/pid');
  } catch {
    return null;
  }
}

function readOrNull(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}
