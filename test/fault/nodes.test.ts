// Server nodes are killed and cut off, under load: short runs. `npm run test:faults` runs all faults of nodes in full.
import { faultOf } from './faults/all.js';
import { holds } from './holds.js';

describe('nodes that fail', function () {
  this.timeout(120_000);
  it('[FN1] kill -9 at points of the walk of an update', () => holds(faultOf('N1')));
  it('[FN3] a node whose replies from the data Redis are lost', () => holds(faultOf('N3 data replies')));
});
