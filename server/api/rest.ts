// HTTP: the contract's calls, mapped onto the same functions that sockets use. It decides nothing of its own.
import { readFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import express, { type NextFunction, type Request, type RequestHandler, type Response, type Router } from 'express';
import helmet from 'helmet';
import type { Logger } from 'pino';
import { AttuneError, errorTable, type ErrorCode } from '../../client-sdk/protocol/errors.js';
import { LIST_DEFAULT, LIST_MAX, REQUEST_BYTES_MAX } from '../../client-sdk/protocol/limits.js';
import {
  sessionIdPattern,
  type AnyWriteReply,
  type OpenReply,
  type SessionDocument,
  type SettingsReply,
} from '../../client-sdk/protocol/messages.js';
import type { Metrics } from '../metrics.js';
import type { SettingsSchema } from '../session/settings-schema.js';
import type { ListPosition, SessionReads } from '../sync/reads.js';
import type { SessionHub } from '../sync/session-hub.js';
import type { Transfer } from '../sync/transfer.js';
import { can, roleOf, type Authenticate } from './auth.js';
import { parseRequest, type Caller, type Calls } from './calls.js';
import { parsePosition, type EventStreams } from './events.js';
import { linesOf } from './lines.js';
import { RateLimit } from './rate-limit.js';
import type { ToWireError } from './reply.js';

/** Pages of ids that one list call looks through for sessions the caller may read. */
const LIST_PAGES_MAX = 20;
/** Addresses whose rate is remembered; beyond, all start afresh. */
const ADDRESSES_MAX = 10_000;
/** How long a body may take to arrive, milliseconds; imports may take longer. */
const BODY_TIMEOUT_MS = 30_000;
/** Media types that a JSON body may have; patches have their own. */
const JSON_TYPES = ['application/json', 'application/merge-patch+json', 'application/json-patch+json'];

export interface RestOptions {
  calls: Calls;
  authenticate: Authenticate;
  originAllowed: (request: IncomingMessage) => boolean;
  allowedOrigins: readonly string[];
  rateCallsPerS: number;
  toWireError: ToWireError;
  metrics: Metrics;
  logger: Logger;
  hub: SessionHub;
  reads: SessionReads;
  transfer: Transfer;
  streams: EventStreams;
  schema: SettingsSchema;
  now: () => number;
  readiness: () => { checks: { redis: boolean; feed: boolean; draining: boolean }; durability: string };
}

type Handler = (request: Request, response: Response, caller: Caller) => Promise<void>;

export function createRest(options: RestOptions): express.Express {
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.set('query parser', 'simple');
  app.use(helmet({ strictTransportSecurity: false, contentSecurityPolicy: contentSecurityPolicy }));
  app.use(cors(options));
  operations(app, options);
  app.use('/v1', sessions(options));
  const page = readFileSync(new URL('../demo/index.html', import.meta.url), 'utf8');
  app.get('/', (_request, response) => void response.type('html').send(page));
  app.use(() => {
    throw new NotFound('there is no such path');
  });
  app.use(errorAnswer(options));
  return app;
}

/** Ours are self-contained pages: nothing from another host. */
const contentSecurityPolicy = {
  useDefaults: false,
  directives: {
    defaultSrc: ["'self'"],
    styleSrc: ["'self'", "'unsafe-inline'"],
    scriptSrc: ["'self'", "'unsafe-inline'"],
    connectSrc: ["'self'"],
    frameAncestors: ["'none'"],
    baseUri: ["'none'"],
  },
};

/** A path that does not exist: 404, though its code has another status. */
class NotFound extends AttuneError {
  constructor(message: string) {
    super('INVALID_REQUEST', message);
  }
}

function cors({ allowedOrigins, originAllowed }: RestOptions): RequestHandler {
  const known = new Set(allowedOrigins);
  return (request, response, next) => {
    const { origin } = request.headers;
    response.vary('Origin');
    if (origin !== undefined && known.has(origin)) {
      response.set('Access-Control-Allow-Origin', origin);
      response.set('Access-Control-Allow-Credentials', 'true');
      response.set('Access-Control-Expose-Headers', 'ETag, Location, Retry-After');
      if (request.method === 'OPTIONS') {
        response.set('Access-Control-Allow-Methods', 'GET, POST, PUT, PATCH, DELETE');
        response.set(
          'Access-Control-Allow-Headers',
          'Authorization, Content-Type, If-Match, If-None-Match, Idempotency-Key, Last-Event-ID',
        );
        response.set('Access-Control-Max-Age', '600');
        response.status(204).end();
        return;
      }
    }
    if (!originAllowed(request)) throw new AttuneError('FORBIDDEN', 'this origin is not allowed');
    next();
  };
}

/** Probes and metrics. */
function operations(app: express.Express, { readiness, metrics }: RestOptions): void {
  app.get('/livez', (_request, response) => void response.json({ live: true }));
  app.get('/readyz', (_request, response) => {
    const { checks, durability } = readiness();
    const ready = checks.redis && checks.feed && !checks.draining;
    response.status(ready ? 200 : 503).json({ ready, checks, durability });
  });
  app.get('/metrics', (_request, response, next) => {
    metrics.registry.metrics().then((text) => response.type(metrics.registry.contentType).send(text), next);
  });
}

function sessions(options: RestOptions): Router {
  const { calls, schema } = options;
  const router = express.Router({ caseSensitive: true });
  const call = callerOf(options);
  const json = express.json({ limit: REQUEST_BYTES_MAX, strict: false, type: JSON_TYPES });
  const inTime: RequestHandler = (request, _response, next) => {
    const timer = setTimeout(() => !request.complete && request.destroy(), BODY_TIMEOUT_MS).unref();
    request.on('close', () => clearTimeout(timer));
    next();
  };
  const handle = (handler: Handler): RequestHandler[] => [
    inTime,
    json,
    (request, response, next) => {
      call(request, response)
        .then((caller) => handler(request, response, caller))
        .catch(next);
    },
  ];

  router.get(
    '/settings-schema',
    (_request, response) => void response.type('application/schema+json').json(schema.json),
  );
  transferRoutes(router, options, call);

  router.get('/sessions', ...handle((request, response, caller) => listSessions(options, request, response, caller)));
  router.post(
    '/sessions',
    ...handle(async (request, response, caller) => {
      const reply = await calls.open(caller, parseRequest('session:open', { ...body(request), ...writeOf(request) }));
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
      await calls.delete(caller, parseRequest('session:delete', { sessionId: idOf(request), ...writeOf(request) }));
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
      const endsInMs = caller.principal.expiresAt - options.now();
      await options.streams.open(response, options.hub, sessionId, cursor, endsInMs);
    }),
  );
  return router;
}

type Handle = (handler: Handler) => RequestHandler[];

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

function transferRoutes(
  router: Router,
  { transfer }: RestOptions,
  call: (request: Request, response: Response) => Promise<Caller>,
): void {
  router.post('/import', (request, response, next) => {
    call(request, response)
      .then(async (caller) => {
        const existing = request.query['existing'] ?? 'skip';
        if (existing !== 'skip' && existing !== 'replace') throw invalid('existing is skip or replace');
        const allowed = (sessionId: string) => can(caller.principal, 'import', sessionId);
        // Whoever owns nothing at all is told at once, not line by line.
        if (caller.principal.grants?.every(({ role }) => role !== 'owner')) {
          throw new AttuneError('FORBIDDEN', 'importing needs the role of an owner');
        }
        const by = caller.author;
        response.json(await transfer.import(linesOf(request), { replace: existing === 'replace', by, allowed }));
      })
      .catch((error: unknown) => {
        // Whoever broke the upload off hears nothing more.
        if (request.destroyed && !request.complete) response.destroy();
        else next(error);
      });
  });
  router.get('/export', (request, response, next) => {
    call(request, response)
      .then(async (caller) => {
        const { id } = request.query;
        const ids = id === undefined ? null : [id].flat().map((one) => (typeof one === 'string' ? one : ''));
        if (ids?.some((name) => !sessionIdPattern.test(name))) throw invalid('id is not the id of a session');
        const allowed = (sessionId: string) => can(caller.principal, 'read', sessionId);
        response.type('application/jsonl');
        if (request.method === 'HEAD') {
          response.end();
          return;
        }
        for await (const line of transfer.export(ids, allowed)) {
          if (response.destroyed) return;
          if (!response.write(`${line}\n`)) await drained(response);
        }
        response.end();
      })
      .catch((error: unknown) => {
        // Once lines were sent, only a broken connection can say that the rest is missing.
        if (response.headersSent) response.destroy();
        else next(error);
      });
  });
}

function drained(response: Response): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      response.off('drain', done);
      response.off('close', done);
      resolve();
    };
    response.on('drain', done);
    response.on('close', done);
  });
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

/** Makes the function that says who calls; it also counts the call against the address's rate. */
function callerOf({ authenticate, rateCallsPerS }: RestOptions) {
  const rates = new Map<string, RateLimit>();
  return async (request: Request, _response: Response): Promise<Caller> => {
    const address = request.socket.remoteAddress ?? '';
    if (rates.size > ADDRESSES_MAX) rates.clear();
    const rate = rates.get(address) ?? new RateLimit(rateCallsPerS);
    rates.set(address, rate);
    rate.take();
    const [scheme, token] = (request.get('Authorization') ?? '').split(' ');
    const principal = await authenticate(scheme?.toLowerCase() === 'bearer' ? token : undefined);
    const author = {
      userId: principal.userId,
      clientId: 'http',
      kind: principal.kind ?? ('service' as const),
      ...(principal.name === undefined ? {} : { name: principal.name }),
    };
    return { principal, author, origin: { barriers: new Map() } };
  };
}

const invalid = (message: string) => new AttuneError('INVALID_REQUEST', message);

function idOf(request: Request): string {
  return String(request.params['id']);
}

/** The JSON body; refuses a missing one and one of another media type. */
function body(request: Request, shape: 'object' | 'array' = 'object'): object {
  const given: unknown = request.body;
  // The parser makes an empty object of no bytes at all.
  if (given === undefined || request.get('Content-Length') === '0') {
    const type = request.get('Content-Type');
    throw invalid(type ? `the content type ${type.slice(0, 100)} is not taken here` : 'a JSON body is needed');
  }
  const fits =
    shape === 'array' ? Array.isArray(given) : typeof given === 'object' && given !== null && !Array.isArray(given);
  if (!fits) throw invalid(`the body must be a JSON ${shape}`);
  return given as object;
}

/** As {@link body}, where none at all is fine too. */
function optionalBody(request: Request): object {
  const isEmpty = Number(request.get('Content-Length') ?? 0) === 0 && !request.get('Transfer-Encoding');
  return isEmpty ? {} : body(request);
}

function writeOf(request: Request): { updateId?: string } {
  const updateId = request.get('Idempotency-Key');
  return updateId === undefined ? {} : { updateId };
}

/** `If-Match: "<epoch>:<revision>"`. */
function guardsOf(request: Request): { ifEpoch?: string; ifRevision?: number } {
  const given = request.get('If-Match');
  if (given === undefined || given === '*') return {};
  const position = /^".*"$/.test(given) ? parsePosition(given.slice(1, -1)) : null;
  if (!position) throw invalid('If-Match takes one entity tag as ETag gives it');
  return { ifEpoch: position.epoch, ifRevision: position.revision };
}

/** Query parameters that are whole numbers, as numbers; others as they are, for the schema to refuse. */
function numbersOf(request: Request, names: readonly string[]): Record<string, number> {
  const numbers: Record<string, unknown> = {};
  for (const name of names) {
    const text = request.query[name];
    if (text !== undefined) numbers[name] = typeof text === 'string' && /^\d{1,16}$/.test(text) ? Number(text) : text;
  }
  return numbers as Record<string, number>;
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

/** Answers errors as problem+json. */
function errorAnswer({ toWireError }: RestOptions) {
  return (thrown: unknown, request: Request, response: Response, _next: NextFunction): void => {
    const error = toWireError(fromExpress(thrown));
    if (response.headersSent) {
      response.destroy();
      return;
    }
    const { code, message, retryAfterMs, requestId, details, ...rest } = error;
    const status = statusOf(thrown, code, request);
    if (retryAfterMs !== undefined) response.set('Retry-After', String(Math.ceil(retryAfterMs / 1000)));
    if (code === 'UNAUTHENTICATED') response.set('WWW-Authenticate', 'Bearer');
    const extra = { ...(retryAfterMs === undefined ? {} : { retryAfterMs }), ...(details ? { details } : {}) };
    const problem = { type: 'about:blank', title: code, status, detail: message, code, message, ...rest, requestId };
    response
      .status(status)
      .type('application/problem+json')
      .send(JSON.stringify({ ...problem, ...extra }));
  };
}

function statusOf(thrown: unknown, code: ErrorCode, request: Request): number {
  if (thrown instanceof NotFound) return 404;
  if (code === 'REVISION_CONFLICT' && request.get('If-Match') !== undefined) return 412;
  return errorTable[code].http;
}

/** What express and its body parser throw, as an error of the contract. */
function fromExpress(thrown: unknown): unknown {
  if (thrown instanceof AttuneError) return thrown;
  const { status, type, message } = thrown as { status?: number; type?: string; message?: string };
  if (status === 413) return new AttuneError('TOO_LARGE', `the body has more than ${REQUEST_BYTES_MAX} bytes`);
  if (status !== undefined && status >= 400 && status < 500) {
    const why = type === 'entity.parse.failed' ? 'the body is not JSON' : (message ?? 'the request cannot be read');
    return new AttuneError('INVALID_REQUEST', why);
  }
  return thrown;
}
