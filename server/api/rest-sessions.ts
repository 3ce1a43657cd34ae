// The routes of sessions, their settings and messages: each one a call that sockets have too.
import express, {
  type ErrorRequestHandler,
  type Request,
  type RequestHandler,
  type Response,
  type Router,
} from 'express';
import { AttuneError } from '../../client-sdk/protocol/errors.js';
import { LIST_DEFAULT, LIST_MAX, REQUEST_BYTES_MAX, SIGNALS_PER_S } from '../../client-sdk/protocol/limits.js';
import {
  sessionIdPattern,
  type AnyWriteReply,
  type OpenReply,
  type SessionDocument,
  type SettingsReply,
} from '../../client-sdk/protocol/messages.js';
import type { ListPosition } from '../sync/reads.js';
import { roleOf } from './auth.js';
import { parseRequest, type Caller } from './calls.js';
import { parsePosition } from './events.js';
import { RateLimit, RateLimits } from './rate-limit.js';
import type { CallerOf, RestOptions } from './rest-options.js';
import {
  body,
  boundedBody,
  guardsOf,
  idOf,
  invalid,
  numbersOf,
  optionalBody,
  refuseOtherThanUtf8,
  writeOf,
} from './rest-request.js';

/** Pages of ids that one list call looks through for sessions the caller may read. */
const LIST_PAGES_MAX = 20;
/** Media types that a JSON body may have; patches have their own. */
const JSON_TYPES = ['application/json', 'application/merge-patch+json', 'application/json-patch+json'];

type Handler = (request: Request, response: Response, caller: Caller) => Promise<void>;
type Handle = (handler: Handler) => RequestHandler[];

/** Everything below `/v1/sessions`, and the settings' schema. */
export function sessionRoutes(options: RestOptions, callerOf: CallerOf, answerError: ErrorRequestHandler): Router {
  const { calls, schema } = options;
  const router = express.Router({ caseSensitive: true });
  const json = express.json({ limit: REQUEST_BYTES_MAX, strict: false, type: JSON_TYPES, verify: refuseOtherThanUtf8 });
  const bounded = boundedBody(answerError);
  const handle = (handler: Handler): RequestHandler[] => [
    bounded,
    json,
    (request, response, next) => {
      callerOf(request)
        .then((caller) => handler(request, response, caller))
        .catch(next);
    },
  ];

  router.get(
    '/settings-schema',
    (_request, response) => void response.type('application/schema+json').json(schema.json),
  );
  router.get('/sessions', ...handle((request, response, caller) => listSessions(options, request, response, caller)));
  router.post(
    '/sessions',
    ...handle(async (request, response, caller) => {
      const reply = await calls.open(
        caller,
        parseRequest('session:open', { ...optionalBody(request), ...writeOf(request) }),
      );
      opened(response, reply as OpenReply);
    }),
  );
  router.put(
    '/sessions/:id',
    ...handle(async (request, response, caller) => {
      const asked = { ...optionalBody(request), sessionId: idOf(request), ...writeOf(request) };
      opened(response, (await calls.open(caller, parseRequest('session:open', asked))) as OpenReply);
    }),
  );
  router.get(
    '/sessions/:id',
    ...handle(async (request, response, caller) => {
      const { session } = await calls.get(caller, parseRequest('session:get', { sessionId: idOf(request) }));
      sendTagged(request, response, session.epoch, session.revision, session);
    }),
  );
  router.patch(
    '/sessions/:id',
    ...handle(async (request, response, caller) => {
      const asked = { ...body(request), sessionId: idOf(request), ...writeOf(request) };
      response.json(await calls.describe(caller, parseRequest('session:describe', asked)));
    }),
  );
  router.delete(
    '/sessions/:id',
    ...handle(async (request, response, caller) => {
      const { ifEpoch, ifRevision } = guardsOf(request);
      const asked = { sessionId: idOf(request), ifEpoch, ...writeOf(request) };
      await calls.delete(caller, parseRequest('session:delete', asked), ifRevision);
      response.status(204).end();
    }),
  );
  settingsRoutes(router, options, handle);
  messageRoutes(router, options, handle);
  router.get(
    '/sessions/:id/events',
    ...handle(async (request, response, caller) => {
      const sessionId = idOf(request);
      calls.demand(caller, 'read', sessionId);
      if (request.method === 'HEAD') {
        await calls.get(caller, parseRequest('session:get', { sessionId }));
        response.type('text/event-stream').end();
        return;
      }
      const cursor = parsePosition(request.get('Last-Event-ID'));
      const { expiresAt } = caller.principal;
      const wantsSignals = request.query['signals'] === '1';
      const participants = wantsSignals ? () => options.presence.participants(sessionId) : null;
      await options.streams.open(response, options.hub, sessionId, { cursor, expiresAt, participants });
    }),
  );
  signalRoutes(router, options, handle);
  return router;
}

function settingsRoutes(router: Router, { calls }: RestOptions, handle: Handle): void {
  const path = '/sessions/:id/settings';
  router.get(
    path,
    ...handle(async (request, response, caller) => {
      const { session } = await calls.get(caller, parseRequest('session:get', { sessionId: idOf(request) }));
      sendTagged(request, response, session.epoch, session.settingsRevision, session.settings);
    }),
  );
  const update = (request: Request, form: 'replace' | 'merge' | 'patch') =>
    parseRequest('settings:update', {
      sessionId: idOf(request),
      [form]: body(request, form === 'patch' ? 'array' : 'object'),
      ...writeOf(request),
      ...guardsOf(request),
    });
  const answer = async (response: Response, written: Promise<AnyWriteReply>) => {
    const reply = (await written) as SettingsReply;
    if (!reply.duplicate) response.set('ETag', `"${reply.epoch}:${reply.settingsRevision}"`);
    response.json(reply);
  };
  router.put(
    path,
    ...handle((request, response, caller) =>
      answer(response, calls.updateSettings(caller, update(request, 'replace'))),
    ),
  );
  router.patch(
    path,
    ...handle((request, response, caller) => {
      const form = request.is('application/json-patch+json') ? 'patch' : 'merge';
      return answer(response, calls.updateSettings(caller, update(request, form)));
    }),
  );
  router.get(
    `${path}/history`,
    ...handle(async (request, response, caller) => {
      const asked = { sessionId: idOf(request), ...numbersOf(request, ['before', 'limit']) };
      response.json(await calls.history(caller, parseRequest('settings:history', asked)));
    }),
  );
  router.post(
    `${path}/restore`,
    ...handle((request, response, caller) => {
      const asked = { ...body(request), sessionId: idOf(request), ...writeOf(request), ...guardsOf(request) };
      return answer(response, calls.restoreSettings(caller, parseRequest('settings:restore', asked)));
    }),
  );
}

function messageRoutes(router: Router, { calls }: RestOptions, handle: Handle): void {
  const path = '/sessions/:id/messages';
  router.get(
    path,
    ...handle(async (request, response, caller) => {
      const asked = { sessionId: idOf(request), ...numbersOf(request, ['before', 'after', 'limit']) };
      response.json(await calls.listMessages(caller, parseRequest('message:list', asked)));
    }),
  );
  router.post(
    path,
    ...handle(async (request, response, caller) => {
      const given = body(request) as { message?: unknown };
      // The message itself, or as the event takes it.
      const message = typeof given.message === 'object' ? given.message : given;
      const asked = { sessionId: idOf(request), message, ...writeOf(request) };
      const reply = await calls.addMessage(caller, parseRequest('message:add', asked));
      response.status(reply.duplicate ? 200 : 201).json(reply);
    }),
  );
  router.delete(
    path,
    ...handle(async (request, response, caller) => {
      const asked = { sessionId: idOf(request), ...writeOf(request) };
      response.json(await calls.clear(caller, parseRequest('session:clear', asked)));
    }),
  );
  const one = (request: Request) => ({
    sessionId: idOf(request),
    messageId: request.params['messageId'],
    ...writeOf(request),
  });
  router.patch(
    `${path}/:messageId`,
    ...handle(async (request, response, caller) => {
      const asked = parseRequest('message:update', { ...body(request), ...one(request) });
      response.json(await calls.updateMessage(caller, asked));
    }),
  );
  router.delete(
    `${path}/:messageId`,
    ...handle(async (request, response, caller) => {
      response.json(await calls.deleteMessage(caller, parseRequest('message:delete', one(request))));
    }),
  );
}

function signalRoutes(router: Router, { calls }: RestOptions, handle: Handle): void {
  const rates = new RateLimits(() => new RateLimit(SIGNALS_PER_S, 'signals'));
  router.post(
    '/sessions/:id/signals',
    ...handle(async (request, response, caller) => {
      rates.take(request.socket.remoteAddress ?? '');
      const parsed = parseRequest('signal', { ...body(request), sessionId: idOf(request) });
      calls.checkSignal(caller, parsed);
      await calls.signal(caller, parsed);
      response.status(202).json({});
    }),
  );
}

async function listSessions(
  { reads, now }: RestOptions,
  request: Request,
  response: Response,
  caller: Caller,
): Promise<void> {
  if (now() > caller.principal.expiresAt) throw new AttuneError('UNAUTHENTICATED', 'the token has expired');
  const { prefix = '', cursor } = request.query;
  const limit = numbersOf(request, ['limit']).limit ?? LIST_DEFAULT;
  if (!Number.isInteger(limit) || limit < 1 || limit > LIST_MAX) throw invalid(`limit is from 1 to ${LIST_MAX}`);
  if (typeof prefix !== 'string' || (prefix !== '' && !sessionIdPattern.test(prefix))) {
    throw invalid('prefix is not the beginning of a session id');
  }
  let position: ListPosition | undefined = cursor === undefined ? { partition: 0, after: '' } : decodeCursor(cursor);
  const found: SessionDocument[] = [];
  for (let page = 0; position && found.length < limit && page < LIST_PAGES_MAX; page += 1) {
    const { ids, next }: { ids: string[]; next?: ListPosition } = await reads.ids(
      prefix,
      position,
      limit - found.length,
    );
    found.push(...(await reads.sessions(ids.filter((id) => roleOf(caller.principal, id) !== null))));
    position = next;
  }
  response.json({ sessions: found, ...(position ? { next: encodeCursor(position) } : {}) });
}

function encodeCursor({ partition, after }: ListPosition): string {
  return Buffer.from(`${partition} ${after}`).toString('base64url');
}

function decodeCursor(text: unknown): ListPosition {
  const parts = /^(\d{1,4}) ([A-Za-z0-9._:-]{0,128})$/.exec(Buffer.from(String(text), 'base64url').toString());
  if (!parts) throw invalid('cursor is not one that a list gave');
  return { partition: Number(parts[1]), after: parts[2] ?? '' };
}

function sendTagged(request: Request, response: Response, epoch: string, revision: number, value: object): void {
  const tag = `"${epoch}:${revision}"`;
  response.set({ ETag: tag, 'Cache-Control': 'no-cache' });
  const known = request
    .get('If-None-Match')
    ?.split(',')
    .map((one) => one.trim().replace(/^W\//, ''));
  if (known?.some((one) => one === tag || one === '*')) response.status(304).end();
  else response.json(value);
}

function opened(response: Response, reply: OpenReply): void {
  const id = reply.session?.id;
  if (id !== undefined) response.location(`/v1/sessions/${id}`);
  if (reply.session) response.set('ETag', `"${reply.session.epoch}:${reply.session.revision}"`);
  response.status(reply.created && !reply.duplicate ? 201 : 200).json(reply);
}
