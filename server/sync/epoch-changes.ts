// Says that Redis is not the one it was: that sessions go on in a new epoch, or are gone. Counted each, logged together. It
// decides nothing: the hub has told the readers.
import type { Logger } from 'pino';
import type { Metrics } from '../metrics.js';
import type { Time, Timer } from '../time.js';

/** What happens within this is one line in the log, milliseconds: it comes for all sessions at once. */
const TOGETHER_MS = 500;

export class EpochChanges {
  private readonly metrics: Metrics;
  private readonly logger: Logger;
  private readonly time: Time;
  private counts = { snapshot: 0, lost: 0 };
  private timer: Timer | undefined;

  constructor(options: { metrics: Metrics; logger: Logger; time: Time }) {
    this.metrics = options.metrics;
    this.logger = options.logger;
    this.time = options.time;
  }

  /** The readers of one session were told: by a snapshot of the new epoch, or that it is lost. */
  told(how: 'snapshot' | 'lost'): void {
    this.metrics.epochsChanged.inc({ told: how });
    this.counts[how] += 1;
    if (this.timer !== undefined) return;
    this.timer = this.time.setTimeout(() => this.log(), TOGETHER_MS);
    this.timer.unref();
  }

  close(): void {
    if (this.timer !== undefined) this.log();
  }

  private log(): void {
    const { snapshot, lost } = this.counts;
    this.time.clearTimeout(this.timer);
    this.timer = undefined;
    this.counts = { snapshot: 0, lost: 0 };
    if (snapshot > 0) {
      this.logger.warn({ sessions: snapshot }, 'Redis was restarted or failed over: sessions go on in a new epoch');
    }
    if (lost > 0) this.logger.warn({ sessions: lost }, 'Redis lost sessions that have readers: they are told so');
  }
}
