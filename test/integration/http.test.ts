// Black-box tests of the HTTP calls, from the contract alone. Event streams and rights have files of their own.
import { Ajv2020 } from 'ajv/dist/2020.js';
import { Ajv } from 'ajv';
import { expect } from 'chai';
import { startAttune, type Attune } from '../support/attune.js';
import { expectProblem, request, type Answer, type RequestOptions } from '../support/http.js';
import { range } from '../support/range.js';
import { expectMessage, expectSession, expectTime, expectWrite, freshId, type Wire } from '../support/shapes.js';
import { closeSockets, connect } from '../support/socket.js';

const ORIGIN = 'https://app.example';

describe('HTTP', () => {
  let attune: Attune;
  before(async () => {
    attune = await startAttune({ env: { CORS_ORIGINS: `${ORIGIN},https://two.example:8443` } });
  });
  after(() => attune?.destroy());
  afterEach(closeSockets);

  const call = (method: string, path: string, options?: RequestOptions): Promise<Answer> =>
    request(method, attune.url + path, options);
  const json = (method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> =>
    call(method, path, { body, headers });
  async function ok(answer: Promise<Answer>, status = 200): Promise<Answer> {
    const got = await answer;
    expect(got.status, got.text.slice(0, 500)).to.equal(status);
    return got;
  }
  async function refused(
    answer: Promise<Answer>,
    code: Parameters<typeof expectProblem>[1],
    status?: number,
  ): Promise<Wire> {
    return expectProblem(await answer, code, status);
  }
  /** A session with exactly these settings, at revision 2. */
  async function session(settings: Wire = { model: 'a' }): Promise<{ path: string; id: string; epoch: string }> {
    const id = freshId('w');
    const { body } = await ok(json('PUT', `/v1/sessions/${id}`, { settings: { seed: 1 } }), 201);
    await ok(json('PUT', `/v1/sessions/${id}/settings`, settings));
    return { path: `/v1/sessions/${id}`, id, epoch: body.epoch };
  }
  const get = async (path: string): Promise<Wire> => (await ok(call('GET', path))).body;

  describe('sessions', () => {
    it('[W1] POST /v1/sessions creates and says where', async () => {
      const asked = { prefix: 'w-', settings: { model: 'm' }, title: 'T', metadata: { a: 1 } };
      const made = await ok(json('POST', '/v1/sessions', asked), 201);
      expectWrite(made.body, { created: true, revision: 1, duplicate: false });
      expect(made.body).to.not.have.property('ok');
      expectSession(made.body.session);
      expect(made.body.session).to.deep.include({ title: 'T', metadata: { a: 1 } });
      expect(made.body.session.id).to.match(/^w-/);
      const location = new URL(made.headers.get('location') ?? '', `${attune.url}/v1/sessions`);
      expect(location.pathname).to.equal(`/v1/sessions/${made.body.session.id}`);
      expect(await get(location.pathname)).to.deep.equal(made.body.session);
      const id = freshId('w');
      expect((await ok(json('POST', '/v1/sessions', { sessionId: id }), 201)).body.session.id).to.equal(id);
      await ok(json('POST', '/v1/sessions', {}), 201);
    });

    it('[W2] PUT gets or creates: 201, then 200 with what is there', async () => {
      const path = `/v1/sessions/${freshId('w')}`;
      const made = await ok(json('PUT', path, { settings: { model: 'first' }, title: 'T' }), 201);
      expect(made.body.created).to.equal(true);
      const again = await ok(json('PUT', path, { settings: { model: 'second' }, title: 'U' }));
      expect(again.body.created).to.equal(false);
      expect(again.body.session).to.deep.equal(made.body.session);
      expect(made.body.session.settings.model).to.equal('first');
    });

    it('[W3] GET /v1/sessions lists, by prefix and in pages', async () => {
      const prefix = freshId('list');
      const ids = range(1, 12).map((n) => `${prefix}.${n}`);
      await Promise.all(ids.map((id) => ok(json('PUT', `/v1/sessions/${id}`, {}), 201)));
      const listed: string[] = [];
      for (let cursor: string | undefined, pages = 0; ; pages += 1) {
        expect(pages, 'pages').to.be.below(500);
        const query = new URLSearchParams({
          prefix: `${prefix}.`,
          limit: '5',
          ...(cursor !== undefined && { cursor }),
        });
        const page = await get(`/v1/sessions?${query.toString()}`);
        expect(page.sessions).to.be.an('array').with.length.at.most(5);
        listed.push(...page.sessions.map((one: Wire) => one.id));
        if (page.next === undefined) break;
        cursor = String(page.next);
      }
      expect([...new Set(listed)].sort()).to.deep.equal([...ids].sort());
      expect(listed).to.have.length(ids.length);
      const { sessions } = await get(`/v1/sessions?prefix=${prefix}.7&limit=500`);
      expect(sessions).to.have.length(1);
      expectSession(sessions[0], `${prefix}.7`);
      expect((await get(`/v1/sessions?prefix=${freshId('none')}`)).sessions).to.deep.equal([]);
      for (const query of ['limit=0', 'limit=501', 'limit=x', 'cursor=%00bad']) {
        await refused(call('GET', `/v1/sessions?${query}`), 'INVALID_REQUEST');
      }
    });

    it('[W4] GET answers with the document and an ETag of epoch and revision, and 304 to the same', async () => {
      const { path, epoch } = await session();
      const first = await ok(call('GET', path));
      expectSession(first.body);
      const etag = `"${epoch}:2"`;
      expect(first.headers.get('etag')).to.equal(etag);
      expect(first.headers.get('content-type')).to.match(/^application\/json\b/);
      for (const value of [etag, `"other:1", ${etag}`, `W/${etag}`]) {
        const same = await ok(call('GET', path, { headers: { 'if-none-match': value } }), 304);
        expect(same.text).to.equal('');
        expect(same.headers.get('etag')).to.equal(etag);
      }
      await ok(json('PATCH', path, { title: 'new' }));
      const changed = await ok(call('GET', path, { headers: { 'if-none-match': etag } }));
      expect(changed.body.title).to.equal('new');
      expect(changed.headers.get('etag')).to.equal(`"${epoch}:3"`);
    });

    it('[W5] PATCH describes: sets title and metadata, and null removes them', async () => {
      const { path, epoch } = await session();
      const set = await ok(json('PATCH', path, { title: 'T', metadata: { a: 1 } }));
      expectWrite(set.body, { epoch, revision: 3, title: 'T', metadata: { a: 1 } });
      expect(set.body).to.not.have.property('ok');
      await ok(json('PATCH', path, { title: null }));
      const now = await get(path);
      expect(now).to.not.have.property('title');
      expect(now).to.deep.include({ metadata: { a: 1 }, revision: 4, settingsRevision: 2 });
      await refused(json('PATCH', path, { title: 5 }), 'INVALID_REQUEST');
    });

    it('[W6] DELETE removes with 204 and nothing more', async () => {
      const { path } = await session();
      const gone = await ok(call('DELETE', path), 204);
      expect(gone.text).to.equal('');
      await refused(call('GET', path), 'SESSION_NOT_FOUND');
      await refused(call('DELETE', path), 'SESSION_NOT_FOUND');
    });
  });

  describe('settings', () => {
    it('[W7] GET answers with the settings alone; their ETag changes only with them', async () => {
      const { path, epoch } = await session({ model: 'a', empty: {}, list: [] });
      const first = await ok(call('GET', `${path}/settings`));
      expect(first.body).to.deep.equal({ model: 'a', empty: {}, list: [] });
      const etag = `"${epoch}:2"`;
      expect(first.headers.get('etag')).to.equal(etag);
      await ok(json('PATCH', path, { title: 'a commit of another kind' }));
      await ok(call('GET', `${path}/settings`, { headers: { 'if-none-match': etag } }), 304);
      await ok(json('PATCH', `${path}/settings`, { model: 'b' }));
      const changed = await ok(call('GET', `${path}/settings`, { headers: { 'if-none-match': etag } }));
      expect(changed.body.model).to.equal('b');
      expect(changed.headers.get('etag')).to.equal(`"${epoch}:4"`);
    });

    it('[W8] PUT replaces and answers as the acknowledgement does, without ok', async () => {
      const { path, id, epoch } = await session({ model: 'a', gone: 1 });
      const reader = await connect(attune.url);
      await reader.ok('session:join', { sessionId: id });
      const put = await ok(json('PUT', `${path}/settings`, { model: 'b' }));
      expectWrite(put.body, { epoch, revision: 3, settingsRevision: 3, duplicate: false, settings: { model: 'b' } });
      expect(put.body.changedPaths).to.have.members(['/model', '/gone']);
      expectTime(put.body.updatedAt);
      expect(put.body).to.not.have.property('ok');
      const told = await reader.next('settings:updated');
      expect(told).to.deep.include({ revision: 3, settings: { model: 'b' }, request: { replace: { model: 'b' } } });
      const same = await ok(json('PUT', `${path}/settings`, { model: 'b' }));
      expect(same.body).to.deep.include({ revision: 3, changedPaths: [] });
    });

    it('[W9] PATCH goes by its content type: merge patch, JSON, JSON patch', async () => {
      const { path } = await session({ model: 'a', gone: 1 });
      const patched = async (type: string, body: unknown): Promise<Wire> =>
        (await ok(json('PATCH', `${path}/settings`, body, { 'content-type': type }))).body.settings;
      expect(await patched('application/merge-patch+json', { gone: null, x: 1 })).to.deep.equal({ model: 'a', x: 1 });
      expect(await patched('application/json; charset=utf-8', { x: 2 })).to.deep.equal({ model: 'a', x: 2 });
      const operations = [{ op: 'replace', path: '/x', value: [3] }];
      expect(await patched('application/json-patch+json', operations)).to.deep.equal({ model: 'a', x: [3] });
      const wrong = await json('PATCH', `${path}/settings`, '{"x":4}', { 'content-type': 'text/plain' });
      expectProblem(wrong, 'INVALID_REQUEST', 400);
      const mixed = json('PATCH', `${path}/settings`, { x: 5 }, { 'content-type': 'application/json-patch+json' });
      await refused(mixed, 'INVALID_REQUEST');
      await refused(json('PATCH', `${path}/settings`, operations), 'INVALID_REQUEST');
      expect(await get(`${path}/settings`)).to.deep.equal({ model: 'a', x: [3] });
    });

    it('[W10] history and restore are as the events', async () => {
      const { path, id } = await session({ a: 1 });
      await ok(json('PATCH', `${path}/settings`, { b: 2 }));
      const socket = await connect(attune.url);
      const { versions } = await get(`${path}/settings/history`);
      expect(versions).to.deep.equal((await socket.ok('settings:history', { sessionId: id })).versions);
      expect(versions.map((version: Wire) => version.revision)).to.deep.equal([3, 2, 1]);
      const page = await get(`${path}/settings/history?limit=1`);
      expect(page.versions).to.deep.equal([versions[0]]);
      const rest = await get(`${path}/settings/history?limit=500&before=${page.next}`);
      expect(rest.versions).to.deep.equal(versions.slice(1));
      const back = await ok(json('POST', `${path}/settings/restore`, { toRevision: 2 }));
      expectWrite(back.body, { revision: 4, settingsRevision: 4, settings: { a: 1 }, changedPaths: ['/b'] });
      for (const query of ['limit=0', 'limit=501', 'limit=abc', 'limit=1.5', 'before=-1', 'before=x']) {
        await refused(call('GET', `${path}/settings/history?${query}`), 'INVALID_REQUEST');
      }
      await refused(json('POST', `${path}/settings/restore`, { toRevision: 99 }), 'INVALID_REQUEST');
    });

    it('[W11] If-Match guards writes of settings by epoch and revision; a message does not make it stale', async () => {
      const { path, epoch } = await session();
      const put = (etag: string, model: string) => json('PUT', `${path}/settings`, { model }, { 'if-match': etag });
      const etag = (await ok(call('GET', `${path}/settings`))).headers.get('etag') ?? '';
      expectWrite((await json('POST', `${path}/messages`, { role: 'user', content: 'hello' })).body, { revision: 3 });
      await ok(put(etag, 'b'));
      for (const stale of [etag, `"another:4"`, `"${epoch}:99"`]) {
        const problem = await refused(put(stale, 'c'), 'REVISION_CONFLICT', 412);
        expect(problem.details).to.deep.include({ epoch, revision: 4, settingsRevision: 4, settings: { model: 'b' } });
      }
      const whole = (await ok(call('GET', path))).headers.get('etag') ?? '';
      await ok(put(whole, 'c'));
      const current = (await ok(call('GET', path))).headers.get('etag') ?? '';
      const merge = json('PATCH', `${path}/settings`, { mode: 'x' }, { 'if-match': whole });
      await refused(merge, 'REVISION_CONFLICT', 412);
      const restore = (match: string) =>
        json('POST', `${path}/settings/restore`, { toRevision: 2 }, { 'if-match': match });
      await refused(restore(whole), 'REVISION_CONFLICT', 412);
      await ok(restore(current));
      for (const malformed of ['nonsense', `"${epoch}"`, `"${epoch}:x"`]) {
        await refused(put(malformed, 'd'), 'INVALID_REQUEST', 400);
      }
    });

    it('[W12] Idempotency-Key is the updateId: the same answer again, another payload refused', async () => {
      const { path, id } = await session();
      const socket = await connect(attune.url);
      await socket.ok('session:join', { sessionId: id });
      const headers = { 'idempotency-key': 'key-1' };
      const first = await ok(json('PUT', `${path}/settings`, { model: 'b' }, headers));
      expect((await socket.next('settings:updated')).updateId).to.equal('key-1');
      await ok(json('PUT', `${path}/settings`, { model: 'c' }));
      const again = await ok(json('PUT', `${path}/settings`, { model: 'b' }, headers));
      expect(again.body).to.deep.equal({ ...first.body, duplicate: true });
      const other = await refused(json('PUT', `${path}/settings`, { model: 'd' }, headers), 'INVALID_REQUEST', 400);
      expect(JSON.stringify(other)).to.include('key-1');
      const message = { role: 'user', content: 'once' };
      const added = await json('POST', `${path}/messages`, message, { 'idempotency-key': 'key-2' });
      const repeated = await json('POST', `${path}/messages`, message, { 'idempotency-key': 'key-2' });
      expect(repeated.body).to.deep.equal({ ...added.body, duplicate: true });
      expect((await get(`${path}/messages`)).messages).to.have.length(1);
      const tooLong = json('PUT', `${path}/settings`, { model: 'e' }, { 'idempotency-key': 'x'.repeat(129) });
      await refused(tooLong, 'INVALID_REQUEST');
      expect((await get(path)).revision).to.equal(5);
    });
  });

  describe('messages', () => {
    it('[W13] POST adds, GET lists, PATCH updates, DELETE deletes one and clears all', async () => {
      const { path, id, epoch } = await session();
      const reader = await connect(attune.url);
      await reader.ok('session:join', { sessionId: id });
      const add = async (body: Wire): Promise<Wire> => {
        const answer = await json('POST', `${path}/messages`, body);
        expect(answer.status, answer.text).to.equal(201);
        expectWrite(answer.body, { epoch, duplicate: false });
        expect(answer.body).to.not.have.property('ok');
        return expectMessage(answer.body.message);
      };
      const [one, two] = [
        await add({ id: 'one', role: 'user', content: '1' }),
        await add({ role: 'tool', content: [] }),
      ];
      expect((await reader.next('message:added')).message).to.deep.equal(one);
      expect((await get(`${path}/messages`)).messages).to.deep.equal([two, one]);
      const page = await get(`${path}/messages?limit=1`);
      expect(page.messages).to.deep.equal([two]);
      expect((await get(`${path}/messages?before=${page.next}`)).messages).to.deep.equal([one]);
      const updated = await ok(json('PATCH', `${path}/messages/one`, { append: '+', status: 'error' }));
      expectMessage(updated.body.message, { content: '1+', status: 'error', revision: 5 });
      expect((await get(`${path}/messages?after=4`)).messages).to.deep.equal([updated.body.message]);
      const deleted = await call('DELETE', `${path}/messages/one`);
      expect(deleted.status).to.equal(200);
      expect((await reader.next('message:deleted')).messageId).to.equal('one');
      await refused(call('DELETE', `${path}/messages/one`), 'MESSAGE_NOT_FOUND');
      await refused(json('PATCH', `${path}/messages/one`, { append: 'x' }), 'MESSAGE_NOT_FOUND');
      const cleared = await ok(call('DELETE', `${path}/messages`));
      expectWrite(cleared.body, { removed: 1, revision: 7 });
      expect((await get(`${path}/messages`)).messages).to.deep.equal([]);
      for (const query of ['limit=0', 'limit=501', 'before=x', 'after=-1']) {
        await refused(call('GET', `${path}/messages?${query}`), 'INVALID_REQUEST');
      }
      await refused(json('POST', `${path}/messages`, { role: 'emperor', content: 'x' }), 'INVALID_REQUEST');
    });

    it('[W14] ids of messages may hold any character, percent-encoded in the path', async () => {
      const { path } = await session();
      const id = 'a/b ?é#%';
      await json('POST', `${path}/messages`, { id, role: 'user', content: 'x' });
      const at = `${path}/messages/${encodeURIComponent(id)}`;
      expect((await ok(json('PATCH', at, { content: 'y' }))).body.message).to.include({ id, content: 'y' });
      expect((await call('DELETE', at)).status).to.equal(200);
      await refused(call('DELETE', `${path}/messages/%E0%A4%A`), 'INVALID_REQUEST');
    });
  });

  describe('errors', () => {
    it('[W16] of every call on an unknown session are SESSION_NOT_FOUND as problem+json', async () => {
      const path = `/v1/sessions/${freshId('none')}`;
      const calls: [string, string, unknown?][] = [
        ['GET', ''],
        ['PATCH', '', { title: 'x' }],
        ['DELETE', ''],
        ['GET', '/settings'],
        ['PUT', '/settings', {}],
        ['PATCH', '/settings', {}],
        ['GET', '/settings/history'],
        ['POST', '/settings/restore', { toRevision: 1 }],
        ['GET', '/messages'],
        ['POST', '/messages', { role: 'user', content: 'x' }],
        ['DELETE', '/messages'],
        ['PATCH', '/messages/m', { append: 'x' }],
        ['DELETE', '/messages/m'],
        ['GET', '/events'],
      ];
      const ids = new Set<string>();
      for (const [method, rest, body] of calls) {
        const problem = await refused(json(method, path + rest, body), 'SESSION_NOT_FOUND');
        ids.add(problem.requestId);
      }
      expect(ids.size, 'a request id for each').to.equal(calls.length);
    });

    it('[W17] of paths that do not exist and of ids that are none are problems too', async () => {
      for (const path of ['/nowhere', '/v1', '/v1/nothing', `/v1/sessions/${freshId('w')}/nothing`]) {
        await refused(call('GET', path), 'INVALID_REQUEST', 404);
      }
      for (const id of ['__proto__', '..%2fx', '-a', 'a%20b', 'a%00b', 'a*', 'x'.repeat(129), '%E0%A4%A']) {
        await refused(call('GET', `/v1/sessions/${id}`), 'INVALID_REQUEST', 400);
        await refused(json('PUT', `/v1/sessions/${id}`, {}), 'INVALID_REQUEST', 400);
      }
    });

    it('[W18] of bodies that are no JSON object are INVALID_REQUEST', async () => {
      const { path } = await session();
      for (const body of ['{"a":', '[1]', '"text"', '5', 'null', '{"a":1}}', '']) {
        await refused(json('PUT', `${path}/settings`, body), 'INVALID_REQUEST', 400);
        await refused(json('POST', `${path}/messages`, body), 'INVALID_REQUEST', 400);
        if (body !== '') await refused(json('POST', '/v1/sessions', body), 'INVALID_REQUEST', 400);
      }
      const polluted = '{"a":{"__proto__":{"polluted":1}}}';
      await refused(json('PUT', `${path}/settings`, polluted), 'INVALID_REQUEST', 400);
      const deep = `{"a":${'['.repeat(50_000)}${']'.repeat(50_000)}}`;
      await refused(json('PUT', `${path}/settings`, deep), 'INVALID_REQUEST');
      expect((await get(path)).revision).to.equal(2);
    });

    it('[W19] of too much are 413 TOO_LARGE, of settings that break the schema 422 with the places', async () => {
      const { path } = await session();
      const text = (length: number) => ({ text: 'x'.repeat(length) });
      await refused(json('PUT', `${path}/settings`, text(70_000)), 'TOO_LARGE', 413);
      await refused(json('PUT', `${path}/settings`, text(2_000_000)), 'TOO_LARGE', 413);
      await refused(json('POST', `${path}/messages`, { role: 'user', content: 'x'.repeat(270_000) }), 'TOO_LARGE', 413);
      const problem = await refused(json('PATCH', `${path}/settings`, { model: 5 }), 'INVALID_SETTINGS', 422);
      expect(problem.details.issues.map((issue: Wire) => issue.path)).to.include('/model');
      await refused(json('PUT', `/v1/sessions/${freshId('w')}`, { settings: { model: 5 } }), 'INVALID_SETTINGS', 422);
      expect((await get(path)).revision).to.equal(2);
    });
  });

  describe('for operators and browsers', () => {
    it('[W22] GET /v1/settings-schema is the JSON Schema in force', async () => {
      const schema = await get('/v1/settings-schema');
      const options = { strict: false, validateFormats: false };
      const ajv = String(schema.$schema).includes('2020-12') ? new Ajv2020(options) : new Ajv(options);
      const isValid = ajv.compile(schema);
      const { session: fresh } = (await ok(json('POST', '/v1/sessions', {}), 201)).body;
      expect(isValid(fresh.settings), JSON.stringify(isValid.errors)).to.equal(true);
      expect(isValid({ model: 'x', unheard_of: 1, options: { unheard_of: 1 } })).to.equal(true);
      expect(isValid({ model: 5 })).to.equal(false);
      expect(isValid({ options: { temperature: 'hot' } })).to.equal(false);
      expect(schema.properties).to.include.keys('model', 'mode', 'options');
    });

    it('[W23] /livez says that the process is up, /readyz that it can serve and what an acknowledgement is worth', async () => {
      await ok(call('GET', '/livez'));
      const { body } = await ok(call('GET', '/readyz'));
      expect(body.ready).to.equal(true);
      expect(body.checks).to.include.keys('redis', 'feed', 'draining');
      expect(body.durability).to.equal('fsync');
    });

    it('[W24] /metrics is Prometheus text', async () => {
      const { headers, text } = await ok(call('GET', '/metrics'));
      expect(headers.get('content-type')).to.match(/^text\/plain\b/);
      const samples = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
      expect(samples).to.have.length.above(5);
      for (const sample of samples) expect(sample).to.match(/^[a-zA-Z_:][\w:]*(\{.*\})? [-+.\deENaInf]+( \d+)?$/);
      expect(text).to.match(/^# TYPE \S+ (counter|gauge|histogram|summary)$/m);
    });

    it('[W25] GET / is a page', async () => {
      const { headers, text } = await ok(call('GET', '/'));
      expect(headers.get('content-type')).to.match(/^text\/html\b/);
      expect(text).to.match(/attune/i);
      expect(text, 'nothing from another host').to.not.match(/(src|href)="https?:/);
    });

    it('[W26] allowed origins may call and read ETag, Location and Retry-After; others not', async () => {
      const { path } = await session();
      for (const origin of [ORIGIN, 'https://two.example:8443']) {
        const { headers } = await ok(call('GET', path, { headers: { origin } }));
        expect(headers.get('access-control-allow-origin')).to.equal(origin);
        const exposed = (headers.get('access-control-expose-headers') ?? '').toLowerCase().split(/\s*,\s*/);
        expect(exposed).to.include.members(['etag', 'location', 'retry-after']);
        expect(headers.get('vary') ?? '').to.match(/origin/i);
      }
      for (const method of ['PUT', 'PATCH', 'DELETE', 'POST']) {
        const asked = 'authorization,content-type,if-match,idempotency-key,last-event-id';
        const { status, headers } = await call('OPTIONS', `${path}/settings`, {
          headers: { origin: ORIGIN, 'access-control-request-method': method, 'access-control-request-headers': asked },
        });
        expect(status).to.equal(204);
        expect(headers.get('access-control-allow-origin')).to.equal(ORIGIN);
        expect(headers.get('access-control-allow-methods')).to.include(method);
        const allowed = (headers.get('access-control-allow-headers') ?? '').toLowerCase().split(/\s*,\s*/);
        expect(allowed).to.include.members(asked.split(','));
      }
      for (const origin of [
        `${ORIGIN}.evil.test`,
        'https://evil-app.example',
        'http://app.example',
        'null',
        `${ORIGIN}:444`,
      ]) {
        const { headers } = await call('GET', path, { headers: { origin } });
        expect(headers.get('access-control-allow-origin'), origin).to.equal(null);
      }
    });
  });
});
