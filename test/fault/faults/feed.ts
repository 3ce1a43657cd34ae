// Faults of the feed: C1.
import { setTimeout as delay } from 'node:timers/promises';
import { isPublication } from '../../support/far-and-near.js';
import { counted, timed, type Fault, type World } from '../../support/fault-run.js';
import { pick } from '../../support/history-model.js';
import type { FrameFate } from '../../support/proxy.js';

/** Of the publications, how many are lost, said twice, and said after the next one. */
const LOST = 0.2;
const TWICE = 0.3;
const LATER = 0.4;
/** A subscriber is cut off so often, milliseconds. */
const CUT_EVERY_MS = 1000;
/** The longest period of the check of revisions, and what comes on top, milliseconds. */
const STALENESS_MS = 2000;

function lossy({ random }: World, lost: () => void): FrameFate {
  let kept: Buffer[] = [];
  return (frame) => {
    if (!isPublication(frame)) return [frame];
    const before = kept;
    kept = [];
    const what = random();
    if (what < LOST) {
      lost();
      return before;
    }
    if (what < TWICE) return [frame, frame, ...before];
    if (what < LATER) kept = [frame];
    return what < LATER ? before : [frame, ...before];
  };
}

export const feedLossy: Fault = {
  id: 'C1',
  title: 'a fifth of the feed lost, some of it twice or out of order, and subscribers cut off each second',
  needs: { proxies: ['data'] },
  async inject(world) {
    let lost = 0;
    for (const { data } of world.nodes) {
      data.frames(
        'attune-feed',
        lossy(world, () => (lost += 1)),
      );
    }
    let cuts = 0;
    for (let round = 0; round < (world.size.isShort ? 2 : 15); round += 1) {
      await delay(CUT_EVERY_MS);
      cuts += pick(world.random, world.nodes)!.data.cut('attune-feed');
    }
    return {
      heal: () => Promise.resolve(world.nodes.forEach(({ data }) => data.frames('attune-feed', undefined))),
      effect: () => Math.min(lost, cuts),
      counted: 'publications lost, or subscribers cut',
      beside: ({ stalenessMs, errorShare }) => [
        timed('staleness ms', stalenessMs, STALENESS_MS),
        counted('errors %', 100 * errorShare),
      ],
    };
  },
};
