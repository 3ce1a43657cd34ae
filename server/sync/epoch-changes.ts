// Says that Redis is not the one it was: that sessions go on in a new epoch, or are gone. Counted each, logged together. It
// decides nothing: the hub has told the readers.
import type { Logger } from 'pino';
import type { Metrics } from '../metrics.js';

/** What happens within this is one line in the log, milliseconds: it comes for all sessions at once. */
const TOGETHER_MS = 500;

export class EpochChanges {
  private readonly metrics: Metrics;
  private readonly logger: Logger;
  private counts = { snapshot: 0, lost: 0 };
  private timer: NodeJS.Timeout | undefined;

  constructor(metrics: Metrics, logger: Logger) {
    this.metrics = metrics;
    this.logger = logger;
  }

  /** The readers of one session were told: by a snapshot of the new epoch, or that it is lost. */
  told(how: 'snapshot' | 'lost'): void {
    this.metrics.epochsChanged.inc({ told: how });
    this.counts[how] += 1;
    this.timer ??= setTimeout(() => this.log(), TOGETHER_MS).unref();
  }

  close(): void {
    if (this.timer !== undefined) this.log();
  }

  private log(): void {
    const { snapshot, lost } = this.counts;
    clearTimeout(this.timer);
    this.timer = undefined;
    this.counts = { snapshot: 0, lost: 0 };
    if (snapshot > 0) {
      this.logger.warn({ sessions: snapshot }, 'Redis was restarted or failed over: sessions go on in a new epoch');
    }
    if (lost > 0) this.logger.warn({ sessions: lost }, 'Redis lost sessions that have readers: they are told so');
  }
}
