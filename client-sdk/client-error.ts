// The error that every call of the SDK rejects with: the server's, or the client's own where no server was asked.
import type { ErrorCode, Outcome, Retry, WireError } from './protocol/errors.js';

/** What only a client can say. `OFFLINE`: not connected, and the call is not one that waits. `ABORTED`: by its AbortSignal.
 * `CLOSED`: the handle or the client was left. `QUEUE_FULL`: too much waits to be sent. */
export type ClientErrorCode = ErrorCode | 'ABORTED' | 'CLOSED' | 'OFFLINE' | 'QUEUE_FULL';

/** An error with what the caller may do after it. */
export class ClientError extends Error {
  /** One of the contract's codes, or one of the client's own. */
  declare readonly code: ClientErrorCode;
  /** What the caller may do. */
  declare readonly retry: Retry;
  /** Whether the write happened; `not-committed` is said only when it is certain. */
  declare readonly outcome: Outcome;
  /** Names the answer in the server's log, where it came from there. */
  declare readonly requestId?: string;
  /** Milliseconds to wait before trying again. */
  declare readonly retryAfterMs?: number;
  /** More, as the contract has it for the code: `issues`, `settings`, `updateId` … */
  declare readonly details?: Record<string, unknown>;

  /** With the code for a message where there is none. */
  constructor(code: ClientErrorCode, from: Partial<WireError> = {}) {
    super(from.message ?? code);
    Object.assign(this, { retry: 'never', outcome: 'not-committed' }, from, { name: 'ClientError', code });
  }

  /** Whether the same call may succeed later, or with another token. */
  get isTemporary(): boolean {
    return !/never|after-r/.test(this.retry);
  }
}

/** The server's error object as an error. */
export const clientErrorOf = (error: WireError): ClientError => new ClientError(error.code, error);

/** It was sent, and may have happened. */
export const unanswered = (code: ClientErrorCode, updateId?: string): ClientError =>
  new ClientError(code, { retry: 'same-id', outcome: 'unknown', details: { updateId } });

/** It was not sent, and may be later. */
export const offline = (message = 'OFFLINE'): ClientError =>
  new ClientError('OFFLINE', { message, retry: 'after-delay' } as Partial<WireError>);
