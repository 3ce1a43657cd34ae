// Replicas over a model of the server whose messages come in any order, twice, or not at all: all end as the server is.
import { expect } from 'chai';
import fc from 'fast-check';
import type { Json, JsonObject } from '../../client-sdk/protocol/json.js';
import { emptyReplica, viewOf, type Replica, type SettingsRequest } from '../../client-sdk/replica.js';
import { reduce, type ReplicaEvent } from '../support/replica-events.js';
import { createSettingsModel, type SettingsModel } from '../support/settings-model.js';

describe('replicas over a model of the server', () => {
  const interleavings = (requests: fc.Arbitrary<Make>) =>
    fc.tuple(fc.array(stepOf(requests), { maxLength: 150, size: 'max' }), fc.boolean());

  it('[RP4] whatever the interleaving, all replicas end as the server is, and no acknowledged update leaves the view before', () => {
    const property = fc.property(interleavings(gentle), ([steps, isLatest]) => run(steps, isLatest, true));
    fc.assert(property, { numRuns: 200 });
  });

  it('[RP4] the same where updates replace everything or restore, which hides what others wrote', () => {
    const property = fc.property(interleavings(rough), ([steps, isLatest]) => run(steps, isLatest, false));
    fc.assert(property, { numRuns: 200 });
  });
});

const CLIENTS = 3;
type Step =
  | { do: 'update'; client: number; request: (id: string, model: SettingsModel) => SettingsRequest }
  | { do: 'send' | 'feed' | 'answer' | 'lose' | 'repeat' | 'reconnect'; client: number }
  | { do: 'describe' | 'restart' };
type Make = Extract<Step, { do: 'update' }>['request'];

const name = fc.constantFrom('model', 'shared', 'list');
const value: fc.Arbitrary<Json> = fc.oneof(
  fc.constantFrom('x', 'y'),
  fc.array(fc.integer({ max: 3 }), { maxLength: 2 }),
);
/** Each sets a key of its own, by which it is known in the view, and something that all of them set. */
const merging: fc.Arbitrary<Make> = fc
  .tuple(fc.constantFrom('shared', 'others'), name, value)
  .map(([holder, member, given]) => (id) => ({ merge: { [id]: id, [holder]: { [member]: given } } }));
/** Refused where `others` has no such member, and where the model is no text. */
const patching: fc.Arbitrary<Make> = fc.oneof(
  name.map((member) => () => ({ patch: [{ op: 'remove' as const, path: `/others/${member}` }] })),
  name.map((member) => (id: string) => ({
    patch: [
      { op: 'add' as const, path: `/${id}`, value: id },
      { op: 'copy' as const, from: '/shared', path: `/others/${member}` },
    ],
  })),
  fc.constant(() => ({ merge: { model: { not: 'a text' } } })),
);
const gentle = fc.oneof({ weight: 5, arbitrary: merging }, { weight: 1, arbitrary: patching });
const rough = fc.oneof(
  { weight: 3, arbitrary: gentle },
  { weight: 1, arbitrary: fc.constant((id: string) => ({ replace: { model: 'r', [id]: id, others: {} } })) },
  {
    weight: 1,
    arbitrary: fc.nat(20).map((back) => (_id: string, model: SettingsModel) => ({
      toRevision: Math.max(1, model.document.settingsRevision - back),
    })),
  },
);

function stepOf(requests: fc.Arbitrary<Make>): fc.Arbitrary<Step> {
  const client = fc.nat(CLIENTS - 1);
  const simple = (what: 'send' | 'feed' | 'answer' | 'lose' | 'repeat' | 'reconnect', weight: number) => ({
    weight,
    arbitrary: client.map((at): Step => ({ do: what, client: at })),
  });
  return fc.oneof(
    {
      weight: 20,
      arbitrary: fc.tuple(client, requests).map(([at, request]): Step => ({ do: 'update', client: at, request })),
    },
    simple('send', 20),
    simple('feed', 30),
    simple('answer', 20),
    simple('lose', 1),
    simple('repeat', 3),
    simple('reconnect', 2),
    { weight: 2, arbitrary: fc.constant<Step>({ do: 'describe' }) },
    { weight: 1, arbitrary: fc.constant<Step>({ do: 'restart' }) },
  );
}

interface Client {
  replica: Replica;
  /** What the room tells it, in order; the answers to its own updates come on a way of their own. */
  feed: ReplicaEvent[];
  answers: ReplicaEvent[];
  /** Own updates that are not answered, oldest first; the first `sent` of them are on their way. */
  writes: { updateId: string; request: SettingsRequest }[];
  sent: number;
  /** Acknowledged ones: they must be in the view from then on. */
  kept: Set<string>;
}

function run(steps: readonly Step[], isLatest: boolean, isGentle: boolean): void {
  const model = createSettingsModel({ model: 'start', shared: {}, others: {} });
  const clients = Array.from({ length: CLIENTS }, (): Client => ({
    replica: reduce(emptyReplica, { type: 'snapshot', session: model.document })!,
    feed: [],
    answers: [],
    writes: [],
    sent: 0,
    kept: new Set(),
  }));
  let told = model.log.length;
  let made = 0;
  const tellRooms = () => {
    for (const { delta: commit } of model.log.slice(told)) {
      for (const { feed } of clients) feed.push({ type: 'commit', commit });
    }
    told = model.log.length;
  };

  const join = (client: Client): void => {
    // The server answers what came before the join on the same line first.
    while (client.answers.length > 0) answer(client);
    client.feed = [];
    const { epoch, revision } = client.replica.confirmed!;
    const tail = model.log.filter(({ whole: commit }) => commit.revision > revision);
    const isResumed = epoch === model.document.epoch && tail.every(({ whole: commit }) => commit.epoch === epoch);
    if (!isResumed) return take(client, { type: 'snapshot', session: model.document });
    for (const { whole: commit } of tail) take(client, { type: 'commit', commit });
  };
  const take = (client: Client, event: ReplicaEvent): void => {
    const before = client.replica;
    const after = reduce(before, event);
    if (!after) return join(client);
    client.replica = after;
    if (event.type === 'commit' && 'delta' in event.commit) {
      expectShared(before.confirmed!.settings, after.confirmed!.settings);
    }
    if (isGentle)
      for (const id of client.kept) expect(viewOf(after), `the view after ${event.type}`).to.have.property(id);
  };
  const send = (client: Client) => {
    const write = client.writes[client.sent];
    if (!write) return;
    client.sent += 1;
    const { updateId } = write;
    const said = model.update(updateId, write.request);
    client.answers.push(
      'refused' in said ? { type: 'refused', updateId } : { type: 'acknowledged', updateId, at: said.at },
    );
    tellRooms();
  };
  const answer = (client: Client) => {
    const event = client.answers.shift();
    if (event?.type !== 'acknowledged' && event?.type !== 'refused') return;
    const { request } = client.writes.shift()!;
    client.sent -= 1;
    if (event.type === 'acknowledged' && request.merge) client.kept.add(event.updateId);
    take(client, event);
  };
  const feed = (client: Client) => {
    let event = client.feed.shift();
    // A slow reader with `latest` is given the newest of several settings commits in place of all.
    while (isLatest && event?.type === 'commit' && event.commit.event === 'settings:updated') {
      const next = client.feed[0];
      if (next?.type !== 'commit' || next.commit.event !== 'settings:updated') break;
      client.feed.shift();
      const commit = model.log.find(({ whole: one }) => one.revision === next.commit.revision)!.whole;
      event = { type: 'commit', commit };
    }
    // What was answered before Redis was started again is heard before the rooms hear of that.
    const isOld = (one?: ReplicaEvent) => one?.type === 'acknowledged' && one.at.epoch !== model.document.epoch;
    while (event?.type === 'snapshot' && client.answers.some(isOld)) answer(client);
    if (event) take(client, event);
  };
  /** With `latest` only settings may be missing without its being seen: they come whole. */
  const lose = (client: Client) => {
    const [next] = client.feed;
    if (!isLatest || (next?.type === 'commit' && next.commit.event === 'settings:updated')) client.feed.shift();
  };
  const perform = (step: Step) => {
    if (step.do === 'describe') {
      model.describe(`title ${(made += 1)}`);
      return tellRooms();
    }
    if (step.do === 'restart') {
      // One that comes while rooms still hear of the last is no different to them from a single one.
      if (clients.some((one) => one.feed.some(({ type }) => type === 'snapshot'))) return;
      model.restart();
      for (const one of clients) one.feed.push({ type: 'snapshot', session: model.document });
      return;
    }
    const client = clients[(step as { client: number }).client]!;
    if (step.do === 'update') {
      const updateId = `u${(made += 1)}`;
      const update = { updateId, request: step.request(updateId, model) };
      client.writes.push(update);
      take(client, { type: 'updated', update });
    } else if (step.do === 'send') send(client);
    else if (step.do === 'answer') answer(client);
    else if (step.do === 'feed') feed(client);
    else if (step.do === 'lose') lose(client);
    else if (step.do === 'repeat') client.feed.unshift(...client.feed.slice(0, 1));
    else {
      // The answers are lost with the line; the same ids are sent again.
      client.answers = [];
      client.sent = 0;
      join(client);
    }
  };

  for (const step of steps) perform(step);
  for (const client of clients) while (client.sent < client.writes.length) send(client);
  for (const client of clients) {
    while (client.answers.length > 0) answer(client);
    while (client.feed.length > 0) feed(client);
    // What came last may have been lost: the check of epoch and revision finds it.
    const { epoch, revision } = client.replica.confirmed!;
    if (epoch !== model.document.epoch || revision !== model.document.revision) join(client);
  }
  for (const { replica, writes } of clients) {
    expect(writes).to.deep.equal([]);
    expect(replica.pending, 'pending at the end').to.deep.equal([]);
    expect(replica.confirmed).to.include({ epoch: model.document.epoch, revision: model.document.revision });
    expect(replica.confirmed!.settings).to.deep.equal(model.document.settings);
    expect(replica.confirmed!.title).to.equal(model.document.title);
    expect(viewOf(replica)).to.equal(replica.confirmed!.settings);
  }
}

/** What a delta did not change is the same reference. */
function expectShared(before: JsonObject, after: JsonObject): void {
  for (const [member, was] of Object.entries(before)) {
    const now = after[member];
    if (JSON.stringify(was) === JSON.stringify(now)) expect(now, member).to.equal(was);
  }
}
