// Every fault that tests and the command line can run, in the order of the table.
import type { Fault, Trial } from '../../support/fault-run.js';
import { commitLate, locksTrouble, releasesLost, sleeper } from './leases.js';
import { diskFull, syncFailing, workBesides } from './disk.js';
import { feedLossy } from './feed.js';
import { keysDamaged, flushed } from './data-damaged.js';
import { nodesAndRedisKilled, redisHung, redisKilled, repliesLost } from './redis-lost.js';
import { tornFile } from './torn-file.js';
import { droppers, halfOpen, joinStorm } from './comers.js';
import { crowdMoves } from './crowd-moves.js';
import { nodeKilled, partitions, rollingRestart } from './nodes.js';
import { deaf, overloaded, trickling } from './overload.js';

export const faults: readonly (Fault | Trial)[] = [
  sleeper,
  commitLate,
  locksTrouble,
  releasesLost,
  redisKilled,
  nodesAndRedisKilled,
  tornFile,
  diskFull,
  syncFailing,
  workBesides,
  repliesLost,
  redisHung,
  keysDamaged,
  flushed,
  feedLossy,
  nodeKilled,
  rollingRestart,
  ...partitions,
  halfOpen,
  joinStorm,
  droppers,
  trickling,
  deaf,
  crowdMoves,
  overloaded,
];

/** The fault of this id. Throws where there is none. */
export function faultOf(id: string): Fault | Trial {
  const found = faults.find((fault) => fault.id === id);
  if (!found) throw new Error(`there is no fault ${id}; there are ${faults.map((fault) => fault.id).join(', ')}`);
  return found;
}
