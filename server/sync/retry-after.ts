// How long a caller waits that may try again. Errors need not say it: where one says nothing else, its answer does.

/** What a caller is told to wait before it tries again, milliseconds; nothing of the same socket overtakes it meanwhile. */
export const RETRY_AFTER_MS = 100;
