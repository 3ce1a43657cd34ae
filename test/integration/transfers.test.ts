// Imports and exports over HTTP: what comes of a line, limits, several at once, and the memory that they take.
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { request as startRequest, type ClientRequest } from 'node:http';
import { expect } from 'chai';
import { SignJWT } from 'jose';
import { startAttune, type Attune } from '../support/attune.js';
import { startDataRedis, type DataRedis } from '../support/data-redis.js';
import { expectProblem, request, type Answer } from '../support/http.js';
import type { Hold, RedisProxy } from '../support/proxy.js';
import { range } from '../support/range.js';
import { metric } from '../support/session-log.js';
import { freshId, type Wire } from '../support/shapes.js';
import { closeSockets, connect } from '../support/socket.js';
import { until } from '../support/until.js';

const SECRET = 'a secret that is used by tests and by nothing else';
const KIB = 1024;
const MIB = 1024 * KIB;
/** Longest line of an import or export, bytes. */
const LINE_BYTES_MAX = 16 * MIB;
/** Longest content of a message, bytes. */
const CONTENT_BYTES_MAX = 256 * KIB;
/** Transfers that a server carries out at the same time. */
const TRANSFERS_MAX = 4;
/** What is answered at once is there within this, milliseconds. */
const HEAD_MS = 2000;
const linesOf = (text: string): Wire[] =>
  text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Wire);

describe('imports and exports', () => {
  let attune: Attune;
  before(async () => {
    attune = await startAttune();
  });
  after(() => attune?.destroy());
  afterEach(closeSockets);

  const call = (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) =>
    request(method, attune.url + path, { body, headers });
  const importing = (lines: readonly string[], query = '', headers: Record<string, string> = {}): Promise<Answer> =>
    call('POST', `/v1/import${query}`, `${lines.join('\n')}\n`, { 'content-type': 'application/jsonl', ...headers });
  async function imported(lines: readonly string[], query = '', headers: Record<string, string> = {}): Promise<Wire> {
    const answer = await importing(lines, query, headers);
    expect(answer.status, answer.text.slice(0, 500)).to.equal(200);
    return answer.body;
  }
  async function done(method: string, path: string, body?: unknown, status = 200): Promise<Answer> {
    const answer = await call(method, path, body);
    expect(answer.status, answer.text.slice(0, 500)).to.equal(status);
    return answer;
  }
  const get = async (path: string): Promise<Wire> => (await done('GET', path)).body;
  /** A session with exactly these settings, at revision 2. */
  async function session(settings: Wire): Promise<{ path: string; id: string }> {
    const id = freshId('w');
    const path = `/v1/sessions/${id}`;
    await done('PUT', path, { settings: { seed: 1 } }, 201);
    await done('PUT', `${path}/settings`, settings);
    return { path, id };
  }
  /** The lines of these sessions in an export of all. */
  async function exported(ids: string[]): Promise<string> {
    const { text } = await done('GET', '/v1/export');
    const wanted = text.split('\n').filter((line) => ids.some((id) => line.includes(`"${id}"`)));
    expect(wanted).to.have.length(ids.length);
    return wanted.join('\n');
  }

  it('[W20] what was exported, one session with its messages a line, goes in again and is the same', async () => {
    const [one, two] = [await session({ model: 'one', empty: [], o: {} }), await session({ model: 'two' })];
    await done('PATCH', one.path, { title: 'T', metadata: { a: 1 } });
    const timestamp = '2024-01-02T03:04:05.123456Z';
    for (const n of range(1, 3)) {
      await done('POST', `${one.path}/messages`, { id: `m${n}`, role: 'user', content: `${n}`, timestamp }, 201);
    }
    const [before, messages] = [await get(one.path), (await get(`${one.path}/messages`)).messages];
    const text = await exported([one.id, two.id]);
    await done('DELETE', one.path, undefined, 204);
    await done('DELETE', two.path, undefined, 204);
    const report = await imported(text.split('\n'), '', { 'content-type': 'application/x-ndjson' });
    expect(report).to.deep.equal({ taken: 2, replaced: 0, skipped: 0, refused: 0, refusals: [] });
    const after = await get(one.path);
    expect(after.epoch).to.not.equal(before.epoch);
    for (const key of ['id', 'settings', 'title', 'metadata', 'messageCount', 'createdAt', 'updatedAt']) {
      expect(after[key], key).to.deep.equal(before[key]);
    }
    expect(after.revision).to.equal(4);
    const again = (await get(`${one.path}/messages`)).messages;
    expect(again.map((message: Wire) => message.revision)).to.deep.equal([4, 3, 2]);
    const lasting = ({ id, role, content, timestamp: at, status }: Wire): Wire => ({ id, role, content, at, status });
    expect(again.map(lasting)).to.deep.equal(messages.map(lasting));
  });

  it('[W21] existing sessions are skipped or replaced; a room is given a snapshot; bad lines are refused alone', async () => {
    const { path, id } = await session({ model: 'exported' });
    const text = await exported([id]);
    await done('PUT', `${path}/settings`, { model: 'newer' });
    const reader = await connect(attune.url);
    await reader.ok('session:join', { sessionId: id });
    expect(await imported([text], '?existing=skip')).to.include({ taken: 0, skipped: 1, replaced: 0, refused: 0 });
    expect((await get(`${path}/settings`)).model).to.equal('newer');
    const line = JSON.parse(text) as Wire;
    const badSettings = JSON.stringify({ ...line, settings: { model: 5 } });
    const mixed = ['not json', text, '[]', badSettings];
    const report = await imported(mixed, '?existing=replace');
    expect(report).to.include({ replaced: 1, skipped: 0, refused: 3 });
    expect(report.refusals.map((refusal: Wire) => refusal.line)).to.deep.equal([1, 3, 4]);
    for (const refusal of report.refusals) expect(refusal.reason).to.be.a('string').with.length.above(0);
    expect(report.refusals[2].id).to.equal(id);
    const told = await reader.next('session:snapshot');
    expect(told).to.deep.include({ sessionId: id, reason: 'replaced' });
    expect(told.session.settings).to.deep.equal({ model: 'exported' });
    expect(await get(path)).to.deep.equal(told.session);
    await done('PATCH', `${path}/settings`, { model: 'afterwards' });
    expect((await reader.next('settings:updated')).settings.model).to.equal('afterwards');
    expectProblem(await importing([text], '?existing=maybe'), 'INVALID_REQUEST');
  });

  describe('POST /v1/import', () => {
    it('[T20] refuses a line of more than 16 MiB by itself and takes one of 16 MiB and those around', async () => {
      const ids = range(1, 4).map(() => freshId('i'));
      const [before, long, longest, after] = ids as [string, string, string, string];
      /** A line of so many bytes: padded within a member that an import ignores. */
      const lineOf = (id: string, bytes: number) => {
        const empty = JSON.stringify({ id, ignored: '' });
        return JSON.stringify({ id, ignored: 'x'.repeat(bytes - empty.length) });
      };
      const lines = [lineOf(before, 100), lineOf(long, LINE_BYTES_MAX + 1), lineOf(longest, LINE_BYTES_MAX)];
      const report = await imported([...lines, lineOf(after, 100)]);
      expect(report).to.include({ taken: 3, replaced: 0, skipped: 0, refused: 1 });
      expect(report.refusals).to.have.length(1);
      expect(report.refusals[0].line).to.equal(2);
      expect(report.refusals[0].reason).to.match(/longer than 16777216 bytes/);
      const found = await Promise.all(ids.map(async (id) => (await call('GET', `/v1/sessions/${id}`)).status));
      expect(found).to.deep.equal([200, 404, 200, 200]);
    });

    it('[V10] a line of an import that nests without end is refused at once, and what comes after it is taken', async () => {
      const id = freshId('v');
      const open = '['.repeat(5 * MIB);
      const lines = [open, `${open}${']'.repeat(5 * MIB)}`, JSON.stringify({ id, messages: [] })];
      const before = await peakBytes(attune);
      const { body } = await request('POST', `${attune.url}/v1/import`, { body: lines.join('\n') });
      expect(((await peakBytes(attune)) - before) / MIB, 'growth of memory, MiB').to.be.below(200);
      expect(body).to.include({ taken: 1, refused: 2 });
      for (const { reason } of body.refusals) expect(reason).to.match(/nests deeper than \d+ levels/);
    });

    it('[T21] counts every refused line and lists the first 1,000', async () => {
      const id = freshId('i');
      const report = await imported([...range(1, 1001).map((n) => `{"bad":${n}}`), JSON.stringify({ id })]);
      expect(report).to.include({ taken: 1, refused: 1001 });
      expect(report.refusals.map(({ line }: Wire) => line)).to.deep.equal(range(1, 1000));
    });

    it('[T22] without existing leaves the session that is there, messages and all', async () => {
      const id = freshId('i');
      await imported([JSON.stringify({ id, title: 'first', messages: [{ role: 'user', content: 'x' }] })]);
      const before = await call('GET', `/v1/sessions/${id}`);
      expect(await imported([JSON.stringify({ id, title: 'second' })])).to.include({
        taken: 0,
        skipped: 1,
        refused: 0,
      });
      expect((await call('GET', `/v1/sessions/${id}`)).body).to.deep.equal(before.body);
      expectProblem(await importing([JSON.stringify({ id })], '?existing=both'), 'INVALID_REQUEST', 400);
    });

    it('[T23] of an editor is FORBIDDEN, and of an owner of other sessions refuses the line', async () => {
      const guarded = await startAttune({ env: { AUTH_SECRET: SECRET } });
      try {
        const tokenOf = (...sessions: { match: string; role: string }[]) =>
          new SignJWT({ sub: 'u', exp: Math.floor(Date.now() / 1000) + 60, sessions })
            .setProtectedHeader({ alg: 'HS256' })
            .sign(new TextEncoder().encode(SECRET));
        const lines = ['{"id":"own-1"}', '{"id":"edited-1"}'].join('\n');
        const attempt = async (token: string) => {
          const headers = { 'content-type': 'application/jsonl', authorization: `Bearer ${token}` };
          return request('POST', `${guarded.url}/v1/import`, { body: lines, headers });
        };
        const editor = { match: '*', role: 'editor' };
        expectProblem(await attempt(await tokenOf(editor)), 'FORBIDDEN', 403);
        const mixed = await attempt(await tokenOf(editor, { match: 'own-*', role: 'owner' }));
        expect(mixed.body).to.include({ taken: 1, refused: 1 });
        expect(mixed.body.refusals[0]).to.include({ line: 2, id: 'edited-1' });
        const headers = { authorization: `Bearer ${await tokenOf(editor)}` };
        expect((await request('GET', `${guarded.url}/v1/sessions/edited-1`, { headers })).status).to.equal(404);
        expect((await request('GET', `${guarded.url}/v1/sessions/own-1`, { headers })).status).to.equal(200);
      } finally {
        await guarded.destroy();
      }
    });

    it('[T24] readers never see a mixture of a session and the one that replaces it', async () => {
      const id = freshId('i');
      const variants = ['a', 'b', 'c'].map((name, at) => ({
        id,
        title: name,
        settings: { model: name },
        messages: range(1, 3 + 2 * at).map(() => ({ role: 'user', content: name })),
      }));
      const lines = variants.map((variant) => JSON.stringify(variant));
      await imported([lines[0]!]);
      const reader = await connect(attune.url);
      await reader.ok('session:join', { sessionId: id });
      const whole = (session: Wire, messages?: Wire[]) => {
        const variant = variants.find(({ title }) => title === session.title)!;
        expect(session.settings).to.deep.equal(variant.settings);
        expect(session).to.include({ messageCount: variant.messages.length, revision: variant.messages.length + 1 });
        if (messages)
          expect(messages.map(({ content }) => content)).to.deep.equal(variant.messages.map((m) => m.content));
      };
      let reads = 0;
      let writing = true;
      const read = async () => {
        while (writing) {
          const { text } = await call('GET', `/v1/export?id=${id}`);
          const line = JSON.parse(text);
          whole(line, line.messages);
          whole((await reader.ok('session:get', { sessionId: id })).session);
          const { messages } = await reader.ok('message:list', { sessionId: id });
          const [{ content }] = messages;
          const variant = variants.find(({ title }) => title === content)!;
          expect(messages.map((m: Wire) => m.content)).to.deep.equal(variant.messages.map((m) => m.content));
          reads += 1;
        }
      };
      const reading = [read(), read()];
      const replaced = 60;
      for (const n of range(1, replaced)) {
        expect(await imported([lines[n % 3]!], '?existing=replace')).to.include({ replaced: 1, refused: 0 });
      }
      writing = false;
      await Promise.all(reading);
      expect(reads).to.be.above(10);
      const { session: last } = await reader.ok('session:get', { sessionId: id });
      await until(() => reader.bodies('session:snapshot').at(-1)?.session.epoch === last.epoch, {
        what: 'the snapshot',
      });
      for (const { session, reason } of reader.bodies('session:snapshot')) {
        expect(reason).to.equal('replaced');
        whole(session);
      }
      expect(reader.bodies('message:added').concat(reader.bodies('session:deleted'))).to.deep.equal([]);
    });
  });

  it('[T25] an import and an export of much more than the memory they may use stay within it', async function () {
    this.timeout(40_000);
    const server = await startAttune({ env: { NODE_OPTIONS: '--max-old-space-size=96' } });
    try {
      const sessions = 2000;
      const content = 'x'.repeat(40 * KIB);
      let sent = 0;
      async function* lines() {
        for (const n of range(1, sessions)) {
          const line = `${JSON.stringify({ id: `m-${n}`, messages: [{ role: 'user', content }] })}\n`;
          sent += line.length;
          yield Buffer.from(line);
        }
      }
      const before = await peakBytes(server);
      const headers = { 'content-type': 'application/jsonl' };
      const stream = { method: 'POST', headers, body: lines() as unknown as ReadableStream, duplex: 'half' as const };
      const report = await (await fetch(`${server.url}/v1/import`, stream)).json();
      expect(report).to.include({ taken: sessions, refused: 0 });
      let read = 0;
      const exported = await fetch(`${server.url}/v1/export`);
      for await (const chunk of exported.body as unknown as AsyncIterable<Uint8Array>) read += chunk.length;
      expect(read, 'bytes exported').to.be.above(sent);
      const grown = (await peakBytes(server)) - before;
      expect(sent, 'bytes imported').to.be.above(75 * MIB);
      expect(grown, 'bytes of memory').to.be.below(64 * MIB);
    } finally {
      await server.destroy();
    }
  });

  it('[T26] a session whose line would be more than 16 MiB is a line with its id and an error, and the export goes on', async () => {
    const [large, small] = [freshId('i'), freshId('i')];
    const content = 'x'.repeat(CONTENT_BYTES_MAX);
    const messages = range(1, 63).map(() => ({ role: 'user', content }));
    const report = await imported([JSON.stringify({ id: large, messages }), JSON.stringify({ id: small })]);
    expect(report).to.include({ taken: 2, refused: 0 });
    const path = `/v1/sessions/${large}/messages`;
    const lines = async () => {
      const { status, text } = await call('GET', `/v1/export?id=${large}&id=${small}`);
      expect(status).to.equal(200);
      return linesOf(text);
    };
    expect((await lines())[0].messages).to.have.length(63);
    expect((await call('POST', path, { role: 'user', content })).status).to.equal(201);
    const [error, next] = await lines();
    expect(error).to.have.all.keys('id', 'error');
    expect(error).to.deep.include({ id: large });
    expect(error.error).to.include({ code: 'TOO_LARGE' });
    expect(error.error.message).to.be.a('string').with.length.above(0);
    expect(next).to.include({ id: small, messageCount: 0 });
  });

  describe('several at once', () => {
    let redis: DataRedis;
    let proxy: RedisProxy;
    /** Speaks to Redis through the proxy. */
    let far: Attune;
    const ids = range(1, TRANSFERS_MAX).map(() => freshId('large'));
    const exportUrl = () => `${far.url}/v1/export?${ids.map((id) => `id=${id}`).join('&')}`;
    before(async () => {
      redis = await startDataRedis();
      proxy = await redis.proxy();
      far = await startAttune({ redisUrl: proxy.url });
      const content = 'x'.repeat(200_000);
      const messages = range(1, 10).map(() => ({ role: 'user', content }));
      const body = ids.map((id) => JSON.stringify({ id, messages })).join('\n');
      expect((await request('POST', `${far.url}/v1/import`, { body })).body.taken).to.equal(TRANSFERS_MAX);
    });
    after(async () => {
      await far?.destroy();
      await proxy?.close();
      await redis?.stop();
    });
    const holds: Hold[] = [];
    afterEach(() => {
      for (const one of holds.splice(0)) one.release();
    });
    /** Holds back what Redis says to exports and imports, at most until the end of the test. */
    function hold(): Hold {
      const made = proxy.hold('attune-bulk', 'fromRedis');
      holds.push(made);
      return made;
    }

    it('[T9] a fifth export or import at once is 503 OVERLOADED with Retry-After, until one of the others has ended', async () => {
      const ids = Array.from({ length: TRANSFERS_MAX }, () => freshId('c'));
      const imports = ids.map((id) => heldImport(far, JSON.stringify({ id })));
      // Their lines are taken as they come: then all four are under way.
      for (const id of ids) {
        await until(async () => (await request('GET', `${far.url}/v1/sessions/${id}`)).status === 200, {
          what: 'the line to be taken',
        });
      }
      const refused = await request('GET', `${far.url}/v1/export?id=none`);
      const problem = expectProblem(refused, 'OVERLOADED', 503);
      expect(problem.retryAfterMs).to.be.above(0);
      expect(refused.headers.get('retry-after')).to.match(/^[1-9]\d*$/);
      expectProblem(await request('POST', `${far.url}/v1/import`, { body: '{}\n' }), 'OVERLOADED', 503);
      expect(await imports[0]!.finish()).to.include({ taken: 1, refused: 0 });
      expect((await request('GET', `${far.url}/v1/export?id=none`)).status).to.equal(200);
      for (const one of imports.slice(1)) expect(await one.finish()).to.include({ taken: 1, refused: 0 });
    });

    it('[V11] no small update waits behind exports of large sessions', async () => {
      const socket = await connect(far.url);
      const sessionId = freshId('v');
      await socket.ok('session:open', { sessionId });
      let isDone = false;
      const exported = Promise.all(range(1, 4).map(() => request('GET', exportUrl()))).finally(() => (isDone = true));
      let updates = 0;
      while (!isDone) await socket.ok('settings:update', { sessionId, merge: { n: (updates += 1) } });
      for (const { text } of await exported) expect(linesOf(text).map(({ id }) => id)).to.deep.equal(ids);
      // A Redis that needs long to hand a session out.
      const reads = hold();
      const standing = request('GET', exportUrl());
      await until(() => reads.bytes().includes('SESSION'), { what: 'a session on its way' });
      await socket.ok('settings:update', { sessionId, merge: { n: 0 } });
      reads.release();
      expect(linesOf((await standing).text)).to.have.length(4);
    });

    it('[V11] of five transfers at once the fifth is OVERLOADED, and the others end well', async () => {
      const reads = hold();
      const four = range(1, 4).map(() => request('GET', exportUrl()));
      // Each reads four sessions.
      await until(() => reads.bytes().split('SESSION').length > 16, { what: 'four exports' });
      expectProblem(await request('GET', exportUrl()), 'OVERLOADED');
      expectProblem(await request('POST', `${far.url}/v1/import`, { body: '' }), 'OVERLOADED');
      reads.release();
      for (const { status, text } of await Promise.all(four)) {
        expect(status).to.equal(200);
        expect(linesOf(text)).to.have.length(4);
      }
      expect((await request('GET', exportUrl())).status).to.equal(200);
    });

    it('[V10] HEAD of an export is answered at once', async () => {
      // No session need be read for it.
      hold();
      const answer = await fetch(`${far.url}/v1/export`, { method: 'HEAD', signal: AbortSignal.timeout(HEAD_MS) });
      expect(answer.status).to.equal(200);
      expect(answer.headers.get('content-type')).to.match(/^application\/jsonl\b/);
    });
  });
});

/** An import whose body has begun and not ended. */
function heldImport({ port }: Attune, line: string): { finish(): Promise<Wire> } {
  const headers = { 'content-type': 'application/jsonl' };
  const held: ClientRequest = startRequest({ port, host: '127.0.0.1', method: 'POST', path: '/v1/import', headers });
  const answered = once(held, 'response');
  answered.catch(() => undefined);
  held.write(`${line}\n`);
  return {
    async finish() {
      held.end();
      const [response] = (await answered) as [AsyncIterable<Buffer>];
      let text = '';
      for await (const chunk of response) text += chunk.toString();
      return JSON.parse(text) as Wire;
    },
  };
}

/** The most memory that the server has had at a time; where the system does not say, what it has now. */
async function peakBytes({ url, pid }: Attune): Promise<number> {
  const status = `/proc/${pid}/status`;
  if (!existsSync(status)) return metric(url, 'process_resident_memory_bytes');
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(status, 'utf8'))?.[1]) * KIB;
}
