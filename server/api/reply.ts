// Turns whatever was thrown into the error of the contract: the one place where errors become answers.
import { randomBytes } from 'node:crypto';
import type { Logger } from 'pino';
import type { ZodError } from 'zod';
import { AttuneError, errorTable, type WireError } from '../../client-sdk/protocol/errors.js';
import type { Metrics } from '../metrics.js';
import { RETRY_AFTER_MS } from '../sync/retry-after.js';

export type ToWireError = (thrown: unknown) => WireError;

/** Names an answer in the log, and the caller's report of it. */
export function newRequestId(): string {
  return randomBytes(9).toString('base64url');
}

/** Makes the function that turns thrown values into wire errors, counts them, and logs the unexpected ones. */
export function createToWireError(logger: Logger, metrics: Metrics): ToWireError {
  return (thrown) => {
    const requestId = newRequestId();
    let error: AttuneError;
    if (thrown instanceof AttuneError) error = thrown;
    else {
      error = new AttuneError('INTERNAL', 'something failed that should not; the log knows it by the requestId');
      metrics.internalErrors.inc();
      logger.error({ err: thrown, requestId }, 'a call failed unexpectedly');
    }
    const { code, message, details } = error;
    metrics.refusals.inc({ code });
    if (code === 'OUTCOME_UNKNOWN' || code === 'UNAVAILABLE') logger.debug({ err: error, requestId }, 'refused');
    const { retry, outcome } = errorTable[code];
    const retryAfterMs = error.retryAfterMs ?? (retry === 'after-delay' ? RETRY_AFTER_MS : undefined);
    return {
      code,
      message,
      retry,
      outcome,
      requestId,
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
      ...(details ? { details } : {}),
    };
  };
}

/** The refusal of a request that does not fit its schema; names the first places that do not. */
export function invalidRequest(error: ZodError): AttuneError {
  const issues = error.issues.slice(0, 10).map((issue) => ({
    path: issue.path.map((part) => `/${String(part).slice(0, 64)}`).join(''),
    message: issue.message,
  }));
  const first = issues[0];
  return new AttuneError('INVALID_REQUEST', `${first?.path || 'the request'}: ${first?.message}`, {
    details: { issues },
  });
}
