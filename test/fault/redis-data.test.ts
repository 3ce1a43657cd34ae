// Disk, memory and data of Redis in trouble, under load, and its feed: one short run of each fault. `npm run test:faults`
// runs them in full.
import { keysDamaged } from './faults/data-damaged.js';
import { diskFull, syncFailing, workBesides } from './faults/disk.js';
import { feedLossy } from './faults/feed.js';
import { tornFile } from './faults/torn-file.js';
import { holds } from './holds.js';

describe('the disk, the memory, the data and the feed of Redis in trouble', function () {
  this.timeout(120_000);

  it('[FD3] the append-only file is cut within its last scripts', () => holds(tornFile));
  it('[FD4] the disk is full for a time', () => holds(diskFull));
  it('[FD4] the disk cannot sync', () => holds(syncFailing));
  it('[FD5] the file is rewritten, scripts are forgotten, memory is full', () => holds(workBesides));
  it('[FD9] keys of sessions are deleted, or hold something else', () => holds(keysDamaged));
  it('[FC1] publications are lost, doubled and late, and subscribers cut', () => holds(feedLossy));
});
