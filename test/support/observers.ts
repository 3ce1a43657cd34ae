// Readers of sessions over all nodes of a topology, and what each must have been given when Redis is another.
import { isDeepStrictEqual } from 'node:util';
import { expect } from 'chai';
import fastJsonPatch from 'fast-json-patch';
import { keysOf } from './session-log.js';
import { freshId, type Wire } from './shapes.js';
import { connect, type TestSocket } from './socket.js';
import type { Topology } from './topology.js';
import { until } from './until.js';

/** Everybody concerned is told within. */
export const TOLD_MS = 5000;

export interface Observer {
  readonly socket: TestSocket;
  readonly sessionId: string;
  /** The document it joined with. */
  readonly from: Wire;
  readonly delivery: string;
}

/** Makes `count` sessions; in each is one reader per node and way of delivery. */
export async function observe(topology: Topology, count: number): Promise<Observer[]> {
  const ids = Array.from({ length: count }, () => freshId('ld'));
  const maker = await connect(topology.nodes[0]!.url);
  for (const sessionId of ids) await maker.ok('session:open', { sessionId });
  const all: Observer[] = [];
  for (const node of topology.nodes) {
    for (const options of [{ delivery: 'every' }, { delivery: 'latest', body: 'delta' }]) {
      for (const sessionId of ids) {
        const socket = await connect(node.url);
        const { session: from } = await socket.ok('session:join', { sessionId, ...options });
        all.push({ socket, sessionId, from, delivery: options.delivery });
      }
    }
  }
  return all;
}

/** Resolves with the snapshot that tells the observer of another epoch than the one it was in at first. */
export async function toldOfEpoch({ socket, sessionId, from }: Observer): Promise<Wire> {
  const fits = (body: Wire) => body.sessionId === sessionId && body.session.epoch !== from.epoch;
  const told = await socket.next('session:snapshot', fits, TOLD_MS);
  expect(told.reason).to.equal('epoch');
  return told;
}

/** Every observer ends up with what Redis has, by what it was given alone. */
export async function expectConverged(topology: Topology, observers: readonly Observer[]): Promise<void> {
  for (const observer of observers) {
    const { doc } = keysOf(observer.sessionId);
    const same = async () => {
      const [revision, settings] = await topology.direct.hmget(doc, 'revision', 'settings');
      const seen = newest(observer);
      if (seen.revision !== Number(revision)) throw new Error(`it is at ${seen.revision}, Redis at ${revision}`);
      return seen.revision === Number(revision) && isDeepStrictEqual(seen.settings, JSON.parse(settings!));
    };
    await until(same, { deadlineMs: TOLD_MS, what: `an observer of ${observer.sessionId} to equal Redis` });
  }
}

/** Where the events have taken a reader; the settings of deltas are taken from the events that carry them whole. */
function newest({ socket, sessionId, from }: Observer): { revision: number; settings: Wire } {
  let { revision, settings } = from;
  for (const { event, body } of socket.events) {
    if (body?.sessionId !== sessionId) continue;
    const document = event === 'session:snapshot' ? body.session : body;
    ({ revision } = document);
    if (document.settings) ({ settings } = document);
    else if (body.delta) settings = fastJsonPatch.applyPatch(structuredClone(settings), body.delta, true).newDocument;
  }
  return { revision, settings };
}
