// `attune import`: sends sessions from files to the server as one stream and reports what became of them.
import { Option } from 'commander';
import type { Command } from 'commander';
import { isRecord } from './docchat.js';
import type { CliEnvironment } from './environment.js';
import { CliFailure, EXIT_DONE, EXIT_FAILED, exitStatusHelp, onSignal } from './exit.js';
import { openImportSource } from './import-source.js';
import type { SourceItem } from './import-source.js';
import { startProgress } from './progress.js';
import { createFindings, findingLines, printReport } from './report.js';
import type { Finding, Findings } from './report.js';
import { createSentLines, placeText } from './sent-lines.js';
import type { SentLines } from './sent-lines.js';
import { addServerOptions, serverAddress, startUpload } from './server-call.js';
import type { ServerAddress, Upload } from './server-call.js';

interface ImportOptions {
  url: string;
  token?: string;
  existing: 'skip' | 'replace';
  json?: boolean;
}

/** What the server says at the end of an import. */
interface ImportAnswer {
  taken: number;
  replaced: number;
  skipped: number;
  refused: number;
  refusals: { line: number; id?: string; reason: string }[];
}

/** What was learned while reading and sending. `sent` counts lines, so it is also the number of the last one. */
interface Sent {
  sent: number;
  lines: SentLines;
  /** Refused here, before sending; each with the number of the line sent before it. */
  refusals: Findings;
  refusedAfter: number[];
  /** Sessions that bring no settings, with the number of their line. */
  withoutSettings: Findings;
  withoutSettingsAt: number[];
  /** Other things worth a word. */
  notes: Findings;
}

const NEWLINE = Buffer.from('\n');

/** Adds the command; `done` gets the exit status. */
export function addImportCommand(program: Command, environment: CliEnvironment, done: (status: number) => void): void {
  const command = program
    .command('import')
    .summary('put sessions from files into the server')
    .description(
      'Sends sessions to the server. FILE is JSON Lines (.jsonl, one session with its messages a line, as export ' +
        'writes them) or one session (.json); DIR stands for each *.json and *.jsonl file in it, sorted, not below it; ' +
        '- is JSON Lines from stdin. A .json file may have the shape of docchat ("session_id"), whose times are UTC. ' +
        'One session is taken whole or not at all; one that is refused does not stop the others.',
    )
    .argument('<FILE|DIR>', 'what to read')
    .addOption(
      new Option('--existing <what>', 'what to do with a session that the server has already')
        .choices(['skip', 'replace'])
        .default('skip'),
    )
    .option('--json', 'print the report as JSON on stdout')
    .addHelpText('after', exitStatusHelp);
  addServerOptions(command, environment).action(async (path: string, options: ImportOptions) => {
    done(await runImport(path, options, serverAddress(options, environment)));
  });
}

async function runImport(path: string, options: ImportOptions, server: ServerAddress): Promise<number> {
  const source = await openImportSource(path);
  const progress = startProgress('importing', source.unit, source.total);
  const sent = createSent();
  let upload: Upload | undefined;
  const withdraw = onSignal(() => {
    progress.stop();
    if (upload?.mayHaveActed()) process.stderr.write(`attune: interrupted; ${partlyTaken}\n`);
  });
  try {
    for await (const item of source.items()) {
      note(sent, item);
      if (item.kind === 'session') {
        upload ??= startUpload(server, `v1/import?existing=${options.existing}`, 'application/jsonl');
        await upload.send(item.bytes);
        await upload.send(NEWLINE);
      }
      progress.update(source.done());
    }
    const answer = upload ? readReport(await upload.finish()) : nothingSent;
    progress.stop();
    return report(answer, sent, options);
  } catch (error) {
    if (error instanceof CliFailure && upload?.mayHaveActed()) {
      throw new CliFailure(`${error.message}\n${partlyTaken}`, error.exitCode, error);
    }
    throw error;
  } finally {
    withdraw();
    progress.stop();
    upload?.close();
  }
}

const partlyTaken = 'part of the sessions may have been taken; the same command may be given again';
const nothingSent: ImportAnswer = { taken: 0, replaced: 0, skipped: 0, refused: 0, refusals: [] };

function createSent(): Sent {
  return {
    sent: 0,
    lines: createSentLines(),
    refusals: createFindings(),
    refusedAfter: [],
    withoutSettings: createFindings(),
    withoutSettingsAt: [],
    notes: createFindings(),
  };
}

function note(sent: Sent, item: SourceItem): void {
  const about = { place: placeText(item.place), ...(item.id === undefined ? {} : { id: item.id }) };
  if (item.kind === 'refusal') {
    if (addKept(sent.refusals, { ...about, reason: item.reason })) sent.refusedAfter.push(sent.sent);
    return;
  }
  sent.sent += 1;
  sent.lines.add(item.place);
  if (!item.withSettings) {
    const kept = addKept(sent.withoutSettings, { ...about, reason: 'has no settings, so it has the default ones' });
    if (kept) sent.withoutSettingsAt.push(sent.sent);
  }
  if (item.leftOut.length > 0) {
    sent.notes.add({ ...about, reason: `a session has no place for ${item.leftOut.join(', ')}; left out` });
  }
}

function addKept(findings: Findings, finding: Finding): boolean {
  const before = findings.kept.length;
  findings.add(finding);
  return findings.kept.length > before;
}

function report(answer: ImportAnswer, sent: Sent, options: ImportOptions): number {
  const refused = answer.refused + sent.refusals.count;
  const refusals = allRefusals(answer, sent);
  const defaulted = withDefaults(answer, sent);
  const notes = [...defaulted.findings, ...sent.notes.kept];
  const notesCount = defaulted.count + sent.notes.count;
  const taken = answer.taken + (defaulted.count > 0 ? ` (${defaulted.words})` : '');
  const { replaced, skipped } = answer;
  printReport(
    options.json === true,
    { taken: answer.taken, replaced, skipped, refused, defaulted: defaulted.count, refusals, notes },
    [
      `taken ${taken}, replaced ${replaced}, skipped ${skipped}, refused ${refused}`,
      ...findingLines('refused', refusals, refused),
      ...findingLines('note', notes, notesCount),
    ],
  );
  return refused > 0 ? EXIT_FAILED : EXIT_DONE;
}

/** The first refusals of both sides, in the order of reading. */
function allRefusals(answer: ImportAnswer, sent: Sent): Finding[] {
  const here = sent.refusals.kept.map((finding, index) => ({ finding, at: sent.refusedAfter[index]! + 0.5 }));
  const there = answer.refusals.map(({ line, id, reason }) => {
    const place = sent.lines.placeOf(line);
    return { finding: { ...(place ? { place } : {}), ...(id === undefined ? {} : { id }), reason }, at: line };
  });
  const merged = [...here, ...there].toSorted((one, other) => one.at - other.at);
  const bounded = createFindings();
  for (const { finding } of merged) bounded.add(finding);
  return bounded.kept;
}

/**
 * Which sessions have the default settings now. The server names those it refused, not those it skipped: where some
 * were skipped, the words say that the number is an upper bound.
 */
function withDefaults(answer: ImportAnswer, sent: Sent): { findings: Finding[]; count: number; words: string } {
  if (answer.taken + answer.replaced === 0) return { findings: [], count: 0, words: '' };
  const refused = new Set(answer.refusals.map((refusal) => refusal.line));
  const findings = sent.withoutSettings.kept.filter((_, index) => !refused.has(sent.withoutSettingsAt[index]!));
  const count = sent.withoutSettings.count - (sent.withoutSettings.kept.length - findings.length);
  const certain = answer.skipped === 0 && answer.refused === answer.refusals.length;
  if (certain) return { findings, count, words: `${count} with default settings` };
  const hedged = findings.map((finding) => ({
    ...finding,
    reason: 'has no settings, so it has the default ones unless it was skipped or refused',
  }));
  return { findings: hedged, count, words: `at most ${count} with default settings` };
}

function readReport(body: unknown): ImportAnswer {
  const report = isRecord(body) ? body : {};
  const counts = ['taken', 'replaced', 'skipped', 'refused'].every((key) => typeof report[key] === 'number');
  if (!counts || !Array.isArray(report['refusals'])) {
    throw new CliFailure('the server answered with something that is no import report; is it Attune?');
  }
  return report as unknown as ImportAnswer;
}
