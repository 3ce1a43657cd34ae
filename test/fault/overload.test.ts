// Too much for a server, under load: a short run. `npm run test:faults` runs all in full.
import { faultOf } from './faults/all.js';
import { holds } from './holds.js';

describe('too much', function () {
  this.timeout(120_000);
  it('[FO2] readers that never read', () => holds(faultOf('O2')));
});
