// What an HTTP request says: its body, ids, guards and numbers, as the calls take them. Refuses what it cannot read.
import { isUtf8 } from 'node:buffer';
import type { ErrorRequestHandler, Request, RequestHandler } from 'express';
import { AttuneError } from '../../client-sdk/protocol/errors.js';
import { REQUEST_BYTES_MAX } from '../../client-sdk/protocol/limits.js';
import { parsePosition } from './events.js';

/** How long a body may take to arrive, milliseconds; imports may take longer. */
const BODY_TIMEOUT_MS = 30_000;
/** How long, milliseconds, and how much, bytes, is read of a body that was answered before its end. */
const LINGER_MS = 2000;
const LINGER_BYTES_MAX = 8 * 1024 * 1024;

export const invalid = (message: string) => new AttuneError('INVALID_REQUEST', message);

export function idOf(request: Request): string {
  return String(request.params['id']);
}

/** The JSON body; refuses a missing one and one of another media type. */
export function body(request: Request, shape: 'object' | 'array' = 'object'): object {
  const given: unknown = request.body;
  // The parser makes an empty object of no bytes at all.
  if (given === undefined || request.get('Content-Length') === '0') {
    const type = request.get('Content-Type');
    const isJson = type?.includes('json');
    throw invalid(
      type && !isJson ? `the content type ${type.slice(0, 100)} is not taken here` : 'a JSON body is needed',
    );
  }
  const fits =
    shape === 'array' ? Array.isArray(given) : typeof given === 'object' && given !== null && !Array.isArray(given);
  if (!fits) throw invalid(`the body must be a JSON ${shape}`);
  return given as object;
}

/** As {@link body}, where none at all is fine too. */
export function optionalBody(request: Request): object {
  const isEmpty = Number(request.get('Content-Length') ?? 0) === 0 && !request.get('Transfer-Encoding');
  return isEmpty ? {} : body(request);
}

export function writeOf(request: Request): { updateId?: string } {
  const updateId = request.get('Idempotency-Key');
  return updateId === undefined ? {} : { updateId };
}

/** `If-Match: "<epoch>:<revision>"`. */
export function guardsOf(request: Request): { ifEpoch?: string; ifRevision?: number } {
  const given = request.get('If-Match');
  if (given === undefined || given === '*') return {};
  const position = /^"[^"]*"$/.test(given) ? parsePosition(given.slice(1, -1)) : null;
  if (!position) throw invalid('If-Match takes one entity tag as ETag gives it');
  return { ifEpoch: position.epoch, ifRevision: position.revision };
}

/** Query parameters that are whole numbers, as numbers; others as they are, for the schema to refuse. */
export function numbersOf(request: Request, names: readonly string[]): Record<string, number> {
  const numbers: Record<string, unknown> = {};
  for (const name of names) {
    const text = request.query[name];
    if (text !== undefined) numbers[name] = typeof text === 'string' && /^\d{1,16}$/.test(text) ? Number(text) : text;
  }
  return numbers as Record<string, number>;
}

/**
 * Makes the check that answers a body that is too long while it arrives, and ends one that takes too long: the parser would
 * read it to its end first.
 */
export function boundedBody(answer: ErrorRequestHandler): RequestHandler {
  return (request, response, next) => {
    const refuse = () => {
      const error = new AttuneError('TOO_LARGE', `the body has more than ${REQUEST_BYTES_MAX} bytes`);
      void answer(error, request, response, next);
    };
    if (Number(request.get('Content-Length')) > REQUEST_BYTES_MAX) return refuse();
    if (request.complete) return next();
    let bytes = 0;
    const timer = setTimeout(() => !request.complete && request.destroy(), BODY_TIMEOUT_MS).unref();
    request.on('close', () => clearTimeout(timer));
    request.on('data', (chunk: Buffer) => {
      const before = bytes;
      bytes += chunk.length;
      if (before <= REQUEST_BYTES_MAX && bytes > REQUEST_BYTES_MAX) refuse();
    });
    return next();
  };
}

/** For the JSON parser: text in another encoding would be stored altered. */
export function refuseOtherThanUtf8(_request: unknown, _response: unknown, bytes: Buffer): void {
  if (!isUtf8(bytes)) throw invalid('the body is not UTF-8');
}

/** After an early answer: what the client still sends is read for a while, so that it gets to see the answer; not for ever. */
export function lingerOver(request: Request): void {
  if (request.complete) return;
  let bytes = 0;
  const timer = setTimeout(() => request.destroy(), LINGER_MS).unref();
  request.on('close', () => clearTimeout(timer));
  request.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > LINGER_BYTES_MAX) request.destroy();
  });
  request.resume();
}
