// Leases and lock servers in trouble, under load: one short run of each fault. `npm run test:faults` runs them in full.
import { commitLate, locksTrouble, releasesLost, sleeper } from './faults/leases.js';
import { holds } from './holds.js';

describe('leases and lock servers in trouble', function () {
  this.timeout(120_000);

  it('[FL1] the holder of a lease sleeps past its end, with a commit under way', () => holds(sleeper));
  it('[FL2] a commit comes late, and others came between', () => holds(commitLate));
  it('[FL3] lock servers are lost, hang, and lose answers', () => holds(locksTrouble));
  it('[FL4] releases of locks fail, or come late', () => holds(releasesLost));
});
