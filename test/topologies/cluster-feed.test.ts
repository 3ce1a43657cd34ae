// Sharded channels on a Cluster: what is committed is heard at once before, and soon after, every change of who owns them.
import { expect } from 'chai';
import type { Attune } from '../support/attune.js';
import type { ClusterServer, TestCluster } from '../support/cluster.js';
import { slotOf } from '../../server/redis/slot.js';
import { expectOrderly, expectSoundLog, keysOf, metric, readLog, wholeLog } from '../support/session-log.js';
import { freshId, type Wire } from '../support/shapes.js';
import { closeSockets, connect, type TestSocket } from '../support/socket.js';
import { startTopology, type Topology } from '../support/topology.js';
import { until } from '../support/until.js';
import { abandonWriters, acknowledgements, startWriter } from '../support/writer.js';

const FEED_BACK_MS = 15_000;

describe('sharded channels on a Cluster', function () {
  this.timeout(90_000);
  let topology: Topology;
  let cluster: TestCluster;
  beforeEach(async () => {
    topology = await startTopology('cluster', { nodes: 2, env: wholeLog });
    cluster = topology.cluster!;
  });
  afterEach(abandonWriters);
  afterEach(closeSockets);
  afterEach(() => topology?.stop());

  const slot = (sessionId: string) => slotOf(keysOf(sessionId).channel);
  async function joined(node: Attune, sessionId: string): Promise<{ socket: TestSocket; from: Wire }> {
    const socket = await connect(node.url);
    const { session: from } = await socket.ok('session:join', { sessionId, create: true });
    return { socket, from };
  }
  /** A session on each primary, with an observer of each on the second node. */
  async function onEachPrimary() {
    const primaries = await cluster.primaries();
    const found = new Map<ClusterServer, { sessionId: string; observer: TestSocket; from: Wire }>();
    while (found.size < primaries.length) {
      const sessionId = freshId('tp');
      const owner = await cluster.ownerOf(slot(sessionId));
      if (found.has(owner)) continue;
      const { socket, from } = await joined(topology.nodes[1]!, sessionId);
      found.set(owner, { sessionId, observer: socket, from });
    }
    return found;
  }
  /** Writes until what is written is heard by the feed: the checks and repairs of the second node do not count it then. */
  async function heardAgain(sessionId: string, observer: TestSocket): Promise<void> {
    const writer = await connect(topology.nodes[0]!.url);
    const repairs = () => metric(topology.nodes[1]!.url, 'attune_feed_repairs_total');
    const oneIsHeard = async () => {
      const before = await repairs();
      for (let n = 0; n < 5; n += 1) {
        const ack = await writer.call('settings:update', { sessionId, merge: { n: Math.random() } });
        if (!ack.ok) return false;
        const has = ({ body }: { body: Wire }) =>
          body?.sessionId === sessionId && (body.revision ?? body.session?.revision) >= ack.revision;
        await until(() => observer.events.some(has), { what: `revision ${ack.revision}` });
      }
      return (await repairs()) === before;
    };
    await until(oneIsHeard, { deadlineMs: FEED_BACK_MS, everyMs: 50, what: 'the feed' });
  }
  async function equalsRedis(sessionId: string, observer: TestSocket, from: Wire): Promise<void> {
    const log = await readLog(cluster.client, sessionId);
    expectSoundLog(log);
    const seen = expectOrderly(observer, from, log);
    const { session } = await observer.ok('session:get', { sessionId });
    expect(seen).to.deep.include({ epoch: session.epoch, revision: session.revision, settings: session.settings });
  }

  it('[TP1] a primary that is killed under load: its sessions are heard again by the feed, the others all the time', async () => {
    const sessions = await onEachPrimary();
    const [dying, ...others] = [...sessions.keys()];
    const writers = [...sessions.values()].map(({ sessionId }, n) =>
      startWriter({ name: `w${n}`, sessionId, url: () => topology.nodes[0]!.url }),
    );
    await acknowledgements(writers, 100);
    const told = writers.map(({ writes }) => writes.length);
    await cluster.killOwnerOf(slot(sessions.get(dying!)!.sessionId));
    await acknowledgements(writers, 100);
    expect(writers.slice(1).every(({ writes }, n) => writes.length > told[n + 1]!)).to.equal(true);
    await Promise.all(writers.map((writer) => writer.stop()));
    for (const { sessionId, observer, from } of sessions.values()) {
      await heardAgain(sessionId, observer);
      await equalsRedis(sessionId, observer, from);
    }
    for (const other of others) expect(sessions.get(other)!.observer.bodies('session:snapshot')).to.deep.equal([]);
    const [snapshot] = sessions.get(dying!)!.observer.bodies('session:snapshot');
    expect(snapshot.reason).to.equal('epoch');
  });

  it('[TP2] a slot that is moved under load, there and back: its sessions are heard again, and nothing is lost', async () => {
    const sessions = await onEachPrimary();
    const [[from, moved], [to]] = [...sessions] as [[ClusterServer, Wire], [ClusterServer, Wire]];
    const { sessionId, observer } = moved as { sessionId: string; observer: TestSocket };
    const writer = startWriter({ name: 'w', sessionId, url: () => topology.nodes[0]!.url });
    await acknowledgements([writer], 50);
    for (const owner of [to, from, to]) {
      await cluster.moveSlot(slot(sessionId), owner);
      await acknowledgements([writer], 50);
    }
    await writer.stop();
    await heardAgain(sessionId, observer);
    await equalsRedis(sessionId, observer, moved.from);
    expect(observer.bodies('session:snapshot').every(({ reason }) => reason === 'epoch')).to.equal(true);
  });

  it('[TP3] a failover in order, and one after another: the feed is back each time', async () => {
    const sessions = await onEachPrimary();
    for (const { sessionId, observer, from } of sessions.values()) {
      await cluster.failOver(slot(sessionId));
      await heardAgain(sessionId, observer);
      await equalsRedis(sessionId, observer, from);
    }
  });

  it('[TP4] a primary that hangs: sessions of the others are answered and heard all the time', async () => {
    const sessions = await onEachPrimary();
    const [hanging, ...others] = [...sessions.keys()];
    /** The data connections that the others have: a new one would have lost what was on its way. */
    const connections = async () => {
      const lists = await Promise.all(others.map(({ direct }) => direct.client('LIST') as Promise<string>));
      return lists.map((list) =>
        [...list.matchAll(/^id=(\d+) .* name=attune-data /gm)].map(([, id]) => Number(id)).sort((a, b) => a - b),
      );
    };
    const before = await connections();
    expect(before.flat()).to.have.length(others.length * topology.nodes.length);
    process.kill(hanging!.pid, 'SIGSTOP');
    const writers = [...others, ...others].map((other, n) =>
      startWriter({ name: `w${n}`, sessionId: sessions.get(other)!.sessionId, url: () => topology.nodes[0]!.url }),
    );
    try {
      const stuck = startWriter({
        name: 'stuck',
        sessionId: sessions.get(hanging!)!.sessionId,
        url: () => topology.nodes[0]!.url,
      });
      await acknowledgements([stuck], 2);
      await acknowledgements(writers, 100);
      await Promise.all([...writers, stuck].map((writer) => writer.stop()));
      expect(await connections()).to.deep.equal(before);
    } finally {
      process.kill(hanging!.pid, 'SIGCONT');
    }
    for (const { sessionId, observer, from } of sessions.values()) {
      await heardAgain(sessionId, observer);
      await equalsRedis(sessionId, observer, from);
    }
    const told = writers.flatMap(({ writes }) => writes.flatMap((write) => write.told));
    expect(told.filter((one) => one !== 'ok')).to.deep.equal([]);
    for (const other of others) expect(sessions.get(other)!.observer.bodies('session:snapshot')).to.deep.equal([]);
  });
});
