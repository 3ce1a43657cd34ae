// The Lua scripts on a real Redis, called as the queue calls them, without queue, lease or sockets around them.
import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect } from 'chai';
import type { Redis } from 'ioredis';
import type { Limits } from '../../client-sdk/protocol/limits.js';
import type { Commit } from '../../client-sdk/protocol/messages.js';
import { RedisFailure, type RedisClient } from '../../server/redis/connection.js';
import { scriptSource } from '../../server/redis/scripts.js';
import type { CommitReply } from '../../server/redis/session-store.js';
import type { UpdateAction } from '../../server/session/update.js';
import {
  add,
  keys,
  merge,
  noon,
  open,
  PlanningNode,
  remove,
  startScriptsRedis,
  update,
  type ScriptsRedis,
} from '../support/planning-node.js';
import { freshId } from '../support/shapes.js';
import { until } from '../support/until.js';

describe('the commit script', () => {
  let redis: ScriptsRedis;
  let client: RedisClient;
  before(async () => {
    redis = await startScriptsRedis();
    ({ client } = redis);
  });
  after(() => redis?.stop());

  const nodeOf = (id: string) => new PlanningNode(client, id);
  const withSession = (limits?: Partial<Limits>, ...actions: UpdateAction[]) =>
    PlanningNode.withSession(client, limits, ...actions);

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

  it('[R20] an id that was used answers with what is remembered, whatever else is wrong, and nothing is written', async () => {
    const node = await withSession();
    const first = update(node.id, merge({ x: 1 }));
    await node.send([first]);
    const idle = update(node.id, merge({ x: 1 }));
    await node.send([idle]);
    const stale = nodeOf(node.id);
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
    const node = await withSession();
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
    const node = await withSession();
    const late = nodeOf(node.id);
    await late.learn();
    await node.committed(merge({ x: 1 }));
    const absent = nodeOf(node.id);
    absent.redisLife = node.redisLife;
    const untouched = await everything();
    const asked: [PlanningNode, UpdateAction][] = [
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
    const node = await withSession();
    const taken = await node.store.fence(node.id, null);
    expect(taken).to.include({ kind: 'taken', fence: 2 });
    const untouched = await everything();
    for (const action of [merge({ x: 1 }), merge({}), { kind: 'delete' } as const]) {
      const { answer } = await node.send([update(node.id, action)], { fence: 1 });
      expect(answer).to.deep.equal({ kind: 'fenced', fence: 2 });
    }
    expect(await everything()).to.deep.equal(untouched);
    expect((await node.send([update(node.id, merge({ x: 1 }))], { fence: 2 })).answer.kind).to.equal('committed');
    expect((await node.log()).map(({ fence }) => fence)).to.deep.equal([1, 2]);
  });

  it('[R22] a fencing token of a session that is not there is none, and tokens grow by one', async () => {
    const node = await withSession();
    for (const fence of [2, 3, 4]) expect((await node.store.fence(node.id, null)) as object).to.include({ fence });
    const known = await node.store.fence(node.id, node.state!.document);
    expect(known, 'what the taker knows is not sent again').to.deep.equal({ kind: 'taken', fence: 5, stored: null });
    expect((await node.store.fence(freshId(), null)).kind).to.equal('absent');
  });

  it('[R23] an update of a session that is gone, and a creation for another life of Redis, are GONE', async () => {
    const node = await withSession();
    const late = nodeOf(node.id);
    await late.learn();
    await node.committed({ kind: 'delete' });
    const untouched = await everything();
    const gone = await late.send([update(node.id, merge({ x: 1 }))]);
    expect(gone.answer).to.deep.equal({ kind: 'absent', redisLife: node.redisLife });
    const foreign = nodeOf(freshId());
    foreign.redisLife = '00000000';
    const other = await foreign.send([update(foreign.id, open())]);
    expect(other.answer).to.deep.equal({ kind: 'absent', redisLife: node.redisLife });
    expect(await everything()).to.deep.equal(untouched);
  });

  const typed = ['doc', 'log', 'ids', 'idsBefore', 'messages', 'created', 'changed', 'history', 'index'] as const;
  for (const [at, name] of typed.entries()) {
    it(`[R24] something else under the key of ${name} is BROKEN, and nothing is written`, async () => {
      const node = await withSession({}, add('m1', 'x'));
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
    const node = await withSession({ LOG_COMMITS_MAX: 5 });
    for (let x = 0; x < 9; x += 1) {
      await node.committed(merge({ x }));
      await node.expectSums();
    }
    expect((await node.log()).map(({ revision }) => revision)).to.deep.equal([6, 7, 8, 9, 10]);
    await node.committed(...Array.from({ length: 8 }, (_, y) => merge({ y })));
    expect((await node.log()).map(({ revision }) => revision)).to.deep.equal([14, 15, 16, 17, 18]);
    await node.expectSums();
  });

  it('[R25] the log is at most LOG_BYTES_MAX bytes, counted in UTF-8, though one commit alone may be more', async () => {
    const node = await withSession({ LOG_BYTES_MAX: 4000 });
    for (let i = 0; i < 20; i += 1) {
      await node.committed(add(`m${i}`, 'é'.repeat(i * 37)));
      await node.expectSums();
      expect(await node.number('logBytes')).to.be.at.most(4000);
    }
    const revisions = (await node.log()).map(({ revision }) => revision);
    expect(revisions.at(-1)).to.equal(21);
    expect(revisions).to.deep.equal(revisions.map((_, i) => revisions[0]! + i));
    await node.committed(add('large', 'x'.repeat(5000)));
    expect(await node.log()).to.have.length(0);
    await node.expectSums();
    await node.committed(merge({ x: 1 }));
    expect((await node.log()).map(({ revision }) => revision)).to.deep.equal([23]);
    await node.expectSums();
  });

  it('[R26] ids are kept in two generations: after a new one has begun, those of the one before still count', async () => {
    const node = await withSession();
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
    const node = await withSession();
    await node.committed(add('m1', 'hé'), add('m2', ''), add('m3', 'x'.repeat(1000)));
    await node.expectSums();
    await node.committed({ kind: 'message:update', messageId: 'm1', append: 'ü', ownOnly: false });
    await node.expectSums();
    await node.committed({ kind: 'message:update', messageId: 'm3', content: '', metadata: { a: 1 }, ownOnly: false });
    await node.expectSums();
    await node.committed(remove('m2'));
    await node.expectSums();
    await node.committed({ kind: 'clear' });
    expect(await node.number('messageBytes')).to.equal(0);
    await node.committed(add('m4', 'after'));
    await node.expectSums();
    const { document } = node.state!;
    const messages = [...node.messages.values()].filter((message) => message !== null);
    await node.store.import({ document, messages, birth: 'b'.repeat(16), importedAt: document.updatedAt }, true);
    await node.expectSums();
    await node.learn();
    await node.committed(remove('m4'));
    expect(await node.number('messageBytes')).to.equal(0);
  });

  it('[R28] a clear and a deleted message take from the log what they removed', async () => {
    const node = await withSession({}, merge({ x: 1 }), add('m1', 'secret'), add('m2', 'y'));
    await node.committed(remove('m1'));
    expect((await node.log()).map(({ revision }) => revision)).to.deep.equal([4, 5]);
    expect(JSON.stringify(await node.log())).to.not.include('secret');
    await node.expectSums();
    await node.committed({ kind: 'clear' });
    expect((await node.log()).map(({ event }) => event)).to.deep.equal(['session:cleared']);
    await node.expectSums();
    for (const name of ['messages', 'created', 'changed'] as const) {
      expect(await client.exists(keys.session(node.id)[name]), name).to.equal(0);
    }
  });

  it('[R28] a deletion leaves nothing of the session but its ids', async () => {
    const node = await withSession({}, add('m1', 'x'), merge({ x: 1 }));
    await node.committed({ kind: 'delete' });
    const own = keys.session(node.id);
    const left = Object.keys(await everything()).filter((key) => key.includes(`:${node.id}:`));
    expect(left).to.deep.equal([own.ids]);
    expect(await client.zscore(own.index, node.id)).to.equal(null);
    expect(await client.pttl(own.ids)).to.be.above(0);
  });

  it('[R29] what was written is published in the order of revisions, and nothing else is', async () => {
    const node = await withSession();
    const feed = await redis.connect('feed');
    const heard: { epoch: string; commits: Commit[] }[] = [];
    try {
      feed.on('smessage', (_channel: string, text: string) => heard.push(JSON.parse(text)));
      await feed.ssubscribe(keys.session(node.id).channel);
      await node.committed(merge({}), merge({ x: 1 }), add('m1', 'text "quoted" é'), merge({ x: 2 }));
      await node.committed(merge({ x: 2 }));
      const stale = nodeOf(node.id);
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
    const node = await withSession({}, add('m1', 'x'.repeat(10_000)));
    const doomed = await withSession();
    const other = await withSession({}, add('m1', 'x'), add('m2', 'y'));
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
      await node.expectSums();
    } finally {
      await client.config('SET', 'maxmemory', '0');
    }
    await node.committed(merge({ x: 1 }));
  });

  describe('what a batch leaves', () => {
    it('[R32] a message that is added and changed by one batch is listed where it was added', async () => {
      const node = await withSession();
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
      const node = await withSession({}, merge({ x: 1 }), add('m1', 'x'));
      await client.del(keys.session(node.id).doc);
      await node.learn();
      expect(node.state).to.equal(null);
      await node.committed(open());
      await node.learn();
      expect(node.state!.document).to.include({ revision: 1, messageCount: 0 });
      expect((await node.store.messages(node.id, { limit: 10 }))!.messages).to.deep.equal([]);
      expect((await node.store.history(node.id, undefined, 10))!.versions).to.have.length(1);
      expect((await node.log()).map(({ revision }) => revision)).to.deep.equal([1]);
      await node.expectSums();
    });

    it('[R33] a log that was lost is counted afresh', async () => {
      const node = await withSession({}, merge({ x: 1 }));
      await client.del(keys.session(node.id).log);
      await node.committed(merge({ x: 2 }));
      await node.expectSums();
    });
  });

  it('[R34] calls in flight while Redis forgets its scripts again and again are all answered', async () => {
    const node = await withSession();
    const direct = await redis.connect('data');
    let isForgetting = true;
    const forgotten = (async () => {
      while (isForgetting) await (direct as Redis).script('FLUSH');
    })();
    try {
      for (let round = 0; round < 100; round += 1) {
        // Not in one write: what is forgotten between two of them counts.
        const calls = Array.from({ length: 50 }, () => nextTurn().then(() => node.store.read(node.id, null)));
        for (const { kind } of await Promise.all(calls)) expect(kind).to.equal('state');
      }
    } finally {
      isForgetting = false;
      await forgotten;
      direct.disconnect();
    }
  });
});
