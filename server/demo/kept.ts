// What the browser keeps for this page: who the user is (for all tabs), and for this tab a token and what was not sent yet. A
// browser that keeps nothing is as good as a new one.
import { localStorageOutbox } from '../../client-sdk/storage.js';
import { NAME_CHARS_MAX, newPerson, type Person } from './person.js';

const PERSON_KEY = 'attune-demo-person';
const TOKEN_KEY = 'attune-demo-token';

/** The user as they last called themselves, or somebody new, who is kept at once so that the next tab is the same. */
export function keptPerson(): Person {
  try {
    const { name, color } = JSON.parse(localStorage.getItem(PERSON_KEY) ?? '{}') as Partial<Person>;
    if (typeof name === 'string' && name.trim() !== '' && /^#[0-9a-f]{6}$/.test(color ?? '')) {
      return { name: name.slice(0, NAME_CHARS_MAX), color: color as string };
    }
  } catch {
    // Nothing readable is kept.
  }
  const person = newPerson(Math.random);
  keepPerson(person);
  return person;
}

export function keepPerson(person: Person): void {
  try {
    localStorage.setItem(PERSON_KEY, JSON.stringify(person));
  } catch {
    // It is kept for as long as the page is open.
  }
}

/** The token for a server that asks for one: from the address's `#token=…`, which is then removed from it, or as kept. */
export function keptToken(): string | undefined {
  const given = new URLSearchParams(location.hash.slice(1)).get('token');
  if (given !== null) {
    history.replaceState(null, '', location.pathname + location.search);
    keepToken(given);
    return given;
  }
  try {
    return sessionStorage.getItem(TOKEN_KEY) ?? undefined;
  } catch {
    return undefined;
  }
}

export function keepToken(token: string): void {
  try {
    sessionStorage.setItem(TOKEN_KEY, token);
  } catch {
    // It is asked for again in the next tab.
  }
}

/**
 * Where changes that were not sent wait over a reload: in the tab, so that going offline in one tab is not undone by
 * opening another. Undefined where the browser keeps nothing.
 */
export function tabOutbox(): ReturnType<typeof localStorageOutbox> | undefined {
  try {
    return localStorageOutbox({ key: 'attune-demo', storage: sessionStorage });
  } catch {
    return undefined;
  }
}
