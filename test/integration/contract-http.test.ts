// HTTP's side of the contract that no other test needs: the statuses and headers of rarer errors, Idempotency-Key on every
// route that writes, readiness, and what the process does with variables and signals.
import { once } from 'node:events';
import { connect as connectTcp } from 'node:net';
import { expect } from 'chai';
import type { Redis } from 'ioredis';
import { runAttune, startAttune, type Attune, type AttuneOptions } from '../support/attune.js';
import { startDataRedis, type DataRedis } from '../support/data-redis.js';
import { startRedis, type TestRedis } from '../support/redis.js';
import { expectProblem, request, type Answer } from '../support/http.js';
import { startRedisProxy, type RedisProxy } from '../support/proxy.js';
import { metric } from '../support/session-log.js';
import { expectError, freshId, type Wire } from '../support/shapes.js';
import { closeSockets, connect } from '../support/socket.js';
import { until } from '../support/until.js';
/** What is answered at once is there within this, milliseconds. */
const HEAD_MS = 2000;
/** A command that Redis does not answer fails after this, milliseconds; see server/redis/connection.ts. */
const COMMAND_TIMEOUT_MS = 1500;

describe('the contract over HTTP', () => {
  let redis: DataRedis;
  let direct: Redis;
  before(async () => {
    redis = await startDataRedis();
    direct = redis.direct();
  });
  after(async () => {
    direct?.disconnect();
    await redis?.stop();
  });
  /** What a test started, ended after it in reverse order. */
  const started: { destroy(): Promise<unknown> | void }[] = [];
  afterEach(async () => {
    closeSockets();
    for (const one of started.splice(0).reverse()) await one.destroy();
  });
  async function attune(options: AttuneOptions = {}): Promise<Attune> {
    const one = await startAttune({ redisUrl: redis.url, ...options });
    started.push(one);
    return one;
  }
  /** A Redis that a test may stop or lose. */
  async function ownRedis(): Promise<TestRedis> {
    const one = await startRedis();
    started.push({ destroy: () => one.stop() });
    return one;
  }

  describe('of one server', () => {
    let proxy: RedisProxy;
    let server: Attune;
    before(async () => {
      proxy = await redis.proxy();
      server = await startAttune({ redisUrl: proxy.url });
    });
    after(async () => {
      await server?.destroy();
      await proxy?.close();
    });
    const call = (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) =>
      request(method, server.url + path, { body, headers });
    async function made(settings: Wire = { model: 'a' }): Promise<{ sessionId: string; path: string }> {
      const sessionId = freshId('c');
      const path = `/v1/sessions/${sessionId}`;
      expect((await call('PUT', path, { settings })).status).to.equal(201);
      return { sessionId, path };
    }

    it('[T8] a restore whose ifRevision in the body is behind is 409, and the same as If-Match 412', async () => {
      const { path } = await made();
      const { body: written } = await call('PATCH', `${path}/settings`, { model: 'b' });
      const restore = (ifRevision: number) => call('POST', `${path}/settings/restore`, { toRevision: 1, ifRevision });
      const problem = expectProblem(await restore(1), 'REVISION_CONFLICT', 409);
      expect(problem.details).to.deep.include({ settingsRevision: 2, changedPaths: ['/model'] });
      expect(problem.details.settings.model).to.equal('b');
      const headers = { 'if-match': `"${written.epoch}:1"` };
      const guarded = call('POST', `${path}/settings/restore`, { toRevision: 1 }, headers);
      expectProblem(await guarded, 'REVISION_CONFLICT', 412);
      const { body } = await restore(2);
      expect(body).to.include({ revision: 3, settingsRevision: 3, duplicate: false });
      expect(body.settings.model).to.equal('a');
    });

    it('[T10] what fails in Redis in a way nobody foresaw is 500 INTERNAL, and tells nothing of the inside', async () => {
      const { sessionId, path } = await made();
      const key = (await direct.keys(`*:${sessionId}:log`))[0]!;
      await direct.del(key);
      await direct.set(key, 'not a stream');
      const answer = await call('PATCH', `${path}/settings`, { model: 'x' });
      expectProblem(answer, 'INTERNAL', 500);
      expect(answer.text)
        .to.not.include(key)
        .and.not.match(/\.[jt]s:|WRONGTYPE/);
      expect(answer.headers.get('retry-after')).to.equal(null);
    });

    for (const way of ['HTTP', 'a socket'] as const) {
      it(`[T11] a write by ${way} without an id that Redis did not answer is 504 OUTCOME_UNKNOWN with the id that makes it again`, async () => {
        const { sessionId, path } = await made({ n: 0 });
        const socket = await connect(server.url);
        const write = async (updateId?: string): Promise<Wire> => {
          if (way === 'a socket') {
            const ack = await socket.call('settings:update', {
              sessionId,
              merge: { n: 1 },
              ...(updateId && { updateId }),
            });
            return ack.ok ? ack : expectError(ack.error, 'OUTCOME_UNKNOWN');
          }
          const headers = updateId === undefined ? {} : { 'idempotency-key': updateId };
          const answer = await call('PATCH', `${path}/settings`, { n: 1 }, headers);
          return answer.status === 200 ? answer.body : expectProblem(answer, 'OUTCOME_UNKNOWN', 504);
        };
        // The lease of a session that is watched is kept for a while: the next thing that Redis is told is the commit.
        await socket.ok('session:join', { sessionId });
        await socket.ok('settings:update', { sessionId, merge: { first: true } });
        const hold = proxy.hold('attune-data', 'fromRedis');
        const failing = write();
        try {
          const key = (await direct.keys(`*:${sessionId}:log`))[0]!;
          await until(async () => (await direct.xlen(key)) === 3, { what: 'the commit in Redis' });
        } finally {
          proxy.cut('attune-data');
          hold.release();
        }
        const { updateId } = (await failing).details;
        expect(updateId).to.be.a('string').with.length.within(1, 128);
        const again = await until(
          () =>
            write(updateId).then(
              (reply) => reply.revision !== undefined && reply,
              () => undefined,
            ),
          { what: 'the answer to the retry' },
        );
        expect(again).to.deep.include({ duplicate: true, revision: 3 });
        const { body } = await call('GET', path);
        expect(body).to.include({ revision: 3, settingsRevision: 3 });
        expect(body.settings.n).to.equal(1);
      });
    }

    describe('Idempotency-Key', () => {
      const json = 'application/json-patch+json';
      const writes: [route: string, body?: Wire, type?: string][] = [
        ['PATCH ', { title: 'once' }],
        ['PUT /settings', { model: 'replaced' }],
        ['PATCH /settings', { model: 'merged' }],
        ['PATCH /settings', [{ op: 'add', path: '/n', value: 1 }], json],
        ['POST /settings/restore', { toRevision: 1 }],
        ['POST /messages', { role: 'user', content: 'new' }],
        ['PATCH /messages/m', { append: '!' }],
        ['DELETE /messages/m'],
        ['DELETE /messages'],
      ];
      for (const [route, body, type] of writes) {
        it(`[T12] ${route} with ${type ?? 'JSON'} and the key of before answers as before and commits nothing`, async () => {
          const { path } = await made();
          await call('POST', `${path}/messages`, { id: 'm', role: 'user', content: 'x' });
          await call('PATCH', `${path}/settings`, { other: true });
          const [method, below] = route.split(' ') as [string, string];
          const key = freshId('key');
          const headers = { 'idempotency-key': key, ...(type !== undefined && { 'content-type': type }) };
          const write = () => call(method, path + below, body, headers);
          const first = await write();
          expect(first.status, first.text).to.be.oneOf([200, 201]);
          expect(first.body).to.include({ revision: 4, duplicate: false });
          const after = await call('GET', path);
          const second = await write();
          expect(second.status, second.text).to.equal(200);
          expect(second.body).to.deep.equal({ ...first.body, duplicate: true });
          expect((await call('GET', path)).body).to.deep.equal(after.body);
          const other = await call('PATCH', path, { metadata: { other: 'payload' } }, { 'idempotency-key': key });
          expectProblem(other, 'INVALID_REQUEST', 400);
        });
      }

      it('[T12] POST and PUT of a session make it once, and a DELETE that is sent again leaves the next life alone', async () => {
        const headers = { 'idempotency-key': freshId('key') };
        const posted = [
          await call('POST', '/v1/sessions', {}, headers),
          await call('POST', '/v1/sessions', {}, headers),
        ];
        expect(posted.map(({ status }) => status)).to.deep.equal([201, 200]);
        expect(posted[1]!.body).to.deep.equal({
          ...posted[0]!.body,
          duplicate: true,
          created: posted[1]!.body.created,
        });
        expect(posted[1]!.headers.get('location')).to.equal(posted[0]!.headers.get('location'));
        const path = `/v1/sessions/${freshId('c')}`;
        const put = () => call('PUT', path, { title: 'life' }, { 'idempotency-key': 'put' });
        const answers: Answer[] = [await put(), await put()];
        expect(answers.map(({ status }) => status)).to.deep.equal([201, 200]);
        expect(answers.map(({ body }) => [body.duplicate, body.revision])).to.deep.equal([
          [false, 1],
          [true, 1],
        ]);
        const remove = () => call('DELETE', path, undefined, { 'idempotency-key': 'gone' });
        expect((await remove()).status).to.equal(204);
        expect((await call('PUT', path, { title: 'next life' })).status).to.equal(201);
        expect((await remove()).status).to.equal(204);
        expect((await call('GET', path)).body.title).to.equal('next life');
      });
    });

    it('[V10] HEAD of an event stream is answered at once', async () => {
      const { path } = await made();
      const head = (at: string) => fetch(server.url + at, { method: 'HEAD', signal: AbortSignal.timeout(HEAD_MS) });
      const events = await head(`${path}/events`);
      expect(events.status).to.equal(200);
      expect(events.headers.get('content-type')).to.match(/^text\/event-stream\b/);
      expect((await head(`/v1/sessions/${freshId('c')}/events`)).status).to.equal(404);
    });

    it('[T13] the descriptions for machines and people are not there yet: 404 INVALID_REQUEST', async () => {
      for (const path of ['/openapi.json', '/asyncapi.json', '/docs']) {
        expectProblem(await call('GET', path), 'INVALID_REQUEST', 404);
      }
    });
  });

  it('[T14] calls above the rate are 429 with Retry-After, and after that time they are taken', async () => {
    const { url } = await attune({ env: { RATE_CALLS_PER_S: '2' } });
    const answers = await Promise.all(Array.from({ length: 12 }, () => request('GET', `${url}/v1/sessions?limit=1`)));
    const limited = answers.filter(({ status }) => status !== 200);
    expect(limited.length).to.be.within(1, 11);
    for (const answer of limited) {
      const { retryAfterMs } = expectProblem(answer, 'RATE_LIMITED', 429);
      expect(retryAfterMs).to.be.above(0);
      expect(answer.headers.get('retry-after')).to.match(/^[1-9]\d*$/);
    }
    // No poll: each try above the rate would be counted.
    const seconds = Number(limited.at(-1)!.headers.get('retry-after'));
    const from = performance.now();
    await until(() => performance.now() - from >= seconds * 1000, { what: 'Retry-After to pass' });
    expect((await request('GET', `${url}/v1/sessions?limit=1`)).status).to.equal(200);
  });

  describe('readiness', () => {
    it('[T15] /readyz is 503 and names what is missing: redis and feed, each by itself', async () => {
      const { port } = await ownRedis();
      const proxy = await startRedisProxy(port);
      started.push({ destroy: () => proxy.close() });
      const server = await attune({ redisUrl: proxy.url });
      const checks = async () => (await request('GET', `${server.url}/readyz`)).body.checks;
      expect(await checks()).to.deep.equal({ redis: true, feed: true, draining: false });
      for (const [role, wanted] of [
        ['feed', { redis: true, feed: false, draining: false }],
        ['data', { redis: false, feed: true, draining: false }],
      ] as const) {
        const hold = proxy.hold(`attune-${role}`, 'fromRedis');
        proxy.cut(`attune-${role}`);
        const answer = await until(
          async () => {
            const one = await request('GET', `${server.url}/readyz`);
            return one.status !== 200 && one;
          },
          { what: `/readyz without ${role}` },
        );
        expect(answer.status).to.equal(503);
        expect(answer.body).to.deep.include({ ready: false, checks: wanted });
        hold.release();
        await until(async () => (await request('GET', `${server.url}/readyz`)).status === 200, { what: 'readiness' });
      }
    });

    it('[T16] a node that drains answers what it took, says draining in /readyz on connections that stay, and takes no new ones', async () => {
      const own = await ownRedis();
      const server = await attune({ redisUrl: own.url });
      const sessionId = freshId('c');
      await request('PUT', `${server.url}/v1/sessions/${sessionId}`);
      process.kill(own.pid, 'SIGSTOP');
      const wire = connectTcp(server.port, '127.0.0.1');
      let said = '';
      wire.on('data', (bytes: Buffer) => (said += bytes.toString()));
      wire.on('error', () => undefined);
      const lines = ['host: x', 'content-type: application/json', 'content-length: 7', '', '{"n":1}'];
      wire.write(`PATCH /v1/sessions/${sessionId}/settings HTTP/1.1\r\n${lines.join('\r\n')}`);
      await until(async () => (await metric(server.url, 'attune_queued_updates')) === 1, {
        what: 'the update to wait',
      });
      const socket = await connect(server.url);
      const ended = server.stop();
      await socket.next('server:draining');
      wire.write('GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n');
      const refused = connectTcp(server.port, '127.0.0.1');
      const [error] = (await once(refused, 'error')) as [NodeJS.ErrnoException];
      expect(error.code).to.equal('ECONNREFUSED');
      await until(() => said.includes('"draining":true'), { what: 'the answer of /readyz' });
      const [first, second] = said.split(/(?=HTTP\/1\.1 )/);
      expect(first).to.match(/^HTTP\/1\.1 50[34] /);
      expect(first).to.match(/"code":"(OUTCOME_UNKNOWN|UNAVAILABLE)"/);
      expect(second)
        .to.match(/^HTTP\/1\.1 503 /)
        .and.include('"ready":false');
      process.kill(own.pid, 'SIGCONT');
      expect(await ended).to.equal(0);
      wire.destroy();
    });
  });

  it('[T17] DRAIN_TIMEOUT_MS bounds a drain though Redis does not answer', async () => {
    const own = await ownRedis();
    const server = await attune({ redisUrl: own.url, env: { DRAIN_TIMEOUT_MS: '300' } });
    const sessionId = freshId('c');
    const socket = await connect(server.url);
    await socket.ok('session:open', { sessionId });
    process.kill(own.pid, 'SIGSTOP');
    socket.send('settings:update', { sessionId, merge: { n: 1 } });
    await socket.refused('no:such:event', {}, 'INVALID_REQUEST');
    const from = performance.now();
    expect(await server.stop()).to.equal(0);
    // Without the bound it would wait for the command to fail.
    expect(performance.now() - from).to.be.below(COMMAND_TIMEOUT_MS - 100);
    process.kill(own.pid, 'SIGCONT');
  });

  it('[T18] LOG_LEVEL says what is logged: error hides info, and without it info is shown and debug is not', async () => {
    const levelsOf = async (LOG_LEVEL: string | undefined, wanted?: number) => {
      const server = await attune({ env: { LOG_LEVEL } });
      const levels = () => {
        const lines = server.stderr().split('\n').slice(0, -1);
        return lines.map((line) => (JSON.parse(line) as { level: number }).level);
      };
      // A connection that breaks is of interest to nobody but who looks for it.
      const clients = ((await direct.client('LIST')) as string).split('\n');
      for (const client of clients.filter((line) => line.includes(' name=attune-feed '))) {
        await direct.call('CLIENT', 'KILL', 'ID', /^id=(\d+)/.exec(client)![1]!);
      }
      await until(async () => (await request('GET', `${server.url}/readyz`)).status === 200, { what: 'readiness' });
      if (wanted !== undefined) await until(() => levels().includes(wanted), { what: `a line of level ${wanted}` });
      await server.stop();
      return levels();
    };
    expect(await levelsOf('error')).to.deep.equal([]);
    const [info, debug] = [30, 20];
    expect(await levelsOf(undefined, info)).to.not.include(debug);
    expect(await levelsOf('debug', debug)).to.include(info);
  });

  it('[T19] AUTH_JWKS_URL alone is not taken yet: the server refuses to start and names it', async () => {
    const env = { AUTH_JWKS_URL: 'https://keys.example/jwks.json' };
    const { status, stdout, stderr } = await runAttune({ redisUrl: redis.url, env });
    expect(status).to.be.a('number').that.is.above(0);
    expect(stderr).to.include('AUTH_JWKS_URL');
    expect(stdout).to.equal('');
  });
});
