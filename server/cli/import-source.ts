// What an import reads: a directory, a file or stdin, turned into session lines one at a time. It refuses what it can
// tell without the server (no JSON, no session, too long) and goes on.
import { createReadStream } from 'node:fs';
import { readFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { IMPORT_LINE_BYTES_MAX } from '../../client-sdk/protocol/limits.js';
import { byteLines } from './byte-lines.js';
import { ShapeError, fromDocchat, isDocchat, isRecord } from './docchat.js';
import type { JsonRecord } from './docchat.js';
import { errorText, isFileError, usageError } from './exit.js';

/** Where something was read: a file, and the line of it where it has several. */
export interface Place {
  readonly file: string;
  /** Counts from 1; undefined for a file that is one session. */
  readonly line: number | undefined;
}

/** One session to send, or the reason why it is not sent. */
export type SourceItem =
  | { kind: 'session'; place: Place; bytes: Buffer; id: string | undefined; withSettings: boolean; leftOut: string[] }
  | { kind: 'refusal'; place: Place; id: string | undefined; reason: string };

/** What is read, how much there is of it, and the items in order. */
export interface ImportSource {
  /** Unit and total of `done` for a progress bar; the total is undefined where it cannot be known. */
  readonly unit: 'files' | 'bytes';
  readonly total: number | undefined;
  /** How much was read so far, in `unit`. */
  done(): number;
  items(): AsyncGenerator<SourceItem>;
}

/**
 * The largest file with one session that is read at all, bytes. Indented and with escaped letters it may be several
 * times as long as its line, which the limit is about.
 */
const SESSION_FILE_BYTES_MAX = 4 * IMPORT_LINE_BYTES_MAX;
const MiB = 1024 * 1024;

/**
 * Opens FILE, DIR or `-` (stdin, JSON Lines). Of a directory: each *.json and *.jsonl file in it, sorted by name; what
 * is below it is not read. Throws a usage error where there is nothing to read.
 */
export async function openImportSource(path: string): Promise<ImportSource> {
  if (path === '-') return streamSource(process.stdin, 'stdin', undefined);
  const found = await stat(path).catch((error: unknown) => {
    throw usageError(`cannot read ${path}: ${errorText(error)}`);
  });
  if (found.isDirectory()) return directorySource(path);
  if (isLines(path)) return streamSource(createReadStream(path), path, found.size);
  if (path.endsWith('.json')) return filesSource([path], (name) => name);
  throw usageError(`${path} is neither a directory nor a .json or .jsonl file`);
}

async function directorySource(directory: string): Promise<ImportSource> {
  const names = (await readdir(directory)).filter((name) => name.endsWith('.json') || isLines(name)).toSorted();
  if (names.length === 0) throw usageError(`${directory} has no *.json and no *.jsonl file`);
  return filesSource(names, (name) => join(directory, name));
}

function filesSource(names: readonly string[], pathOf: (name: string) => string): ImportSource {
  let done = 0;
  return {
    unit: 'files',
    total: names.length,
    done: () => done,
    async *items() {
      for (const name of names) {
        yield* fileItems(pathOf(name), name);
        done += 1;
      }
    },
  };
}

function streamSource(stream: AsyncIterable<Buffer>, file: string, total: number | undefined): ImportSource {
  let done = 0;
  async function* counted(): AsyncGenerator<Buffer> {
    for await (const chunk of stream) {
      done += chunk.length;
      yield chunk;
    }
  }
  return { unit: 'bytes', total, done: () => done, items: () => lineItems(counted(), file) };
}

async function* fileItems(path: string, file: string): AsyncGenerator<SourceItem> {
  const place = { file, line: undefined };
  const refuse = (reason: string): SourceItem => ({ kind: 'refusal', place, id: undefined, reason });
  try {
    const found = await stat(path);
    if (!found.isFile()) return yield refuse('is not a regular file');
    if (isLines(file)) return yield* lineItems(createReadStream(path), file);
    if (found.size > SESSION_FILE_BYTES_MAX) {
      return yield refuse(`is larger than ${SESSION_FILE_BYTES_MAX / MiB} MiB`);
    }
    yield sessionItem(await readFile(path), place);
  } catch (error) {
    if (!isFileError(error)) throw error;
    yield refuse(`cannot be read: ${errorText(error)}`);
  }
}

async function* lineItems(chunks: AsyncIterable<Buffer>, file: string): AsyncGenerator<SourceItem> {
  for await (const line of byteLines(chunks, IMPORT_LINE_BYTES_MAX)) {
    const place = { file, line: line.line };
    if (line.tooLong) yield { kind: 'refusal', place, id: undefined, reason: tooLong };
    else if (!isBlank(line.bytes)) yield sessionItem(line.bytes, place);
  }
}

const tooLong = `is longer than ${IMPORT_LINE_BYTES_MAX / MiB} MiB as a line`;

/** One session as the bytes of its line. Those of our own shape are passed on as they are, number by number. */
function sessionItem(bytes: Buffer, place: Place): SourceItem {
  let id: string | undefined;
  try {
    const { value, text } = parse(bytes);
    const shown = value['session_id'] ?? value['id'];
    id = typeof shown === 'string' ? shown : undefined;
    const { line, leftOut, withSettings } = isDocchat(value) ? docchatLine(value) : ownLine(value, text);
    const encoded = Buffer.from(line, 'utf8');
    if (encoded.length > IMPORT_LINE_BYTES_MAX) throw new ShapeError(tooLong);
    return { kind: 'session', place, bytes: encoded, id, withSettings, leftOut };
  } catch (error) {
    if (error instanceof ShapeError) return { kind: 'refusal', place, id, reason: error.message };
    // JSON.stringify recurses; nothing that the server takes is nested so deeply.
    if (error instanceof RangeError) return { kind: 'refusal', place, id, reason: 'is nested too deeply' };
    throw error;
  }
}

interface Line {
  line: string;
  leftOut: string[];
  withSettings: boolean;
}

function docchatLine(value: JsonRecord): Line {
  const { session, leftOut } = fromDocchat(value);
  return { line: JSON.stringify(session), leftOut, withSettings: session.settings !== undefined };
}

function ownLine(value: JsonRecord, text: string): Line {
  if (!Object.hasOwn(value, 'id')) {
    throw new ShapeError('is not a session: it has neither "id" nor (as docchat) "session_id"');
  }
  if (isRecord(value['error']) && !Object.hasOwn(value, 'messages')) {
    throw new ShapeError(`is not a session but an export's note that it had none: ${errorMember(value['error'])}`);
  }
  // Between the values of a JSON text a newline is a blank; inside a string it cannot stand.
  return { line: text.replace(/[\r\n]+/g, ' '), leftOut: [], withSettings: Object.hasOwn(value, 'settings') };
}

function errorMember(error: JsonRecord): string {
  return [error['code'], error['message']].filter((part) => typeof part === 'string').join(', ');
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

function parse(bytes: Buffer): { value: JsonRecord; text: string } {
  let text: string;
  try {
    // The decoder drops a byte order mark.
    text = utf8.decode(bytes);
  } catch {
    throw new ShapeError('is not UTF-8 text');
  }
  if (text.trim() === '') throw new ShapeError('is empty');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new ShapeError(`is not valid JSON: ${errorText(error)}`);
  }
  if (!isRecord(value)) throw new ShapeError('is not a session: not a JSON object');
  return { value, text };
}

function isLines(name: string): boolean {
  return name.endsWith('.jsonl') || name.endsWith('.ndjson');
}

function isBlank(bytes: Buffer): boolean {
  return bytes.every((byte) => byte === 0x20 || byte === 0x09 || byte === 0x0d);
}
