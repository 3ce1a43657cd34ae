// Owns the repair of an append-only file whose last write was torn by a crash or a power cut.
// Never cuts off anything that is followed by a whole command, and never cuts without a copy beside.
import { spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { copyFile, link, mkdir, open, readFile, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';

/** How much of the end of a file is searched for whole commands. What is beyond must be zeroes for the end to count as torn. */
const searchedBytes = 64 * 1024 * 1024;
const chunkBytes = 4 * 1024 * 1024;
/** Longest head of a command (`*<count>` and the first `$<length>`), in bytes. */
const commandHeadBytes = 48;

export interface AppendOnlyRepair {
  readonly file: string;
  readonly copy: string;
  readonly cutBytes: number;
}

/** Why nothing was cut. */
export class RepairRefusedError extends Error {
  override readonly name = 'RepairRefusedError';
}

/**
 * Whether Redis's log says that it could not read an append-only file, and which one. Zeroes behind a cut within the name of
 * a command are a part of that name to Redis, which then knows no such command.
 */
export function unreadableFileIn(log: string): string | null {
  const said =
    /(?:Bad file format|Unexpected end of file|Unknown command '[^\n]*') reading the append only file ([^\s:]+\.aof)\b/;
  return said.exec(log)?.[1] ?? null;
}

/**
 * Cuts `unreadable`, a file of the append-only directory `dir`, back to its last whole script or command, after a copy of the
 * directory was made beside it. `checkers` are the names of the checking program, tried in turn.
 * @throws RepairRefusedError when it is not the last file, or when whole commands follow the damage: that is no torn write.
 */
export async function repairTornTail(
  dir: string,
  unreadable: string,
  checkers: readonly string[],
): Promise<AppendOnlyRepair> {
  if ((await lastIncrement(dir)) !== unreadable) {
    throw new RepairRefusedError(
      `${unreadable} is not the last append-only file, so what is wrong with it is not a torn write`,
    );
  }
  const file = join(dir, unreadable);
  const before = (await stat(file)).size;
  const verdict = await runFirst(checkers, [file], '');
  const intact = Number(/\bok_up_to=(\d+)/.exec(verdict)?.[1] ?? Number.NaN);
  if (!Number.isSafeInteger(intact)) throw new RepairRefusedError(`${file} could not be checked: ${verdict.trim()}`);
  if (intact === before) {
    throw new RepairRefusedError(
      `${file} is whole and holds what this Redis does not know: was it written by a newer one?`,
    );
  }
  if (await commandFollowsDamage(file, intact, before)) {
    throw new RepairRefusedError(
      `${file} is damaged behind byte ${intact} of ${before} and whole commands follow: cutting would lose acknowledged writes. ` +
        `Restore the directory from a backup, or cut it yourself: redis-check-aof --fix ${file}`,
    );
  }
  const copy = await copyDirectory(dir);
  await runFirst(checkers, ['--fix', file], 'y\n');
  return { file, copy, cutBytes: before - (await stat(file)).size };
}

/** The last incremental file that the manifest names, which is the only one that was being written. */
async function lastIncrement(dir: string): Promise<string | null> {
  const names = await readdir(dir);
  const manifest = names.find((name) => name.endsWith('.manifest'));
  if (manifest === undefined) return null;
  const text = await readFile(join(dir, manifest), 'utf8');
  const entries = [...text.matchAll(/^file (\S+) seq (\d+) type i\b/gm)];
  const last = entries.sort((a, b) => Number(a[2]) - Number(b[2])).at(-1);
  return last?.[1] ?? null;
}

/**
 * Whether a whole command stands behind the damage. The commands of a transaction that was cut short stand before it.
 */
async function commandFollowsDamage(path: string, intact: number, size: number): Promise<boolean> {
  const file = await open(path, 'r');
  try {
    const tail = Buffer.alloc(Math.min(size - intact, searchedBytes));
    const { bytesRead } = await file.read(tail, 0, tail.length, intact);
    const searched = tail.subarray(0, bytesRead);
    let damage = 0;
    for (let end = commandEnd(searched, 0); end !== null; end = commandEnd(searched, end)) damage = end;
    if (hasCommandAfter(searched, damage + 1)) return true;
    const chunk = Buffer.alloc(chunkBytes);
    for (let at = intact + searched.length; at < size;) {
      const read = (await file.read(chunk, 0, chunk.length, at)).bytesRead;
      if (read === 0) break;
      if (chunk.subarray(0, read).some((byte) => byte !== 0)) return true;
      at += read;
    }
    return false;
  } finally {
    await file.close();
  }
}

function hasCommandAfter(bytes: Buffer, from: number): boolean {
  for (let at = bytes.indexOf('*', from); at !== -1; at = bytes.indexOf('*', at + 1)) {
    if (commandEnd(bytes, at) !== null) return true;
  }
  return false;
}

/** Where the command that begins at `start` ends, or null when no whole one begins there. */
export function commandEnd(bytes: Buffer, start: number): number | null {
  const count = prefixedNumber(bytes, start, '*');
  if (count === null || count.value < 1) return null;
  let at = count.end;
  for (let index = 0; index < count.value; index++) {
    const length = prefixedNumber(bytes, at, '$');
    if (length === null) return null;
    at = length.end + length.value + 2;
    if (at > bytes.length || bytes[at - 2] !== 13 || bytes[at - 1] !== 10) return null;
  }
  return at;
}

function prefixedNumber(bytes: Buffer, at: number, prefix: string): { value: number; end: number } | null {
  const match = /^(.)(\d{1,10})\r\n/s.exec(bytes.toString('latin1', at, at + commandHeadBytes));
  if (match === null || match[1] !== prefix) return null;
  return { value: Number(match[2]), end: at + match[0].length };
}

/**
 * A copy of the directory, beside it. Only the last file is ever written again, the others are shared by links where that works:
 * a repair must not need the space of the whole data again.
 */
async function copyDirectory(dir: string): Promise<string> {
  const stamp = new Date().toISOString().replaceAll(/[-:]/g, '').replace('.', '-');
  const copy = `${dir}.before-repair-${stamp}`;
  const last = await lastIncrement(dir);
  await mkdir(copy, { mode: 0o700 });
  try {
    for (const name of await readdir(dir)) {
      const [from, to] = [join(dir, name), join(copy, name)];
      if (name === last || !name.endsWith('.aof') || !(await linked(from, to)))
        await copyFile(from, to, constants.COPYFILE_FICLONE);
    }
  } catch (cause) {
    await rm(copy, { recursive: true, force: true });
    throw new RepairRefusedError(`no copy of ${dir} could be made, so nothing was cut`, { cause });
  }
  return copy;
}

async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch {
    return false;
  }
}

/** Output of the first of these programs that is installed. It answers with 1 where it finds damage, which is not an error here. */
async function runFirst(programs: readonly string[], args: readonly string[], input: string): Promise<string> {
  for (const program of programs) {
    const output = await run(program, args, input);
    if (output !== null) return output;
  }
  throw new RepairRefusedError(`none of ${programs.join(', ')} is on PATH`);
}

function run(program: string, args: readonly string[], input: string): Promise<string | null> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    let output = '';
    const collect = (data: Buffer) => (output = (output + data.toString('utf8')).slice(-chunkBytes));
    child.stdout.on('data', collect);
    child.stderr.on('data', collect);
    // It may end without having read its input.
    child.stdin.on('error', () => undefined);
    child.on('error', (error: NodeJS.ErrnoException) => (error.code === 'ENOENT' ? resolve(null) : reject(error)));
    child.on('close', () => resolve(output));
    child.stdin.end(input);
  });
}
