// The truth about a session as Redis has it, and the checks of what writers were told and readers were given against it.
// It reads Redis by itself, never through the server.
import { expect } from 'chai';
import type { Redis } from 'ioredis';
import { createKeys, type SessionKeys } from '../../server/redis/keys.js';
import type { Wire } from './shapes.js';
import type { TestSocket } from './socket.js';

/** One entry of a session's log. */
export interface LoggedCommit {
  revision: number;
  event: string;
  /** The fencing token that it was committed under. */
  fence: number;
  body: Wire;
}

/** Environment of a server under which a session keeps its whole log, for the checks here. */
export const wholeLog = { LOG_COMMITS_MAX: '1000000', LOG_BYTES_MAX: '1000000000' };

/** The keys of a session under the default prefix. */
export function keysOf(sessionId: string): SessionKeys {
  return createKeys('attune').session(sessionId);
}

/** The whole log, oldest first. */
export async function readLog(redis: Pick<Redis, 'xrange'>, sessionId: string): Promise<LoggedCommit[]> {
  const entries = await redis.xrange(keysOf(sessionId).log, '-', '+');
  return entries.map(([id, fields]) => {
    const value = (name: string) => fields[fields.indexOf(name) + 1] as string;
    const revision = Number(id.split('-')[0]);
    return { revision, event: value('e'), fence: Number(value('f')), body: JSON.parse(value('b')) as Wire };
  });
}

/** The log is 1..n, each update id is in it once, and fencing tokens never decrease along it. */
export function expectSoundLog(log: readonly LoggedCommit[]): void {
  const ids = new Set<string>();
  let fence = 0;
  for (const [at, commit] of log.entries()) {
    if (commit.revision !== at + 1) expect.fail(`revision ${commit.revision} stands where ${at + 1} belongs`);
    if (commit.body.revision !== commit.revision) expect.fail(`the body of ${commit.revision} says another revision`);
    if (commit.fence < fence) expect.fail(`token ${commit.fence} at revision ${commit.revision} comes after ${fence}`);
    fence = commit.fence;
    const { updateId, by } = commit.body;
    const id = JSON.stringify([by.userId, updateId]);
    if (updateId !== undefined && ids.has(id)) expect.fail(`${updateId} is in the log twice`);
    ids.add(id);
  }
}

/** Everything acknowledged is in the log at its revision, with its update id and its value. */
export function expectAcknowledged(
  log: readonly LoggedCommit[],
  writes: readonly { updateId: string; revision: number; holds: (body: Wire) => boolean }[],
): void {
  const lost = writes.filter(({ updateId, revision, holds }) => {
    const commit = log[revision - 1];
    return commit?.body.updateId !== updateId || !holds(commit.body);
  });
  expect(lost, 'acknowledged, and not in the log').to.deep.equal([]);
}

const COMMIT_EVENTS = new Set([
  'settings:updated',
  'message:added',
  'message:updated',
  'message:deleted',
  'session:described',
  'session:cleared',
]);

/** What a reader went through, as far as it is to be asserted. */
export interface Seen {
  commits: number;
  snapshots: Wire[];
  /** Commits that it saw and that a Redis which was killed did not keep; a snapshot followed. */
  rolledBack: number;
  /** Where it is now. */
  epoch: string;
  revision: number;
  settings: Wire;
}

/**
 * Walks through what a socket was given of a session since its join (`from`: the document it joined with): each commit
 * is the next revision of the same epoch and equal to the log's, and anything else comes by a snapshot. With `latest`
 * settings commits may be jumped over.
 */
export function expectOrderly(
  socket: TestSocket,
  from: Wire,
  log: readonly LoggedCommit[],
  options: { latest?: boolean } = {},
): Seen {
  const seen: Seen = { commits: 0, snapshots: [], rolledBack: 0, ...position(from) };
  let unkept: Wire;
  for (const { event, body } of socket.events) {
    if (body?.sessionId !== from.id) continue;
    if (event === 'session:snapshot') {
      const { session } = body;
      const forward = session.epoch !== seen.epoch || session.revision > seen.revision;
      if (!forward) expect.fail(`the snapshot ${session.revision} (${body.reason}) goes back from ${seen.revision}`);
      seen.snapshots.push(body);
      Object.assign(seen, position(session));
      unkept = undefined;
    } else if (COMMIT_EVENTS.has(event)) {
      const isNext = options.latest ? body.revision > seen.revision : body.revision === seen.revision + 1;
      if (!isNext || body.epoch !== seen.epoch) {
        const [had, got] = [seen, body].map(({ epoch, revision }) => `${epoch}:${revision}`);
        expect.fail(`${event} ${got} came after ${had}`);
      }
      const logged = log[body.revision - 1];
      if (logged?.body.epoch === body.epoch) expect({ ...body, event }).to.deep.equal(logged?.body);
      else {
        unkept ??= body;
        seen.rolledBack += 1;
      }
      seen.commits += 1;
      seen.revision = body.revision;
      if (body.settings) seen.settings = body.settings;
    }
  }
  if (unkept) expect.fail(`revision ${unkept.revision} was seen, is not in the log, and no snapshot followed`);
  return seen;
}

function position({ epoch, revision, settings }: Wire): { epoch: string; revision: number; settings: Wire } {
  return { epoch, revision, settings };
}

/** The value of a counter in the server's metrics, all its labels that `labels` fits added up; 0 where there is none. */
export async function metric(url: string, name: string, labels = ''): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  let sum = 0;
  for (const line of text.split('\n')) {
    const [, series, given = '', value] = /^([a-z_]+)(\{[^}]*\})? (\S+)$/.exec(line) ?? [];
    if (series === name && given.includes(labels)) sum += Number(value);
  }
  return sum;
}
