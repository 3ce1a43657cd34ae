// Imports and exports at their limits, and what readers see of conflation, of joining again, and of things removed.
import { existsSync, readFileSync } from 'node:fs';
import { expect } from 'chai';
import { SignJWT } from 'jose';
import { startAttune, type Attune } from '../support/attune.js';
import { expectProblem, request, type Answer } from '../support/http.js';
import { metric } from '../support/session-log.js';
import { freshId, expectBase, expectWrite, type Wire } from '../support/shapes.js';
import { closeSockets, connect, type TestSocket } from '../support/socket.js';
import { until } from '../support/until.js';

const SECRET = 'a secret that is used by tests and by nothing else';
const KIB = 1024;
const MIB = 1024 * KIB;
/** Longest line of an import or export, bytes. */
const LINE_BYTES_MAX = 16 * MIB;
/** Longest content of a message, bytes. */
const CONTENT_BYTES_MAX = 256 * KIB;
const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);

describe('imports, exports and readers', () => {
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
  async function imported(lines: readonly string[], query = ''): Promise<Wire> {
    const answer = await importing(lines, query);
    expect(answer.status, answer.text.slice(0, 500)).to.equal(200);
    return answer.body;
  }

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
      return text
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as Wire);
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

  describe('readers', () => {
    async function opened(settings: Wire = {}): Promise<{ writer: TestSocket; session: Wire; sessionId: string }> {
      const writer = await connect(attune.url, { clientId: 'writer' });
      const { session } = await writer.ok('session:open', { sessionId: freshId('r'), settings });
      return { writer, session, sessionId: session.id };
    }
    /** As many updates at once: their commits come to the node together. */
    const burst = (writer: TestSocket, sessionId: string, from: number, to: number): Promise<Wire[]> =>
      Promise.all(range(from, to).map((n) => writer.ok('settings:update', { sessionId, merge: { n } })));

    it('[T28] a reader of deltas whose commits were conflated is given the settings in place of delta and from', async () => {
      const { writer, session, sessionId } = await opened({ n: 0, list: [1] });
      const reader = await connect(attune.url);
      await reader.ok('session:join', { sessionId, body: 'delta', delivery: 'latest' });
      const acks = await burst(writer, sessionId, 1, 60);
      const last = acks.at(-1);
      await reader.next('settings:updated', (body) => body.revision === last.revision);
      const told = reader.bodies('settings:updated');
      expect(told.length, 'conflated').to.be.below(60);
      let { settingsRevision } = session;
      let conflated = 0;
      for (const body of told) {
        expectBase(body, { sessionId, epoch: session.epoch });
        expect(body).to.not.have.property('request');
        const skipped = body.settingsRevision - settingsRevision > 1;
        if (skipped) {
          expect(body).to.not.have.any.keys('delta', 'from');
          expect(body.settings).to.deep.equal({ ...session.settings, n: body.revision - 1 });
          conflated += 1;
        } else if (body.settings === undefined) {
          expect(body.from).to.equal(settingsRevision);
          expect(body.delta).to.deep.equal([{ op: 'replace', path: '/n', value: body.revision - 1 }]);
        }
        settingsRevision = body.settingsRevision;
      }
      expect(conflated, 'events that stand for several commits').to.be.above(0);
    });

    it('[T29] joining again replaces the options: every becomes latest and latest every, without a gap', async () => {
      const { writer, sessionId } = await opened();
      const reader = await connect(attune.url);
      await reader.ok('session:join', { sessionId });
      await burst(writer, sessionId, 1, 40);
      await reader.next('settings:updated', (body) => body.revision === 41);
      expect(reader.bodies('settings:updated').map(({ revision }) => revision)).to.deep.equal(range(2, 41));

      await reader.ok('session:join', { sessionId, delivery: 'latest' });
      await burst(writer, sessionId, 41, 80);
      await reader.next('settings:updated', (body) => body.revision === 81);
      const latest = reader
        .bodies('settings:updated')
        .slice(40)
        .map(({ revision }) => revision);
      expect(latest.length, 'events of latest').to.be.within(1, 30);
      expect(latest).to.deep.equal([...new Set(latest)].sort((a, b) => a - b));

      const seen = reader.bodies('settings:updated').length;
      const { session } = await reader.ok('session:join', { sessionId, delivery: 'every', body: 'delta' });
      expect(session.revision).to.equal(81);
      await burst(writer, sessionId, 81, 120);
      await reader.next('settings:updated', (body) => body.revision === 121);
      const every = reader.bodies('settings:updated').slice(seen);
      expect(every.map(({ revision }) => revision)).to.deep.equal(range(82, 121));
      for (const body of every) expect(body).to.include.keys('delta', 'from').and.not.have.property('settings');
      // One place in the room, however often it joined.
      expect(await metric(attune.url, 'attune_rooms')).to.equal(1);
      await reader.ok('session:leave', { sessionId });
      expect(await metric(attune.url, 'attune_rooms')).to.equal(0);
    });

    it('[T30] a title or metadata that was removed is in neither acknowledgement nor event nor document', async () => {
      const { writer, sessionId } = await opened();
      const reader = await connect(attune.url);
      await reader.ok('session:join', { sessionId });
      const describe = async (change: Wire) => {
        const ack = expectWrite(await writer.ok('session:describe', { sessionId, ...change }), { duplicate: false });
        const body = expectBase(await reader.next('session:described', ({ revision }) => revision === ack.revision));
        return { ack, body };
      };
      const set = await describe({ title: 'T', metadata: { k: 1 } });
      for (const one of [set.ack, set.body]) expect(one).to.deep.include({ title: 'T', metadata: { k: 1 } });
      const untitled = await describe({ title: null });
      for (const one of [untitled.ack, untitled.body]) {
        expect(one).to.not.have.property('title');
        expect(one).to.deep.include({ metadata: { k: 1 } });
      }
      const bare = await describe({ metadata: null });
      for (const one of [bare.ack, bare.body]) expect(one).to.not.have.any.keys('title', 'metadata');
      const { session } = await reader.ok('session:get', { sessionId });
      expect(session).to.include({ revision: 4 }).and.not.have.any.keys('title', 'metadata');
      const nothing = await writer.ok('session:describe', { sessionId, title: null, metadata: null });
      expect(nothing).to.include({ revision: 4, duplicate: false });
    });
  });
});

/** The most memory that the server has had at a time; where the system does not say, what it has now. */
async function peakBytes({ url, pid }: Attune): Promise<number> {
  const status = `/proc/${pid}/status`;
  if (!existsSync(status)) return metric(url, 'process_resident_memory_bytes');
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(status, 'utf8'))?.[1]) * KIB;
}
