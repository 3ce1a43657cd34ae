// Black-box tests of the server as a process: start, configuration, stop, its Redis lost, several of it. From the contract alone.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { Redis } from 'ioredis';
import { runAttune, startAttune, type Attune } from '../support/attune.js';
import { expectProblem, request } from '../support/http.js';
import { range } from '../support/range.js';
import { startRedis, type RedisOptions, type TestRedis } from '../support/redis.js';
import { expectError, expectSession, freshId, type Wire } from '../support/shapes.js';
import { closeSockets, connect, type TestSocket } from '../support/socket.js';
import { until } from '../support/until.js';

describe('the process', () => {
  /** What a test started, ended after it in reverse order. */
  const started: { destroy(): Promise<void> }[] = [];
  afterEach(async () => {
    closeSockets();
    for (const one of started.splice(0).reverse()) await one.destroy();
  });
  async function attune(options?: Parameters<typeof startAttune>[0]): Promise<Attune> {
    const one = await startAttune(options);
    started.push(one);
    return one;
  }
  async function redis(options?: RedisOptions): Promise<TestRedis> {
    const one = await startRedis(options);
    started.push({ destroy: () => one.stop() });
    return one;
  }
  async function session(server: Attune): Promise<{ socket: TestSocket; sessionId: string; document: Wire }> {
    const socket = await connect(server.url);
    const { session: document } = await socket.ok('session:open', { sessionId: freshId('p') });
    return { socket, sessionId: document.id, document };
  }
  const update = (socket: TestSocket, sessionId: string, n: number, more: Wire = {}): Promise<Wire> =>
    socket.call('settings:update', { sessionId, merge: { options: { n } }, ...more });
  const ready = async (server: Attune): Promise<{ status: number; body: Wire }> =>
    request('GET', `${server.url}/readyz`);

  describe('start and stop', () => {
    it('[P1] one line on stdout says where it is ready, on a port of its own; logs are on stderr', async () => {
      const server = await attune({ env: { LOG_LEVEL: 'debug', HOST: undefined } });
      expect(server.url).to.equal(`http://127.0.0.1:${server.port}`);
      await session(server);
      await request('GET', `${server.url}/v1/nothing`);
      expect(await server.stop()).to.equal(0);
      expect(server.stdout()).to.equal(`attune ready at ${server.url}\n`);
      expect(server.stderr()).to.have.length.above(0);
    });

    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      it(`[P2] ${signal} tells the sockets, drains, stops the managed Redis, and ends with status 0`, async () => {
        const server = await attune();
        const { socket } = await session(server);
        const ended = server.stop(signal);
        const told = await socket.next('server:draining');
        expect(told.reconnectAfterMs).to.be.a('number').that.is.at.least(0);
        expect(await ended).to.equal(0);
        await until(() => !socket.raw.connected, { what: 'the end of the connection' });
        expect(server.redisPid()).to.equal(undefined);
      });
    }

    it('[P3] a stop in the middle of writes answers those it takes, and what was acknowledged is there afterwards', async () => {
      const server = await attune();
      const { socket, sessionId } = await session(server);
      const acks = range(1, 300).map((n) => update(socket, sessionId, n).catch(() => undefined));
      await acks[0];
      expect(await server.stop()).to.equal(0);
      const answers = await Promise.all(acks);
      const newest = answers.filter((ack) => ack?.ok).at(-1);
      for (const ack of answers) if (ack?.ok === false) expect(ack.error.code).to.equal('UNAVAILABLE');
      const again = await attune({ dataDir: server.dataDir });
      const { body } = await request('GET', `${again.url}/v1/sessions/${sessionId}`);
      expect(body.settings.options.n).to.be.at.least(newest.settings.options.n);
      const uncertain = answers.filter((ack) => ack === undefined).length;
      expect(body.revision).to.be.within(newest.revision, newest.revision + uncertain);
    });

    it('[P4] sessions, messages, history and updateIds survive a stop and a start', async () => {
      const server = await attune();
      const { socket, sessionId } = await session(server);
      const asked = { sessionId, updateId: 'kept', merge: { model: 'kept', list: [], o: {} } };
      const first = await socket.ok('settings:update', asked);
      await socket.ok('message:add', { sessionId, message: { id: 'm', role: 'user', content: 'kept' } });
      const before = (await socket.ok('session:get', { sessionId })).session;
      const messages = (await socket.ok('message:list', { sessionId })).messages;
      expect(await server.stop()).to.equal(0);
      const again = await attune({ dataDir: server.dataDir });
      const reader = await connect(again.url);
      const after = (await reader.ok('session:get', { sessionId })).session;
      expect(after).to.deep.equal({ ...before, epoch: after.epoch });
      expect((await reader.ok('message:list', { sessionId })).messages).to.deep.equal(messages);
      expect((await reader.ok('settings:history', { sessionId })).versions).to.have.length(2);
      const repeated = await reader.ok('settings:update', asked);
      expect(repeated).to.include({ duplicate: true, revision: first.revision });
      expect((await update(reader, sessionId, 1)).revision).to.equal(before.revision + 1);
    });

    it('[P5] a second server on the same data directory says who owns it, ends non-zero, and harms nothing', async () => {
      const server = await attune();
      const { socket, sessionId } = await session(server);
      const second = await runAttune({ dataDir: server.dataDir });
      expect(second.status).to.be.a('number').that.is.above(0);
      expect(second.stdout).to.equal('');
      expect(second.stderr).to.include(String(server.pid));
      expect((await update(socket, sessionId, 1)).ok).to.equal(true);
      expect((await ready(server)).status).to.equal(200);
    });

    it('[P6] the data directory is ./data where nothing else is said', async () => {
      const cwd = mkdtempSync(join(tmpdir(), 'attune-cwd-'));
      started.push({ destroy: async () => rmSync(cwd, { recursive: true, force: true }) });
      const server = await startAttune({ cwd, dataDir: join(cwd, 'data'), env: { DATA_DIR: undefined } });
      try {
        const { sessionId } = await session(server);
        expect(server.redisPid(), 'a Redis that works in ./data').to.be.a('number');
        expect(await server.stop()).to.equal(0);
        const named = await attune({ dataDir: join(cwd, 'data') });
        expectSession((await request('GET', `${named.url}/v1/sessions/${sessionId}`)).body, sessionId);
      } finally {
        await server.destroy();
      }
    });
  });

  describe('configuration that cannot be', () => {
    const dir = mkdtempSync(join(tmpdir(), 'attune-schema-'));
    after(() => rmSync(dir, { recursive: true, force: true }));
    const file = (name: string) => join(dir, name);
    const cases: [name: string, env: Record<string, string>, schema?: string][] = [
      ['PORT', { PORT: 'abc' }],
      ['PORT', { PORT: '70000' }],
      ['LOG_LEVEL', { LOG_LEVEL: 'loud' }],
      ['DRAIN_TIMEOUT_MS', { DRAIN_TIMEOUT_MS: '-1' }],
      ['SESSION_IDLE_TTL_S', { SESSION_IDLE_TTL_S: 'soon' }],
      ['SETTINGS_BYTES_MAX', { SETTINGS_BYTES_MAX: '64k' }],
      ['REDIS_URL', { REDIS_URL: 'http://127.0.0.1:1' }],
      ['LOCK_REDIS_URLS', { LOCK_REDIS_URLS: 'redis://127.0.0.1:1,redis://127.0.0.1:2' }],
      ['CORS_ORIGINS', { CORS_ORIGINS: 'app.example' }],
      ['SETTINGS_SCHEMA', { SETTINGS_SCHEMA: '/nowhere/schema.json' }],
      ['SETTINGS_SCHEMA', { SETTINGS_SCHEMA: file('cut off.json') }, '{ "type": '],
      [
        'SETTINGS_SCHEMA',
        { SETTINGS_SCHEMA: file('unknown type.json') },
        '{ "properties": { "model": { "type": "strin" } } }',
      ],
    ];
    let ends: Awaited<ReturnType<typeof runAttune>>[];
    before(async () => {
      for (const [, { SETTINGS_SCHEMA }, schema] of cases) if (schema) writeFileSync(SETTINGS_SCHEMA!, schema);
      ends = await Promise.all(cases.map(([, env]) => runAttune({ env })));
    });
    for (const [at, [name, env, schema = '']] of cases.entries()) {
      it(`[P7] refuses to start and names the variable: ${name}=${env[name]?.slice(-24)} ${schema}`, () => {
        const ended = ends[at]!;
        expect(ended.status).to.be.a('number').that.is.above(0);
        expect(ended.stdout).to.equal('');
        expect(ended.stderr).to.match(new RegExp(name.replaceAll('_', '[_ ]'), 'i'));
        expect(ended.stderr, 'a message, not a stack').to.not.match(/\n\s+at .+:\d+:\d+/);
      });
    }

    it('[P7] a port that is taken is an error that names it', async () => {
      const server = await attune();
      const ended = await runAttune({ env: { PORT: String(server.port) } });
      expect(ended.status).to.be.a('number').that.is.above(0);
      expect(ended.stderr).to.include(String(server.port));
    });
  });

  describe('configuration that counts', () => {
    it('[P8] SETTINGS_SCHEMA replaces the defaults and the rules', async () => {
      const dir = mkdtempSync(join(tmpdir(), 'attune-schema-'));
      started.push({ destroy: async () => rmSync(dir, { recursive: true, force: true }) });
      const schema = {
        type: 'object',
        properties: { speed: { type: 'integer', minimum: 1, default: 3 }, model: { type: 'integer' } },
        additionalProperties: false,
      };
      writeFileSync(join(dir, 'schema.json'), JSON.stringify(schema));
      const server = await attune({ env: { SETTINGS_SCHEMA: join(dir, 'schema.json') } });
      expect((await request('GET', `${server.url}/v1/settings-schema`)).body).to.deep.include(schema);
      const { socket, sessionId, document } = await session(server);
      expect(document.settings).to.deep.equal({ speed: 3 });
      const { settings } = await socket.ok('settings:update', { sessionId, merge: { model: 5 } });
      expect(settings).to.deep.equal({ speed: 3, model: 5 });
      const error = await socket.refused('settings:update', { sessionId, merge: { speed: 0 } }, 'INVALID_SETTINGS');
      expect(error.details.issues[0].path).to.equal('/speed');
      await socket.refused('settings:update', { sessionId, merge: { more: 1 } }, 'INVALID_SETTINGS');
    });

    it('[P9] REDIS_URL, with credentials and a database, and REDIS_KEY_PREFIX say where the data are', async () => {
      const external = await redis({ config: ['--requirepass', 'pass word'] });
      const redisUrl = external.url.replace('//', '//:pass%20word@') + '/3';
      const server = await attune({ redisUrl, env: { REDIS_KEY_PREFIX: 'mine' } });
      const { socket, sessionId } = await session(server);
      await socket.ok('message:add', { sessionId, message: { role: 'user', content: 'x' } });
      const inspector = new Redis({ port: external.port, host: '127.0.0.1', password: 'pass word', db: 3 });
      try {
        const keys = await inspector.keys('*');
        expect(keys).to.have.length.above(0);
        for (const key of keys) expect(key).to.match(/^mine:/);
        await inspector.select(0);
        expect(await inspector.dbsize()).to.equal(0);
      } finally {
        inspector.disconnect();
      }
      expect(server.redisPid(), 'no managed Redis beside it').to.equal(undefined);
      expect(await server.stop()).to.equal(0);
      expect(process.kill(external.pid, 0), 'the external Redis is left running').to.equal(true);
    });

    it('[P10] /readyz says what an acknowledgement is worth with the Redis that is used', async () => {
      const cases = [
        [['--appendfsync', 'everysec'], 'everysec'],
        [['--appendonly', 'no'], 'none'],
        [[], 'fsync'],
      ] as const;
      const said = cases.map(async ([config]) => {
        const external = await redis({ config: [...config] });
        return (await ready(await attune({ redisUrl: external.url }))).body;
      });
      for (const [at, body] of (await Promise.all(said)).entries()) {
        expect(body).to.deep.include({ ready: true, durability: cases[at]![1] });
      }
    });

    it('[P11] LOCK_REDIS_URLS holds the locks, and losing all of it stops no write', async () => {
      const [data, lock] = [await redis(), await redis()];
      const server = await attune({ redisUrl: data.url, env: { LOCK_REDIS_URLS: lock.url } });
      const { socket, sessionId } = await session(server);
      for (const n of range(1, 5)) expect((await update(socket, sessionId, n)).ok).to.equal(true);
      await lock.kill();
      for (const n of range(6, 10)) expect((await update(socket, sessionId, n)).ok).to.equal(true);
      const { sessionId: fresh, socket: other } = await session(server);
      expect((await update(other, fresh, 1)).ok).to.equal(true);
    });

    it('[P12] SESSION_IDLE_TTL_S removes a session that nobody writes or watches, and no other', async () => {
      const server = await attune({ env: { SESSION_IDLE_TTL_S: '1' } });
      const [idle, watched, written] = [await session(server), await session(server), await session(server)];
      await watched.socket.ok('session:join', { sessionId: watched.sessionId });
      let n = 0;
      await until(
        async () => {
          n += 1;
          expect((await update(written.socket, written.sessionId, n)).ok).to.equal(true);
          return (
            (await idle.socket.call('session:get', { sessionId: idle.sessionId })).error?.code === 'SESSION_NOT_FOUND'
          );
        },
        { deadlineMs: 10_000, everyMs: 200, what: 'the idle session to go' },
      );
      expectSession((await watched.socket.ok('session:get', { sessionId: watched.sessionId })).session);
      expectSession((await written.socket.ok('session:get', { sessionId: written.sessionId })).session);
    });
  });

  describe('when Redis is lost', () => {
    it('[P13] kill -9 of the managed Redis: typed errors, then it is back with all that was acknowledged, in a new epoch', async () => {
      const server = await attune();
      const { socket, sessionId, document } = await session(server);
      const reader = await connect(server.url);
      await reader.ok('session:join', { sessionId });
      const oldPid = server.redisPid() as number;
      let n = 0;
      const acknowledged: { n: number; revision: number }[] = [];
      let isKilled = false;
      const failures: string[] = [];
      await until(
        async () => {
          n += 1;
          const ack = await update(socket, sessionId, n, { updateId: `n${n}` });
          if (ack.ok) acknowledged.push({ n, revision: ack.revision });
          else failures.push(ack.error.code as string);
          if (n === 20) {
            isKilled = true;
            void server.killRedis();
          }
          return isKilled && ack.ok && ack.epoch !== document.epoch;
        },
        { deadlineMs: 10_000, everyMs: 2, what: 'writes in a new epoch' },
      );
      for (const code of failures) expect(code).to.be.oneOf(['UNAVAILABLE', 'OUTCOME_UNKNOWN']);
      expect(server.redisPid()).to.be.a('number').that.does.not.equal(oldPid);
      for (const { n: sent, revision } of acknowledged) {
        const again = await update(socket, sessionId, sent, { updateId: `n${sent}` });
        expect(again).to.include({ ok: true, duplicate: true, revision });
      }
      const told = await reader.next('session:snapshot');
      expect(told).to.include({ sessionId, reason: 'epoch' });
      expect(told.session.epoch).to.not.equal(document.epoch);
      expect((await update(socket, sessionId, 0)).ok).to.equal(true);
      const newest = await reader.next('settings:updated', (body) => body.settings.options.n === 0);
      expect(newest.epoch).to.equal(told.session.epoch);
    });

    it('[P14] what was in flight is OUTCOME_UNKNOWN, what waited behind it UNAVAILABLE and not committed; the same ids mend it', async function () {
      this.timeout(30_000);
      const server = await attune();
      const { socket, sessionId, document } = await session(server);
      await update(socket, sessionId, 0);
      process.kill(server.redisPid() as number, 'SIGSTOP');
      const anonymous = socket.call('settings:update', { sessionId, merge: { anonymous: true } });
      const acks = range(1, 50).map((n) =>
        socket.call('settings:update', { sessionId, updateId: `n${n}`, merge: { [`k${n}`]: n } }),
      );
      await request('GET', `${server.url}/livez`);
      await server.killRedis();
      const answers = await Promise.all(acks);
      const codes = answers.map((ack) => (ack.ok ? 'ok' : ack.error.code));
      for (const code of codes) expect(code).to.be.oneOf(['OUTCOME_UNKNOWN', 'UNAVAILABLE']);
      const firstWaiting = codes.indexOf('UNAVAILABLE');
      expect(firstWaiting, 'something waited').to.be.at.least(0);
      expect(codes.slice(firstWaiting)).to.not.include('OUTCOME_UNKNOWN');
      const { details } = expectError((await anonymous).error, 'OUTCOME_UNKNOWN');
      expect(details.updateId).to.be.a('string').with.length.within(1, 128);
      await until(async () => (await ready(server)).status === 200, { deadlineMs: 10_000, what: 'readiness' });
      const { session: between } = await socket.ok('session:get', { sessionId });
      for (const [at, code] of codes.entries()) {
        if (code === 'UNAVAILABLE') expect(between.settings).to.not.have.property(`k${at + 1}`);
      }
      const again: Wire[] = [];
      for (const n of range(1, 50)) {
        again.push(await socket.ok('settings:update', { sessionId, updateId: `n${n}`, merge: { [`k${n}`]: n } }));
      }
      const after = (await socket.ok('session:get', { sessionId })).session;
      for (const n of range(1, 50)) expect(after.settings[`k${n}`]).to.equal(n);
      const revisions = again.map((ack) => ack.revision);
      expect(new Set(revisions).size, 'each once').to.equal(50);
      const extra = after.settings.anonymous ? 1 : 0;
      expect(after.revision).to.equal(document.revision + 1 + 50 + extra);
    });

    it('[P15] kill -9 of the server: the next one adopts its Redis, and nothing acknowledged is lost', async () => {
      const server = await attune();
      const { socket, sessionId, document } = await session(server);
      const pid = server.redisPid() as number;
      const acks: Wire[] = [];
      const sent = range(1, 400).map((n) =>
        update(socket, sessionId, n).then(
          (ack) => acks.push(ack),
          () => undefined,
        ),
      );
      await until(() => acks.length >= 20, { what: 'some acknowledgements' });
      await server.kill();
      await Promise.all(sent);
      expect(server.redisPid(), 'Redis goes on').to.equal(pid);
      const again = await attune({ dataDir: server.dataDir });
      expect(again.redisPid()).to.equal(pid);
      const { body } = await request('GET', `${again.url}/v1/sessions/${sessionId}`);
      const newest = acks.filter((ack) => ack.ok).at(-1);
      expect(body.epoch, 'Redis lived on, and so does the epoch').to.equal(document.epoch);
      expect(body.revision).to.be.at.least(newest.revision);
      expect(body.settings.options.n).to.be.at.least(newest.settings.options.n);
      expect(body.settings.options.n).to.equal(body.revision - 1);
    });

    it('[P16] an external Redis that is away: not ready, UNAVAILABLE on every way, and ready again by itself', async () => {
      const external = await redis();
      const server = await attune({ redisUrl: external.url });
      const { socket, sessionId, document } = await session(server);
      await socket.ok('session:join', { sessionId });
      await external.kill();
      await until(async () => (await ready(server)).status === 503, { what: '/readyz to say 503' });
      expect((await ready(server)).body.ready).to.equal(false);
      expect((await request('GET', `${server.url}/livez`)).status).to.equal(200);
      const error = await socket.refused('settings:update', { sessionId, merge: { a: 1 } }, [
        'UNAVAILABLE',
        'OUTCOME_UNKNOWN',
      ]);
      if (error.code === 'UNAVAILABLE') expect(error.retryAfterMs).to.be.a('number').that.is.above(0);
      await socket.refused('session:get', { sessionId }, 'UNAVAILABLE');
      const problem = await request('GET', `${server.url}/v1/sessions/${sessionId}`);
      expectProblem(problem, 'UNAVAILABLE', 503);
      expect(problem.headers.get('retry-after')).to.match(/^\d+$/);
      await external.restart();
      await until(async () => (await ready(server)).status === 200, { deadlineMs: 10_000, what: 'readiness' });
      const told = await socket.next('session:snapshot');
      expect(told.reason).to.equal('epoch');
      const ack = await until(
        async () => {
          const answer = await socket.call('settings:update', { sessionId, merge: { a: 2 } });
          return answer.ok && answer;
        },
        { what: 'a write of the socket whose last one failed' },
      );
      expect(ack.revision).to.be.above(document.revision);
      expect(ack.epoch).to.equal(told.session.epoch);
    });

    it('[V5] an update that waits while Redis is started anew within half a second is acknowledged', async () => {
      const external = await redis();
      const server = await attune({ redisUrl: external.url });
      const { socket, sessionId } = await session(server);
      const other = await connect(server.url);
      await external.kill();
      await until(async () => (await ready(server)).status === 503, { what: 'the loss' });
      const asked = performance.now();
      const waiting = Promise.all([
        socket.ok('settings:update', { sessionId, updateId: 'one', merge: { one: 1 } }),
        other.ok('settings:update', { sessionId, updateId: 'two', merge: { two: 2 } }),
        other.ok('message:add', { sessionId, updateId: 'three', message: { role: 'user', content: '3' } }),
      ]);
      waiting.catch(() => undefined);
      await until(() => performance.now() - asked > 400, { what: 'Redis to be away for a while' });
      await external.restart();
      expect((await waiting).map(({ revision }) => revision)).to.have.members([2, 3, 4]);
      const { session: now } = await socket.ok('session:get', { sessionId });
      expect(now).to.include({ revision: 4, messageCount: 1 });
      expect(now.settings).to.include({ one: 1, two: 2 });
      const { commits } = await socket.ok('session:join', { sessionId, cursor: { epoch: now.epoch, revision: 1 } });
      expect(commits.map((commit: Wire) => commit.updateId)).to.have.members(['one', 'two', 'three']);
    });

    it('[P17] a session whose data are gone from Redis is session:deleted with the reason lost', async () => {
      const external = await redis();
      const server = await attune({ redisUrl: external.url });
      const { socket, sessionId } = await session(server);
      await socket.ok('session:join', { sessionId });
      const inspector = new Redis(external.port, '127.0.0.1');
      try {
        await inspector.flushall();
      } finally {
        inspector.disconnect();
      }
      const told = await socket.next('session:deleted');
      expect(told).to.include({ sessionId, reason: 'lost' });
      await socket.refused('session:get', { sessionId }, 'SESSION_NOT_FOUND');
      const made = await socket.ok('session:open', { sessionId });
      expect(made).to.include({ created: true, revision: 1 });
    });
  });

  describe('two servers on one Redis', () => {
    let external: TestRedis;
    let nodes: [Attune, Attune];
    before(async () => {
      external = await startRedis();
      nodes = [await startAttune({ redisUrl: external.url }), await startAttune({ redisUrl: external.url })];
    });
    after(async () => {
      for (const node of nodes ?? []) await node.destroy();
      await external?.stop();
    });

    it('[P18] a write on one is read on the other at once and seen by its sockets', async () => {
      const { socket, sessionId } = await session(nodes[0]);
      const other = await connect(nodes[1].url);
      await other.ok('session:join', { sessionId });
      for (const n of range(1, 20)) {
        const [writer, reader] = n % 2 === 0 ? [socket, other] : [other, socket];
        const { revision } = await update(writer, sessionId, n);
        const { session: read } = await reader.ok('session:get', { sessionId });
        expect(read.revision).to.be.at.least(revision);
        expect(read.settings.options.n).to.equal(n);
        expect((await other.next('settings:updated')).revision).to.equal(revision);
      }
    });

    it('[P19] 300 updates at once from six sockets of both: none lost, none doubled, all seen in one order', async () => {
      const { socket, sessionId } = await session(nodes[0]);
      const sockets = await Promise.all(range(0, 5).map((n) => connect(nodes[n % 2 === 0 ? 0 : 1].url)));
      for (const one of sockets) await one.ok('session:join', { sessionId });
      const acks = await Promise.all(
        sockets.flatMap((one, who) =>
          range(1, 50).map((n) => one.ok('settings:update', { sessionId, merge: { [`k${who}.${n}`]: n } })),
        ),
      );
      expect(acks.map((ack) => ack.revision).sort((a, b) => a - b)).to.deep.equal(range(2, 301));
      const { session: now } = await socket.ok('session:get', { sessionId });
      expect(Object.keys(now.settings).filter((key) => /^k\d\./.test(key))).to.have.length(300);
      for (const one of sockets) {
        await one.next('settings:updated', (body) => body.revision === 301);
        const bodies = one.bodies('settings:updated');
        expect(bodies.map((body) => body.revision)).to.deep.equal(range(2, 301));
        expect(bodies).to.deep.equal(sockets[0]?.bodies('settings:updated'));
        expect(bodies.at(-1).settings).to.deep.equal(now.settings);
      }
    });

    it('[P20] one update sent to both under one updateId is committed once', async () => {
      const { socket, sessionId } = await session(nodes[0]);
      const other = await connect(nodes[1].url);
      for (const n of range(1, 10)) {
        const acks = await Promise.all([socket, other].map((one) => update(one, sessionId, n, { updateId: `u${n}` })));
        expect(acks.map((ack) => ack.revision)).to.deep.equal([n + 1, n + 1]);
        expect(acks.filter((ack) => ack.duplicate)).to.have.length(1);
      }
    });
  });
});
