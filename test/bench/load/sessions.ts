// The client side of the many-sessions workload: an open loop over the sessions of this process. Every tab of a session
// is in one process, so delivery is measured on one clock.
import { setTimeout as delay } from 'node:timers/promises';
import { countError, type ErrorCounts } from '../error-counts.js';
import { Samples } from '../samples.js';
import { temperatureOf } from '../settings.js';
import { Tab, ackCode, isSettingsUpdated } from '../tab.js';
import { createSession, inParallel, joinSession } from './session-setup.js';

const openWidth = 25;
const drainTimeoutMs = 3_000;
const pollMs = 5;
const charZero = 48;
const charNine = 57;
const updateIdMark = Buffer.from('"updateId":"n');

export interface StepOptions {
  /** Updates per second offered by this process. */
  rate: number;
  warmupMs: number;
  windowMs: number;
}

export interface StepResult {
  /** Acknowledgements with `ok: true` that arrived in the window. */
  acked: number;
  /** Microseconds from when an update of the window was due to its event at each other tab. */
  deliveries: Uint32Array;
  /** Microseconds by which updates of the window were sent later than due: the load generator's own delay. */
  lags: Uint32Array;
  /** Deliveries that never came; each is in `deliveries` with the time waited for it. */
  undelivered: number;
  errors: ErrorCounts;
}

/** The updates of one step: the one with the sequence number `first + i` was due at `begin + i * intervalMs`. */
interface Step {
  first: number;
  warmupCount: number;
  count: number;
  begin: number;
  intervalMs: number;
  /** Deliveries still to come, by i. */
  remaining: Uint8Array;
  remainingSum: number;
  deliveries: Samples;
}

export class SessionsLoad {
  /** By session, then by tab. */
  private tabs: Tab[][] = [];
  private firstSession = 0;
  private tabsPerSession = 0;
  private sequence = 0;
  private step: Step | undefined;

  async open(options: { url: string; firstSession: number; sessions: number; tabs: number }): Promise<void> {
    this.firstSession = options.firstSession;
    this.tabsPerSession = options.tabs;
    this.tabs = await inParallel(options.sessions, openWidth, (index) => this.openSession(options.url, index));
  }

  async run(options: StepOptions): Promise<StepResult> {
    const step = this.beginStep(options);
    const windowBegin = step.begin + options.warmupMs;
    const windowEnd = windowBegin + options.windowMs;
    const lags = new Samples();
    const errors: ErrorCounts = {};
    let acked = 0;
    for (let index = 0; index < step.count;) {
      const now = performance.now();
      for (; index < step.count; index += 1) {
        const dueAt = step.begin + index * step.intervalMs;
        if (dueAt > now) break;
        if (index >= step.warmupCount) lags.pushMs(performance.now() - dueAt);
        this.send(step.first + index, (code) => {
          const at = performance.now();
          if (code !== 'ok') countError(errors, code);
          else if (at >= windowBegin && at < windowEnd) acked += 1;
        });
      }
      await delay(1);
    }
    await untilDelivered(step);
    const undelivered = giveUpOn(step);
    this.step = undefined;
    return { acked, deliveries: step.deliveries.toArray(), lags: lags.toArray(), undelivered, errors };
  }

  async close(): Promise<void> {
    await Promise.all(this.tabs.flat().map((tab) => tab.close()));
  }

  private async openSession(url: string, index: number): Promise<Tab[]> {
    const sessionId = this.sessionId(index);
    const tabs: Tab[] = [];
    for (let tabIndex = 0; tabIndex < this.tabsPerSession; tabIndex += 1) {
      const tab = await Tab.open(url, `${sessionId}-tab-${tabIndex}`);
      if (tabIndex === 0) await createSession(tab, sessionId);
      await joinSession(tab, sessionId);
      tab.onEvent = (buffer, start, end) => this.onEvent(tabIndex, buffer, start, end);
      tabs.push(tab);
    }
    return tabs;
  }

  private sessionId(index: number): string {
    return `many-${this.firstSession + index}`;
  }

  private beginStep({ rate, warmupMs, windowMs }: StepOptions): Step {
    const count = Math.round(((warmupMs + windowMs) * rate) / 1000);
    const others = this.tabsPerSession - 1;
    this.step = {
      first: this.sequence,
      warmupCount: Math.round((warmupMs * rate) / 1000),
      count,
      begin: performance.now(),
      intervalMs: 1000 / rate,
      remaining: new Uint8Array(count).fill(others),
      remainingSum: count * others,
      deliveries: new Samples(),
    };
    this.sequence += count;
    return this.step;
  }

  /** One update of the session whose turn it is, by another of its tabs in each round. */
  private send(sequence: number, onCode: (code: string) => void): void {
    const session = sequence % this.tabs.length;
    const change = `{"options":{"temperature":${temperatureOf(sequence)}}}`;
    const update = `{"sessionId":"${this.sessionId(session)}","updateId":"n${sequence}","merge":${change}}`;
    this.tabs[session]![this.senderOf(sequence)]!.emit('settings:update', update, (buffer, start, end) =>
      onCode(ackCode(buffer, start, end)),
    );
  }

  private senderOf(sequence: number): number {
    return Math.floor(sequence / this.tabs.length) % this.tabsPerSession;
  }

  private onEvent(tabIndex: number, buffer: Buffer, start: number, end: number): void {
    const step = this.step;
    if (!step || !isSettingsUpdated(buffer, start, end)) return;
    const sequence = sequenceIn(buffer, start, end);
    const index = sequence - step.first;
    // Late ones of the step before were given up on then.
    if (index < 0 || index >= step.count || tabIndex === this.senderOf(sequence)) return;
    if (step.remaining[index] === 0) throw new Error(`update n${sequence} was delivered twice to a tab`);
    step.remaining[index]! -= 1;
    step.remainingSum -= 1;
    if (index >= step.warmupCount) step.deliveries.pushMs(performance.now() - step.begin - index * step.intervalMs);
  }
}

/** The sequence number that the update id of the event carries, or -1. */
function sequenceIn(buffer: Buffer, start: number, end: number): number {
  const mark = buffer.indexOf(updateIdMark, start);
  if (mark < 0 || mark >= end) return -1;
  let sequence = 0;
  for (let position = mark + updateIdMark.length; position < end; position += 1) {
    const char = buffer[position]!;
    if (char < charZero || char > charNine) break;
    sequence = sequence * 10 + (char - charZero);
  }
  return sequence;
}

async function untilDelivered(step: Step): Promise<void> {
  const deadline = performance.now() + drainTimeoutMs;
  while (step.remainingSum > 0 && performance.now() < deadline) await delay(pollMs);
}

/** Counts what did not come, each as a delivery that took until now, so that a loss is never a better figure. */
function giveUpOn(step: Step): number {
  const now = performance.now();
  let undelivered = 0;
  step.remaining.forEach((missing, index) => {
    undelivered += missing;
    if (index < step.warmupCount) return;
    for (let n = 0; n < missing; n += 1) step.deliveries.pushMs(now - step.begin - index * step.intervalMs);
  });
  return undelivered;
}
