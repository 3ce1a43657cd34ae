// Redis is another than it was: everybody concerned is told, whatever the kind of Redis, and nobody diverges in silence.
// What a failover lost of what was acknowledged is counted and printed: that none is lost is promised of one Redis alone.
import { expect } from 'chai';
import { slotOf } from '../../server/redis/slot.js';
import { expectConverged, observe, TOLD_MS, toldOfEpoch, type Observer } from '../support/observers.js';
import { expectSoundLog, keysOf, metric, readLog, wholeLog } from '../support/session-log.js';
import { freshId, type Wire } from '../support/shapes.js';
import { closeSockets, connect } from '../support/socket.js';
import { startTopology, type Topology, type TopologyKind } from '../support/topology.js';
import { until } from '../support/until.js';
import { abandonWriters, acknowledgements, startWriter, type Writer } from '../support/writer.js';

const SESSIONS = 4;

describe('another Redis', function () {
  this.timeout(90_000);
  let topology: Topology;
  afterEach(abandonWriters);
  afterEach(closeSockets);
  afterEach(() => topology?.stop());

  async function start(kind: TopologyKind): Promise<Observer[]> {
    topology = await startTopology(kind, { nodes: kind === 'managed' ? 1 : 2, env: wholeLog });
    return observe(topology, SESSIONS);
  }
  /** Two writers of each session, one per node. */
  function writersOf(observers: readonly Observer[]): Map<string, Writer[]> {
    const ids = new Set(observers.map(({ sessionId }) => sessionId));
    const url = (n: number) => topology.nodes[n % topology.nodes.length]!.url;
    const start = (sessionId: string, n: number) => startWriter({ name: `w${n}`, sessionId, url: () => url(n) });
    return new Map([...ids].map((sessionId) => [sessionId, [start(sessionId, 0), start(sessionId, 1)]]));
  }
  /** Ends the writers, has all observers equal Redis, and prints what was acknowledged and is not in the log. */
  async function account(what: string, writers: Map<string, Writer[]>, observers: readonly Observer[]): Promise<void> {
    await Promise.all([...writers.values()].flat().map((writer) => writer.stop()));
    await expectConverged(topology, observers);
    let acknowledged = 0;
    let lost = 0;
    for (const [sessionId, both] of writers) {
      const log = await readLog(topology.direct, sessionId);
      expectSoundLog(log);
      const kept = new Map(log.map(({ revision, body }) => [revision, body]));
      for (const { updateId, revision, holds } of both.flatMap((writer) => writer.acknowledged())) {
        const body = kept.get(revision);
        acknowledged += 1;
        if (body?.updateId !== updateId || !holds(body)) lost += 1;
      }
    }
    console.log(`      ${what}: ${lost} of ${acknowledged} acknowledged changes lost, all observers told`);
  }
  /** The metric and the log of every node say that at least `sessions` of its sessions were told so. */
  async function isCounted(how: 'snapshot' | 'lost', sessions: number): Promise<void> {
    for (const node of topology.nodes) {
      const counted = () => metric(node.url, 'attune_epochs_changed_total', `told="${how}"`);
      expect(await counted()).to.be.at.least(sessions);
      const words = how === 'lost' ? 'Redis lost sessions' : 'sessions go on in a new epoch';
      await until(() => node.stderr().includes(words), { what: `the log: ${words}` });
    }
  }

  for (const kind of ['managed', 'sentinel', 'cluster'] as const) {
    const title =
      '[LD1] a restart of all of the data Redis: snapshots, reason epoch, to every reader; counted and logged';
    it(title, async () => {
      const observers = await start(kind);
      const writers = writersOf(observers);
      await acknowledgements([...writers.values()].flat(), 100);
      await topology.restartRedis();
      await until(() => topology.direct.ping(), { deadlineMs: 10_000, what: 'Redis' });
      await Promise.all(observers.map(toldOfEpoch));
      await isCounted('snapshot', SESSIONS);
      await acknowledgements([...writers.values()].flat(), 100);
      await account(`restart, ${kind}`, writers, observers);
    });
  }

  it('[LD2] FLUSHALL on one primary: its sessions are deleted, reason lost, the others are not touched', async () => {
    const observers = await start('cluster');
    const primaries = await topology.cluster!.primaries();
    const owners = new Map<string, unknown>();
    for (const { sessionId } of observers) {
      owners.set(sessionId, await topology.cluster!.ownerOf(slotOf(keysOf(sessionId).doc)));
    }
    const emptied = primaries.find((one) => [...owners.values()].includes(one))!;
    await emptied.direct.flushall();
    const [gone, untouched] = [true, false].map((is) =>
      observers.filter(({ sessionId }) => (owners.get(sessionId) === emptied) === is),
    ) as [Observer[], Observer[]];
    for (const { socket, sessionId } of gone) {
      const told = await socket.next('session:deleted', (body) => body.sessionId === sessionId, TOLD_MS);
      expect(told.reason).to.equal('lost');
    }
    for (const node of topology.nodes) {
      const counted = () => metric(node.url, 'attune_epochs_changed_total', 'told="lost"');
      expect(await counted()).to.equal(new Set(gone.map(({ sessionId }) => sessionId)).size);
      await until(() => node.stderr().includes('Redis lost sessions'), { what: 'the log' });
    }
    for (const { socket } of untouched) expect(socket.events).to.deep.equal([]);
  });

  it('[LD3] sentinels fail over while the old primary still takes writes: all leave it, and are told', async () => {
    const observers = await start('sentinel');
    const writers = writersOf(observers);
    await acknowledgements([...writers.values()].flat(), 100);
    const { old, heal } = await topology.sentinels!.splitBrain();
    await Promise.all(observers.map(toldOfEpoch));
    expect((await old.direct.role())[0], 'the old primary knows of nothing').to.equal('master');
    expect(await old.direct.set('still', 'writable')).to.equal('OK');
    await acknowledgements([...writers.values()].flat(), 100);
    await isCounted('snapshot', SESSIONS);
    await heal();
    await until(async () => (await old.direct.role())[0] === 'slave', { deadlineMs: 30_000, what: 'the old primary' });
    await acknowledgements([...writers.values()].flat(), 100);
    await account('split brain under Sentinel', writers, observers);
  });

  it('[LD4] the primary under sentinels is killed, and another one takes over in order: told each time', async () => {
    const observers = await start('sentinel');
    const writers = writersOf(observers);
    await acknowledgements([...writers.values()].flat(), 100);
    const killed = await topology.sentinels!.primary();
    await topology.sentinels!.killPrimary();
    await Promise.all(observers.map(toldOfEpoch));
    await acknowledgements([...writers.values()].flat(), 100);
    await killed.restart();
    const again = async () => (await killed.direct.info('replication')).includes('master_link_status:up');
    await until(again, { deadlineMs: 40_000, what: 'the killed one as a replica' });
    const before = observers.map(({ socket }) => socket.bodies('session:snapshot').length);
    await topology.sentinels!.failOver();
    const isTold = ({ socket }: Observer, n: number) => socket.bodies('session:snapshot').length > before[n]!;
    await until(() => observers.every(isTold), { deadlineMs: TOLD_MS, what: 'all to be told again' });
    await acknowledgements([...writers.values()].flat(), 100);
    await account('primary killed and failover under Sentinel', writers, observers);
  });

  it('[LD5] a primary of a Cluster is killed: its readers are told, the others of nothing', async () => {
    const observers = await start('cluster');
    const writers = writersOf(observers);
    await acknowledgements([...writers.values()].flat(), 100);
    const slot = slotOf(keysOf(observers[0]!.sessionId).doc);
    const owner = await topology.cluster!.ownerOf(slot);
    const concerned: Observer[] = [];
    for (const one of observers) {
      if ((await topology.cluster!.ownerOf(slotOf(keysOf(one.sessionId).doc))) === owner) concerned.push(one);
    }
    await topology.cluster!.killOwnerOf(slot);
    await Promise.all(concerned.map(toldOfEpoch));
    await acknowledgements([...writers.values()].flat(), 100);
    await account('primary of a Cluster killed', writers, observers);
    const others = observers.filter((one) => !concerned.includes(one));
    expect(others.flatMap(({ socket }) => socket.bodies('session:snapshot'))).to.deep.equal([]);
  });

  it('[LD6] what one primary lost is told while another does not answer', async () => {
    await start('cluster');
    const [away, lossy] = await topology.cluster!.primaries();
    const reader = await connect(topology.nodes[0]!.url);
    const joined: Wire[] = [];
    while (joined.length < 12) {
      const sessionId = freshId('ld');
      await reader.ok('session:join', { sessionId, create: true });
      joined.push({ sessionId, owner: await topology.cluster!.ownerOf(slotOf(keysOf(sessionId).doc)) });
    }
    const lost = joined.filter(({ owner }) => owner === lossy);
    expect(lost).to.not.be.empty.and.not.have.length(joined.length);
    // Without its replica nobody takes over.
    const replicas = topology.cluster!.servers.filter((one) => !joined.some(({ owner }) => owner === one));
    await Promise.all(replicas.map((replica) => replica.kill()));
    await away!.kill();
    for (const { sessionId } of lost) await lossy!.direct.del(keysOf(sessionId).doc);
    for (const { sessionId } of lost) {
      const told = await reader.next('session:deleted', (body) => body.sessionId === sessionId, TOLD_MS);
      expect(told.reason).to.equal('lost');
    }
  });
});
