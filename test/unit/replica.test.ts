// The replica as a state machine: a table of every event in every state, and what a user sees of it.
import { expect } from 'chai';
import type { JsonObject } from '../../client-sdk/protocol/json.js';
import type { Author, Cursor } from '../../client-sdk/protocol/messages.js';
import { reduce, type ReplicaEvent } from '../support/replica-events.js';
import {
  applied,
  emptyReplica,
  isMessageCommit,
  viewOf,
  type Confirmed,
  type Replica,
  type SeenCommit,
  type SettingsRequest,
} from '../../client-sdk/replica.js';

const by: Author = { userId: 'u1', clientId: 'tab-a', kind: 'tab' };
const session = (revision: number, settings: JsonObject, epoch = 'E1'): Confirmed => ({
  epoch,
  revision,
  settingsRevision: revision,
  settings,
});
const base = (revision: number, updateId: string, epoch = 'E1') => ({
  sessionId: 's',
  epoch,
  revision,
  at: '2026-11-22T10:00:00.000Z',
  by,
  updateId,
});
const set = (model: string): SettingsRequest => ({ merge: { model } });
const delta = (revision: number, model: string, updateId = 'other', from = revision - 1, epoch = 'E1'): SeenCommit => ({
  event: 'settings:updated',
  ...base(revision, updateId, epoch),
  settingsRevision: revision,
  changedPaths: ['/model'],
  delta: [{ op: 'replace', path: '/model', value: model }],
  from,
});
const whole = (revision: number, model: string, updateId = 'other', epoch = 'E1'): SeenCommit => ({
  event: 'settings:updated',
  ...base(revision, updateId, epoch),
  settingsRevision: revision,
  changedPaths: ['/model'],
  settings: { model },
});

/** At revision 5 with `model: 'five'`; its own updates set the model to the name of their state. */
const states = {
  empty: emptyReplica,
  offline: { confirmed: null, pending: [{ updateId: 'own', request: set('offline') }] },
  live: { confirmed: session(5, { model: 'five' }), pending: [] },
  waiting: { confirmed: session(5, { model: 'five' }), pending: [{ updateId: 'own', request: set('waiting') }] },
  ahead: {
    confirmed: session(5, { model: 'five' }),
    pending: [{ updateId: 'own', request: set('ahead'), at: { epoch: 'E1', revision: 7 } }],
  },
  beyond: {
    confirmed: session(5, { model: 'five' }),
    pending: [{ updateId: 'own', request: set('beyond'), at: { epoch: 'E2', revision: 6 } }],
  },
} as const satisfies Record<string, Replica>;

const events = {
  updated: { type: 'updated', update: { updateId: 'two', request: set('two') } },
  'acknowledged at what is confirmed': acknowledged('own', { epoch: 'E1', revision: 5 }),
  'acknowledged ahead': acknowledged('own', { epoch: 'E1', revision: 6 }),
  'acknowledged in a new epoch': acknowledged('own', { epoch: 'E2', revision: 6 }),
  'a duplicate of an earlier epoch': acknowledged('own', { epoch: 'E0', revision: 9, duplicate: true }),
  'acknowledged, not known': acknowledged('nobody', { epoch: 'E1', revision: 6 }),
  refused: { type: 'refused', updateId: 'own' },
  'refused, not known': { type: 'refused', updateId: 'nobody' },
  'next commit, own': { type: 'commit', commit: delta(6, 'own', 'own') },
  'next commit': { type: 'commit', commit: delta(6, 'six') },
  'next commit, whole': { type: 'commit', commit: whole(6, 'six') },
  'commit seen before': { type: 'commit', commit: delta(5, 'again') },
  'commit after a gap': { type: 'commit', commit: delta(7, 'seven') },
  'conflated commit': { type: 'commit', commit: whole(8, 'eight') },
  'next commit, delta of other settings': { type: 'commit', commit: delta(6, 'six', 'other', 4) },
  'commit of another epoch': { type: 'commit', commit: whole(6, 'six', 'other', 'E2') },
  'newer snapshot': { type: 'snapshot', session: session(9, { model: 'nine' }) },
  'snapshot at the same place': { type: 'snapshot', session: session(5, { model: 'five' }) },
  'snapshot of a new epoch': { type: 'snapshot', session: session(6, { model: 'new' }, 'E2') },
} as const satisfies Record<string, ReplicaEvent>;

function acknowledged(updateId: string, at: Cursor & { duplicate?: boolean }): ReplicaEvent {
  return { type: 'acknowledged', updateId, at };
}

/** What the user sees, where it is, and what is pending: `view@revision+pending+pending`. `resync`: it cannot follow. */
const seen = (replica: Replica | null): string => {
  if (!replica) return 'resync';
  const view = viewOf(replica)?.model as string | undefined;
  const pending = replica.pending.map(({ updateId }) => `+${updateId}`).join('');
  return `${view ?? '-'}@${replica.confirmed?.revision ?? 0}${pending}`;
};

/** What is seen after each event in each state; `=`: the same as before. A snapshot of another epoch than the one that
 * `beyond` was acknowledged in says that this one is over. */
const table = `
                                       | empty  | offline      | live     | waiting      | ahead        | beyond
  (before)                             | -@0    | -@0+own      | five@5   | waiting@5+own| ahead@5+own  | beyond@5+own
  updated                              | -@0+two| -@0+own+two  | two@5+two| two@5+own+two| two@5+own+two| two@5+own+two
  acknowledged at what is confirmed    | =      | =            | =        | five@5       | five@5       | five@5
  acknowledged ahead                   | =      | =            | =        | =            | =            | =
  acknowledged in a new epoch          | =      | =            | =        | =            | =            | =
  a duplicate of an earlier epoch      | =      | -@0          | =        | five@5       | five@5       | five@5
  acknowledged, not known              | =      | =            | =        | =            | =            | =
  refused                              | =      | -@0          | =        | five@5       | five@5       | five@5
  refused, not known                   | =      | =            | =        | =            | =            | =
  next commit, own                     | resync | resync       | own@6    | own@6        | own@6        | own@6
  next commit                          | resync | resync       | six@6    | waiting@6+own| ahead@6+own  | beyond@6+own
  next commit, whole                   | resync | resync       | six@6    | waiting@6+own| ahead@6+own  | beyond@6+own
  commit seen before                   | resync | resync       | =        | =            | =            | =
  commit after a gap                   | resync | resync       | resync   | resync       | resync       | resync
  conflated commit                     | resync | resync       | eight@8  | waiting@8+own| eight@8      | beyond@8+own
  next commit, delta of other settings | resync | resync       | resync   | resync       | resync       | resync
  commit of another epoch              | resync | resync       | resync   | resync       | resync       | resync
  newer snapshot                       | nine@9 | offline@9+own| nine@9   | waiting@9+own| nine@9       | nine@9
  snapshot at the same place           | five@5 | offline@5+own| =        | =            | =            | five@5
  snapshot of a new epoch              | new@6  | offline@6+own| new@6    | waiting@6+own| new@6        | new@6
`
  .trim()
  .split('\n')
  .map((line) => line.split('|').map((cell) => cell.trim()));
const [[, ...columns], [, ...before], ...rows] = table as [string[], string[], ...string[][]];

describe('the replica', () => {
  it('[RP1] the table has every event and every state', () => {
    expect(columns).to.deep.equal(Object.keys(states));
    expect(before).to.deep.equal(Object.values(states).map(seen));
    expect(rows.map(([what]) => what)).to.deep.equal(Object.keys(events));
  });

  for (const [what, ...outcomes] of rows) {
    it(`[RP1] ${what}: in every state`, () => {
      expect(outcomes).to.have.length(columns.length);
      for (const [at, outcome] of outcomes.entries()) {
        const state = states[columns[at] as keyof typeof states];
        const frozen = JSON.stringify(state);
        const after = reduce(state, events[what as keyof typeof events]);
        expect(seen(after), columns[at]).to.equal(outcome === '=' ? before[at] : outcome);
        expect(JSON.stringify(state), 'what it was given').to.equal(frozen);
      }
    });
  }

  it('[RP1] a commit that was seen before gives the same reference', () => {
    for (const state of [states.live, states.waiting, states.ahead]) {
      expect(reduce(state, events['commit seen before'])).to.equal(state);
    }
  });

  it('[RP2] every kind of commit moves the revision, and changes what it says', () => {
    const message = {
      id: 'm',
      revision: 6,
      settingsRevision: 5,
      role: 'user' as const,
      content: 'hi',
      timestamp: '',
      status: 'complete' as const,
      author: by,
    };
    const commits: [SeenCommit, Partial<Confirmed>, boolean][] = [
      [{ event: 'session:described', ...base(6, 'd'), title: 'T', metadata: { a: 1 } }, { title: 'T' }, false],
      [{ event: 'message:added', ...base(6, 'a'), message }, {}, true],
      [{ event: 'message:updated', ...base(6, 'u'), message }, {}, true],
      [{ event: 'message:deleted', ...base(6, 'x'), messageId: 'm' }, {}, true],
      [{ event: 'session:cleared', ...base(6, 'c'), removed: 1 }, {}, true],
    ];
    for (const [commit, changed, isOfMessages] of commits) {
      const after = reduce(states.waiting, { type: 'commit', commit });
      expect(after?.confirmed, commit.event).to.include({ revision: 6, settingsRevision: 5, ...changed });
      expect(after?.confirmed?.settings, 'the settings keep their reference').to.equal(
        states.waiting.confirmed.settings,
      );
      expect(after?.pending).to.have.length(1);
      expect(isMessageCommit(commit)).to.equal(isOfMessages);
      // It is no commit of the settings: the next delta applies to the same settings as before.
      const next = reduce(after!, { type: 'commit', commit: delta(7, 'seven', 'other', 5) });
      expect(next?.confirmed?.settings).to.deep.equal({ model: 'seven' });
    }
    const titled: Replica = { ...states.live, confirmed: { ...states.live.confirmed, title: 'T', metadata: {} } };
    const untitled = reduce(titled, { type: 'commit', commit: { event: 'session:described', ...base(6, 'd') } });
    expect(untitled?.confirmed?.title).to.equal(undefined);
    expect(untitled?.confirmed?.metadata).to.equal(undefined);
  });

  it('[RP3] the view is what is confirmed with every own update on top, in order; what does not apply shows nothing', () => {
    const confirmed = session(5, { model: 'five', list: [1], options: { a: 1, b: 2 } });
    const pending = (requests: SettingsRequest[]) => requests.map((request, i) => ({ updateId: `u${i}`, request }));
    const view = (...requests: SettingsRequest[]) => viewOf({ confirmed, pending: pending(requests) });
    expect(view()).to.equal(confirmed.settings);
    expect(view({ merge: { options: { a: null, c: 3 } } })).to.deep.equal({
      model: 'five',
      list: [1],
      options: { b: 2, c: 3 },
    });
    expect(view({ patch: [{ op: 'add', path: '/list/-', value: 2 }] }, { merge: { model: 'x' } })).to.deep.equal({
      model: 'x',
      list: [1, 2],
      options: { a: 1, b: 2 },
    });
    expect(view({ replace: { model: 'whole' } }, { merge: { a: 1 } })).to.deep.equal({ model: 'whole', a: 1 });
    expect(view({ patch: [{ op: 'remove', path: '/nowhere' }] }, { merge: { model: 'y' } })).to.deep.include({
      model: 'y',
      list: [1],
    });
    expect(view({ toRevision: 2 })).to.equal(confirmed.settings);
    expect(viewOf({ confirmed: null, pending: pending([set('x')]) })).to.equal(undefined);
    expect(applied(confirmed.settings, { merge: {} })).to.deep.equal(confirmed.settings);
  });
});
