// kill -9 in the middle of writes: of the server with its Redis, of each alone. What was acknowledged is there afterwards.
import { mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { Redis } from 'ioredis';
import { startAttune, type Attune } from '../support/attune.js';
import { range } from '../support/range.js';
import { expectAcknowledged, expectOrderly, expectSoundLog, readLog, wholeLog } from '../support/session-log.js';
import { type Wire } from '../support/shapes.js';
import { closeSockets, connect } from '../support/socket.js';
import { until } from '../support/until.js';
import { abandonWriters, acknowledgements, finalValues, startWriter, type Writer } from '../support/writer.js';

const SESSIONS = ['hot', 'calm'] as const;
/** Acknowledgements at least before each kill, and at most so many more, so that it comes at any moment. */
const BEFORE_KILL = 60;
const BEFORE_KILL_SPREAD = 60;
/** Acknowledgements in the whole run before the first and after the last kill: with fewer it would prove nothing. */
const AT_EACH_END = 200;

describe('kill -9 in the middle of writes', () => {
  let dataDir: string;
  let current: Attune | undefined;
  let writers: Writer[];
  beforeEach(() => {
    dataDir = mkdtempSync(join(realpathSync(tmpdir()), 'attune-crash-'));
  });
  afterEach(async () => {
    abandonWriters();
    closeSockets();
    await current?.killRedis();
    await current?.destroy();
    current = undefined;
    rmSync(dataDir, { recursive: true, force: true });
  });

  async function start(): Promise<Attune> {
    current = await startAttune({ dataDir, env: { ...wholeLog, SESSION_MESSAGES_MAX: '1000000' } });
    return current;
  }
  /** Two sessions, the first with twice the writers; all of them have written when this resolves. */
  async function startWriting(): Promise<Record<string, Wire>> {
    const socket = await connect((await start()).url);
    const documents: Record<string, Wire> = {};
    for (const sessionId of SESSIONS) {
      documents[sessionId] = (await socket.ok('session:open', { sessionId })).session;
    }
    socket.close();
    const url = () => (current as Attune).url;
    writers = range(0, 5).map((n) => startWriter({ name: `w${n}`, sessionId: SESSIONS[n % 3 === 2 ? 1 : 0]!, url }));
    await acknowledgements(writers, AT_EACH_END);
    return documents;
  }
  const moment = () => acknowledgements(writers, BEFORE_KILL + Math.floor(Math.random() * BEFORE_KILL_SPREAD), 30_000);

  /** Ends the writers and compares all that they were told with what Redis and the server have; prints the counts. */
  async function account(
    what: string,
    rounds: number,
    unknownMin: number,
  ): Promise<Record<string, Awaited<ReturnType<typeof readLog>>>> {
    await acknowledgements(writers, AT_EACH_END, 30_000);
    await Promise.all(writers.map((writer) => writer.stop()));
    const direct = new Redis({ path: join(dataDir, 'redis.sock') });
    const logs: Record<string, Awaited<ReturnType<typeof readLog>>> = {};
    try {
      for (const sessionId of SESSIONS) logs[sessionId] = await readLog(direct, sessionId);
    } finally {
      direct.disconnect();
    }
    const logOf = ({ name }: Writer) => logs[SESSIONS[Number(name.slice(1)) % 3 === 2 ? 1 : 0]!]!;
    const acknowledged = writers.flatMap((writer) => writer.acknowledged().map((write) => ({ ...write, writer })));
    const lost = acknowledged.filter(({ writer, updateId, revision }) => {
      return logOf(writer)[revision - 1]?.body.updateId !== updateId;
    });
    const unknown = writers.reduce((sum, writer) => sum + writer.unknown(), 0);
    console.log(
      `      ${what}: ${rounds} rounds, ${acknowledged.length} acknowledged, ${unknown} unknown for a time, ${lost.length} lost`,
    );
    for (const writer of writers) expectAcknowledged(logOf(writer), writer.acknowledged());
    for (const log of Object.values(logs)) expectSoundLog(log);
    expect(acknowledged.length).to.be.at.least(2 * AT_EACH_END + rounds * BEFORE_KILL);
    expect(unknown, 'a kill in the middle of writes leaves some unknown').to.be.at.least(unknownMin);
    expect(writers.flatMap(({ writes }) => writes.flatMap(({ told }) => told))).to.not.include('INTERNAL');
    await compareServer(logs);
    return logs;
  }

  /** The server's own answers say the same as the log. */
  async function compareServer(logs: Record<string, Awaited<ReturnType<typeof readLog>>>): Promise<void> {
    const socket = await connect((current as Attune).url);
    for (const [sessionId, log] of Object.entries(logs)) {
      const { session } = await socket.ok('session:get', { sessionId });
      const added = log.filter(({ event }) => event === 'message:added').map(({ body }) => body.message);
      expect(session).to.deep.include({ revision: log.length, messageCount: added.length });
      expect(session.settings).to.deep.equal(log.findLast(({ body }) => body.settings)?.body.settings);
      const own = writers.filter(({ name }) => name in session.settings);
      expect(session.settings).to.deep.include(finalValues(own));
      const listed: Wire[] = [];
      for (let before: number | undefined; ;) {
        const page = await socket.ok('message:list', { sessionId, limit: 500, ...(before && { before }) });
        listed.push(...page.messages);
        if (page.next === undefined) break;
        before = page.next;
      }
      expect(listed.reverse()).to.deep.equal(added);
    }
  }

  it('[K1] of server and Redis together, 20 times: nothing acknowledged is lost, what was unknown is committed at most once', async function () {
    this.timeout(180_000);
    const rounds = 20;
    await startWriting();
    for (const round of range(1, rounds)) {
      await moment();
      const server = current as Attune;
      const redisPid = server.redisPid() as number;
      if (round % 2 === 0) process.kill(redisPid, 'SIGKILL');
      const ended = server.kill();
      if (round % 2 === 1) process.kill(redisPid, 'SIGKILL');
      await ended;
      await until(() => server.redisPid() === undefined, { what: 'the end of Redis' });
      await start();
      expect((current as Attune).redisPid()).to.not.equal(redisPid);
    }
    await account('kill -9 of server and Redis', rounds, rounds);
  });

  it('[K2] of the server alone, 5 times: the next one adopts its Redis, nothing acknowledged is lost', async function () {
    this.timeout(60_000);
    const rounds = 5;
    const documents = await startWriting();
    const redisPid = (current as Attune).redisPid();
    for (const _round of range(1, rounds)) {
      await moment();
      await (current as Attune).kill();
      await start();
      expect((current as Attune).redisPid()).to.equal(redisPid);
    }
    const logs = await account('kill -9 of the server', rounds, rounds);
    // Redis lived on, and so did the epoch.
    for (const sessionId of SESSIONS) {
      const epochs = new Set(logs[sessionId]?.map(({ body }) => body.epoch));
      expect([...epochs]).to.deep.equal([documents[sessionId].epoch]);
    }
  });

  it('[K3] of Redis alone, 5 times: no false acknowledgement, rooms are given the new epoch, the service goes on by itself', async function () {
    this.timeout(60_000);
    const rounds = 5;
    await startWriting();
    const observer = await connect((current as Attune).url);
    const { session: from } = await observer.ok('session:join', { sessionId: SESSIONS[0] });
    for (const _round of range(1, rounds)) {
      await moment();
      await (current as Attune).killRedis();
    }
    const logs = await account('kill -9 of Redis', rounds, 1);
    const log = logs[SESSIONS[0]]!;
    expect(new Set(log.map(({ body }) => body.epoch)).size).to.equal(rounds + 1);
    await until(() => observer.events.some(({ body }) => (body.revision ?? body.session?.revision) === log.length), {
      what: 'the newest revision at an observer',
    });
    const seen = expectOrderly(observer, from, log);
    expect(seen).to.include({ revision: log.length, epoch: log.at(-1)?.body.epoch });
    // Two kills close together may be told by one snapshot.
    expect(seen.snapshots.length).to.be.within(1, rounds);
    for (const { reason } of seen.snapshots) expect(reason).to.equal('epoch');
    expect(seen.settings).to.deep.equal(log.findLast(({ body }) => body.settings)?.body.settings);
  });
});
