// The one table of errors: code, HTTP status, what the caller may do, and whether the write happened.

/** What the caller may do after an error. */
export type Retry = 'never' | 'reauthenticate' | 'after-refresh' | 'after-delay' | 'same-id';
/** Whether the write happened; `not-committed` is said only when it is certain. */
export type Outcome = 'not-committed' | 'unknown';

/** Every error code with its HTTP status, retry class and outcome. */
export const errorTable = {
  INVALID_REQUEST: { http: 400, retry: 'never', outcome: 'not-committed' },
  INVALID_SETTINGS: { http: 422, retry: 'never', outcome: 'not-committed' },
  TOO_LARGE: { http: 413, retry: 'never', outcome: 'not-committed' },
  PROTOCOL_UNSUPPORTED: { http: 426, retry: 'never', outcome: 'not-committed' },
  UNAUTHENTICATED: { http: 401, retry: 'reauthenticate', outcome: 'not-committed' },
  FORBIDDEN: { http: 403, retry: 'never', outcome: 'not-committed' },
  SESSION_NOT_FOUND: { http: 404, retry: 'never', outcome: 'not-committed' },
  MESSAGE_NOT_FOUND: { http: 404, retry: 'never', outcome: 'not-committed' },
  REVISION_CONFLICT: { http: 409, retry: 'after-refresh', outcome: 'not-committed' },
  RATE_LIMITED: { http: 429, retry: 'after-delay', outcome: 'not-committed' },
  OVERLOADED: { http: 503, retry: 'after-delay', outcome: 'not-committed' },
  UNAVAILABLE: { http: 503, retry: 'after-delay', outcome: 'not-committed' },
  OUTCOME_UNKNOWN: { http: 504, retry: 'same-id', outcome: 'unknown' },
  INTERNAL: { http: 500, retry: 'same-id', outcome: 'unknown' },
} as const satisfies Record<string, { http: number; retry: Retry; outcome: Outcome }>;

/** One of the codes of {@link errorTable}. */
export type ErrorCode = keyof typeof errorTable;

/** The error object of an acknowledgement, of a `connect_error`'s `data`, and (with RFC 9457's members) of HTTP. */
export interface WireError {
  code: ErrorCode;
  message: string;
  retry: Retry;
  outcome: Outcome;
  /** Names this answer in the server's log. */
  requestId: string;
  /** Milliseconds to wait before trying again; with retry `after-delay`. */
  retryAfterMs?: number;
  details?: Record<string, unknown>;
}

/** An error of the contract. Whoever throws it decides the code; one place turns it into the wire's form. */
export class AttuneError extends Error {
  readonly code: ErrorCode;
  readonly details: Record<string, unknown> | undefined;
  /** Milliseconds. */
  readonly retryAfterMs: number | undefined;

  constructor(
    code: ErrorCode,
    message: string,
    options: { details?: Record<string, unknown>; retryAfterMs?: number; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'AttuneError';
    this.code = code;
    this.details = options.details;
    this.retryAfterMs = options.retryAfterMs;
  }
}
