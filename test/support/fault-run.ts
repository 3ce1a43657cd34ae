// One run of a fault under load: enough answers before it, the fault, its heal, enough answers after it, and then the
// whole history is held against the log. Faults are data: tests and the command line run the same ones.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { projectDir } from './attune.js';
import { measure, type Measures } from './fault-measures.js';
import { HOT_SESSION, startWorld, type Size, type World, type WorldNeeds } from './fault-world.js';
import { seeded } from './history-model.js';
import type { Client, ReaderClient } from './history-recorder.js';
import { readTruth } from './history-truth.js';
import { checkHistory, describeVerdict, type Invariant, type Verdict } from './history.js';
import { keysOf } from './session-log.js';
import { until } from './until.js';

export type { NodeSlot, Size, World, WorldNeeds } from './fault-world.js';

/** A fault as data. */
export interface Fault {
  /** As the list of faults names it, `L1`; a variant has a word behind it, `D4 fsync`. */
  readonly id: string;
  readonly title: string;
  /** What it wants of its world; a function is called before each run. */
  readonly needs?: WorldNeeds | (() => WorldNeeds);
  /** Undoes what `needs` did, after each run. */
  tidy?(): void;
  /** Sessions that it spoils on purpose: they are not judged. */
  readonly spoils?: readonly string[];
  /** Why this machine cannot do it; undefined: it can. */
  cannot?(): string | undefined;
  /** Begins the fault and lasts as long as it is to last, under load. */
  inject(world: World): Promise<Injected>;
}

/** Something to be shown that needs no load: it makes its own report. */
export interface Trial {
  readonly id: string;
  readonly title: string;
  run(options: { seed: number; isShort: boolean }): Promise<RunReport>;
}

/** A fault that was put in. */
export interface Injected {
  /** Takes back what is still wrong. */
  heal(): Promise<void>;
  /** How often the fault's effect was seen; it is asked until it is 1 at least, or for EFFECT_DEADLINE_MS. */
  effect(): number | Promise<number>;
  /** What effect() counts. */
  readonly counted: string;
  /** Sessions that it opened beside the world's: they are judged too. */
  readonly opened?: readonly string[];
  /** What is to hold beside the invariants. Asked last, when nobody writes any more. */
  beside?(measures: Measures, world: World): Beside[] | Promise<Beside[]>;
}

/** Something measured, and the most that it may be: `asserted` is ten times as generous where a clock measured it. */
export interface Beside {
  readonly what: string;
  readonly measured: number;
  readonly promised: number;
  readonly asserted: number;
}

export interface RunReport {
  readonly id: string;
  readonly seed: number;
  readonly result: 'holds' | 'violated' | 'invalid' | 'skipped';
  /** How many violations of what: an invariant, or `beside`. */
  readonly violations: Readonly<Record<string, number>>;
  readonly measures?: Measures;
  /** Everything in words, one line first. */
  readonly text: string;
}

/** The workload of the fault tests. */
export const FULL: Size = { nodes: 3, writers: 8, observers: 24, sessions: 6, pauseMs: 25, isShort: false };
/** What `npm test` can afford. */
export const SHORT: Size = { nodes: 2, writers: 4, observers: 8, sessions: 3, pauseMs: 4, isShort: true };

/** Answers waited for at each end: more than the 200 that make a run valid, for some were asked for before. */
const OK_AT_EACH_END = 225;
/** How long an observer may be behind, milliseconds: ten times what is promised. */
const CONVERGE_MS = 30_000;
const CONVERGE_PROMISED_MS = 3_000;
/** Ten times what is promised, too: a snapshot for who was given what Redis lost, and the first answer after the heal. */
const SNAPSHOT_MS = 50_000;
const FIRST_OK_MS = 30_000;
const EFFECT_DEADLINE_MS = 10_000;
/** The hot session is written so many times as often as each other. */
const HOT = 5;
/** Of the observers every so manieth has `delivery: latest`, and every so manieth is a bot by its name. */
const EVERY_LATEST = 4;
const EVERY_BOT = 3;
/** What of each node's own words goes into the report of a run that failed. */
const STDERR_CHARS = 2000;
/** What the checker judges. */
const INVARIANTS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15].map((n) => `I${n}` as Invariant);
/** Where runs that failed leave their history. */
const failuresDir = join(projectDir, 'test-failures');

/** A measured time, asserted ten times as generous. */
export function timed(what: string, measured: number, promised: number): Beside {
  return { what, measured, promised, asserted: 10 * promised };
}

/** A number of events that is promised to be at most so many. */
export function counted(what: string, measured: number, promised = 0): Beside {
  return { what, measured, promised, asserted: promised };
}

/** How a run is made. */
export interface RunOptions {
  seed: number;
  size?: Size;
  /** Times are asserted as they are promised; default: ten times as generous. */
  isStrict?: boolean;
  /** How long an observer may be behind, milliseconds; default ten times what is promised. */
  convergeMs?: number;
  /** Whether the history of a run that failed is kept in a file; default true. */
  isKept?: boolean;
}

/** Runs a fault or a trial once. Never rejects for what the fault did: that is in the report. */
export async function runFault(fault: Fault | Trial, options: RunOptions): Promise<RunReport> {
  const { seed, size = FULL } = options;
  if ('run' in fault) return fault.run({ seed, isShort: size.isShort });
  const why = fault.cannot?.();
  if (why !== undefined) {
    return { id: fault.id, seed, result: 'skipped', violations: {}, text: `${fault.id} skipped: ${why}` };
  }
  let world: World | undefined;
  try {
    const needs = typeof fault.needs === 'function' ? fault.needs() : (fault.needs ?? {});
    world = await startWorld(needs, size, seed);
    return await run(fault, world, options);
  } catch (error) {
    const file = keepHistory(fault, options, { entries: world?.recorder.entries });
    const said = world?.nodes.map(({ name, attune }) => `${name}: ${attune.stderr().slice(-STDERR_CHARS)}`).join('\n');
    const text = `${fault.id} seed ${seed}: the run failed: ${(error as Error).stack}\nhistory: ${file}\n${said}`;
    return { id: fault.id, seed, result: 'invalid', violations: { I15: 1 }, text };
  } finally {
    world?.recorder.close();
    await world?.close();
    fault.tidy?.();
  }
}

/** What share of the writes goes to these sessions, in writes of a session that is not hot. */
function shareOf(sessionIds: readonly string[]): number {
  return sessionIds.length + (sessionIds.includes(HOT_SESSION) ? HOT - 1 : 0);
}

interface Clients {
  readonly observers: readonly { client: ReaderClient; sessionId: string }[];
  readonly writers: readonly Client[];
}

async function run(fault: Fault, world: World, options: RunOptions): Promise<RunReport> {
  const { seed, convergeMs = CONVERGE_MS, isStrict = false } = options;
  const { recorder } = world;
  const { spoils = [] } = fault;
  const judgedIds = world.sessionIds.filter((id) => !spoils.includes(id));
  const atEachEnd = Math.ceil((OK_AT_EACH_END * shareOf(world.sessionIds)) / shareOf(judgedIds));
  const began = performance.now();
  const clients = await startClients(world, seed);
  await world.load(atEachEnd);
  recorder.mark('fault', fault.title);
  const injected = await fault.inject(world);
  await injected.heal();
  recorder.mark('heal', 'healed');
  const healed = performance.now();
  const converged = convergence(world, clients, judgedIds, convergeMs);
  await world.load(atEachEnd);
  const effect = await effectOf(injected);
  if (effect >= 1) recorder.mark('effect', `${effect} ${injected.counted}`);
  const convergedMs = (await converged) - healed;
  await Promise.all(clients.writers.map((writer) => writer.stop()));
  const truth = await readTruth(world.direct, [...judgedIds, ...(injected.opened ?? [])]);
  const byId = new Map(truth.map((one) => [one.sessionId, one]));
  const judged = clients.observers.flatMap(({ client, sessionId }) => {
    const one = byId.get(sessionId);
    return one ? { client, truth: one } : [];
  });
  await recorder.settle(judged, convergeMs);
  const verdict = checkHistory(recorder.entries, truth, {
    convergeMs,
    snapshotMs: SNAPSHOT_MS,
    firstOkMs: FIRST_OK_MS,
  });
  const measures = measure(recorder.entries, truth);
  const besides = [
    timed('convergence ms', convergedMs, CONVERGE_PROMISED_MS),
    ...((await injected.beside?.(measures, world)) ?? []),
  ].map((beside) => (isStrict ? { ...beside, asserted: beside.promised } : beside));
  const tookMs = performance.now() - began;
  const report = reportOf({ fault, seed, verdict, besides, measures, effect, injected, tookMs });
  if (report.result === 'holds') return report;
  const file = keepHistory(fault, options, { entries: recorder.entries, truth });
  return { ...report, text: `${report.text}\nhistory: ${file}` };
}

async function startClients(world: World, seed: number): Promise<Clients> {
  const { recorder, sessionIds, size, urls } = world;
  for (const sessionId of sessionIds) await recorder.open(urls()[0]!, sessionId);
  const observers = Array.from({ length: size.observers }, (_, n) => {
    const sessionId = sessionIds[n % sessionIds.length]!;
    const delivery = n % EVERY_LATEST === EVERY_LATEST - 1 ? 'latest' : 'every';
    const kind = n % EVERY_BOT === 0 ? 'bot' : 'tab';
    return { client: recorder.startReader({ name: `${kind}${n}`, urls, sessionId, delivery }), sessionId };
  });
  await until(() => observers.every(({ client }) => client.position()), { deadlineMs: 15_000, what: 'the joins' });
  const weighted = [...Array.from({ length: HOT - 1 }, () => sessionIds[0]!), ...sessionIds];
  const writers = Array.from({ length: size.writers }, (_, n) => {
    const random = seeded(seed + n);
    return recorder.startWriter({ name: `w${n}`, urls, sessionIds: weighted, random, pauseMs: size.pauseMs });
  });
  return { observers, writers };
}

/** When every observer had what Redis had at the heal; where one never has, the deadline: the checker says more. */
async function convergence(
  world: World,
  clients: Clients,
  judged: readonly string[],
  deadlineMs: number,
): Promise<number> {
  const goals = new Map<string, { life: string; revision: number }>();
  const replid = /master_replid:(\w{8})/.exec(await world.direct.info('replication'))?.[1] ?? '';
  for (const sessionId of judged) {
    const [birth, revision] = await world.direct.hmget(keysOf(sessionId).doc, 'birth', 'revision');
    goals.set(sessionId, { life: `${birth}-${replid}`, revision: Number(revision) });
  }
  const isThere = ({ client, sessionId }: Clients['observers'][number]) => {
    const goal = goals.get(sessionId);
    const at = client.position();
    return !goal || (at?.epoch === goal.life && at.revision >= goal.revision);
  };
  const waited = until(() => clients.observers.every(isThere), { deadlineMs, what: 'all observers' });
  await waited.catch(() => undefined);
  return performance.now();
}

async function effectOf(injected: Injected): Promise<number> {
  let last = 0;
  const seen = until(async () => (last = await injected.effect()) >= 1, {
    deadlineMs: EFFECT_DEADLINE_MS,
    what: 'an effect',
  });
  await seen.catch(() => undefined);
  return last;
}

function reportOf(made: {
  fault: Fault;
  seed: number;
  verdict: Verdict;
  besides: readonly Beside[];
  measures: Measures;
  effect: number;
  injected: Injected;
  tookMs: number;
}): RunReport {
  const { fault, seed, verdict, besides, measures, effect, injected, tookMs } = made;
  const violations: Record<string, number> = {};
  for (const { invariant } of verdict.violations) violations[invariant] = (violations[invariant] ?? 0) + 1;
  const broken = besides.filter(({ measured, asserted }) => !(measured <= asserted));
  if (broken.length > 0) violations['beside'] = broken.length;
  const result = verdict.verdict === 'holds' && broken.length > 0 ? 'violated' : verdict.verdict;
  const besideText = besides.map(({ what, measured, promised, asserted }) => {
    const fault = measured <= asserted ? '' : ' BROKEN';
    return `${what} ${Math.round(measured * 10) / 10} (promised ${promised})${fault}`;
  });
  const lines = [
    `${fault.id} seed ${seed} ${result}: ok ${verdict.okBefore} before, ${measures.okDuring} during, ${verdict.okAfter} after; ` +
      `${effect} ${injected.counted}; first ok after heal ${Math.round(measures.firstOkMs)} ms; ${Math.round(tookMs / 1000)} s`,
    `  ${besideText.join('; ')}`,
    `  ${INVARIANTS.map((invariant) => `${invariant} ${violations[invariant] ?? 0}`).join(', ')}`,
  ];
  if (verdict.verdict !== 'holds') lines.push(describeVerdict(verdict));
  return { id: fault.id, seed, result, violations, measures, text: lines.join('\n') };
}

function keepHistory({ id }: Fault, { seed, isKept = true }: RunOptions, history: unknown): string {
  if (!isKept) return 'not kept';
  mkdirSync(failuresDir, { recursive: true });
  const file = join(failuresDir, `${id.replaceAll(' ', '-')}-${seed}.json`);
  const plain = (_key: string, value: unknown) => (typeof value === 'bigint' ? String(value) : value);
  writeFileSync(file, JSON.stringify(history, plain));
  return file;
}
