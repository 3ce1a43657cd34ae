// `npm run bench [-- workload…]`: runs the workloads against each design in turn, prints the table, writes the JSON.
// Measures nothing itself: the load runs in client processes, the servers in theirs.
import { mkdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { ClientProcess } from './client-process.js';
import { designs, startServer, type Design } from './designs.js';
import { measureFsync } from './fsync.js';
import type { PartName } from './load/parts.js';
import { describeMachine } from './machine.js';
import { toJson, toMarkdown, type Bench, type Cell } from './report.js';
import { projectRoot } from './siblings.js';
import { contention } from './workloads/contention.js';
import { drag } from './workloads/drag.js';
import { manySessions } from './workloads/sessions.js';
import {
  fractionOfLiteral,
  fsyncMeasure,
  timesLiteral,
  type RunContext,
  type RunResult,
  type Workload,
} from './workloads/workload.js';

const usage = `usage: npm run bench -- [options] [workload…]

  --runs N      interleaved runs of each design, medians of them are reported (default 3)
  --seconds N   length of each measured window (default 5)
  --drags N     drags of the drag workload, over all runs (default 20)
  --design NAME only this design (may be given again); the others are printed as not run
  --data DIR    where the servers keep their data meanwhile (default: the system's directory for temporary files)
  --json FILE   where the report goes (default bench-results/<date>.json)

workloads: `;

/** Appends timed before each run. */
const fsyncCount = 200;
const statusUsage = 2;
const statusInterrupted = 130;

interface Options {
  runs: number;
  seconds: number;
  drags: number;
  dataBase: string;
  json: string | undefined;
  designs: Design[];
  help: boolean;
  chosen: string[];
}

type Rounds = Omit<RunContext, 'url' | 'client'>;

/** What is alive now and must be ended, the newest first. */
const alive: { stop(): Promise<void> }[] = [];
let interrupted = false;

function readOptions(): Options {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      runs: { type: 'string', default: '3' },
      seconds: { type: 'string', default: '5' },
      drags: { type: 'string', default: '20' },
      data: { type: 'string', default: tmpdir() },
      json: { type: 'string' },
      design: { type: 'string', multiple: true },
      help: { type: 'boolean', default: false },
    },
  });
  const positive = (name: 'runs' | 'seconds' | 'drags', whole: boolean): number => {
    const value = Number(values[name]);
    if (value > 0 && (!whole || Number.isInteger(value))) return value;
    throw new Error(`--${name} must be a positive ${whole ? 'integer' : 'number'}, not ${values[name]}`);
  };
  const numbers = { runs: positive('runs', true), seconds: positive('seconds', false), drags: positive('drags', true) };
  const wanted = values.design ?? designs.map((design) => design.name);
  const chosenDesigns = wanted.map((name) => {
    const design = designs.find((one) => one.name === name);
    if (!design) throw new Error(`no design ${name}; there are ${designs.map((one) => one.name).join(', ')}`);
    return design;
  });
  return {
    ...numbers,
    dataBase: resolve(values.data),
    json: values.json,
    designs: chosenDesigns,
    help: values.help,
    chosen: positionals,
  };
}

async function stopAll(): Promise<void> {
  while (alive.length > 0) await alive.pop()!.stop();
}

/** One run of one workload against a fresh server. */
async function runOnce(workload: Workload, design: Design, dataBase: string, rounds: Rounds): Promise<RunResult> {
  try {
    const fsync = measureFsync(dataBase, fsyncCount);
    const server = await startServer(design, dataBase);
    alive.push(server);
    if (interrupted) throw new Error('interrupted');
    const client = <N extends PartName>(part: N): ClientProcess<N> => {
      const process = new ClientProcess(part);
      alive.push(process);
      return process;
    };
    const result = await workload.run({ ...rounds, url: server.url, client });
    return { ...result, values: { ...result.values, [fsyncMeasure.key]: fsync.p50Ms } };
  } finally {
    await stopAll();
  }
}

/** All interleaved runs of one workload. A design that failed once is not tried again. */
async function runWorkload(bench: Bench, workload: Workload, options: Options): Promise<void> {
  const cells = new Map<string, Cell>();
  for (let round = 0; round < bench.runs; round += 1) {
    for (const design of options.designs) {
      const cell = cells.get(design.name) ?? { runs: [] };
      if (interrupted || cell.failure !== undefined) continue;
      process.stderr.write(`${workload.name}: run ${round + 1} of ${bench.runs}, ${design.name}\n`);
      try {
        const base = { windowMs: bench.windowSeconds * 1000, round, rounds: bench.runs };
        cell.runs.push(await runOnce(workload, design, options.dataBase, base));
      } catch (error) {
        if (interrupted) break;
        cell.failure = error instanceof Error ? error.message : String(error);
        process.stderr.write(`${workload.name}, ${design.name}: ${cell.failure}\n`);
      }
      cells.set(design.name, cell);
    }
  }
  bench.cells.set(workload.name, cells);
}

function report(bench: Bench, file: string): void {
  process.stdout.write(`${toMarkdown(bench)}\n`);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, toJson(bench));
  process.stderr.write(`written: ${file}\n`);
}

async function main(): Promise<number> {
  const options = readOptions();
  const workloads = [
    contention('contention', 8, { ackedPerSecond: timesLiteral(2), ackP99Ms: fractionOfLiteral(20) }),
    contention('contention-64', 64),
    drag(options.drags),
    manySessions,
  ];
  const names = workloads.map((workload) => workload.name);
  if (options.help) {
    process.stdout.write(`${usage}${names.join(', ')}\n`);
    return 0;
  }
  const unknown = options.chosen.filter((name) => !names.includes(name));
  if (unknown.length > 0) throw new Error(`no workload ${unknown.join(', ')}; there are ${names.join(', ')}`);

  const machine = describeMachine(options.dataBase);
  const bench: Bench = {
    machine,
    runs: options.runs,
    windowSeconds: options.seconds,
    designs,
    workloads,
    cells: new Map(),
  };
  const interrupt = (): void => {
    interrupted = true;
    void stopAll();
  };
  process.on('SIGINT', interrupt);
  process.on('SIGTERM', interrupt);
  for (const workload of workloads) {
    const chosen = options.chosen.length === 0 || options.chosen.includes(workload.name);
    if (chosen && !interrupted) await runWorkload(bench, workload, options);
  }
  const standard = join(projectRoot, 'bench-results', `${machine.date.replaceAll(':', '-')}.json`);
  report(bench, options.json === undefined ? standard : resolve(options.json));
  if (interrupted) return statusInterrupted;
  return [...bench.cells.values()].some((cells) => [...cells.values()].some((cell) => cell.failure)) ? 1 : 0;
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = statusUsage;
}
