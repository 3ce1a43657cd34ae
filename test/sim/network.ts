// Ways between processes: in order, with delays, and with what faults do to them. It knows nothing of what is sent.
import type { Planned, Scheduler } from './scheduler.js';

/** How long a packet takes where nothing is wrong, milliseconds. */
const LATENCY_MS = [0.05, 0.6] as const;
/** What was held up arrives within so long after the way is free again, milliseconds: TCP sends it again in its own time. */
const AGAIN_MS = 300;

/** What faults do to one direction of a way. They change it while they last. */
export interface Weather {
  /** How probable it is that a packet is lost, and its connection reset. */
  cut: number;
  /** How probable it is that a packet takes up to `delayMs` longer; those behind it wait. */
  delayed: number;
  delayMs: number;
  /** Nothing arrives before then (virtual milliseconds). */
  heldUntil: number;
}

/** The weather of every way, by the names of its ends. */
export class Network {
  readonly scheduler: Scheduler;
  private readonly ways = new Map<string, Weather>();
  private readonly counts: Map<string, number>;

  /** `counts` is told how often a fault had an effect. */
  constructor(scheduler: Scheduler, counts: Map<string, number>) {
    this.scheduler = scheduler;
    this.counts = counts;
  }

  weather(from: string, to: string): Weather {
    const name = `${from}>${to}`;
    let weather = this.ways.get(name);
    if (!weather) this.ways.set(name, (weather = { cut: 0, delayed: 0, delayMs: 0, heldUntil: 0 }));
    return weather;
  }

  count(effect: string): void {
    this.counts.set(effect, (this.counts.get(effect) ?? 0) + 1);
  }
}

/** One direction of one connection. What is sent arrives in order, or not at all. */
export class Pipe {
  private readonly network: Network;
  private readonly from: string;
  private readonly to: string;
  private readonly onCut: () => void;
  private readonly under = new Set<Planned>();
  private lastAt = 0;
  private isClosed = false;

  /** `onCut` is called where a packet was lost. */
  constructor(network: Network, from: string, to: string, onCut: () => void) {
    this.network = network;
    this.from = from;
    this.to = to;
    this.onCut = onCut;
  }

  send(what: string, arrive: () => void): void {
    if (this.isClosed) return;
    const { scheduler } = this.network;
    const { cut } = this.network.weather(this.from, this.to);
    if (cut === 0 || !scheduler.chance(cut)) return this.carry(what, arrive);
    this.network.count('packets lost, connection reset');
    scheduler.note(`${this.from}>${this.to} LOST ${what}`);
    this.onCut();
  }

  /** Sends the last thing, which is not lost. */
  end(what: string, arrive: () => void): void {
    if (!this.isClosed) this.carry(what, arrive);
    this.isClosed = true;
  }

  /** Nothing more is sent. */
  close(): void {
    this.isClosed = true;
  }

  /** What is under way is lost. */
  drop(): void {
    for (const planned of this.under) planned.cancel();
    this.under.clear();
  }

  private carry(what: string, arrive: () => void): void {
    const { scheduler } = this.network;
    const weather = this.network.weather(this.from, this.to);
    let at = scheduler.now + scheduler.between(...LATENCY_MS);
    if (weather.delayed > 0 && scheduler.chance(weather.delayed)) {
      this.network.count('packets delayed');
      at += scheduler.between(0, weather.delayMs);
    }
    if (at < weather.heldUntil) {
      this.network.count('packets held up');
      at = weather.heldUntil + scheduler.between(0, AGAIN_MS);
    }
    this.lastAt = Math.max(this.lastAt, at);
    const planned = scheduler.at(this.lastAt, `${this.from}>${this.to} ${what}`, () => {
      this.under.delete(planned);
      arrive();
    });
    this.under.add(planned);
  }
}
