// Ids that nobody else makes: of updates, messages and clients.

/** 128 random bits as 32 hexadecimal digits. Works without a secure context. */
export function randomId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
