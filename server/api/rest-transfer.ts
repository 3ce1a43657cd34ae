// The routes of export and import: streams of lines, in constant memory.
import express, { type Response, type Router } from 'express';
import { AttuneError } from '../../client-sdk/protocol/errors.js';
import { sessionIdPattern } from '../../client-sdk/protocol/messages.js';
import { can } from './auth.js';
import { linesOf } from './lines.js';
import type { CallerOf, RestOptions } from './rest-options.js';
import { invalid } from './rest-request.js';

/** `POST /v1/import` and `GET /v1/export`. */
export function transferRoutes({ transfer }: RestOptions, callerOf: CallerOf): Router {
  const router = express.Router({ caseSensitive: true });
  router.post('/import', (request, response, next) => {
    callerOf(request)
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
    callerOf(request)
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
  return router;
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
