// What a socket was sent of a session's commits, for tests of rooms. It only looks.
import type { Wire } from './shapes.js';
import type { TestSocket } from './socket.js';
import { until } from './until.js';

const COMMIT_EVENTS = [
  'settings:updated',
  'message:added',
  'message:updated',
  'message:deleted',
  'session:described',
  'session:cleared',
  'session:deleted',
];

/** The commits of a session that a socket was sent, in order of arrival, as a list of commits shows them. */
export function commitsSeen(socket: TestSocket, sessionId: string): Wire[] {
  return socket.events
    .filter(({ event, body }) => COMMIT_EVENTS.includes(event) && body.sessionId === sessionId)
    .map(({ event, body }) => ({ ...body, event }));
}

export const revisionsOf = (commits: Wire[]): number[] => commits.map((commit) => commit.revision);

/** Resolves with the session as it is once everything up to its newest revision has arrived at `reader`. */
export async function caughtUp(reader: TestSocket, sessionId: string): Promise<Wire> {
  const { session } = await reader.ok('session:get', { sessionId });
  await until(() => revisionsOf(commitsSeen(reader, sessionId)).includes(session.revision), {
    what: `revision ${session.revision}`,
  });
  return session;
}
