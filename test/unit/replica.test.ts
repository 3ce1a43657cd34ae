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
  createdAt: '2026-11-22T09:00:00.000Z',
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
  updated: { type: 'updated', update: { updateId: 'more', request: set('more') } },
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

/** What the user sees, where it is, and what is pending: `view @ revision (pending)`. `resync`: it cannot follow. */
type Outcome = string;
const seen = (replica: Replica | null): Outcome => {
  if (!replica) return 'resync';
  const view = viewOf(replica)?.model as string | undefined;
  return `${view ?? '-'} @ ${replica.confirmed?.revision ?? 0} (${replica.pending.map(({ updateId }) => updateId).join()})`;
};

const table: Record<keyof typeof events, Record<keyof typeof states, Outcome>> = {
  updated: {
    empty: '- @ 0 (more)',
    offline: '- @ 0 (own,more)',
    live: 'more @ 5 (more)',
    waiting: 'more @ 5 (own,more)',
    ahead: 'more @ 5 (own,more)',
    beyond: 'more @ 5 (own,more)',
  },
  'acknowledged at what is confirmed': {
    empty: '- @ 0 ()',
    offline: '- @ 0 (own)',
    live: 'five @ 5 ()',
    waiting: 'five @ 5 ()',
    ahead: 'five @ 5 ()',
    beyond: 'five @ 5 ()',
  },
  'acknowledged ahead': {
    empty: '- @ 0 ()',
    offline: '- @ 0 (own)',
    live: 'five @ 5 ()',
    waiting: 'waiting @ 5 (own)',
    ahead: 'ahead @ 5 (own)',
    beyond: 'beyond @ 5 (own)',
  },
  'acknowledged in a new epoch': {
    empty: '- @ 0 ()',
    offline: '- @ 0 (own)',
    live: 'five @ 5 ()',
    waiting: 'waiting @ 5 (own)',
    ahead: 'ahead @ 5 (own)',
    beyond: 'beyond @ 5 (own)',
  },
  'a duplicate of an earlier epoch': {
    empty: '- @ 0 ()',
    offline: '- @ 0 ()',
    live: 'five @ 5 ()',
    waiting: 'five @ 5 ()',
    ahead: 'five @ 5 ()',
    beyond: 'five @ 5 ()',
  },
  'acknowledged, not known': {
    empty: '- @ 0 ()',
    offline: '- @ 0 (own)',
    live: 'five @ 5 ()',
    waiting: 'waiting @ 5 (own)',
    ahead: 'ahead @ 5 (own)',
    beyond: 'beyond @ 5 (own)',
  },
  refused: {
    empty: '- @ 0 ()',
    offline: '- @ 0 ()',
    live: 'five @ 5 ()',
    waiting: 'five @ 5 ()',
    ahead: 'five @ 5 ()',
    beyond: 'five @ 5 ()',
  },
  'refused, not known': {
    empty: '- @ 0 ()',
    offline: '- @ 0 (own)',
    live: 'five @ 5 ()',
    waiting: 'waiting @ 5 (own)',
    ahead: 'ahead @ 5 (own)',
    beyond: 'beyond @ 5 (own)',
  },
  'next commit, own': {
    empty: 'resync',
    offline: 'resync',
    live: 'own @ 6 ()',
    waiting: 'own @ 6 ()',
    ahead: 'own @ 6 ()',
    beyond: 'own @ 6 ()',
  },
  'next commit': {
    empty: 'resync',
    offline: 'resync',
    live: 'six @ 6 ()',
    waiting: 'waiting @ 6 (own)',
    ahead: 'ahead @ 6 (own)',
    beyond: 'beyond @ 6 (own)',
  },
  'next commit, whole': {
    empty: 'resync',
    offline: 'resync',
    live: 'six @ 6 ()',
    waiting: 'waiting @ 6 (own)',
    ahead: 'ahead @ 6 (own)',
    beyond: 'beyond @ 6 (own)',
  },
  'commit seen before': {
    empty: 'resync',
    offline: 'resync',
    live: 'five @ 5 ()',
    waiting: 'waiting @ 5 (own)',
    ahead: 'ahead @ 5 (own)',
    beyond: 'beyond @ 5 (own)',
  },
  'commit after a gap': {
    empty: 'resync',
    offline: 'resync',
    live: 'resync',
    waiting: 'resync',
    ahead: 'resync',
    beyond: 'resync',
  },
  'conflated commit': {
    empty: 'resync',
    offline: 'resync',
    live: 'eight @ 8 ()',
    waiting: 'waiting @ 8 (own)',
    ahead: 'eight @ 8 ()',
    beyond: 'beyond @ 8 (own)',
  },
  'next commit, delta of other settings': {
    empty: 'resync',
    offline: 'resync',
    live: 'resync',
    waiting: 'resync',
    ahead: 'resync',
    beyond: 'resync',
  },
  'commit of another epoch': {
    empty: 'resync',
    offline: 'resync',
    live: 'resync',
    waiting: 'resync',
    ahead: 'resync',
    beyond: 'resync',
  },
  'newer snapshot': {
    empty: 'nine @ 9 ()',
    offline: 'offline @ 9 (own)',
    live: 'nine @ 9 ()',
    waiting: 'waiting @ 9 (own)',
    ahead: 'nine @ 9 ()',
    // The epoch that it was acknowledged in is over.
    beyond: 'nine @ 9 ()',
  },
  'snapshot at the same place': {
    empty: 'five @ 5 ()',
    offline: 'offline @ 5 (own)',
    live: 'five @ 5 ()',
    waiting: 'waiting @ 5 (own)',
    ahead: 'ahead @ 5 (own)',
    beyond: 'five @ 5 ()',
  },
  'snapshot of a new epoch': {
    empty: 'new @ 6 ()',
    offline: 'offline @ 6 (own)',
    live: 'new @ 6 ()',
    waiting: 'waiting @ 6 (own)',
    ahead: 'new @ 6 ()',
    beyond: 'new @ 6 ()',
  },
};

describe('the replica', () => {
  for (const [what, row] of Object.entries(table)) {
    it(`[RP1] ${what}: in every state`, () => {
      for (const [state, outcome] of Object.entries(row)) {
        const before = states[state as keyof typeof states];
        const frozen = JSON.stringify(before);
        const after = reduce(before, events[what as keyof typeof events]);
        expect(seen(after), state).to.equal(outcome);
        expect(JSON.stringify(before), 'what it was given').to.equal(frozen);
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
