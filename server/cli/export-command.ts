// `attune export`: writes the server's sessions to a file, to stdout, or to one file each, as they arrive.
import { mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Option } from 'commander';
import type { Command } from 'commander';
import { IMPORT_LINE_BYTES_MAX } from '../../client-sdk/protocol/limits.js';
import { byteLines } from './byte-lines.js';
import type { ByteLine } from './byte-lines.js';
import { ShapeError, isRecord, toDocchat } from './docchat.js';
import type { JsonRecord } from './docchat.js';
import type { CliEnvironment } from './environment.js';
import { CliFailure, EXIT_DONE, EXIT_FAILED, errorText, isFileError, exitStatusHelp, usageError } from './exit.js';
import { directoryOf, openFile, openStdout, syncDirectory } from './output.js';
import { startProgress } from './progress.js';
import { createFindings, findingLines, printReport, printable } from './report.js';
import type { Findings } from './report.js';
import { addServerOptions, download, serverAddress } from './server-call.js';
import type { ServerAddress } from './server-call.js';

interface ExportOptions {
  url: string;
  token?: string;
  out: string;
  format?: 'jsonl' | 'files';
  json?: boolean;
}

/** Where sessions go. `finish` makes the last of it final; `discard` takes back what is not. */
interface SessionSink {
  /** Throws a ShapeError for a session that this sink cannot hold. */
  take(session: JsonRecord, line: Buffer): Promise<void>;
  finish(): Promise<void>;
  discard(): void;
}

/** What an export counted. */
interface Exported {
  exported: number;
  refusals: Findings;
}

/** Bytes of ids in one request: with the rest of its head well below the 16 KiB that Node takes. */
const QUERY_BYTES_MAX = 8 * 1024;
/** The contract's ids. Checked again before an id becomes part of a file's name, whoever the server is. */
const sessionId = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/;
const NEWLINE = Buffer.from('\n');

/** Adds the command; `done` gets the exit status. */
export function addExportCommand(program: Command, environment: CliEnvironment, done: (status: number) => void): void {
  const command = program
    .command('export')
    .summary('write sessions of the server to files')
    .description(
      'Writes the sessions with these ids, or all that the caller may read. As JSON Lines (one session with its ' +
        'messages a line; import takes it back whole) or as one file <id>.json each in the shape of docchat (times in ' +
        'UTC without a zone; ids, authors and states of messages have no place there). A file appears whole or not at ' +
        'all: it is written beside its place and renamed. - is JSON Lines on stdout.',
    )
    .argument('[ids...]', 'ids of sessions; without any, all')
    .requiredOption('--out <FILE|DIR>', 'where to write; DIR exists or ends in /')
    .addOption(
      new Option('--format <format>', 'default: files where --out is a directory, else jsonl').choices([
        'jsonl',
        'files',
      ]),
    )
    .option('--json', 'print the report as JSON on stdout')
    .addHelpText('after', exitStatusHelp);
  addServerOptions(command, environment).action(async (ids: string[], options: ExportOptions) => {
    done(await runExport([...new Set(ids)], options, serverAddress(options, environment)));
  });
}

async function runExport(ids: readonly string[], options: ExportOptions, server: ServerAddress): Promise<number> {
  for (const id of ids) if (!sessionId.test(id)) throw usageError(`"${printable(id)}" cannot be the id of a session`);
  const openSink = chooseSink(options);
  const progress = startProgress('exporting', 'sessions', ids.length > 0 ? ids.length : undefined);
  const result: Exported = { exported: 0, refusals: createFindings() };
  let sink: SessionSink | undefined;
  try {
    for (const path of requests(ids)) {
      const lines = byteLines(download(server, path, 'application/jsonl'), IMPORT_LINE_BYTES_MAX);
      for await (const line of lines) {
        // Opened late: a server that refuses leaves no trace.
        await takeLine(line, (sink ??= openSink()), result);
        progress.update(result.exported);
      }
    }
    const answered = result.exported + result.refusals.count;
    if (answered < ids.length) throw new CliFailure(`the server left out ${ids.length - answered} of the sessions`);
    sink ??= openSink();
    await sink.finish();
  } catch (error) {
    sink?.discard();
    throw isFileError(error)
      ? new CliFailure(`cannot write ${options.out}: ${errorText(error)}`, undefined, error)
      : error;
  } finally {
    progress.stop();
  }
  return report(result, options);
}

/** The sink that `--out` and `--format` mean; nothing is opened yet. */
function chooseSink(options: ExportOptions): () => SessionSink {
  const { out, format } = options;
  if (out === '-') {
    if (format === 'files') throw usageError('--format files needs a directory, not stdout');
    if (options.json) throw usageError('--json and --out - would both write to stdout');
    return () => linesSink(openStdout());
  }
  const found = statSync(out, { throwIfNoEntry: false });
  const directory = found?.isDirectory() === true || out.endsWith('/');
  if (directory && format === 'jsonl') throw usageError(`--format jsonl needs a file, and ${out} is a directory`);
  if (format === 'files' && found && !directory)
    throw usageError(`--format files needs a directory, and ${out} is none`);
  return directory || format === 'files' ? () => filesSink(out) : () => fileSink(out);
}

function* requests(ids: readonly string[]): Generator<string> {
  if (ids.length === 0) yield 'v1/export';
  let query = '';
  for (const id of ids) {
    const part = `id=${encodeURIComponent(id)}`;
    if (query && query.length + part.length >= QUERY_BYTES_MAX) {
      yield `v1/export?${query}`;
      query = '';
    }
    query += query ? `&${part}` : part;
  }
  if (query) yield `v1/export?${query}`;
}

async function takeLine(line: ByteLine, sink: SessionSink, result: Exported): Promise<void> {
  if (!line.ended) throw new CliFailure("the server's answer ends in the middle of a line");
  if (line.tooLong) {
    result.refusals.add({ reason: `line ${line.line} of the server's answer is longer than a session can be` });
    return;
  }
  if (line.bytes.length === 0) return;
  const session = parseLine(line.bytes);
  const id = typeof session['id'] === 'string' ? session['id'] : undefined;
  if (isRecord(session['error'])) {
    const { code, message } = session['error'];
    const reason = [code, message].filter((part) => typeof part === 'string').join(', ');
    result.refusals.add({ ...(id === undefined ? {} : { id }), reason: reason || 'the server gave no reason' });
    return;
  }
  try {
    await sink.take(session, line.bytes);
    result.exported += 1;
  } catch (error) {
    if (!(error instanceof ShapeError)) throw error;
    result.refusals.add({ ...(id === undefined ? {} : { id }), reason: error.message });
  }
}

function parseLine(bytes: Buffer): JsonRecord {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch {
    value = undefined;
  }
  if (!isRecord(value)) throw new CliFailure('the server answered with something that is no export; is it Attune?');
  return value;
}

function linesSink(output: ReturnType<typeof openStdout>): SessionSink {
  return {
    async take(_session, line) {
      await output.write(line);
      await output.write(NEWLINE);
    },
    finish: output.finish,
    discard: output.discard,
  };
}

function fileSink(path: string): SessionSink {
  const sink = linesSink(openFile(path));
  return {
    ...sink,
    async finish() {
      await sink.finish();
      syncDirectory(directoryOf(path));
    },
  };
}

function filesSink(directory: string): SessionSink {
  mkdirSync(directory, { recursive: true });
  return {
    async take(session) {
      const file = toDocchat(session);
      if (!sessionId.test(file.session_id)) throw new ShapeError('its id cannot be the name of a file');
      const output = openFile(join(directory, `${file.session_id}.json`));
      try {
        await output.write(Buffer.from(`${JSON.stringify(file, null, 2)}\n`, 'utf8'));
        await output.finish();
      } catch (error) {
        output.discard();
        throw error;
      }
    },
    async finish() {
      syncDirectory(directory);
    },
    discard() {},
  };
}

function report({ exported, refusals }: Exported, options: ExportOptions): number {
  const refused = refusals.count;
  const to = options.out === '-' ? 'stdout' : printable(options.out);
  printReport(options.json === true, { exported, refused, out: options.out, refusals: refusals.kept }, [
    `exported ${exported} to ${to}, refused ${refused}`,
    ...findingLines('refused', refusals.kept, refused),
  ]);
  return refused > 0 ? EXIT_FAILED : EXIT_DONE;
}
