// Every fault that tests and the command line can run, in the order of the table.
import type { Fault, Trial } from '../../support/fault-run.js';
import { commitLate, locksTrouble, releasesLost, sleeper } from './leases.js';
import { diskFull, syncFailing, workBesides } from './disk.js';
import { feedLossy } from './feed.js';
import { keysDamaged, flushed } from './data-damaged.js';
import { nodesAndRedisKilled, redisHung, redisKilled, repliesLost } from './redis-lost.js';
import { tornFile } from './torn-file.js';

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
];
