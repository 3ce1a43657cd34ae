// Two tabs drag a slider at the same time without waiting: is the order kept, and is the last value the one that stays?
import { addErrors } from '../error-counts.js';
import type { DragResult } from '../load/drag.js';
import { wantedZero, type Measure, type RunContext, type Workload } from './workload.js';

function none(key: string, label: string): Measure {
  return { key, label, combine: 'sum', digits: 0, wanted: wantedZero };
}

/** `drags` in all, spread over the interleaved runs, each on a session of its own. */
export function drag(drags: number): Workload {
  return {
    name: 'drag',
    about: `two tabs, 100 updates/s each for 1.5 s without waiting, a third watches; ${drags} drags`,
    measures: [
      { key: 'drags', label: 'drags', combine: 'sum', digits: 0 },
      none('inversions', 'inversions seen, all drags'),
      { key: 'inversionsOfOne', label: 'inversions seen in one drag (of 300 updates)', combine: 'median', digits: 0 },
      none('wrongFinal', 'drags with a wrong final value'),
      none('missed', 'events of committed updates not seen'),
      none('refused', 'updates refused or unanswered'),
    ],
    run: (context) => runDrags(context, drags),
  };
}

async function runDrags({ url, round, rounds, client }: RunContext, drags: number): ReturnType<Workload['run']> {
  const process = client('drag');
  const results: DragResult[] = [];
  for (let index = round; index < drags; index += rounds) {
    results.push(await process.call('run', { url, sessionId: `drag-${index}` }));
  }
  const sum = (of: (result: DragResult) => number): number => results.reduce((total, result) => total + of(result), 0);
  const errors = addErrors(results.map((result) => result.errors));
  const inversions = sum((result) => result.inversions);
  return {
    values: {
      drags: results.length,
      inversions,
      inversionsOfOne: results.length === 0 ? Number.NaN : Math.round(inversions / results.length),
      wrongFinal: sum((result) => (result.finalIsLastSent ? 0 : 1)),
      missed: sum((result) => result.missed),
      refused: sum((result) => result.unanswered) + Object.values(errors).reduce((total, count) => total + count, 0),
    },
    errors,
    details: results,
  };
}
