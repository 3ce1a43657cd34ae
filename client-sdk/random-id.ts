// Ids that nobody else makes: of updates, messages and clients.

/** 128 random bits, each byte by itself in base 36. Works without a secure context. */
export function randomId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(36)).join('');
}
