// Clients come, go, come back and lie about where they were, under load: a short run of each fault.
import { faultOf } from './faults/all.js';
import { holds } from './holds.js';

describe('clients that come and go', function () {
  this.timeout(120_000);
  it('[FC22] joins and leaves without a pause', () => holds(faultOf('C2')));
  it('[FC23] resumes each second, and cursors that are none', () => holds(faultOf('C3')));
});
