// Where an export goes: a file that appears whole or not at all, or stdout. Writing is synchronous on purpose: it
// is its own backpressure, and a signal never finds a file half opened.
import {
  closeSync,
  fstatSync,
  fsyncSync,
  openSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { once } from 'node:events';
import { onSignal } from './exit.js';

/** A place for bytes, in order. `finish` makes them final, `discard` takes them back where that is possible. */
export interface Output {
  write: (bytes: Buffer) => Promise<void>;
  finish: () => Promise<void>;
  discard: () => void;
}

/** Bytes gathered before they are written at once. */
const WRITE_BYTES = 64 * 1024;

/**
 * A file written beside its place (`<path>.<pid>.tmp`), brought to disk and renamed by `finish`; `discard`, or a
 * signal before, removes it. What was at `path` stays until then. Devices and pipes are written straight.
 * Throws what the file system throws.
 */
export function openFile(path: string): Output {
  const place = existing(path);
  if (place.special) return rawOutput(openSync(path, 'w'));
  const temporary = `${place.path}.${process.pid}.tmp`;
  const withdraw = onSignal(() => rmSync(temporary, { force: true }));
  let file: number | undefined;
  try {
    // A leftover of a killed run with the same pid is nobody's.
    rmSync(temporary, { force: true });
    file = openSync(temporary, 'wx');
  } catch (error) {
    withdraw();
    throw error;
  }
  const close = (): void => {
    if (file !== undefined) closeSync(file);
    file = undefined;
  };
  const gathered = gather(file);
  return {
    write: gathered.write,
    async finish() {
      await gathered.flush();
      fsyncSync(file!);
      close();
      renameSync(temporary, place.path);
      withdraw();
    },
    discard() {
      close();
      rmSync(temporary, { force: true });
      withdraw();
    },
  };
}

/** Standard output, with its backpressure. */
export function openStdout(): Output {
  return {
    async write(bytes) {
      if (!process.stdout.write(bytes)) await once(process.stdout, 'drain');
    },
    async finish() {},
    discard() {},
  };
}

/** Brings the renames in a directory to disk, where the file system can. */
export function syncDirectory(path: string): void {
  let directory: number | undefined;
  try {
    directory = openSync(path, 'r');
    fsyncSync(directory);
  } catch {
    // Some file systems cannot; the files themselves are on disk.
  } finally {
    if (directory !== undefined) closeSync(directory);
  }
}

/** The directory that a file's name is in. */
export function directoryOf(path: string): string {
  return dirname(existing(path).path);
}

/** A link is followed, so that its target is replaced and the link stays. */
function existing(path: string): { path: string; special: boolean } {
  const found = statSync(path, { throwIfNoEntry: false });
  if (!found) return { path, special: false };
  return found.isFile() ? { path: realpathSync(path), special: false } : { path, special: true };
}

function rawOutput(file: number): Output {
  const gathered = gather(file);
  return {
    write: gathered.write,
    async finish() {
      await gathered.flush();
      if (fstatSync(file).isFile()) fsyncSync(file);
      closeSync(file);
    },
    discard() {
      closeSync(file);
    },
  };
}

function gather(file: number): { write: (bytes: Buffer) => Promise<void>; flush: () => Promise<void> } {
  let parts: Buffer[] = [];
  let size = 0;
  const flush = async (): Promise<void> => {
    const bytes = Buffer.concat(parts);
    parts = [];
    size = 0;
    for (let from = 0; from < bytes.length;) from += writeSync(file, bytes, from);
  };
  return {
    flush,
    async write(bytes) {
      parts.push(bytes);
      size += bytes.length;
      if (size >= WRITE_BYTES) await flush();
    },
  };
}
