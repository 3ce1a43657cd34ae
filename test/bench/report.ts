// Turns the runs into one figure per measure, and those into a Markdown table and a JSON report. Measures nothing.
import type { Design } from './designs.js';
import { addErrors, type ErrorCounts } from './error-counts.js';
import type { Machine } from './machine.js';
import { median } from './samples.js';
import {
  clientBusyMax,
  clientBusyMeasure,
  fsyncMeasure,
  type Measure,
  type RunResult,
  type Workload,
} from './workloads/workload.js';

/** The runs of one workload with one design. */
export interface Cell {
  runs: RunResult[];
  /** Why it could not be run to its end. */
  failure?: string;
}

export interface Bench {
  machine: Machine;
  runs: number;
  windowSeconds: number;
  designs: Design[];
  workloads: Workload[];
  /** By workload and design name. What was not run has no entry. */
  cells: Map<string, Map<string, Cell>>;
}

interface Row {
  workload: string;
  measure: string;
  /** By design name. */
  figures: Record<string, string>;
  ratio: string;
  wanted: string;
  reached: '' | 'yes' | 'no';
}

const notRun = 'not run';
/** Of a failure's reason in the remarks; the whole is in the JSON. */
const failureChars = 300;

/** One figure of all runs; NaN where there is none. */
export function combine(measure: Measure, runs: RunResult[]): number {
  const values = runs.map((run) => run.values[measure.key] ?? Number.NaN).filter((value) => !Number.isNaN(value));
  if (values.length === 0) return Number.NaN;
  if (measure.combine === 'sum') return values.reduce((sum, value) => sum + value, 0);
  return measure.combine === 'max' ? Math.max(...values) : median(values);
}

function measuresOf(workload: Workload): Measure[] {
  return [...workload.measures, fsyncMeasure];
}

/** The whole report as Markdown: the machine, the designs, one row per measure, remarks. */
export function toMarkdown(bench: Bench): string {
  const names = bench.designs.map((design) => design.name);
  const header = ['workload', 'measure', ...names, 'ours ÷ literal', 'wanted', 'reached'];
  const lines = bench.workloads
    .flatMap((workload) => rowsOf(bench, workload))
    .map((row) => [
      row.workload,
      row.measure,
      ...names.map((name) => row.figures[name]!),
      row.ratio,
      row.wanted,
      row.reached,
    ]);
  const table = [header, header.map(() => '---'), ...lines].map((cells) => `| ${cells.join(' | ')} |`);
  return [...headOf(bench), '', ...table, '', ...remarksOf(bench)].join('\n');
}

/** The whole report with every run, for programs. Figures that do not exist are null. */
export function toJson(bench: Bench): string {
  const workloads = bench.workloads.map((workload) => ({
    name: workload.name,
    about: workload.about,
    measures: measuresOf(workload).map(({ key, label, combine: how, wanted }) => ({
      key,
      label,
      how,
      wanted: wanted?.text,
    })),
    rows: rowsOf(bench, workload),
    designs: bench.designs.map((design) => {
      const cell = bench.cells.get(workload.name)?.get(design.name);
      if (!cell) return { name: design.name, status: notRun };
      const figures = measuresOf(workload).map((measure) => [measure.key, combine(measure, cell.runs)]);
      const status = cell.failure === undefined ? 'run' : 'failed';
      return { name: design.name, status, ...cell, figures: Object.fromEntries(figures) as Record<string, number> };
    }),
  }));
  const { machine, runs, windowSeconds, designs } = bench;
  const about = designs.map(({ name, about: text }) => ({ name, about: text }));
  return `${JSON.stringify({ machine, runs, windowSeconds, designs: about, workloads }, null, 2)}\n`;
}

function headOf({ machine, runs, windowSeconds, designs, workloads }: Bench): string[] {
  return [
    `Measured ${machine.date} at ${machine.commit}: ${machine.cores} cores (${machine.processor}), ${machine.memoryGiB} GiB, ` +
      `${machine.system}, Node ${machine.node}, load before ${machine.loadBefore}.`,
    `Data on ${machine.fileSystem}, fsync p50 ${number(machine.fsync.p50Ms, 2)} ms, p99 ${number(machine.fsync.p99Ms, 2)} ms. ` +
      `${machine.redis}.`,
    `Servers, Redis and clients share the cores. ${runs} interleaved run(s) with a window of ${windowSeconds} s; medians.`,
    '',
    ...designs.map((design) => `- ${design.name}: ${design.about}`),
    ...workloads.map((workload) => `- ${workload.name}: ${workload.about}`),
  ];
}

function rowsOf(bench: Bench, workload: Workload): Row[] {
  const cells = bench.cells.get(workload.name);
  const figuresBy = (of: (cell: Cell) => string): Record<string, string> =>
    Object.fromEntries(bench.designs.map(({ name }) => [name, cellText(cells?.get(name), of)]));
  const rows = measuresOf(workload).map((measure): Row => {
    const figure = (name: string): number => combine(measure, cells?.get(name)?.runs ?? []);
    return {
      workload: workload.name,
      measure: measure.label,
      figures: figuresBy((cell) => number(combine(measure, cell.runs), measure.digits)),
      ...compare(measure, figure('ours'), figure('literal')),
    };
  });
  const errors = figuresBy((cell) => errorText(addErrors(cell.runs.map((run) => run.errors))));
  return [
    ...rows,
    { workload: workload.name, measure: 'errors by code', figures: errors, ratio: '', wanted: '', reached: '' },
  ];
}

function cellText(cell: Cell | undefined, of: (cell: Cell) => string): string {
  if (!cell) return notRun;
  if (cell.failure === undefined) return of(cell);
  return cell.runs.length === 0 ? 'failed' : `${of(cell)} (then failed)`;
}

function compare(measure: Measure, ours: number, literal: number): Pick<Row, 'ratio' | 'wanted' | 'reached'> {
  const comparable = measure !== clientBusyMeasure && measure !== fsyncMeasure && Number.isFinite(ours / literal);
  const { wanted } = measure;
  // Without a figure there is nothing to judge.
  const judged = wanted && !Number.isNaN(ours) && !(wanted.needsLiteral && Number.isNaN(literal));
  const reached = judged ? (wanted.holds(ours, literal) ? 'yes' : 'no') : '';
  return { ratio: comparable ? number(ours / literal, 2) : '', wanted: wanted?.text ?? '', reached };
}

function remarksOf(bench: Bench): string[] {
  const remarks: string[] = [];
  for (const workload of bench.workloads) {
    for (const [name, cell] of bench.cells.get(workload.name) ?? []) {
      const busy = combine(clientBusyMeasure, cell.runs);
      if (busy > 100 * clientBusyMax) {
        remarks.push(
          `- ${workload.name}, ${name}: a client process was busy ${number(busy, 0)} %; it may be the limit.`,
        );
      }
      if (cell.failure !== undefined)
        remarks.push(
          `- ${workload.name}, ${name}: failed: ${cell.failure.replaceAll('\n', ' / ').slice(0, failureChars)}`,
        );
    }
  }
  return remarks;
}

function errorText(errors: ErrorCounts): string {
  const counts = Object.entries(errors).map(([code, count]) => `${code} ${count}`);
  return counts.length === 0 ? 'none' : counts.join(', ');
}

function number(value: number, digits: number): string {
  if (Number.isNaN(value)) return '–';
  return value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}
