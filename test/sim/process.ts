// A process of the simulation: its timers, and what reaches it from outside. It can be stopped and continued as by SIGSTOP
// and SIGCONT, and killed. It knows nothing of what runs in it.
import type { Time, Timer } from '../../server/time.js';
import type { Planned, Scheduler } from './scheduler.js';

/** When the simulation begins, milliseconds since 1970. */
const BEGIN_MS = Date.UTC(2026, 10, 22, 12);
/** The process's wall clock may be wrong by so much, milliseconds. */
const SKEW_MAX_MS = 2000;

export class SimProcess {
  readonly name: string;
  readonly time: Time;
  readonly scheduler: Scheduler;
  state: 'running' | 'stopped' | 'dead' = 'running';
  private readonly dueTimers: (() => void)[] = [];
  private readonly input: (() => void)[] = [];

  constructor(name: string, scheduler: Scheduler) {
    this.name = name;
    this.scheduler = scheduler;
    this.time = this.makeTime();
  }

  /** Something comes from outside: now, or when the process is continued, or never. */
  receive(run: () => void): void {
    if (this.state === 'running') run();
    else if (this.state === 'stopped') this.input.push(run);
  }

  stop(): void {
    if (this.state === 'running') this.state = 'stopped';
  }

  /** What was due runs first, then what came in: as an event loop does that was stopped. */
  continue(): void {
    if (this.state !== 'stopped') return;
    this.state = 'running';
    for (const run of [...this.dueTimers.splice(0), ...this.input.splice(0)]) {
      this.scheduler.after(0, '', () => this.receive(run));
    }
  }

  kill(): void {
    this.state = 'dead';
  }

  private makeTime(): Time {
    const { scheduler } = this;
    const startedAt = scheduler.now;
    const skewMs = scheduler.between(-SKEW_MAX_MS, SKEW_MAX_MS);
    const timer = (run: () => void, ms: number, again: boolean): Timer => new SimTimer(this, run, ms, again);
    const clear = (one: Timer | undefined) => (one as SimTimer | undefined)?.clear();
    return {
      now: () => Math.floor(BEGIN_MS + scheduler.now + skewMs),
      monotonic: () => scheduler.now - startedAt,
      random: () => scheduler.random(),
      setTimeout: (run, ms) => timer(run, ms, false),
      clearTimeout: clear,
      setInterval: (run, ms) => timer(run, ms, true),
      clearInterval: clear,
      setImmediate: (run) => void scheduler.after(0, '', () => this.due(run)),
    };
  }

  /** A timer of this process is due. */
  due(run: () => void): void {
    if (this.state === 'running') run();
    else if (this.state === 'stopped') this.dueTimers.push(run);
  }
}

class SimTimer implements Timer {
  private planned: Planned | undefined;
  private isCleared = false;
  private readonly process: SimProcess;
  private readonly run: () => void;
  private readonly ms: number;
  private readonly again: boolean;

  constructor(process: SimProcess, run: () => void, ms: number, again: boolean) {
    this.process = process;
    this.run = run;
    // Node's shortest.
    this.ms = Math.max(ms, 1);
    this.again = again;
    this.plan();
  }

  unref(): void {
    // Nothing in a simulation is kept alive by a timer.
  }

  clear(): void {
    this.isCleared = true;
    this.planned?.cancel();
  }

  private plan(): void {
    this.planned = this.process.scheduler.after(this.ms, '', () =>
      this.process.due(() => {
        if (this.isCleared) return;
        if (this.again) this.plan();
        this.run();
      }),
    );
  }
}
