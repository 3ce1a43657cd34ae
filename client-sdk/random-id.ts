// Ids that nobody else makes: of updates, messages and clients.

/** 128 random bits as decimal digits. Works without a secure context. */
export const randomId = (): string => crypto.getRandomValues(new Uint32Array(4)).join('');
