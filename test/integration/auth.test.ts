// Black-box tests of tokens, roles and origins, from the contract alone.
import { randomBytes } from 'node:crypto';
import { expect } from 'chai';
import { SignJWT, UnsecuredJWT, type JWTPayload } from 'jose';
import { WebSocket } from 'ws';
import { runAttune, startAttune, type Attune } from '../support/attune.js';
import { closeStreams, expectProblem, openEvents, request, type Answer } from '../support/http.js';
import { rawConnection } from '../support/raw-connection.js';
import { expectAuthor, expectError, expectSession, freshId, type Wire } from '../support/shapes.js';
import { closeSockets, connect, connectRefused, type TestSocket } from '../support/socket.js';
import { until } from '../support/until.js';

const SECRET = `a secret of tests ${randomBytes(24).toString('hex')}`;
const ISSUER = 'https://issuer.example';
const AUDIENCE = 'attune-tests';
const nowS = (): number => Math.floor(Date.now() / 1_000);

type Role = 'viewer' | 'member' | 'editor' | 'owner';
type Grants = { match: string; role: Role }[];

/** A token that is right in everything but what `claims` and `secret` say. Undefined removes a claim. */
function token(sub: string, sessions: unknown, claims: Record<string, unknown> = {}, secret = SECRET): Promise<string> {
  const all = { sub, sessions, iss: ISSUER, aud: AUDIENCE, exp: nowS() + 600, ...claims };
  const payload = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
  return new SignJWT(payload as JWTPayload).setProtectedHeader({ alg: 'HS256' }).sign(new TextEncoder().encode(secret));
}

describe('tokens and roles', () => {
  let attune: Attune;
  before(async () => {
    const env = { AUTH_SECRET: SECRET, AUTH_ISSUER: ISSUER, AUTH_AUDIENCE: AUDIENCE, LOG_LEVEL: 'trace' };
    attune = await startAttune({ env });
  });
  after(() => attune?.destroy());
  afterEach(closeSockets);
  afterEach(closeStreams);

  const used: string[] = [];
  async function signed(sub: string, sessions: unknown, claims?: Record<string, unknown>): Promise<string> {
    const made = await token(sub, sessions, claims);
    used.push(made);
    return made;
  }
  async function as(sub: string, sessions: Grants, claims?: Record<string, unknown>): Promise<TestSocket> {
    return connect(attune.url, { token: await signed(sub, sessions, claims) });
  }
  async function http(bearer: string | undefined, method: string, path: string, body?: unknown): Promise<Answer> {
    const headers: Record<string, string> = bearer === undefined ? {} : { authorization: `Bearer ${bearer}` };
    return request(method, attune.url + path, { body, headers });
  }
  /** A session that an owner made, with one message of the owner's (m) and settings { model: 'a' }. */
  async function made(prefix = 'a'): Promise<{ sessionId: string; owner: TestSocket }> {
    const sessionId = freshId(prefix);
    const owner = await as('owner', [{ match: '*', role: 'owner' }]);
    await owner.ok('session:open', { sessionId, settings: { model: 'a' } });
    await owner.ok('message:add', { sessionId, message: { id: 'm', role: 'user', content: 'x' } });
    return { sessionId, owner };
  }

  describe('the token', () => {
    const grants: Grants = [{ match: '*', role: 'owner' }];
    const text = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
    const bad: [what: string, make: () => Promise<string | undefined> | string | undefined][] = [
      ['none', () => undefined],
      ['an empty one', () => ''],
      ['garbage', () => 'garbage'],
      ['one of another secret', () => token('u', grants, {}, `${SECRET}x`)],
      ['an expired one', () => token('u', grants, { exp: nowS() - 30 })],
      ['one without exp', () => token('u', grants, { exp: undefined })],
      ['one without sub', () => token('u', grants, { sub: undefined })],
      ['one without sessions', () => token('u', undefined)],
      ['one with sessions that are none', () => token('u', [{ match: 5, role: 'owner' }])],
      ['one for another audience', () => token('u', grants, { aud: 'elsewhere' })],
      ['one without audience', () => token('u', grants, { aud: undefined })],
      ['one of another issuer', () => token('u', grants, { iss: 'https://other.example' })],
      ['one that is not valid yet', () => token('u', grants, { nbf: nowS() + 300 })],
      [
        'alg none',
        () => new UnsecuredJWT({ sub: 'u', sessions: grants, iss: ISSUER, aud: AUDIENCE, exp: nowS() + 600 }).encode(),
      ],
      [
        'an unknown algorithm',
        async () => {
          const [, payload, signature] = (await token('u', grants)).split('.');
          return `${text({ alg: 'HS1', typ: 'JWT' })}.${payload}.${signature}`;
        },
      ],
      [
        'a payload that was changed after signing',
        async () => {
          const [header, , signature] = (await token('u', [{ match: 'x', role: 'viewer' }])).split('.');
          const payload = text({ sub: 'u', sessions: grants, iss: ISSUER, aud: AUDIENCE, exp: nowS() + 600 });
          return `${header}.${payload}.${signature}`;
        },
      ],
    ];
    for (const [what, make] of bad) {
      it(`[A1] ${what} is UNAUTHENTICATED, as connect_error and as 401`, async () => {
        const given = await make();
        await connectRefused(attune.url, given === undefined ? {} : { token: given }, 'UNAUTHENTICATED');
        const path = `/v1/sessions/${freshId('a')}`;
        for (const call of [
          http(given, 'GET', path),
          http(given, 'PUT', path, {}),
          http(given, 'GET', '/v1/sessions'),
        ]) {
          expectProblem(await call, 'UNAUTHENTICATED', 401);
        }
        expectProblem(await http(given, 'GET', `${path}/events`), 'UNAUTHENTICATED', 401);
      });
    }

    it('[A2] may have run out by up to 5 s, and other schemes than Bearer do not count', async () => {
      await as('u', grants, { exp: nowS() - 2 });
      const valid = await signed('u', grants);
      const headers = { authorization: `Basic ${valid}` };
      expectProblem(await request('GET', `${attune.url}/v1/sessions`, { headers }), 'UNAUTHENTICATED', 401);
      const lower = await request('GET', `${attune.url}/v1/sessions?limit=1`, {
        headers: { authorization: `bearer ${valid}` },
      });
      expect(lower.status).to.equal(200);
    });

    it('[A3] says who the author is; the handshake does not', async () => {
      const given = await signed('ada', [{ match: '*', role: 'owner' }], { name: 'Ada', kind: 'service' });
      const socket = await connect(attune.url, {
        token: given,
        clientId: 'tab-a',
        kind: 'bot',
        userId: 'x',
        name: 'Eve',
      });
      const sessionId = freshId('a');
      const { session } = await socket.ok('session:open', { sessionId });
      const wanted = { userId: 'ada', clientId: 'tab-a', kind: 'service', name: 'Ada' };
      expect(session.updatedBy).to.deep.equal(wanted);
      const { message } = await socket.ok('message:add', { sessionId, message: { role: 'user', content: 'x' } });
      expect(message.author).to.deep.equal(wanted);
      const forged = { role: 'user', content: 'x', author: { userId: 'eve', clientId: 'c', kind: 'tab' } };
      const { message: second } = await socket.ok('message:add', { sessionId, message: forged });
      expect(second.author).to.deep.equal(wanted);
      const byHttp = await http(given, 'PATCH', `/v1/sessions/${sessionId}`, { title: 'T' });
      expect(byHttp.status).to.equal(200);
      const { session: now } = await socket.ok('session:get', { sessionId });
      expectAuthor(now.updatedBy, { userId: 'ada', name: 'Ada', kind: 'service' });
    });

    it('[A17] warns an open socket before it ends, and closes it then', async () => {
      // 5 s more are allowed for clocks that differ; one that has ended there lives for the rest of them.
      const socket = await as('u', grants, { exp: nowS() - 1 });
      await socket.next('auth:expiring');
      expect(socket.raw.connected).to.equal(true);
      await until(() => !socket.raw.connected, { deadlineMs: 10_000, what: 'the socket to be closed' });
      const lasting = await as('u', grants);
      await lasting.ok('session:open', {});
      expect(lasting.bodies('auth:expiring')).to.deep.equal([]);
    });

    it('[A4] is needed neither by probes nor in vain: the log never holds one', async () => {
      for (const path of ['/livez', '/readyz']) expect((await http(undefined, 'GET', path)).status).to.equal(200);
      expect(used).to.have.length.above(0);
      for (const one of used) expect(attune.stderr()).to.not.include(one.split('.')[2] as string);
      expect(attune.stderr()).to.not.include(SECRET);
    });
  });

  describe('what a role may do', () => {
    const message = { role: 'user', content: 'x' };
    const calls: { least: Role; event: string; body: Wire; method: string; rest: string; sent?: unknown }[] = [
      { least: 'viewer', event: 'session:get', body: {}, method: 'GET', rest: '' },
      { least: 'viewer', event: 'settings:history', body: {}, method: 'GET', rest: '/settings/history' },
      { least: 'viewer', event: 'message:list', body: {}, method: 'GET', rest: '/messages' },
      { least: 'viewer', event: 'session:join', body: {}, method: 'GET', rest: '/settings' },
      { least: 'member', event: 'message:add', body: { message }, method: 'POST', rest: '/messages', sent: message },
      ...['assistant', 'system', 'tool'].map((role) => ({
        least: 'editor' as const,
        event: 'message:add',
        body: { message: { ...message, role } },
        method: 'POST',
        rest: '/messages',
        sent: { ...message, role },
      })),
      {
        least: 'editor',
        event: 'settings:update',
        body: { merge: { a: 1 } },
        method: 'PATCH',
        rest: '/settings',
        sent: { a: 2 },
      },
      {
        least: 'editor',
        event: 'settings:update',
        body: { replace: { a: 1 } },
        method: 'PUT',
        rest: '/settings',
        sent: { a: 2 },
      },
      {
        least: 'editor',
        event: 'settings:restore',
        body: { toRevision: 1 },
        method: 'POST',
        rest: '/settings/restore',
        sent: { toRevision: 1 },
      },
      {
        least: 'editor',
        event: 'session:describe',
        body: { title: 'T' },
        method: 'PATCH',
        rest: '',
        sent: { title: 'U' },
      },
      {
        least: 'editor',
        event: 'message:update',
        body: { messageId: 'm', append: '!' },
        method: 'PATCH',
        rest: '/messages/m',
        sent: { append: '?' },
      },
      { least: 'owner', event: 'session:clear', body: {}, method: 'DELETE', rest: '/messages' },
      { least: 'owner', event: 'session:delete', body: {}, method: 'DELETE', rest: '' },
    ];
    const order: Role[] = ['viewer', 'member', 'editor', 'owner'];

    for (const role of order) {
      it(`[A5] a ${role} may do what is a ${role}'s and nothing above, by socket and by HTTP`, async () => {
        const { sessionId, owner } = await made();
        const given = await signed(`the ${role}`, [{ match: sessionId, role }]);
        const socket = await connect(attune.url, { token: given });
        const path = `/v1/sessions/${sessionId}`;
        for (const { least, event, body, method, rest, sent } of calls) {
          const isAllowed = order.indexOf(role) >= order.indexOf(least);
          const what = `${role}: ${event} ${JSON.stringify(body)}, ${method} ${rest}`;
          const { session: before } = await owner.ok('session:get', { sessionId });
          const ack = await socket.call(event, { sessionId, ...body });
          expect(ack.ok, `${what}: ${JSON.stringify(ack.error)}`).to.equal(isAllowed);
          if (!isAllowed) expect(ack.error.code, what).to.equal('FORBIDDEN');
          if (event === 'session:delete' && isAllowed) await owner.ok('session:open', { sessionId });
          const answer = await http(given, method, path + rest, sent);
          if (isAllowed) expect(answer.status, what).to.be.within(200, 299);
          else expectProblem(answer, 'FORBIDDEN', 403);
          if (!isAllowed) expect((await owner.ok('session:get', { sessionId })).session).to.deep.equal(before);
        }
      });
    }

    it('[A6] a member changes and deletes messages of their own, and nobody else’s', async () => {
      const { sessionId, owner } = await made();
      const member = await as('member', [{ match: sessionId, role: 'member' }]);
      const { message: own } = await member.ok('message:add', { sessionId, message });
      await member.ok('message:update', { sessionId, messageId: own.id, append: '!' });
      await member.refused('message:update', { sessionId, messageId: 'm', append: '!' }, 'FORBIDDEN');
      await member.refused('message:delete', { sessionId, messageId: 'm' }, 'FORBIDDEN');
      const other = await as('other', [{ match: sessionId, role: 'member' }]);
      await other.refused('message:update', { sessionId, messageId: own.id, content: 'mine' }, 'FORBIDDEN');
      await other.refused('message:delete', { sessionId, messageId: own.id }, 'FORBIDDEN');
      await member.ok('message:delete', { sessionId, messageId: own.id });
      const editor = await as('editor', [{ match: sessionId, role: 'editor' }]);
      await editor.ok('message:delete', { sessionId, messageId: 'm' });
      expect((await owner.ok('session:get', { sessionId })).session.messageCount).to.equal(0);
    });

    it('[A7] editors and owners create, others do not', async () => {
      for (const role of order) {
        const prefix = freshId(`new-${role}`);
        const given = await signed(role, [{ match: `${prefix}*`, role }]);
        const socket = await connect(attune.url, { token: given });
        const [one, two, three] = [`${prefix}.1`, `${prefix}.2`, `${prefix}.3`];
        if (role === 'editor' || role === 'owner') {
          expectSession((await socket.ok('session:open', { sessionId: one })).session, one);
          expectSession((await socket.ok('session:join', { sessionId: two, create: true })).session, two);
          expect((await http(given, 'PUT', `/v1/sessions/${three}`, {})).status).to.equal(201);
          expectSession((await socket.ok('session:open', { prefix })).session);
          await socket.refused('session:open', {}, 'FORBIDDEN');
        } else {
          await socket.refused('session:open', { sessionId: one }, 'FORBIDDEN');
          await socket.refused('session:open', { prefix }, 'FORBIDDEN');
          await socket.refused('session:join', { sessionId: two, create: true }, 'FORBIDDEN');
          expectProblem(await http(given, 'PUT', `/v1/sessions/${three}`, {}), 'FORBIDDEN', 403);
          await socket.refused('session:get', { sessionId: one }, 'SESSION_NOT_FOUND');
        }
        expectProblem(await http(given, 'POST', '/v1/sessions', {}), 'FORBIDDEN', 403);
      }
    });

    it('[V1] a join that may not create, sent behind others, is refused with its own error', async () => {
      const viewer = await as('viewer', [{ match: '*', role: 'viewer' }]);
      const sessionId = freshId('a');
      // Joins of one session take turns: the creation is refused long before the turn of its join.
      const before = Array.from({ length: 40 }, () => viewer.call('session:join', { sessionId }));
      const last = await viewer.call('session:join', { sessionId, create: true });
      expectError(last.error, 'FORBIDDEN');
      for (const { error } of await Promise.all(before)) expectError(error, 'SESSION_NOT_FOUND');
    });

    it('[A8] matches are an id or a prefix that ends in *, and the highest role of all matches counts', async () => {
      const { sessionId } = await made('team-a');
      const update = { sessionId, merge: { model: freshId('m') } };
      const writes: Grants[] = [
        [{ match: sessionId, role: 'editor' }],
        [{ match: 'team-a*', role: 'editor' }],
        [{ match: '*', role: 'editor' }],
        [{ match: `${sessionId}*`, role: 'editor' }],
        [
          { match: sessionId, role: 'editor' },
          { match: '*', role: 'viewer' },
        ],
        [
          { match: 'team*', role: 'viewer' },
          { match: 'team-a*', role: 'owner' },
          { match: sessionId, role: 'member' },
        ],
      ];
      for (const grants of writes) await (await as('u', grants)).ok('settings:update', update);
      const nothing: Grants[] = [
        [],
        [{ match: 'team-a', role: 'owner' }],
        [{ match: sessionId.slice(0, -1), role: 'owner' }],
        [{ match: `${sessionId}x*`, role: 'owner' }],
        [{ match: 'team-b*', role: 'owner' }],
        [{ match: 'Team-a*', role: 'owner' }],
      ];
      for (const grants of nothing) await (await as('u', grants)).refused('session:get', { sessionId }, 'FORBIDDEN');
    });

    it('[A9] who has no right gets the same FORBIDDEN whether the session exists or not', async () => {
      const { sessionId } = await made('hidden');
      const given = await signed('stranger', [{ match: 'elsewhere*', role: 'owner' }]);
      const socket = await connect(attune.url, { token: given });
      const unknown = `${sessionId}-none`;
      const same = (error: Wire): Wire => ({ ...error, requestId: '', instance: '' });
      const events: [string, Wire][] = [
        ['session:get', {}],
        ['session:open', {}],
        ['session:join', { create: true }],
        ['session:join', { cursor: { epoch: 'e', revision: 1 } }],
        ['settings:update', { merge: {} }],
        ['message:update', { messageId: 'm', append: 'x' }],
        ['message:update', { messageId: 'none', append: 'x' }],
        ['session:delete', {}],
      ];
      for (const [event, body] of events) {
        const one = await socket.refused(event, { sessionId, ...body }, 'FORBIDDEN');
        const none = await socket.refused(event, { sessionId: unknown, ...body }, 'FORBIDDEN');
        expect(same(one), event).to.deep.equal(same(none));
      }
      for (const [method, rest] of [
        ['GET', ''],
        ['GET', '/events'],
        ['DELETE', ''],
        ['GET', '/messages'],
      ] as const) {
        const [one, none] = await Promise.all(
          [sessionId, unknown].map(async (id) =>
            same(expectProblem(await http(given, method, `/v1/sessions/${id}${rest}`), 'FORBIDDEN', 403)),
          ),
        );
        expect(one).to.deep.equal(none);
      }
    });

    it('[A10] lists and exports hold what the caller may read, import what the caller owns', async () => {
      const [mine, theirs] = [await made('mine'), await made('theirs')];
      const given = await signed('u', [{ match: mine.sessionId, role: 'viewer' }]);
      const { body } = await http(given, 'GET', '/v1/sessions?limit=500');
      expect(body.sessions.map((one: Wire) => one.id)).to.deep.equal([mine.sessionId]);
      const { text } = await http(given, 'GET', '/v1/export');
      const ids = text.split('\n').filter((line) => line !== '');
      expect(ids).to.have.length(1);
      expect(text).to.include(`"${mine.sessionId}"`).and.not.include(theirs.sessionId);
      await mine.owner.ok('settings:update', { sessionId: mine.sessionId, merge: { model: 'newer' } });
      const headers = { authorization: `Bearer ${given}`, 'content-type': 'application/x-ndjson' };
      const sent = await request('POST', `${attune.url}/v1/import?existing=replace`, { body: text, headers });
      expectProblem(sent, 'FORBIDDEN', 403);
      const { session } = await mine.owner.ok('session:get', { sessionId: mine.sessionId });
      expect(session.settings.model).to.equal('newer');
    });

    it('[A11] an updateId is one user’s: another’s of the same text is independent', async () => {
      const { sessionId } = await made();
      const [ada, bob] = [
        await as('ada', [{ match: '*', role: 'editor' }]),
        await as('bob', [{ match: '*', role: 'editor' }]),
      ];
      await ada.ok('settings:update', { sessionId, updateId: 'same', merge: { model: 'ada' } });
      const ack = await bob.ok('settings:update', { sessionId, updateId: 'same', merge: { model: 'bob' } });
      expect(ack.duplicate).to.equal(false);
      expect(ack.settings.model).to.equal('bob');
      const again = await as('ada', [{ match: sessionId, role: 'editor' }]);
      const repeated = await again.ok('settings:update', { sessionId, updateId: 'same', merge: { model: 'ada' } });
      expect(repeated).to.include({ duplicate: true, revision: ack.revision - 1 });
    });

    it('[A12] an event stream is for those who may read', async () => {
      const { sessionId } = await made();
      const viewer = await signed('u', [{ match: sessionId, role: 'viewer' }]);
      const stream = await openEvents(`${attune.url}/v1/sessions/${sessionId}/events`, {
        authorization: `Bearer ${viewer}`,
      });
      expect((await stream.next())?.event).to.equal('session:snapshot');
    });
  });
});

describe('origins, and what a start without safety says', () => {
  let attune: Attune;
  before(async () => {
    attune = await startAttune({ env: { CORS_ORIGINS: 'https://app.example' } });
  });
  after(() => attune?.destroy());

  /** The status with which a WebSocket handshake ends: 101 when it is accepted. */
  function upgrade(origin?: string): Promise<number> {
    const url = `${attune.url.replace(/^http/, 'ws')}/socket.io/?EIO=4&transport=websocket`;
    const ws = new WebSocket(url, origin === undefined ? {} : { origin });
    return new Promise((resolve, reject) => {
      ws.once('open', () => resolve(101));
      ws.once('unexpected-response', (_, response) => resolve(response.statusCode ?? 0));
      ws.on('error', reject);
    }).finally(() => ws.terminate()) as Promise<number>;
  }
  const poll = async (origin?: string): Promise<number> =>
    (
      await request('GET', `${attune.url}/socket.io/?EIO=4&transport=polling`, {
        headers: origin === undefined ? {} : { origin },
      })
    ).status;

  it('[A13] an allowed origin and none at all may connect', async () => {
    expect(await upgrade()).to.equal(101);
    expect(await upgrade('https://app.example')).to.equal(101);
    expect(await poll()).to.equal(200);
    expect(await poll('https://app.example')).to.equal(200);
  });

  it('[A13] any other origin is answered 403 before the upgrade, and on polling', async () => {
    for (const origin of [
      'https://evil.example',
      'https://app.example.evil.test',
      'https://xapp.example',
      'http://app.example',
      'https://app.example:444',
      'null',
    ]) {
      expect(await upgrade(origin), `WebSocket from ${origin}`).to.equal(403);
      expect(await poll(origin), `polling from ${origin}`).to.equal(403);
    }
  });

  it('[V12] the connection of a refused origin is closed though its peer keeps it open', async () => {
    const paths = ['/socket.io/?EIO=4&transport=websocket', '/elsewhere'];
    const connections = await Promise.all(
      paths.map((path) =>
        rawConnection(attune.port, [
          `GET ${path} HTTP/1.1`,
          `Host: 127.0.0.1:${attune.port}`,
          'Origin: http://evil.example',
          'Connection: Upgrade',
          'Upgrade: websocket',
          'Sec-WebSocket-Version: 13',
          'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
        ]),
      ),
    );
    const closed = connections.map((socket) => {
      let isClosed = false;
      let text = '';
      socket.on('data', (bytes: Buffer) => (text += bytes.toString()));
      socket.on('error', () => (isClosed = true));
      return { socket, text: () => text, isClosed: () => isClosed };
    });
    for (const { socket, text, isClosed } of closed) {
      await until(() => text().includes('\r\n\r\n'), { what: 'the refusal' });
      expect(text()).to.match(/^HTTP\/1.1 403 /);
      // What is sent to a closed connection is answered with a reset.
      await until(() => isClosed() || (socket.write('x'), false), { what: 'the end of the connection' });
      socket.destroy();
    }
  });

  it('[A14] without CORS_ORIGINS the same origin is allowed and no other', async () => {
    await attune.destroy();
    attune = await startAttune();
    expect(await upgrade(attune.url)).to.equal(101);
    expect(await poll(attune.url)).to.equal(200);
    expect(await upgrade('https://app.example')).to.equal(403);
    expect(await poll(`http://127.0.0.1:${attune.port + 1}`)).to.equal(403);
  });

  it('[A15] a host that is not loopback without auth refuses to start and says why', async () => {
    for (const HOST of ['0.0.0.0', '::']) {
      const ended = await runAttune({ env: { HOST } });
      expect(ended.status).to.be.a('number').that.is.above(0);
      expect(ended.stdout).to.equal('');
      expect(ended.stderr).to.include('AUTH_SECRET').and.include('HOST');
    }
    const open = await startAttune({ env: { HOST: '0.0.0.0', AUTH_SECRET: SECRET } });
    try {
      expect((await request('GET', `${open.url}/livez`)).status).to.equal(200);
      expectProblem(await request('GET', `${open.url}/v1/sessions`), 'UNAUTHENTICATED', 401);
    } finally {
      await open.destroy();
    }
  });

  it('[A16] a secret of fewer than 32 bytes, and secret and JWKS together, refuse to start', async () => {
    const short = await runAttune({ env: { AUTH_SECRET: 'x'.repeat(31) } });
    expect(short.status).to.be.a('number').that.is.above(0);
    expect(short.stderr).to.include('AUTH_SECRET').and.not.include('x'.repeat(31));
    const both = await runAttune({ env: { AUTH_SECRET: SECRET, AUTH_JWKS_URL: 'https://issuer.example/jwks' } });
    expect(both.status).to.be.a('number').that.is.above(0);
    expect(both.stderr).to.include('AUTH_SECRET').and.include('AUTH_JWKS_URL');
  });
});
