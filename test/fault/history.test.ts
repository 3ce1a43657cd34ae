// Runs with a fault under load whose whole history is checked against the log: in the stream and in the append-only file.
import { expect } from 'chai';
import { Redis } from 'ioredis';
import { startAttune, type Attune } from '../support/attune.js';
import { pick, seeded, type Random, type Run } from '../support/history-model.js';
import { mutations } from '../support/history-mutations.js';
import { createRecorder, type Recorder } from '../support/history-recorder.js';
import { readTruth } from '../support/history-truth.js';
import { checkHistory, describeVerdict } from '../support/history.js';
import { startRedis, type TestRedis } from '../support/redis.js';
import { wholeLog } from '../support/session-log.js';
import { closeSockets } from '../support/socket.js';
import { until } from '../support/until.js';

const SESSIONS = ['hot', 'calm'];
const WRITERS = 4;
const READERS = 6;
/** Acknowledged writes before the fault and after it was healed: more than a valid run needs. */
const OK_EACH_END = 600;
/** Readers that lose their connection while that goes on, and how long each stays away. */
const DROPS = 10;
const AWAY_MS = 50;
const LOAD_DEADLINE_MS = 30_000;
/** How long a reader may be behind: ten times what is promised. */
const CONVERGE_MS = 30_000;

/** The checker finds what a recorded run is made wrong with: one way, picked, for each invariant. */
function expectFound(recorded: Run, random: Random): void {
  for (const invariant of new Set(mutations.map(({ finds }) => finds))) {
    const { name, mutate } = pick(
      random,
      mutations.filter(({ finds }) => finds === invariant),
    )!;
    const run = structuredClone(recorded);
    // Such a run need not have what this one is about, a change of the epoch for instance.
    if (!mutate(run, random)) continue;
    const found = checkHistory(run.history, run.truth, { convergeMs: CONVERGE_MS });
    const invariants = found.violations.map((violation) => violation.invariant);
    expect(invariants, name).to.include(invariant);
  }
}

describe('a recorded history', () => {
  let redis: TestRedis;
  let direct: Redis;
  let recorder: Recorder;
  const nodes: Attune[] = [];
  beforeEach(async () => {
    redis = await startRedis();
    direct = new Redis(redis.url);
    recorder = createRecorder();
    await Promise.all([startNode(), startNode()]);
  });
  afterEach(async () => {
    recorder?.close();
    closeSockets();
    await Promise.all(nodes.splice(0).map((node) => node.destroy()));
    direct?.disconnect();
    await redis?.stop();
  });

  async function startNode(): Promise<void> {
    nodes.push(await startAttune({ redisUrl: redis.url, env: { ...wholeLog, SESSION_MESSAGES_MAX: '1000000' } }));
  }
  const urls = () => nodes.map(({ url }) => url);
  async function load(more: number): Promise<void> {
    const goal = recorder.okCount() + more;
    await until(() => recorder.okCount() >= goal, { deadlineMs: LOAD_DEADLINE_MS, what: `${more} acknowledgements` });
  }

  it('[HC3] kill -9 of a node under load: nothing is lost, doubled, out of order or old, and readers of both nodes are current', async function () {
    this.timeout(120_000);
    const seed = Date.now() % 2 ** 31;
    for (const sessionId of SESSIONS) await recorder.open(nodes[0]!.url, sessionId);
    const readers = Array.from({ length: READERS }, (_, n) => {
      const sessionId = SESSIONS[n % 2]!;
      return recorder.startReader({
        name: `r${n}`,
        urls,
        sessionId,
        awayMs: AWAY_MS,
        delivery: n < 2 ? 'latest' : 'every',
      });
    });
    await until(() => readers.every((reader) => reader.position()), { what: 'the joins' });
    const writers = Array.from({ length: WRITERS }, (_, n) =>
      recorder.startWriter({ name: `w${n}`, urls, sessionIds: SESSIONS, random: seeded(seed + n), edits: true }),
    );
    await load(OK_EACH_END);
    const [killed] = nodes.splice(1, 1);
    recorder.mark('fault', 'kill -9 of a node');
    const before = recorder.entries.length;
    await killed!.kill();
    await until(() => recorder.entries.slice(before).some(({ kind }) => kind === 'info'), {
      what: 'a write unanswered',
    });
    recorder.mark('effect', 'a request was not answered');
    await startNode();
    recorder.mark('heal', 'a node is back');
    for (let round = 0; round < DROPS; round += 1) {
      readers[round % READERS]!.drop();
      await load(OK_EACH_END / DROPS);
    }
    await Promise.all(writers.map((writer) => writer.stop()));
    const truth = await readTruth(direct, SESSIONS);
    await recorder.settle(
      readers.map((client, n) => ({ client, truth: truth[n % 2]! })),
      CONVERGE_MS,
    );
    await killed!.destroy();
    const verdict = checkHistory(recorder.entries, truth, { convergeMs: CONVERGE_MS, firstOkMs: CONVERGE_MS });
    const text = describeVerdict(verdict);
    console.log(`      seed ${seed}, ${recorder.entries.length} entries: ${text.split('\n', 1)[0]}`);
    expect(verdict.verdict, text).to.equal('holds');
    const missed = recorder.entries.reduce((sum, entry) => {
      return sum + (entry.kind === 'ok' ? (entry.answer.commits?.length ?? 0) : 0);
    }, 0);
    expect(missed, 'commits that readers were given when they went on from their cursors').to.be.above(0);
    expectFound({ history: [...recorder.entries], truth }, seeded(seed));
    expect(
      truth.every(({ file }) => file !== undefined),
      'the append-only file was read',
    ).to.equal(true);
  });
});
