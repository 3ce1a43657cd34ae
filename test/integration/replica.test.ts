// A Redis that is no primary any more, while its nodes still ask it: it is not believed.
import { expect } from 'chai';
import { observe, toldOfEpoch, expectConverged } from '../support/observers.js';
import { expectProblem, request } from '../support/http.js';
import { freePort } from '../support/redis.js';
import { metric } from '../support/session-log.js';
import { closeSockets, connect } from '../support/socket.js';
import { startTopology, type Topology } from '../support/topology.js';
import { until } from '../support/until.js';

describe('a Redis that became a replica', () => {
  let topology: Topology;
  before(async () => {
    topology = await startTopology('external', { nodes: 2 });
  });
  after(() => topology?.stop());
  afterEach(closeSockets);

  it('[LD7] a node whose Redis became a replica says UNAVAILABLE to reads and writes; promoted, it is told as another epoch', async () => {
    const observers = await observe(topology, 2);
    const { sessionId } = observers[0]!;
    const url = `${topology.nodes[0]!.url}/v1/sessions/${sessionId}`;
    const socket = await connect(topology.nodes[1]!.url);
    await socket.ok('settings:update', { sessionId, merge: { n: 1 } });
    // Of nobody who answers: it keeps what it has, and would serve it.
    await topology.direct.call('REPLICAOF', '127.0.0.1', await freePort());
    await socket.refused('settings:update', { sessionId, merge: { n: 2 } }, 'UNAVAILABLE');
    await socket.refused('session:get', { sessionId }, 'UNAVAILABLE');
    await socket.refused('session:join', { sessionId }, 'UNAVAILABLE');
    for (const path of ['', '/settings', '/settings/history', '/messages']) {
      expectProblem(await request('GET', `${url}${path}`), 'UNAVAILABLE');
    }
    await topology.direct.call('REPLICAOF', 'NO', 'ONE');
    await Promise.all(observers.map(toldOfEpoch));
    for (const node of topology.nodes) {
      expect(await metric(node.url, 'attune_epochs_changed_total', 'told="snapshot"')).to.equal(2);
      await until(() => node.stderr().includes('go on in a new epoch'), { what: 'the log' });
    }
    const write = () => socket.call('settings:update', { sessionId, merge: { n: 3 } });
    await until(async () => (await write()).ok, { what: 'a write' });
    await expectConverged(topology, observers);
  });
});
