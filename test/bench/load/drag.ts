// The client side of the drag workload: two tabs that send without waiting, a third that watches the order.
import { isDeepStrictEqual } from 'node:util';
import { setTimeout as delay } from 'node:timers/promises';
import { countError, type ErrorCounts } from '../error-counts.js';
import { Tab, ackCode, isSettingsUpdated } from '../tab.js';
import { createSession, joinSession } from './session-setup.js';

const draggers = 2;
/** 100 updates/s by each of the two tabs for 1.5 s. */
const rounds = 150;
const roundEveryMs = 10;
const updates = draggers * rounds;
const settleTimeoutMs = 10_000;
const pollMs = 5;

/** A position of the slider, and who dragged it there. */
interface Slider {
  tab: number;
  n: number;
}

export interface DragResult {
  sent: number;
  /** Events of one tab with a lower counter than an earlier event of the same tab. */
  inversions: number;
  /** Events of committed updates that the observer never saw. */
  missed: number;
  unanswered: number;
  /** What a fresh socket reads afterwards is the update that was sent last. */
  finalIsLastSent: boolean;
  errors: ErrorCounts;
}

export class Drag {
  async run({ url, sessionId }: { url: string; sessionId: string }): Promise<DragResult> {
    const names = ['drag-0', 'drag-1', 'observer'];
    const tabs = await Promise.all(names.map((name) => Tab.open(url, name)));
    const observer = tabs[draggers]!;
    await createSession(observer, sessionId);
    for (const tab of tabs) await joinSession(tab, sessionId);
    const seen: Slider[] = [];
    observer.onEvent = (buffer, start, end) => {
      if (isSettingsUpdated(buffer, start, end)) seen.push(sliderOf(buffer.toString('utf8', start, end)));
    };

    const outcome = await dragThrough(tabs, sessionId, seen);
    const fresh = await Tab.open(url, 'fresh');
    const { session } = (await fresh.request('session:get', { sessionId })) as unknown as SessionReply;
    await Promise.all([...tabs, fresh].map((tab) => tab.close()));

    const { committed, lastSent, ...rest } = outcome;
    return {
      ...rest,
      sent: updates,
      inversions: countInversions(seen),
      missed: Math.max(0, committed - seen.length),
      finalIsLastSent: isDeepStrictEqual(session.settings.options.slider, lastSent),
    };
  }

  async close(): Promise<void> {}
}

interface SessionReply {
  session: { settings: { options: { slider: Slider } } };
}

interface DragOutcome {
  committed: number;
  unanswered: number;
  lastSent: Slider;
  errors: ErrorCounts;
}

/** Sends all updates, then waits until they are answered and the observer saw those that were committed. */
async function dragThrough(tabs: Tab[], sessionId: string, seen: Slider[]): Promise<DragOutcome> {
  const errors: ErrorCounts = {};
  let committed = 0;
  let answered = 0;
  const send = (slider: Slider): void => {
    const updateId = `d${slider.tab}-${slider.n}`;
    const update = JSON.stringify({ sessionId, updateId, merge: { options: { slider } } });
    tabs[slider.tab]!.emit('settings:update', update, (buffer, start, end) => {
      answered += 1;
      const code = ackCode(buffer, start, end);
      if (code === 'ok') committed += 1;
      else countError(errors, code);
    });
  };
  const begin = performance.now();
  for (let n = 0; n < rounds; n += 1) {
    while (performance.now() < begin + n * roundEveryMs) await delay(1);
    // Both in one turn, always in this order: they meet at the server, and which was sent last is plain.
    for (let tab = 0; tab < draggers; tab += 1) send({ tab, n });
  }
  const lastSent: Slider = { tab: draggers - 1, n: rounds - 1 };
  const deadline = performance.now() + settleTimeoutMs;
  while ((answered < updates || seen.length < committed) && performance.now() < deadline) await delay(pollMs);
  return { committed, unanswered: updates - answered, lastSent, errors };
}

function sliderOf(event: string): Slider {
  const [, body] = JSON.parse(event) as [string, SessionReply['session']];
  return body.settings.options.slider;
}

function countInversions(seen: Slider[]): number {
  const highest = new Map<number, number>();
  let inversions = 0;
  for (const { tab, n } of seen) {
    const before = highest.get(tab) ?? -1;
    if (n < before) inversions += 1;
    else highest.set(tab, n);
  }
  return inversions;
}
