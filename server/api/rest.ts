// HTTP: the contract's calls, mapped onto the same functions that sockets use. It decides nothing of its own.
import express, { type ErrorRequestHandler, type Request, type RequestHandler } from 'express';
import helmet from 'helmet';
import { AttuneError, errorTable, type ErrorCode } from '../../client-sdk/protocol/errors.js';
import { REQUEST_BYTES_MAX } from '../../client-sdk/protocol/limits.js';
import { pageRoutes } from './page.js';
import { RateLimit, RateLimits } from './rate-limit.js';
import type { CallerOf, RestOptions } from './rest-options.js';
import { lingerOver } from './rest-request.js';
import { sessionRoutes } from './rest-sessions.js';
import { transferRoutes } from './rest-transfer.js';

export function createRest(options: RestOptions): express.Express {
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.set('query parser', 'simple');
  app.use(helmet({ strictTransportSecurity: false, contentSecurityPolicy: contentSecurityPolicy }));
  app.use(cors(options));
  operations(app, options);
  const callerOf = createCallerOf(options);
  const answerError = errorAnswer(options);
  app.use('/v1', transferRoutes(options, callerOf));
  app.use('/v1', sessionRoutes(options, callerOf, answerError));
  app.use(pageRoutes());
  app.use(() => {
    throw new NotFound('there is no such path');
  });
  app.use(answerError);
  return app;
}

/** Ours are self-contained pages: nothing from another host, and no script or style that is not in a file of its own. */
const contentSecurityPolicy = {
  useDefaults: false,
  directives: {
    defaultSrc: ["'self'"],
    connectSrc: ["'self'"],
    objectSrc: ["'none'"],
    formAction: ["'self'"],
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
  app.get('/readyz', async (_request, response) => {
    const { checks, durability } = await readiness();
    const ready = checks.redis && checks.feed && !checks.draining;
    response.status(ready ? 200 : 503).json({ ready, checks, durability });
  });
  app.get('/metrics', (_request, response, next) => {
    metrics.registry.metrics().then((text) => response.type(metrics.registry.contentType).send(text), next);
  });
}

function createCallerOf({ authenticate, rateCallsPerS }: RestOptions): CallerOf {
  const rates = new RateLimits(() => new RateLimit(rateCallsPerS));
  return async (request) => {
    rates.take(request.socket.remoteAddress ?? '');
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

/** Answers errors as problem+json. */
function errorAnswer({ toWireError }: RestOptions): ErrorRequestHandler {
  return (thrown: unknown, request, response, _next) => {
    // It was answered already, by an earlier failure of the same request.
    if (response.writableEnded) return;
    if (response.headersSent) {
      response.destroy();
      return;
    }
    const error = toWireError(fromExpress(thrown));
    const { code, message, retryAfterMs, requestId, details, ...rest } = error;
    const status = statusOf(thrown, code, request);
    lingerOver(request);
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
