// The clients of a simulation: writers, which send again under the same id and in order until they know, and readers, which
// go on from their cursors. They behave as the SDK does; they judge nothing.
import type { Cursor } from '../../client-sdk/protocol/messages.js';
import type { Random } from '../support/history-model.js';
import type { Wire } from '../support/shapes.js';
import { Line, type Ended, type History } from './line.js';
import type { Network } from './network.js';
import type { SimNode } from './node.js';
import type { Scheduler } from './scheduler.js';

/** How long an answer is waited for before the line is given up, milliseconds. */
const ANSWER_MS = [2500, 6000] as const;
/** Pause of a writer between two updates, milliseconds. */
const THINK_MS = [5, 120] as const;
const RETRY_MS = 100;
/** Updates of a writer that are under way at the same time. */
const UNDER_WAY_MAX = 3;
/** How often a write whose outcome is not known is left alone. */
const ABANDONED = 0.1;
/** What of a workload is what; the rest are merges. */
const MESSAGES = 0.2;
const DESCRIPTIONS = 0.27;
const CLEARS = 0.29;
const GUARDED = 0.5;
/** Pause of a reader between two things that it does, milliseconds. */
const READER_MS = [50, 900] as const;

/** What clients share. */
export interface Crowd {
  readonly scheduler: Scheduler;
  readonly network: Network;
  readonly history: History;
  readonly random: Random;
  /** Those that are written to. */
  sessionIds: readonly string[];
  readonly lines: Set<Line>;
  /** Lines that there ever were. */
  connections: number;
  /** The nodes that take connections now. */
  nodes(): readonly SimNode[];
  /** Writers begin nothing new, and readers stay where they are. */
  isEnding: boolean;
}

const between = ({ scheduler }: Crowd, [least, most]: readonly [number, number]) => scheduler.between(least, most);
const pause = ({ scheduler }: Crowd, ms: number): Promise<void> =>
  new Promise((resolve) => void scheduler.after(ms, '', resolve));

async function connected(crowd: Crowd, name: string): Promise<Line> {
  for (;;) {
    await pause(crowd, crowd.scheduler.between(1, 20));
    const nodes = crowd.nodes();
    const node = nodes[Math.floor(crowd.random() * nodes.length)];
    if (!node || node.process.state === 'stopped') continue;
    crowd.connections += 1;
    const author = { userId: name, clientId: name, kind: 'tab' as const };
    const line = new Line(`${name}#${crowd.connections}`, author, node, crowd.network, crowd.history);
    crowd.lines.add(line);
    void line.closed.then(() => crowd.lines.delete(line));
    return line;
  }
}

interface Item {
  readonly event: string;
  readonly request: Wire;
  isUnderWay: boolean;
  wasAbandoned: boolean;
}

/** One author. Sends up to UNDER_WAY_MAX updates at a time, in order; one that failed is sent again before those behind. */
export class Writer {
  readonly name: string;
  /** Every update in the order in which it was made, but for those that were abandoned. */
  readonly made: Item[] = [];
  readonly done: Promise<void>;
  private readonly crowd: Crowd;
  private readonly known = new Map<string, number>();
  private queue: Item[] = [];
  private line: Line | undefined;
  private holdUntil = 0;
  private wake: () => void = () => undefined;

  constructor(name: string, crowd: Crowd, first: readonly [event: string, request: Wire][] = []) {
    this.name = name;
    this.crowd = crowd;
    for (const [event, request] of first) this.make(event, request);
    this.done = this.run(first.length > 0);
  }

  private async run(onlyFirst: boolean): Promise<void> {
    const { crowd } = this;
    let nextAt = 0;
    for (;;) {
      const isMaking = !onlyFirst && !crowd.isEnding;
      if (!isMaking && this.queue.length === 0) break;
      if (isMaking && this.queue.length < UNDER_WAY_MAX && crowd.scheduler.now >= nextAt) {
        this.make(...this.next());
        nextAt = crowd.scheduler.now + (crowd.random() < 0.3 ? 0 : between(crowd, THINK_MS));
      }
      if (!this.line?.isOpen) this.line = await connected(crowd, this.name);
      this.sendWhatWaits(this.line);
      await this.somethingHappens(Math.max(nextAt, this.holdUntil) - crowd.scheduler.now);
    }
    this.line?.close();
  }

  /** Waits for an answer, or until something can be sent. */
  private somethingHappens(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.crowd.scheduler.after(ms > 0 ? ms : RETRY_MS, '', resolve);
      this.wake = () => {
        timer.cancel();
        resolve();
      };
    });
  }

  private make(event: string, request: Wire): void {
    const item = { event, request, isUnderWay: false, wasAbandoned: false };
    this.queue.push(item);
    this.made.push(item);
  }

  private sendWhatWaits(line: Line): void {
    const { crowd, queue } = this;
    // What failed goes first: what is behind it and still under way is waited for.
    const firstWaiting = queue.findIndex(({ isUnderWay }) => !isUnderWay);
    const isOvertaken = firstWaiting >= 0 && queue.slice(firstWaiting).some(({ isUnderWay }) => isUnderWay);
    if (isOvertaken || crowd.scheduler.now < this.holdUntil) return;
    for (const item of queue) {
      if (item.isUnderWay) continue;
      item.isUnderWay = true;
      void line.call(item.event, item.request, between(crowd, ANSWER_MS)).then((ended) => {
        item.isUnderWay = false;
        this.ended(item, ended, line);
        this.wake();
      });
    }
  }

  private ended(item: Item, ended: Ended, line: Line): void {
    const { crowd } = this;
    const leave = () => (this.queue = this.queue.filter((one) => one !== item));
    if (ended.kind === 'ok') {
      leave();
      const { settingsRevision, session } = ended.answer;
      const seen = settingsRevision ?? session?.settingsRevision;
      if (seen !== undefined) this.known.set(item.request.sessionId, seen);
    } else if (ended.kind === 'fail' && ended.error.retry !== 'after-delay') {
      leave();
      const seen = ended.error.details?.settingsRevision;
      if (seen !== undefined) this.known.set(item.request.sessionId, seen);
    } else {
      this.holdUntil = crowd.scheduler.now + RETRY_MS * (1 + crowd.random());
      if (ended.kind === 'info' && ended.why === 'no answer') line.lose();
      if (ended.kind !== 'info' || item.event === 'session:open' || crowd.random() >= ABANDONED) return;
      item.wasAbandoned = true;
      leave();
    }
  }

  private next(): [event: string, request: Wire] {
    const { name, crowd } = this;
    const { random, sessionIds } = crowd;
    const sessionId = sessionIds[Math.floor(random() ** 2 * sessionIds.length)]!;
    const count = this.made.length;
    const updateId = `${name}-${count}`;
    const what = random();
    if (what < MESSAGES) {
      const message = { id: updateId, role: 'user', content: `${name} says ${count}` };
      return ['message:add', { sessionId, updateId, message }];
    }
    if (what < DESCRIPTIONS) return ['session:describe', { sessionId, updateId, title: updateId }];
    if (what < CLEARS) return ['session:clear', { sessionId, updateId }];
    const guard = what < GUARDED && this.known.has(sessionId) ? { ifRevision: this.known.get(sessionId) } : {};
    return ['settings:update', { sessionId, updateId, merge: { [name]: count }, ...guard }];
  }
}

/** In one session at a time, with reads in between; after a lost connection again, with its cursor. */
export class Reader {
  readonly sessionId: string;
  readonly delivery: 'every' | 'latest';
  private readonly name: string;
  private readonly crowd: Crowd;
  private line: Line | undefined;
  private last: Cursor | undefined;
  private isClosed = false;

  constructor(name: string, crowd: Crowd, sessionId: string, delivery: 'every' | 'latest') {
    this.name = name;
    this.crowd = crowd;
    this.sessionId = sessionId;
    this.delivery = delivery;
    void this.run();
  }

  /** Where it is; undefined while it is not in the session. */
  position(): Cursor | undefined {
    return this.line?.cursors.get(this.sessionId);
  }

  /** Leaves for good. */
  close(): void {
    this.isClosed = true;
    this.line?.close();
  }

  private async run(): Promise<void> {
    const { crowd, sessionId } = this;
    while (!this.isClosed) {
      if (!this.line?.isOpen) this.line = await connected(crowd, this.name);
      const { line } = this;
      if (!this.position() && !(await this.join(line))) {
        await pause(crowd, RETRY_MS);
        continue;
      }
      await Promise.race([pause(crowd, between(crowd, READER_MS)), line.closed]);
      this.last = this.position() ?? this.last;
      if (!line.isOpen || this.isClosed) continue;
      const what = crowd.random();
      if (what < 0.3) await this.call(line, 'session:get', { sessionId });
      else if (crowd.isEnding) continue;
      else if (what < 0.4) line.lose();
      else if (what < 0.5) await this.leave(line);
      else if (what < 0.55) this.last = undefined;
    }
  }

  private async join(line: Line): Promise<boolean> {
    const { sessionId, delivery, last } = this;
    const ended = await this.call(line, 'session:join', { sessionId, delivery, ...(last && { cursor: last }) });
    if (ended.kind === 'ok') return true;
    if (ended.kind === 'info') line.lose();
    return false;
  }

  private async leave(line: Line): Promise<void> {
    const { sessionId } = this;
    const ended = await this.call(line, 'session:leave', { sessionId });
    if (ended.kind !== 'ok') line.lose();
  }

  private call(line: Line, event: string, request: Wire): Promise<Ended> {
    return line.call(event, request, between(this.crowd, ANSWER_MS));
  }
}
