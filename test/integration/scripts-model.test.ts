// The Lua scripts against a model: a node that sends random batches, and a plain fold of their commits, which must agree.
import { expect } from 'chai';
import type { JsonObject } from '../../client-sdk/protocol/json.js';
import type { Commit, Message, SessionDocument } from '../../client-sdk/protocol/messages.js';
import type { RedisClient } from '../../server/redis/connection.js';
import type { CommitReply, Remembered } from '../../server/redis/session-store.js';
import type { Plan } from '../../server/session/plan.js';
import type { SessionState } from '../../server/session/state.js';
import type { Update, UpdateAction } from '../../server/session/update.js';
import {
  ada,
  add,
  bytesOf,
  idKey,
  keys,
  memoryOf,
  merge,
  open,
  PlanningNode,
  remove,
  startScriptsRedis,
  update,
  type ScriptsRedis,
} from '../support/planning-node.js';
import { RedisModel } from '../support/redis-model.js';
import { freshId } from '../support/shapes.js';
import { twinOf } from '../support/twin-redis.js';
import { until } from '../support/until.js';

const DEFAULT_STEPS = 3000;
/** Steps in all; ATTUNE_SCRIPT_STEPS=100000 is the long run. */
const STEPS = Number(process.env['ATTUNE_SCRIPT_STEPS'] ?? DEFAULT_STEPS);
const SESSIONS = 10;

describe('the scripts against a model', () => {
  let redis: ScriptsRedis;
  before(async () => {
    redis = await startScriptsRedis();
  });
  after(() => redis?.stop());

  it('[R31] thousands of random batches leave in Redis what a plain fold of their commits leaves', async function () {
    this.timeout(60_000 + STEPS * 5);
    const ids = Array.from({ length: SESSIONS }, () => freshId('random'));
    const seen = await expectRuns(redis.client, ids, STEPS / SESSIONS);
    if (STEPS > DEFAULT_STEPS) console.log(`      ${STEPS} steps: ${JSON.stringify(seen)}`);
  });

  it('[SI1] the model that the simulation runs on answers and publishes what the scripts do, call by call', async () => {
    const id = freshId('twin');
    const info = await redis.client.info('replication');
    const model = new RedisModel(/master_replid:(\w{8})/.exec(info)![1]!);
    const { client, calls, published } = twinOf(redis.client, model);
    const feed = await redis.connect('feed');
    try {
      const heard: string[] = [];
      feed.on('smessage', (_channel: string, text: string) => heard.push(text));
      await feed.ssubscribe(keys.session(id).channel);
      await expectRuns(client, [id], 2000);
      await until(() => heard.length >= published.length, { what: 'the publications' });
      expect(heard).to.deep.equal(published.map(({ text }) => text));
      for (const name of ['read', 'fence', 'commit', 'commitFreeing', 'at', 'import', 'check']) {
        expect(calls.get(name) ?? 0, name).to.be.above(0);
      }
    } finally {
      feed.disconnect();
    }
  });
});

/**
 * Plays so many steps in each session, side by side: their calls share round trips. Each is repeated by its own seed,
 * whatever the others do. Returns how often each answer came; throws where one that matters never did.
 */
async function expectRuns(client: RedisClient, ids: readonly string[], steps: number): Promise<Record<string, number>> {
  const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
  const seen: Record<string, number> = {};
  const sessions = ids.map(async (id, n) => {
    const run = new RandomRun(seed + n, client, id);
    try {
      for (let step = 0; step < steps; step += 1) await run.step(step);
    } catch (error) {
      throw new Error(`seed ${seed + n} (set SEED to repeat), step ${run.at}: ${(error as Error).message}`, {
        cause: error,
      });
    }
    for (const [kind, count] of run.seen) seen[kind] = (seen[kind] ?? 0) + count;
  });
  await Promise.all(sessions);
  for (const kind of ['committed', 'duplicate', 'stale', 'fenced', 'absent', 'import', 'deleted', 'tail', 'state']) {
    expect(seen[kind] ?? 0, `${kind} in ${JSON.stringify(seen)}, seed ${seed}`).to.be.above(0);
  }
  return seen;
}

const smallLimits = { LOG_COMMITS_MAX: 12, LOG_BYTES_MAX: 6000, HISTORY_VERSIONS_MAX: 6, SESSION_MESSAGES_MAX: 8 };

/** A session as the commits alone make it: written without a look at the server's own rules. */
interface Model {
  document: SessionDocument | null;
  messages: Map<string, Message>;
  created: Map<string, number>;
  log: { revision: number; body: string; settings: JsonObject | null }[];
  versions: { revision: number; first: number; json: string }[];
  ids: Map<string, Remembered>;
  fence: number;
}

class RandomRun {
  readonly seen = new Map<string, number>();
  at = 0;
  private made = 0;
  private readonly client: RedisClient;
  private readonly node: PlanningNode;
  private readonly model: Model;
  private readonly random: () => number;
  /** Earlier views of the session, to plan over when it is too late. */
  private readonly past: (SessionState | null)[] = [];
  private readonly used: Update[] = [];

  constructor(seed: number, client: RedisClient, id: string) {
    this.random = generator(seed);
    this.client = client;
    this.node = new PlanningNode(client, id, smallLimits);
    this.model = {
      document: null,
      messages: new Map(),
      created: new Map(),
      log: [],
      versions: [],
      ids: new Map(),
      fence: 1,
    };
  }

  async step(step: number): Promise<void> {
    this.at = step;
    if (step === 0) await this.node.learn();
    this.node.now += this.below(3) === 0 ? this.below(3000) - 500 : this.below(200);
    const dice = this.below(100);
    if (dice < 8) await this.tooLate();
    else if (dice < 16) await this.again();
    else if (dice < 22) await this.takeFence();
    else if (dice < 24) await this.import();
    else await this.commit();
    await this.compareDocument();
    if (step % 10 === 0) await this.compareEverything();
  }

  private async commit(): Promise<void> {
    const { node, model } = this;
    const batch = this.batch();
    const { answer, planned } = await node.send(batch);
    expect(answer.kind).to.equal('committed');
    this.count('committed');
    if (planned.deleted) this.count('deleted');
    this.past.push(node.state);
    if (this.past.length > 20) this.past.shift();
    batch.forEach((one, i) => {
      const memory = memoryOf(one, planned.outcomes[i]!);
      if (memory === null) return;
      model.ids.set(idKey(one), memory);
      this.used.push(one);
    });
    this.fold(planned);
  }

  /** An id that was used before, among others; with a plan that is stale or fenced, too. */
  private async again(): Promise<void> {
    const first = this.used[this.below(this.used.length)];
    if (!first) return;
    const { answer } = await this.node.send([this.update(merge({ x: 'never' })), first], { fence: this.below(3) });
    expect(answer.kind).to.equal('duplicate');
    const { remembered } = answer as Extract<CommitReply, { kind: 'duplicate' }>;
    expect([...remembered]).to.deep.equal([[1, this.model.ids.get(idKey(first))]]);
    this.count('duplicate');
  }

  /** A plan over what the session was earlier, or with a token that is too old. */
  private async tooLate(): Promise<void> {
    const { node, model } = this;
    const now = node.state;
    const old = this.past[this.below(this.past.length)];
    const isOld = old !== undefined && JSON.stringify(old?.document) !== JSON.stringify(now?.document);
    if (isOld) node.state = old;
    const fence = isOld ? node.fence : model.fence - 1;
    const { answer } = await node.send([this.update(merge({ x: 'never' }))], { fence });
    node.state = now;
    if (!isOld) {
      if (model.document === null) return void expect(answer.kind).to.equal('committed'); // a refusal, confirmed
      expect(answer).to.deep.equal({ kind: 'fenced', fence: model.fence });
    } else if (model.document === null) {
      expect(answer.kind).to.equal('absent');
    } else {
      expect(answer.kind).to.equal('stale');
      const { stored } = answer as Extract<CommitReply, { kind: 'stale' }>;
      expect(stored.state.document).to.deep.equal(model.document);
    }
    this.count(answer.kind);
  }

  private async takeFence(): Promise<void> {
    const taken = await this.node.store.fence(this.node.id, null);
    if (this.model.document === null) return void expect(taken.kind).to.equal('absent');
    this.model.fence += 1;
    this.node.fence = this.model.fence;
    expect(taken).to.include({ kind: 'taken', fence: this.model.fence });
  }

  private async import(): Promise<void> {
    const { node, model } = this;
    const had = model.document;
    const birth = this.below(2 ** 31)
      .toString(16)
      .padStart(16, '0');
    const count = this.below(4);
    const messages = Array.from({ length: count }, (_, i): Message => {
      const id = `m${i}`;
      return {
        id,
        revision: i + 2,
        settingsRevision: 1,
        role: 'user',
        content: 'imported'.repeat(this.below(20)),
        timestamp: new Date(node.now).toISOString(),
        status: 'complete',
        author: ada,
      };
    });
    const at = new Date(node.now).toISOString();
    const document: SessionDocument = {
      id: node.id,
      epoch: `${birth}-`,
      revision: count + 1,
      settingsRevision: 1,
      messagesRevision: count === 0 ? 0 : count + 1,
      settings: { imported: this.below(10) },
      messageCount: count,
      createdAt: at,
      updatedAt: at,
      updatedBy: ada,
    };
    const replace = this.below(2) === 0;
    const [tag] = await node.store.import({ document, messages, birth, importedAt: at }, replace);
    expect(tag).to.equal(had === null ? 'TAKEN' : replace ? 'REPLACED' : 'SKIPPED');
    if (tag === 'SKIPPED') return;
    this.count('import');
    model.document = { ...document, epoch: `${birth}-${node.redisLife}` };
    model.messages = new Map(messages.map((message) => [message.id, message]));
    model.created = new Map(messages.map(({ id, revision }) => [id, revision]));
    model.log = [];
    model.versions = [{ revision: 1, first: 1, json: (await this.versionJsons())[0]! }];
    expect(JSON.parse(model.versions[0]!.json).settings).to.deep.equal(document.settings);
    model.fence = (had === null ? 0 : model.fence) + 1;
    await node.learn();
    expect(node.fence).to.equal(model.fence);
  }

  /** The model after a batch, from its commits as Redis was given them. */
  private fold({ commits, versions, messages, cleared, created }: Plan): void {
    const { model } = this;
    const before = model.document?.revision ?? 0;
    const drop = (last: number) => (model.log = model.log.filter(({ revision }) => revision > last));
    const removed = [...messages].filter(([, message]) => message === null).map(([id]) => id);
    const lastChange = removed.map((id) => model.messages.get(id)?.revision ?? 0);
    for (const { body } of commits) {
      const commit = JSON.parse(body) as Commit;
      foldCommit(model, commit);
      const settings = 'settings' in commit ? commit.settings : null;
      model.log.push({ revision: commit.revision, body, settings });
    }
    if (created) model.fence = this.node.fence = 1;
    if (model.document === null) {
      if (commits.length > 0) Object.assign(model, { log: [], versions: [], fence: 1 });
      this.node.fence = 1;
      return;
    }
    if (cleared) drop(before);
    lastChange.forEach(drop);
    for (const { revision, first, replaces, json } of versions) {
      model.versions = model.versions.filter((version) => version.revision !== replaces);
      model.versions.push({ revision, first, json });
    }
    model.versions = model.versions.slice(-smallLimits.HISTORY_VERSIONS_MAX);
    if (commits.length === 0) return;
    model.log = model.log.slice(-smallLimits.LOG_COMMITS_MAX);
    while (bytesOf(model.log.map(({ body }) => body)) > smallLimits.LOG_BYTES_MAX) model.log.shift();
  }

  private async compareDocument(): Promise<void> {
    const read = await this.node.store.read(this.node.id, null);
    if (read.kind !== 'state') return void expect([read.kind, this.model.document]).to.deep.equal(['absent', null]);
    expect(read.stored.state.document).to.deep.equal(this.model.document);
    expect(read.stored.fence).to.equal(this.model.fence);
  }

  private async compareEverything(): Promise<void> {
    const { node, model } = this;
    const { id, store } = node;
    expect((await node.log()).map(({ revision, body }) => ({ revision, body }))).to.deep.equal(
      model.log.map(({ revision, body }) => ({ revision, body })),
    );
    await node.expectSums();
    const listed = await store.messages(id, { limit: 500 });
    const byCreation = [...model.messages.values()].toSorted(
      (a, b) => model.created.get(b.id)! - model.created.get(a.id)!,
    );
    expect(listed?.messages ?? []).to.deep.equal(byCreation);
    const since = this.below((model.document?.revision ?? 0) + 1);
    const changed = await store.messages(id, { after: since, limit: 500 });
    const byChange = byCreation.filter(({ revision }) => revision > since).toSorted((a, b) => b.revision - a.revision);
    expect(changed?.messages ?? []).to.deep.equal(byChange);
    expect(await this.versionJsons()).to.deep.equal(model.versions.map(({ json }) => json));
    const [place] = await store.check([id]);
    expect(place?.revision).to.equal(model.document?.revision);
    if (model.document === null) return;
    await this.compareTail(since);
    await this.compareAt(since);
  }

  private async compareTail(since: number): Promise<void> {
    const { node, model } = this;
    const { epoch, revision } = model.document!;
    const read = await node.store.read(node.id, { epoch, revision: since }, { tail: true });
    const tail = model.log.filter((entry) => entry.revision > since);
    const reaches = since === revision ? 'same' : tail.length === revision - since ? 'tail' : 'state';
    expect(read.kind).to.equal(reaches);
    this.count(reaches);
    if (read.kind === 'tail') expect(read.commits).to.deep.equal(tail.map(({ body }) => JSON.parse(body)));
    const other = await node.store.read(node.id, { epoch: 'other', revision: since }, { tail: true });
    expect(other.kind).to.equal('state');
  }

  /** Settings as of a revision: exact where the log has them, else the version that stands for it. */
  private async compareAt(asked: number): Promise<void> {
    const { node, model } = this;
    const found = await node.store.at(node.id, asked);
    const logged = model.log.findLast(({ revision, settings }) => revision <= asked && settings !== null);
    const next = model.versions.find(({ revision }) => revision > asked);
    const version = next && next.first <= asked ? next : model.versions.findLast(({ revision }) => revision <= asked);
    const kept: unknown = logged ? logged.settings : version ? JSON.parse(version.json).settings : undefined;
    expect(found!.settings?.value, `settings as of ${asked}`).to.deep.equal(kept);
  }

  private async versionJsons(): Promise<string[]> {
    const entries = await this.client.xrange(keys.session(this.node.id).history, '-', '+');
    return entries.map(([, fields]) => fields[1]!);
  }

  private batch(): Update[] {
    if (this.model.document === null) return [this.update(this.below(2) === 0 ? merge({ x: 1 }) : open({ x: 0 }))];
    const dice = this.below(40);
    if (dice === 0) return [this.update({ kind: 'delete' })];
    if (dice === 1) return [this.update({ kind: 'clear' })];
    if (dice < 6) return [this.update(remove(this.messageId()))];
    return Array.from({ length: 1 + this.below(5) }, () => this.update(this.action()));
  }

  private action(): UpdateAction {
    const settings = { [`k${this.below(4)}`]: [this.below(3), 'é', null][this.below(3)]! };
    const text = 'tëxt '.repeat(this.below(60));
    const actions: (() => UpdateAction)[] = [
      () => merge(settings),
      () => merge(settings),
      () => ({ kind: 'settings', change: { replace: { ...settings, list: [] } } }),
      () => merge({ options: { temperature: 'refused' } }),
      () => ({ kind: 'describe', title: ['A', 'B', null][this.below(3)]!, metadata: { empty: {}, list: [] } }),
      () => open(),
      () => add(this.messageId(), text),
      () => add(this.messageId(), text),
      () => ({ kind: 'message:update', messageId: this.messageId(), append: text, ownOnly: false }),
      () => ({ kind: 'message:update', messageId: this.messageId(), status: 'error', ownOnly: false }),
    ];
    return actions[this.below(actions.length)]!();
  }

  /** Ids are the run's own, so that a seed repeats it to the byte. */
  private update(action: UpdateAction): Update {
    this.made += 1;
    const birth = this.made.toString(16).padStart(16, '0');
    const own = action.kind === 'open' ? { ...action, birth } : action;
    const made = update(this.node.id, own, this.below(2) === 0 ? ada : { ...ada, clientId: 'tab-b' });
    return { ...made, updateId: `u${this.made}`, payloadHash: `h${this.made}` };
  }

  private messageId = () => `m${this.below(6)}`;
  private below = (n: number) => Math.floor(this.random() * n);
  private count = (kind: string) => this.seen.set(kind, (this.seen.get(kind) ?? 0) + 1);
}

function foldCommit(model: Model, commit: Commit): void {
  const { epoch, revision, at, by, sessionId: id } = commit;
  if (commit.event === 'session:deleted') {
    model.document = null;
    model.messages.clear();
    return;
  }
  if (commit.event === 'session:created') {
    const { settings, title, metadata } = commit;
    const described = { ...(title === undefined ? {} : { title }), ...(metadata === undefined ? {} : { metadata }) };
    const revisions = { revision, settingsRevision: 1, messagesRevision: 0, messageCount: 0 };
    model.document = { id, epoch, ...revisions, settings, ...described, createdAt: at, updatedAt: at, updatedBy: by };
    return;
  }
  const document: SessionDocument = { ...model.document!, revision, updatedAt: at, updatedBy: by };
  model.document = document;
  if (commit.event === 'settings:updated') {
    document.settings = commit.settings;
    document.settingsRevision = revision;
  } else if (commit.event === 'session:described') {
    delete document.title;
    delete document.metadata;
    if (commit.title !== undefined) document.title = commit.title;
    if (commit.metadata !== undefined) document.metadata = commit.metadata;
  } else {
    document.messagesRevision = revision;
    if (commit.event === 'session:cleared') model.messages.clear();
    else if (commit.event === 'message:deleted') model.messages.delete(commit.messageId);
    else {
      if (commit.event === 'message:added') model.created.set(commit.message.id, revision);
      model.messages.set(commit.message.id, commit.message);
    }
    document.messageCount = model.messages.size;
  }
}

/** Random numbers from 0 to 1 that a seed repeats (a linear congruence with the high bits used). */
function generator(seed: number): () => number {
  let state = BigInt(seed) * 2n + 1n;
  return () => {
    state = BigInt.asUintN(64, state * 6364136223846793005n + 1442695040888963407n);
    return Number(state >> 33n) / 2 ** 31;
  };
}
