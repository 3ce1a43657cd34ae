// One simulated deployment: nodes, a data Redis, lock servers and the network between them. What happens in it is planned
// by faults.ts and clients.ts, and judged by run.ts.
import type { Random } from '../support/history-model.js';
import { RedisModel } from '../support/redis-model.js';
import type { CountedMetrics } from './counted-metrics.js';
import { Network } from './network.js';
import { keys, SimNode } from './node.js';
import { SimProcess } from './process.js';
import { SimRedis } from './redis-server.js';
import { Scheduler } from './scheduler.js';

export interface WorldOptions {
  random: Random;
  counted: CountedMetrics;
  counts: Map<string, number>;
  sessionIds: readonly string[];
  /** Makes the model of the data Redis: the true one, or one with a planted bug. */
  makeModel: (life: string) => RedisModel;
  /** May change a node that has started: a planted bug. */
  onNode: (node: SimNode) => void;
  onFault: (error: unknown) => void;
  onTrace: ((line: string) => void) | undefined;
}

export class World {
  readonly scheduler: Scheduler;
  readonly network: Network;
  readonly data: SimRedis;
  /** Lock servers that are not the data Redis. */
  readonly ownLocks: readonly SimRedis[];
  readonly places: readonly string[];
  private readonly options: WorldOptions;
  private readonly nodes = new Map<string, SimNode>();
  private readonly limits: Partial<{ LOG_COMMITS_MAX: number }>;
  private lives = 0;
  private started = 0;

  constructor(options: WorldOptions) {
    this.options = options;
    this.scheduler = new Scheduler(options.random, options.onTrace);
    const { scheduler } = this;
    this.network = new Network(scheduler, options.counts);
    this.data = new SimRedis('redis', this.network, options.makeModel(this.freshLife()));
    const lockCount = [0, 1, 3, 3][Math.floor(scheduler.random() * 4)]!;
    this.ownLocks = Array.from(
      { length: lockCount },
      (_, i) => new SimRedis(`lock${i}`, this.network, new RedisModel(this.freshLife())),
    );
    // A short log now and then: who is far behind needs a snapshot.
    this.limits = scheduler.chance(0.3) ? { LOG_COMMITS_MAX: 10 } : {};
    this.places = ['n0', 'n1', 'n2'].slice(0, scheduler.chance(0.2) ? 1 : scheduler.chance(0.6) ? 2 : 3);
    for (const place of this.places) this.startNode(place);
  }

  /** The log's limits are low. */
  get isLogShort(): boolean {
    return this.limits.LOG_COMMITS_MAX !== undefined;
  }

  /** The nodes that take connections. */
  serving(): SimNode[] {
    return [...this.nodes.values()].filter(({ isServing }) => isServing);
  }

  nodeAt(place: string): SimNode {
    return this.nodes.get(place)!;
  }

  startNode(place: string): void {
    const node = this.nodes.get(place);
    if (node && node.process.state !== 'dead') return;
    this.started += 1;
    const { counted, onFault, onNode: onStarted } = this.options;
    const started = new SimNode({
      process: new SimProcess(`${place}.${this.started}`, this.scheduler),
      place,
      data: this.data,
      locks: this.ownLocks.length > 0 ? this.ownLocks : [this.data],
      limits: this.limits,
      metrics: counted.metrics,
      onFault,
      onStarted,
    });
    this.nodes.set(place, started);
  }

  killNode(place: string): void {
    this.nodeAt(place).kill();
  }

  freshLife(): string {
    this.lives += 1;
    return (0xa0000000 + this.lives).toString(16);
  }

  lockKeys(): string[] {
    return this.options.sessionIds.map((id) => keys.session(id).lock);
  }

  /** The ends of the ways from a node to the lock servers, and the servers. */
  lockEnds(place: string): [end: string, server: string][] {
    if (this.ownLocks.length === 0) return [[`${place}.lock`, 'redis']];
    return this.ownLocks.map(({ name }, i) => [`${place}.lock${i}`, name]);
  }
}
