// Which tests of the suite cannot run on which kind of Redis, and why. A test that is not named here runs on each.
import type { SuiteKind } from '../support/data-redis.js';

export interface Exception {
  on: readonly SuiteKind[];
  why: string;
  /** Ids of rules, as test titles begin with them: all tests of the rule. */
  ids: readonly string[];
}

export const exceptions: readonly Exception[] = [
  {
    on: ['sentinel', 'cluster'],
    why: 'it needs a proxy on the way to Redis, whose addresses Redis announces itself here',
    ids: 'F1 F2 F3 F4 F6 F12 L1 L2 L3 L4 PR11 PR20 PR21 PR35 PR36 Q7 T11 V2 V6 V11'.split(' '),
  },
  { on: ['cluster'], why: 'it ends one connection by its id, which each primary counts by itself', ids: ['T18'] },
];
