// The Lua scripts on a real Redis, called as the queue calls them, without queue, lease or sockets around them.
import { expect } from 'chai';
import { pino } from 'pino';
import type { JsonObject } from '../../client-sdk/protocol/json.js';
import { defaultLimits, type Limits } from '../../client-sdk/protocol/limits.js';
import type { Author, Commit, Message, SessionDocument } from '../../client-sdk/protocol/messages.js';
import { defaultSettingsSchema } from '../../client-sdk/protocol/settings.js';
import { connectRedis, RedisFailure } from '../../server/redis/connection.js';
import { createKeys } from '../../server/redis/keys.js';
import { scriptSource } from '../../server/redis/scripts.js';
import { SessionStore, type CommitReply, type Remembered } from '../../server/redis/session-store.js';
import { plan, type Outcome, type Plan } from '../../server/session/plan.js';
import { compileSettingsSchema } from '../../server/session/settings-schema.js';
import type { SessionState } from '../../server/session/state.js';
import { frees, type Update, type UpdateAction } from '../../server/session/update.js';
import { startRedis, type TestRedis } from '../support/redis.js';
import { freshId } from '../support/shapes.js';
import { until } from '../support/until.js';

const schema = compileSettingsSchema(defaultSettingsSchema);
const silent = pino({ level: 'silent' });
const keys = createKeys('t');
const ada: Author = { userId: 'u1', clientId: 'tab-a', kind: 'tab' };
const noon = Date.parse('2026-11-22T12:00:00.000Z');

type Client = Awaited<ReturnType<typeof connectRedis>>;
let redis: TestRedis;
let client: Client;

before(async () => {
  // What is on disk is not the point here: without the file thousands of steps take seconds.
  redis = await startRedis({ config: ['--appendonly', 'no'] });
  client = await connectRedis({ url: redis.url }, 'data', silent);
});

after(async () => {
  client?.disconnect();
  await redis?.stop();
});

let made = 0;
function update(sessionId: string, action: UpdateAction, by = ada): Update {
  made += 1;
  return { sessionId, updateId: `u${made}`, payloadHash: `h${made}`, by, action };
}

const open = (settings: JsonObject = {}): UpdateAction => ({
  kind: 'open',
  initial: { settings },
  birth: (made + 1).toString(16).padStart(16, '0'),
  mayCreate: true,
});
const merge = (value: JsonObject): UpdateAction => ({ kind: 'settings', change: { merge: value } });
const add = (id: string, content: string): UpdateAction => ({
  kind: 'message:add',
  message: { id, idGiven: true, role: 'user', content, status: 'complete' },
});
const remove = (messageId: string): UpdateAction => ({ kind: 'message:delete', messageId, ownOnly: false });

const idKey = ({ by, updateId }: Update) => `${by.userId.length}:${by.userId}${updateId}`;

/** What the queue has Redis remember of an update. */
function memoryOf({ payloadHash }: Update, outcome: Outcome): Remembered | null {
  if (outcome.kind === 'refused') return null;
  const { revision, epoch, at } = outcome;
  return { revision, epoch, at, payloadHash, changed: outcome.kind === 'committed' };
}

/** A node's view of one session: it plans over what it knows, and has Redis decide. */
class Node {
  readonly id: string;
  readonly store: SessionStore;
  state: SessionState | null = null;
  messages = new Map<string, Message | null>();
  redisLife = '';
  fence = 1;
  now = noon;
  private readonly limits: Limits;

  constructor(id: string, limits: Partial<Limits> = {}) {
    this.id = id;
    this.limits = { ...defaultLimits, ...limits };
    this.store = new SessionStore(client, keys, this.limits, 'a-node');
  }

  /** A node with a session that has just been made. */
  static async withSession(limits: Partial<Limits> = {}, ...actions: UpdateAction[]): Promise<Node> {
    const node = new Node(freshId(), limits);
    await node.learn();
    await node.committed(open());
    for (const action of actions) await node.committed(action);
    return node;
  }

  async learn(): Promise<void> {
    const read = await this.store.read(this.id, null);
    this.messages.clear();
    this.state = read.kind === 'state' ? read.stored.state : null;
    this.redisLife = read.kind === 'absent' ? read.redisLife : this.state!.document.epoch.slice(-8);
    this.fence = read.kind === 'state' ? read.stored.fence : 1;
  }

  async plan(updates: readonly Update[]): Promise<Plan> {
    const named = updates.flatMap(({ action }) =>
      action.kind === 'message:add' ? action.message.id : 'messageId' in action ? action.messageId : [],
    );
    const unknown = [...new Set(named)].filter((id) => !this.messages.has(id));
    if (unknown.length > 0) {
      const read = await this.store.read(this.id, null, { messageIds: unknown });
      unknown.forEach((id, i) => this.messages.set(id, read.kind === 'state' ? (read.messages[i] ?? null) : null));
    }
    const { state, redisLife, messages, now, limits } = this;
    return plan({ state, redisLife, messages, restorable: new Map(), now, limits, schema }, updates);
  }

  /** Plans and sends; what this node knows moves on only with `committed`. */
  async send(updates: readonly Update[], changed: { fence?: number; redisLife?: string; plan?: Plan } = {}) {
    const planned = changed.plan ?? (await this.plan(updates));
    const answer = await this.store.commit({
      sessionId: this.id,
      over: this.state,
      redisLife: changed.redisLife ?? this.redisLife,
      fence: changed.fence ?? this.fence,
      plan: planned,
      ids: updates.map((one, i) => ({ key: idKey(one), remember: memoryOf(one, planned.outcomes[i]!) })),
      freeing: updates.every(({ action }) => frees(action)),
    });
    if (answer.kind === 'committed') {
      if (planned.cleared || planned.next === null) this.messages.clear();
      for (const [id, message] of planned.messages) this.messages.set(id, message);
      this.state = planned.next;
    }
    return { answer, planned };
  }

  async committed(...actions: UpdateAction[]): Promise<Plan> {
    const { answer, planned } = await this.send(actions.map((action) => update(this.id, action)));
    expect(answer.kind).to.equal('committed');
    return planned;
  }
}

/** Everything Redis holds, byte for byte. */
async function everything(): Promise<Record<string, string>> {
  const plain = client as unknown as {
    keys(pattern: string): Promise<string[]>;
    dumpBuffer(key: string): Promise<Buffer | null>;
  };
  const all = (await plain.keys('*')).toSorted();
  const dumps = await Promise.all(all.map((key) => plain.dumpBuffer(key)));
  return Object.fromEntries(all.map((key, i) => [key, dumps[i]?.toString('base64') ?? '']));
}

async function logOf(id: string): Promise<{ revision: number; event: string; fence: number; body: string }[]> {
  const entries = await client.xrange(keys.session(id).log, '-', '+');
  return entries.map(([at, fields]) => {
    expect([fields[0], fields[2], fields[4]]).to.deep.equal(['e', 'f', 'b']);
    return { revision: Number(at.split('-')[0]), event: fields[1]!, fence: Number(fields[3]), body: fields[5]! };
  });
}

const bytesOf = (texts: readonly string[]) => texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
const numberIn = async (id: string, field: string) => Number((await client.hget(keys.session(id).doc, field)) ?? 0);

/** The two sums that the document keeps, against what is there. */
async function expectSums(id: string): Promise<void> {
  const log = await logOf(id);
  expect(await numberIn(id, 'logBytes'), 'logBytes').to.equal(bytesOf(log.map(({ body }) => body)));
  const messages = await client.hvals(keys.session(id).messages);
  expect(await numberIn(id, 'messageBytes'), 'messageBytes').to.equal(bytesOf(messages));
}

describe('the commit script', () => {
  it('[R20] an id that was used answers with what is remembered, whatever else is wrong, and nothing is written', async () => {
    const node = await Node.withSession();
    const first = update(node.id, merge({ x: 1 }));
    await node.send([first]);
    const idle = update(node.id, merge({ x: 1 }));
    await node.send([idle]);
    const stale = new Node(node.id);
    stale.redisLife = node.redisLife;
    const untouched = await everything();
    for (const [who, fence] of [[node, node.fence] as const, [node, 0] as const, [stale, 1] as const]) {
      const { answer } = await who.send([update(node.id, merge({ y: 1 })), first, update(node.id, merge({})), idle], {
        fence,
      });
      expect(answer.kind).to.equal('duplicate');
      const { remembered } = answer as Extract<CommitReply, { kind: 'duplicate' }>;
      const { epoch } = node.state!.document;
      expect([...remembered]).to.deep.equal([
        [1, { revision: 2, epoch, payloadHash: first.payloadHash, changed: true, at: new Date(noon).toISOString() }],
        [3, { revision: 2, epoch, payloadHash: idle.payloadHash, changed: false, at: new Date(noon).toISOString() }],
      ]);
    }
    expect(await everything()).to.deep.equal(untouched);
  });

  it('[R20] a refused update is not remembered, and ids survive the life of their session', async () => {
    const node = await Node.withSession();
    const bad = update(node.id, merge({ options: { temperature: 'hot' } }));
    const good = update(node.id, merge({ x: 1 }));
    const { planned } = await node.send([bad, good]);
    expect(planned.outcomes.map(({ kind }) => kind)).to.deep.equal(['refused', 'committed']);
    expect((await node.send([bad])).answer.kind).to.equal('committed');
    await node.committed({ kind: 'delete' });
    await node.committed(open());
    expect((await node.send([good])).answer.kind).to.equal('duplicate');
  });

  it('[R21] a plan over another epoch or revision is STALE with the state that is, and nothing is written', async () => {
    const node = await Node.withSession();
    const late = new Node(node.id);
    await late.learn();
    await node.committed(merge({ x: 1 }));
    const absent = new Node(node.id);
    absent.redisLife = node.redisLife;
    const untouched = await everything();
    const asked: [Node, UpdateAction][] = [
      [late, merge({ y: 1 })],
      [late, merge({})],
      [late, { kind: 'delete' }],
      [absent, open()],
      [absent, merge({})],
    ];
    for (const [who, action] of asked) {
      const { answer } = await who.send([update(node.id, action)]);
      expect(answer.kind).to.equal('stale');
      const { stored } = answer as Extract<CommitReply, { kind: 'stale' }>;
      expect(stored.state).to.deep.equal(node.state);
      expect(stored.fence).to.equal(1);
    }
    expect(await everything()).to.deep.equal(untouched);
  });

  it('[R22] a smaller fencing token than the newest is FENCED, though the revision is right, and nothing is written', async () => {
    const node = await Node.withSession();
    const taken = await node.store.fence(node.id, null);
    expect(taken).to.include({ kind: 'taken', fence: 2 });
    const untouched = await everything();
    for (const action of [merge({ x: 1 }), merge({}), { kind: 'delete' } as const]) {
      const { answer } = await node.send([update(node.id, action)], { fence: 1 });
      expect(answer).to.deep.equal({ kind: 'fenced', fence: 2 });
    }
    expect(await everything()).to.deep.equal(untouched);
    expect((await node.send([update(node.id, merge({ x: 1 }))], { fence: 2 })).answer.kind).to.equal('committed');
    expect((await logOf(node.id)).map(({ fence }) => fence)).to.deep.equal([1, 2]);
  });

  it('[R22] a fencing token of a session that is not there is none, and tokens grow by one', async () => {
    const node = await Node.withSession();
    for (const fence of [2, 3, 4]) expect((await node.store.fence(node.id, null)) as object).to.include({ fence });
    const known = await node.store.fence(node.id, node.state!.document);
    expect(known, 'what the taker knows is not sent again').to.deep.equal({ kind: 'taken', fence: 5, stored: null });
    expect((await node.store.fence(freshId(), null)).kind).to.equal('absent');
  });

  it('[R23] an update of a session that is gone, and a creation for another life of Redis, are GONE', async () => {
    const node = await Node.withSession();
    const late = new Node(node.id);
    await late.learn();
    await node.committed({ kind: 'delete' });
    const untouched = await everything();
    const gone = await late.send([update(node.id, merge({ x: 1 }))]);
    expect(gone.answer).to.deep.equal({ kind: 'absent', redisLife: node.redisLife });
    const foreign = new Node(freshId());
    foreign.redisLife = '00000000';
    const other = await foreign.send([update(foreign.id, open())]);
    expect(other.answer).to.deep.equal({ kind: 'absent', redisLife: node.redisLife });
    expect(await everything()).to.deep.equal(untouched);
  });

  const typed = ['doc', 'log', 'ids', 'idsBefore', 'messages', 'created', 'changed', 'history', 'index'] as const;
  for (const [at, name] of typed.entries()) {
    it(`[R24] something else under the key of ${name} is BROKEN, and nothing is written`, async () => {
      const node = await Node.withSession({}, add('m1', 'x'));
      const key = keys.session(node.id)[name];
      const kept = await (client as unknown as { dumpBuffer(key: string): Promise<Buffer | null> }).dumpBuffer(key);
      await client.set(key, 'not ours');
      try {
        const untouched = await everything();
        const actions: UpdateAction[] = [merge({ x: 1 }), { kind: 'clear' }, { kind: 'delete' }];
        for (const action of actions) {
          const { answer } = await node.send([update(node.id, action)]);
          expect(answer).to.deep.equal({ kind: 'broken', key: at + 1 });
        }
        expect(await everything()).to.deep.equal(untouched);
      } finally {
        await client.del(key);
        if (name === 'index' && kept) await client.restore(key, 0, kept); // others share it
      }
    });
  }

  it('[R25] the log is the newest LOG_COMMITS_MAX commits, and its size is counted', async () => {
    const node = await Node.withSession({ LOG_COMMITS_MAX: 5 });
    for (let x = 0; x < 9; x += 1) {
      await node.committed(merge({ x }));
      await expectSums(node.id);
    }
    expect((await logOf(node.id)).map(({ revision }) => revision)).to.deep.equal([6, 7, 8, 9, 10]);
    await node.committed(...Array.from({ length: 8 }, (_, y) => merge({ y })));
    expect((await logOf(node.id)).map(({ revision }) => revision)).to.deep.equal([14, 15, 16, 17, 18]);
    await expectSums(node.id);
  });

  it('[R25] the log is at most LOG_BYTES_MAX bytes, counted in UTF-8, though one commit alone may be more', async () => {
    const node = await Node.withSession({ LOG_BYTES_MAX: 4000 });
    for (let i = 0; i < 20; i += 1) {
      await node.committed(add(`m${i}`, 'é'.repeat(i * 37)));
      await expectSums(node.id);
      expect(await numberIn(node.id, 'logBytes')).to.be.at.most(4000);
    }
    const revisions = (await logOf(node.id)).map(({ revision }) => revision);
    expect(revisions.at(-1)).to.equal(21);
    expect(revisions).to.deep.equal(revisions.map((_, i) => revisions[0]! + i));
    await node.committed(add('large', 'x'.repeat(5000)));
    expect(await logOf(node.id)).to.have.length(0);
    await expectSums(node.id);
    await node.committed(merge({ x: 1 }));
    expect((await logOf(node.id)).map(({ revision }) => revision)).to.deep.equal([23]);
    await expectSums(node.id);
  });

  it('[R26] ids are kept in two generations: after a new one has begun, those of the one before still count', async () => {
    const node = await Node.withSession();
    const { doc, log, ids, idsBefore, messages, created, changed, history, index, wanted, channel } = keys.session(
      node.id,
    );
    const all = [doc, log, ids, idsBefore, messages, created, changed, history, index, wanted, channel];
    await client.del(ids);
    const remember = async (idsMax: number, idsMs: number, ...names: string[]) => {
      const { epoch, revision } = node.state!.document;
      const head = [node.id, 'update', epoch, revision, 1, 100, 100_000, 10, idsMax, idsMs];
      const list = [names.length, ...names, 0, names.length, ...names.flatMap((name) => [name, `"${name}"`])];
      return client.eval(scriptSource('commit'), all.length, ...all, ...head, ...list, 0, 0, 0, 0, 0) as Promise<
        unknown[]
      >;
    };
    const newest = async () => (await client.hkeys(ids)).filter((name) => name !== '').toSorted();
    const older = async () => (await client.hkeys(idsBefore)).filter((name) => name !== '').toSorted();
    const hour = 3_600_000;
    await remember(3, hour, 'a', 'b');
    await remember(3, hour, 'c');
    expect([await newest(), await older()]).to.deep.equal([['a', 'b', 'c'], []]);
    await remember(3, hour, 'd');
    expect([await newest(), await older()]).to.deep.equal([['d'], ['a', 'b', 'c']]);
    for (const name of ['a', 'c', 'd']) {
      expect(await remember(3, hour, 'new', name)).to.deep.equal(['DUPLICATE', 1, `"${name}"`]);
    }
    await remember(3, hour, 'e', 'f', 'g');
    await remember(3, hour, 'h');
    expect([await newest(), await older()]).to.deep.equal([['h'], ['d', 'e', 'f', 'g']]);
    expect((await remember(3, hour, 'a'))[0], 'the generation before the one before is forgotten').to.equal(
      'COMMITTED',
    );
    // By time: a generation that is too old gives way, however few it holds; and both end by themselves.
    await until(async () => Date.now() - Number(await client.hget(ids, '')) > 20);
    await remember(1000, 10, 'i');
    expect(await newest()).to.deep.equal(['i']);
    expect(await older()).to.deep.equal(['a', 'h']);
    await until(async () => (await client.exists(ids, idsBefore)) === 0, { what: 'the end of both generations' });
  });

  it('[R27] the bytes of messages are counted through adds, changes, deletions, clears, and an import', async () => {
    const node = await Node.withSession();
    await node.committed(add('m1', 'hé'), add('m2', ''), add('m3', 'x'.repeat(1000)));
    await expectSums(node.id);
    await node.committed({ kind: 'message:update', messageId: 'm1', append: 'ü', ownOnly: false });
    await expectSums(node.id);
    await node.committed({ kind: 'message:update', messageId: 'm3', content: '', metadata: { a: 1 }, ownOnly: false });
    await expectSums(node.id);
    await node.committed(remove('m2'));
    await expectSums(node.id);
    await node.committed({ kind: 'clear' });
    expect(await numberIn(node.id, 'messageBytes')).to.equal(0);
    await node.committed(add('m4', 'after'));
    await expectSums(node.id);
    const { document } = node.state!;
    const messages = [...node.messages.values()].filter((message) => message !== null);
    await node.store.import({ document, messages, birth: 'b'.repeat(16), importedAt: document.updatedAt }, true);
    await expectSums(node.id);
    await node.learn();
    await node.committed(remove('m4'));
    expect(await numberIn(node.id, 'messageBytes')).to.equal(0);
  });

  it('[R28] a clear and a deleted message take from the log what they removed', async () => {
    const node = await Node.withSession({}, merge({ x: 1 }), add('m1', 'secret'), add('m2', 'y'));
    await node.committed(remove('m1'));
    expect((await logOf(node.id)).map(({ revision }) => revision)).to.deep.equal([4, 5]);
    expect(JSON.stringify(await logOf(node.id))).to.not.include('secret');
    await expectSums(node.id);
    await node.committed({ kind: 'clear' });
    expect((await logOf(node.id)).map(({ event }) => event)).to.deep.equal(['session:cleared']);
    await expectSums(node.id);
    for (const name of ['messages', 'created', 'changed'] as const) {
      expect(await client.exists(keys.session(node.id)[name]), name).to.equal(0);
    }
  });

  it('[R28] a deletion leaves nothing of the session but its ids', async () => {
    const node = await Node.withSession({}, add('m1', 'x'), merge({ x: 1 }));
    await node.committed({ kind: 'delete' });
    const own = keys.session(node.id);
    const left = Object.keys(await everything()).filter((key) => key.includes(`:${node.id}:`));
    expect(left).to.deep.equal([own.ids]);
    expect(await client.zscore(own.index, node.id)).to.equal(null);
    expect(await client.pttl(own.ids)).to.be.above(0);
  });

  it('[R29] what was written is published in the order of revisions, and nothing else is', async () => {
    const node = await Node.withSession();
    const feed = await connectRedis({ url: redis.url }, 'feed', silent);
    const heard: { epoch: string; commits: Commit[] }[] = [];
    try {
      feed.on('smessage', (_channel: string, text: string) => heard.push(JSON.parse(text)));
      await feed.ssubscribe(keys.session(node.id).channel);
      await node.committed(merge({}), merge({ x: 1 }), add('m1', 'text "quoted" é'), merge({ x: 2 }));
      await node.committed(merge({ x: 2 }));
      const stale = new Node(node.id);
      stale.redisLife = node.redisLife;
      await stale.send([update(node.id, open())]);
      await node.committed({ kind: 'delete' });
      await until(() => heard.length >= 2);
      expect(heard.map(({ commits }) => commits.map(({ revision, event }) => `${revision} ${event}`))).to.deep.equal([
        ['2 settings:updated', '3 message:added', '4 settings:updated'],
        ['5 session:deleted'],
      ]);
      expect(heard[0]!.epoch).to.equal(heard[0]!.commits[0]!.epoch);
    } finally {
      feed.disconnect();
    }
  });

  it('[R30] with its memory full Redis refuses a commit before it began; clear, delete and reads work on', async () => {
    const node = await Node.withSession({}, add('m1', 'x'.repeat(10_000)));
    const doomed = await Node.withSession();
    const other = await Node.withSession({}, add('m1', 'x'), add('m2', 'y'));
    await client.config('SET', 'maxmemory', '1');
    try {
      for (const action of [merge({ x: 1 }), add('m2', 'y'), merge({})]) {
        const failure: unknown = await node.send([update(node.id, action)]).then(
          () => undefined,
          (error: unknown) => error,
        );
        expect(failure).to.be.instanceOf(RedisFailure);
        expect(failure as RedisFailure).to.include({ kind: 'refused', message: 'Redis refused: OOM' });
      }
      const read = await node.store.read(node.id, null);
      expect(read.kind === 'state' && read.stored.state.document.revision, 'nothing was written').to.equal(2);
      await other.committed(remove('m1'));
      await node.committed({ kind: 'clear' });
      await doomed.committed({ kind: 'delete' });
      await node.learn();
      expect(node.state!.document).to.include({ revision: 3, messageCount: 0 });
      await expectSums(node.id);
    } finally {
      await client.config('SET', 'maxmemory', '0');
    }
    await node.committed(merge({ x: 1 }));
  });
});

describe('what a batch leaves', () => {
  it('[R32] a message that is added and changed by one batch is listed where it was added', async () => {
    const node = await Node.withSession();
    const change: UpdateAction = { kind: 'message:update', messageId: 'first', append: '!', ownOnly: false };
    await node.committed(add('first', 'x'), add('second', 'y'), change);
    const newest = async () => (await node.store.messages(node.id, { limit: 10 }))!.messages.map(({ id }) => id);
    expect(await newest()).to.deep.equal(['second', 'first']);
    await node.committed(change);
    expect(await newest()).to.deep.equal(['second', 'first']);
    const changed = await node.store.messages(node.id, { after: 3, limit: 10 });
    expect(changed!.messages.map(({ id }) => id)).to.deep.equal(['first']);
  });

  it('[R33] a session whose document was lost can be made again, with nothing of before', async () => {
    const node = await Node.withSession({}, merge({ x: 1 }), add('m1', 'x'));
    await client.del(keys.session(node.id).doc);
    await node.learn();
    expect(node.state).to.equal(null);
    await node.committed(open());
    await node.learn();
    expect(node.state!.document).to.include({ revision: 1, messageCount: 0 });
    expect((await node.store.messages(node.id, { limit: 10 }))!.messages).to.deep.equal([]);
    expect((await node.store.history(node.id, undefined, 10))!.versions).to.have.length(1);
    expect((await logOf(node.id)).map(({ revision }) => revision)).to.deep.equal([1]);
    await expectSums(node.id);
  });

  it('[R33] a log that was lost is counted afresh', async () => {
    const node = await Node.withSession({}, merge({ x: 1 }));
    await client.del(keys.session(node.id).log);
    await node.committed(merge({ x: 2 }));
    await expectSums(node.id);
  });
});

describe('the scripts against a model', function () {
  this.timeout(60_000);

  it('[R31] thousands of random batches leave in Redis what a plain fold of their commits leaves', async () => {
    const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
    const run = new RandomRun(seed, freshId('random'));
    try {
      for (let step = 0; step < 3000; step += 1) await run.step(step);
    } catch (error) {
      throw new Error(`seed ${seed} (set SEED to repeat), step ${run.at}: ${(error as Error).message}`, {
        cause: error,
      });
    }
    const seen = Object.fromEntries(run.seen);
    for (const kind of ['committed', 'duplicate', 'stale', 'fenced', 'absent', 'import', 'deleted', 'tail', 'state']) {
      expect(seen[kind] ?? 0, `${kind} in ${JSON.stringify(seen)}`).to.be.above(0);
    }
  });
});

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
  private readonly node: Node;
  private readonly model: Model;
  private readonly random: () => number;
  /** Earlier views of the session, to plan over when it is too late. */
  private readonly past: (SessionState | null)[] = [];
  private readonly used: Update[] = [];

  constructor(seed: number, id: string) {
    this.random = generator(seed);
    this.node = new Node(id, smallLimits);
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
    expect((await logOf(id)).map(({ revision, body }) => ({ revision, body }))).to.deep.equal(
      model.log.map(({ revision, body }) => ({ revision, body })),
    );
    await expectSums(id);
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
    const entries = await client.xrange(keys.session(this.node.id).history, '-', '+');
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

  private update(action: UpdateAction): Update {
    return update(this.node.id, action, this.below(2) === 0 ? ada : { ...ada, clientId: 'tab-b' });
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
