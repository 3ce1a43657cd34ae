// The client side of the contention workload: closed-loop writers in one process, subscribers in another.
import { setTimeout as delay } from 'node:timers/promises';
import { countError, type ErrorCounts } from '../error-counts.js';
import { Samples } from '../samples.js';
import { temperatureOf } from '../settings.js';
import { Tab, ackCode, isSettingsUpdated } from '../tab.js';
import { createSession, inParallel, joinSession } from './session-setup.js';

/** For updates that were in flight when the window closed; the literal design may wait 3 s for its lock. */
const drainTimeoutMs = 10_000;
const pollMs = 10;
const openWidth = 25;

export interface Window {
  warmupMs: number;
  windowMs: number;
}

export interface WritersResult {
  /** Acknowledgements with `ok: true` that arrived in the window. */
  acked: number;
  elapsedMs: number;
  /** Microseconds, of the updates sent in the window that were acknowledged with `ok: true`. */
  latencies: Uint32Array;
  /** All with `ok: true`, warm-up included. */
  committed: number;
  unanswered: number;
  errors: ErrorCounts;
}

/** Writers outside of the room; each sends its next update when the one before was answered. */
export class ContentionWriters {
  private tabs: Tab[] = [];
  private sessionId = '';
  private sequence = 0;

  async open(options: { url: string; sessionId: string; writers: number }): Promise<void> {
    this.sessionId = options.sessionId;
    this.tabs = await inParallel(options.writers, openWidth, (index) => Tab.open(options.url, `writer-${index}`));
    await createSession(this.tabs[0]!, this.sessionId);
  }

  async run({ warmupMs, windowMs }: Window): Promise<WritersResult> {
    const latencies = new Samples();
    const errors: ErrorCounts = {};
    const begin = performance.now() + warmupMs;
    const end = begin + windowMs;
    let acked = 0;
    let committed = 0;
    let inFlight = 0;

    const sendNext = (tab: Tab): void => {
      const sent = performance.now();
      inFlight += 1;
      tab.emit('settings:update', this.nextUpdate(), (buffer, from, to) => {
        const now = performance.now();
        const code = ackCode(buffer, from, to);
        inFlight -= 1;
        if (code === 'ok') {
          committed += 1;
          if (now >= begin && now < end) acked += 1;
          if (sent >= begin) latencies.pushMs(now - sent);
        } else {
          countError(errors, code);
        }
        if (now < end) sendNext(tab);
      });
    };
    for (const tab of this.tabs) sendNext(tab);
    await delay(warmupMs + windowMs);
    for (const deadline = performance.now() + drainTimeoutMs; inFlight > 0 && performance.now() < deadline;) {
      await delay(pollMs);
    }
    return { acked, elapsedMs: windowMs, latencies: latencies.toArray(), committed, unanswered: inFlight, errors };
  }

  async close(): Promise<void> {
    await Promise.all(this.tabs.map((tab) => tab.close()));
  }

  private nextUpdate(): string {
    const sequence = this.sequence++;
    const change = `{"options":{"temperature":${temperatureOf(sequence)}}}`;
    return `{"sessionId":"${this.sessionId}","updateId":"c${sequence}","merge":${change}}`;
  }
}

/** Sockets in the room that count the settings events they get. */
export class ContentionSubscribers {
  private tabs: Tab[] = [];
  private delivered = 0;

  async open(options: { url: string; sessionId: string; subscribers: number }): Promise<void> {
    this.tabs = await inParallel(options.subscribers, openWidth, async (index) => {
      const tab = await Tab.open(options.url, `subscriber-${index}`);
      await joinSession(tab, options.sessionId);
      tab.onEvent = (buffer, start, end) => {
        if (isSettingsUpdated(buffer, start, end)) this.delivered += 1;
      };
      return tab;
    });
  }

  /** Counts what arrives in the window. */
  async measure({ warmupMs, windowMs }: Window): Promise<{ delivered: number; elapsedMs: number }> {
    await delay(warmupMs);
    const begin = performance.now();
    const before = this.delivered;
    await delay(windowMs);
    return { delivered: this.delivered - before, elapsedMs: performance.now() - begin };
  }

  /** Waits until `expected` events arrived in sum, and tells how many did. */
  async settle(expected: number): Promise<number> {
    const deadline = performance.now() + drainTimeoutMs;
    while (this.delivered < expected && performance.now() < deadline) await delay(pollMs);
    return this.delivered;
  }

  async close(): Promise<void> {
    await Promise.all(this.tabs.map((tab) => tab.close()));
  }
}
