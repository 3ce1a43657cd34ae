// Which session the page shows: the one in its address, or a new one that is put there. Knows no server.

/** Ids that the contract takes. */
const sessionId = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/;
/** Characters of a new id's random part: nobody comes upon another one's session by chance. */
const RANDOM_CHARS = 12;
const alphabet = 'abcdefghijkmnpqrstuvwxyz23456789';

/** Random letters and digits that are not mistaken for each other. */
export function randomName(length: number): string {
  const bytes = crypto.getRandomValues(new Uint8Array(length));
  return [...bytes].map((byte) => alphabet[byte % alphabet.length]).join('');
}

/** What the page's address asks for: a session, or a name that no session can have. */
export type Asked = { readonly id: string } | { readonly malformed: string };

/** The session of the page's address; a new one is written into it, without a step in the browser's history. */
export function sessionInAddress(): Asked {
  const address = new URL(location.href);
  const given = address.searchParams.get('session');
  if (given) return sessionId.test(given) ? { id: given } : { malformed: given };
  const made = `demo-${randomName(RANDOM_CHARS)}`;
  address.searchParams.set('session', made);
  history.replaceState(null, '', address);
  return { id: made };
}

/** What to give to others: the address with the session alone, never with a token. */
export function shareAddress(id: string): string {
  const address = new URL('/', location.href);
  address.searchParams.set('session', id);
  return address.href;
}

/** Whether only this machine can open an address. */
export function isLocalAddress(address: string): boolean {
  return /^(localhost|127\.\d+\.\d+\.\d+|\[::1\]|.+\.localhost)$/.test(new URL(address).hostname);
}
