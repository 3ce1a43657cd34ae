// Clients of the SDK for tests: made for a server, closed with the test, and what tests ask of a session again and again.
import {
  createClient,
  type AttuneClient,
  type ClientError,
  type ClientOptions,
  type Session,
} from '../../client-sdk/index.js';
import { until } from './until.js';

const made = new Set<AttuneClient>();
let sessions = 0;

/** A client that `closeClients` closes. */
export function clientOf(url: string, options: ClientOptions = {}): AttuneClient {
  const client = createClient({ url, ...options });
  made.add(client);
  return client;
}

/** Closes every client that clientOf() made: for afterEach. */
export function closeClients(): void {
  for (const client of made) client.close();
  made.clear();
}

/** An id that no other test of this run uses. */
export const freshSession = (prefix = 'sdk'): string => `${prefix}-${process.pid}-${(sessions += 1)}`;

/** Resolves when the session is live and has nothing to be confirmed. */
export const synchronized = <S>(session: Session<S>, deadlineMs = 5000): Promise<true> =>
  until(() => session.getSnapshot().syncStatus === 'synchronized', {
    deadlineMs,
    what: 'the session to be synchronized',
  });

/** The error that a promise rejects with; undefined where it does not reject. */
export const failureOf = (promise: Promise<unknown>): Promise<ClientError | undefined> =>
  promise.then(
    () => undefined,
    (error: unknown) => error as ClientError,
  );

/** What a listener was called with, in order. */
export function recorded<T>(listen: (listener: (body: T) => void) => () => void): T[] {
  const all: T[] = [];
  listen((body) => all.push(body));
  return all;
}

/** What nobody handled while the work was done: rejections, errors of listeners. The test runner does not see them. */
export async function unhandledIn(work: () => Promise<void>): Promise<unknown[]> {
  const unhandled: unknown[] = [];
  const others = process.listeners('unhandledRejection');
  process.removeAllListeners('unhandledRejection');
  process.on('unhandledRejection', (reason) => unhandled.push(reason));
  try {
    await work();
    // They are told once the turn in which they arose is over.
    await new Promise((resolve) => setImmediate(resolve));
  } finally {
    process.removeAllListeners('unhandledRejection');
    for (const other of others) process.on('unhandledRejection', other);
  }
  return unhandled;
}
