// The error that every call of the SDK rejects with: the server's, or the client's own where no server was asked.
import type { ErrorCode, Outcome, Retry, WireError } from './protocol/errors.js';

/** What only a client can say. `OFFLINE`: not connected, and the call is not one that waits. `ABORTED`: by its AbortSignal.
 * `CLOSED`: the handle or the client was left. `QUEUE_FULL`: too much waits to be sent. */
export type ClientErrorCode = ErrorCode | 'ABORTED' | 'CLOSED' | 'OFFLINE' | 'QUEUE_FULL';

/** An error with what the caller may do after it. */
export class ClientError extends Error {
  override readonly name = 'ClientError';
  /** One of the contract's codes, or one of the client's own. */
  readonly code: ClientErrorCode;
  /** What the caller may do. */
  readonly retry: Retry;
  /** Whether the write happened; `not-committed` is said only when it is certain. */
  readonly outcome: Outcome;
  /** Names the answer in the server's log, where it came from there. */
  readonly requestId: string | undefined;
  /** Milliseconds to wait before trying again. */
  readonly retryAfterMs: number | undefined;
  /** More, as the contract has it for the code: `issues`, `settings`, `updateId` … */
  readonly details: Record<string, unknown>;

  constructor(code: ClientErrorCode, message: string, from: Partial<WireError> = {}) {
    super(message);
    this.code = code;
    this.retry = from.retry ?? 'never';
    this.outcome = from.outcome ?? 'not-committed';
    this.requestId = from.requestId;
    this.retryAfterMs = from.retryAfterMs;
    this.details = from.details ?? {};
  }
}

/** The server's error object as an error. */
export const clientErrorOf = (error: WireError): ClientError => new ClientError(error.code, error.message, error);
