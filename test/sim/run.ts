// Plays one seed of the simulation and judges it: the history against the log, and that nothing is left over.
import type { SessionTruth } from '../support/history.js';
import { checkHistory, describeVerdict } from '../support/history.js';
import { seeded } from '../support/history-model.js';
import { RedisModel } from '../support/redis-model.js';
import { Reader, Writer, type Crowd } from './clients.js';
import { countMetrics } from './counted-metrics.js';
import { faults, planFaults } from './faults.js';
import { History } from './line.js';
import { keys, type SimNode } from './node.js';
import { World } from './world.js';

const SESSIONS = ['hot', 'calm'];
const WRITERS = 3;
const READERS = 4;
/** The nodes are up, and the sessions opened, within so long (virtual milliseconds). */
const OPENED_MS = 1000;
/** Load before the faults and after the last is over. */
const BEFORE_MS = 300;
const AFTER_MS = 1000;
/** Where nobody was answered in that time: the first that is, within. */
const FIRST_OK_MS = 6000;
/** Writers that are to end do so within: the longest answer, a pause, and another attempt or two. */
const WRITERS_END_MS = 15_000;
/** How long a reader may be behind. */
const CONVERGE_MS = 3000;
/** What is closed is gone within. */
const CLOSED_MS = 6000;
/** How often is looked whether something is there. */
const LOOK_MS = 20;
/** Queues without work drain within. */
const DRAINED_MS = 2000;

/** A bug that is built in, for tests of the simulation itself. */
export interface Plant {
  makeModel?: (life: string) => RedisModel;
  onNode?: (node: SimNode) => void;
  /** The faults under which it shows; any where there are none named. */
  under?: readonly string[];
}

export interface RunResult {
  readonly seed: number;
  /** What is wrong, in words; empty where all is well. */
  readonly wrong: string;
  readonly ok: number;
  readonly happenings: number;
  readonly virtualMs: number;
  readonly traceHash: number;
  /** Faults, and their effects, by name. */
  readonly faults: ReadonlyMap<string, number>;
  /** What the nodes' metrics counted. */
  readonly metrics: ReadonlyMap<string, number>;
}

/** Plays the run that a seed gives. The same seed (and plant) gives the same run. */
export async function playSeed(
  seed: number,
  { plant = {}, onTrace }: { plant?: Plant; onTrace?: (line: string) => void } = {},
): Promise<RunResult> {
  const run = new Run(seed, plant, onTrace);
  await run.play();
  return run.result();
}

class Run {
  private readonly seed: number;
  private readonly plant: Plant;
  private readonly wrong: string[] = [];
  private readonly faults = new Map<string, number>();
  private readonly counted = countMetrics();
  private readonly world: World;
  private readonly history: History;
  private readonly crowd: Crowd;
  private writers: Writer[] = [];
  private readers: Reader[] = [];

  constructor(seed: number, plant: Plant, onTrace: ((line: string) => void) | undefined) {
    this.seed = seed;
    this.plant = plant;
    const random = seeded(seed);
    this.world = new World({
      random,
      counted: this.counted,
      counts: this.faults,
      sessionIds: SESSIONS,
      makeModel: plant.makeModel ?? ((life) => new RedisModel(life)),
      onNode: plant.onNode ?? (() => undefined),
      onFault: (error) => this.wrong.push(`a node failed: ${error instanceof Error ? error.stack : String(error)}`),
      onTrace,
    });
    const { scheduler, network } = this.world;
    this.history = new History(() => scheduler.now);
    this.crowd = {
      scheduler,
      network,
      random,
      history: this.history,
      sessionIds: SESSIONS,
      lines: new Set(),
      connections: 0,
      isEnding: false,
      nodes: () => this.world.serving(),
    };
  }

  async play(): Promise<void> {
    const { world, crowd, history } = this;
    const { scheduler } = world;
    await this.open();
    this.writers = Array.from({ length: WRITERS }, (_, n) => new Writer(`w${n}`, crowd));
    this.readers = Array.from({ length: READERS }, (_, n) => {
      return new Reader(`r${n}`, crowd, SESSIONS[n % 2]!, n === 0 ? 'latest' : 'every');
    });
    await scheduler.pass(BEFORE_MS);
    history.happened({ kind: 'mark', what: 'fault', text: 'faults begin' });
    const over = planFaults(world, this.plant.under ?? Object.keys(faults), this.faults);
    // From some time on one of the sessions is written no more: no later commit shows its readers that one is missing.
    const quietFrom = scheduler.between(0, over - scheduler.now);
    scheduler.after(quietFrom, 'one session is quiet', () => (crowd.sessionIds = SESSIONS.slice(0, 1)));
    await scheduler.pass(over - scheduler.now);
    history.happened({ kind: 'mark', what: 'effect', text: 'faults were there' });
    history.happened({ kind: 'mark', what: 'heal', text: 'faults are over' });
    await scheduler.pass(AFTER_MS);
    const healed = history.entries.length;
    await this.until(FIRST_OK_MS, () => history.entries.slice(healed).some(({ kind }) => kind === 'ok'));
    crowd.isEnding = true;
    await this.within(WRITERS_END_MS, 'the writers to end', Promise.all(this.writers.map(({ done }) => done)));
    await this.until(CONVERGE_MS, () => this.behind().length === 0);
    history.happened({ kind: 'mark', what: 'end', text: 'nobody writes any more' });
    this.judge();
    await this.close();
  }

  result(): RunResult {
    const { scheduler } = this.world;
    const ok = this.history.entries.filter((entry) => entry.kind === 'ok').length;
    return {
      seed: this.seed,
      wrong: this.wrong.join('\n'),
      ok,
      happenings: scheduler.count,
      virtualMs: scheduler.now,
      traceHash: scheduler.traceHash,
      faults: this.faults,
      metrics: this.counted.counts,
    };
  }

  private async open(): Promise<void> {
    const first = SESSIONS.map((sessionId): [string, object] => {
      return ['session:open', { sessionId, updateId: `open-${sessionId}`, settings: { at: sessionId } }];
    });
    const opener = new Writer('opener', this.crowd, first);
    await this.within(OPENED_MS, 'the sessions to be opened', opener.done);
  }

  /** Lets time pass until `work` is done, at most so long. */
  private async within(ms: number, what: string, work: Promise<unknown>): Promise<void> {
    let isDone = false;
    void work.then(() => (isDone = true));
    await this.until(ms, () => isDone);
    if (!isDone) this.wrong.push(`waited for ${what} for ${ms} ms in vain`);
  }

  private async until(ms: number, isThere: () => boolean): Promise<void> {
    const { scheduler } = this.world;
    const end = scheduler.now + ms;
    while (!isThere() && scheduler.now < end) await scheduler.pass(LOOK_MS);
  }

  private truth(): SessionTruth[] {
    const { model } = this.world.data;
    return SESSIONS.map((sessionId): SessionTruth => {
      const { log, doc } = keys.session(sessionId);
      const epoch = model.position(doc)?.epoch ?? '';
      return { sessionId, epoch, stream: model.stream(log), isTrimmed: this.world.isLogShort, file: model.lives(log) };
    });
  }

  /** The readers that are not where their session is, in words. */
  private behind(): string[] {
    return this.readers.flatMap((reader, n) => {
      const there = this.world.data.model.position(keys.session(reader.sessionId).doc);
      const at = reader.position();
      if (at?.epoch === there?.epoch && at?.revision === there?.revision) return [];
      return [`r${n} is at ${JSON.stringify(at)}, and its session at ${JSON.stringify(there)}`];
    });
  }

  private judge(): void {
    const truth = this.truth();
    const verdict = checkHistory(this.history.entries, truth, { okAtEachEnd: 1, convergeMs: CONVERGE_MS });
    if (verdict.verdict !== 'holds') this.wrong.push(describeVerdict(verdict));
    this.wrong.push(...this.behind());
    for (const writer of this.writers) this.checkOrder(writer, truth);
  }

  /** What one author sent in order was decided in order, but for what it left alone without knowing. */
  private checkOrder({ name, made }: Writer, truth: readonly SessionTruth[]): void {
    for (const { sessionId, stream } of truth) {
      const places = new Map(stream.map(({ revision, body }) => [body.updateId as string, revision]));
      let last = 0;
      for (const { request, wasAbandoned } of made) {
        const place = places.get(request.updateId);
        if (request.sessionId !== sessionId || wasAbandoned || place === undefined) continue;
        if (place < last) this.wrong.push(`${request.updateId} of ${name} is at ${place}, one before it at ${last}`);
        last = Math.max(last, place);
      }
    }
  }

  /** All clients leave: nothing of them may stay. */
  private async close(): Promise<void> {
    const { world, crowd, readers } = this;
    for (const reader of readers) reader.close();
    for (const line of crowd.lines) line.close();
    await this.until(CLOSED_MS, () => this.leftovers().length === 0);
    for (const line of crowd.lines) line.close();
    this.wrong.push(...this.leftovers());
    const drained = Promise.all(world.serving().map(({ queue }) => queue.drain()));
    await this.within(DRAINED_MS, 'the queues to drain', drained);
  }

  private leftovers(): string[] {
    const { world } = this;
    const ofNodes = world
      .serving()
      .flatMap(({ process, leftovers }) => leftovers.map((one) => `${process.name}: ${one}`));
    const ofRedis = [...world.data.connections].flatMap(({ client, channels }) => {
      return [...channels].map((channel) => `${client.name} is subscribed to ${channel}`);
    });
    const absent = world.serving().length < world.places.length ? ['a node never came back'] : [];
    return [...ofNodes, ...ofRedis, ...absent];
  }
}
