// Virtual time: what happens, in the order of its time, one thing after the other, each with all that follows from it
// before the next. It decides nothing by itself; the same calls give the same order.
import type { Random } from '../support/history-model.js';

interface Happening {
  readonly at: number;
  readonly order: number;
  readonly what: string;
  run: (() => void) | undefined;
}

/** Something to come; `cancel` may be called at any time. */
export interface Planned {
  cancel(): void;
}

export class Scheduler {
  /** Virtual milliseconds since the beginning. */
  now = 0;
  /** Things that happened. */
  count = 0;
  readonly random: Random;
  private readonly heap: Happening[] = [];
  private readonly onTrace: ((line: string) => void) | undefined;
  private made = 0;
  private hash = 0x811c9dc5;

  /** `onTrace` is given a line for each thing that happens. */
  constructor(random: Random, onTrace?: (line: string) => void) {
    this.random = random;
    this.onTrace = onTrace;
  }

  /** A number that two runs share if and only if (nearly) the same things happened at the same times. */
  get traceHash(): number {
    return this.hash >>> 0;
  }

  between(least: number, most: number): number {
    return least + (most - least) * this.random();
  }

  chance(probability: number): boolean {
    return this.random() < probability;
  }

  /** Has something happen in `ms`; what is planned for the same time happens in the order in which it was planned. */
  after(ms: number, what: string, run: () => void): Planned {
    return this.at(this.now + ms, what, run);
  }

  /** As {@link after}, at a time. */
  at(time: number, what: string, run: () => void): Planned {
    const happening: Happening = { at: Math.max(time, this.now), order: (this.made += 1), what, run };
    this.push(happening);
    return { cancel: () => (happening.run = undefined) };
  }

  /** Adds something to the trace that happens now. */
  note(what: string): void {
    this.mix(Math.floor(this.now * 1e6) % 2 ** 31);
    for (let i = 0; i < what.length; i += 1) this.mix(what.charCodeAt(i));
    this.onTrace?.(`${this.now.toFixed(3)} ${what}`);
  }

  /** FNV-1a. */
  private mix(value: number): void {
    this.hash = Math.imul(this.hash ^ value, 0x01000193);
  }

  /** Lets `ms` pass. */
  async pass(ms: number): Promise<void> {
    const end = this.now + ms;
    for (let next = this.heap[0]; next && next.at <= end; next = this.heap[0]) {
      this.pop();
      if (!next.run) continue;
      this.now = next.at;
      this.count += 1;
      if (next.what !== '') this.note(next.what);
      next.run();
      // All promises that this settled, and what waits for them; nothing in a simulation waits for anything real.
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.now = end;
  }

  private push(happening: Happening): void {
    const { heap } = this;
    let at = heap.push(happening) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(happening, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = happening;
  }

  private pop(): void {
    const { heap } = this;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child += 1;
      if (!isBefore(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
  }
}

function isBefore(one: Happening, other: Happening): boolean {
  return one.at < other.at || (one.at === other.at && one.order < other.order);
}
