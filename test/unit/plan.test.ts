// What a batch of updates becomes: commits, refusals and no-ops over a known state. Nothing here talks to Redis.
import { expect } from 'chai';
import { AttuneError, type ErrorCode } from '../../client-sdk/protocol/errors.js';
import { CONTENT_BYTES_MAX } from '../../client-sdk/protocol/limits.js';
import type { Commit, SessionDocument } from '../../client-sdk/protocol/messages.js';
import type { Outcome } from '../../server/session/plan.js';
import { applyCommit } from '../../server/session/state.js';
import type { UpdateAction } from '../../server/session/update.js';
import {
  ada,
  add,
  after,
  bodiesOf,
  bot,
  change,
  iso,
  merge,
  noon,
  nowhere,
  open,
  planOver,
  remove,
  schema,
  update,
  type Circumstances,
  type Known,
} from '../support/planned.js';

function given(...actions: UpdateAction[]): Known {
  const known = nowhere();
  const planned = planOver(
    known,
    [open(), ...actions].map((action) => update(action)),
  );
  planned.outcomes.forEach((outcome) => expect(outcome.kind).to.equal('committed'));
  return after(known, planned);
}

const documentOf = ({ state }: Known): SessionDocument => state!.document;

function refusal(outcome: Outcome | undefined, code: ErrorCode): AttuneError {
  if (outcome?.kind !== 'refused') throw new Error(`was not refused: ${JSON.stringify(outcome)}`);
  expect(outcome.error.code, outcome.error.message).to.equal(code);
  return outcome.error;
}

function one(known: Known, action: UpdateAction, circumstances: Circumstances = {}, by = ada) {
  const planned = planOver(known, [update(action, by)], circumstances);
  return { planned, outcome: planned.outcomes[0]!, commit: bodiesOf(planned)[0] };
}

/** The reply of a planned update, whatever its kind. */
// oxlint-disable-next-line typescript/no-explicit-any
const replyOf = (outcome: Outcome | undefined): any => (outcome as { reply?: unknown } | undefined)?.reply;

describe('plan', () => {
  it('[N1] an open of a session that is not there is its first commit, over the defaults', () => {
    const first = update(open({ settings: { mode: 'chat', mine: [] }, title: 'T', metadata: { a: 1 } }));
    const planned = planOver(nowhere(), [first]);
    const settings = { ...schema.defaults, mode: 'chat', mine: [] };
    expect(planned.next!.document).to.deep.equal({
      id: 's',
      epoch: 'b1b1b1b1b1b1b1b1-cafe0123',
      revision: 1,
      settingsRevision: 1,
      messagesRevision: 0,
      settings,
      title: 'T',
      metadata: { a: 1 },
      messageCount: 0,
      createdAt: iso(noon),
      updatedAt: iso(noon),
      updatedBy: ada,
    });
    expect(planned.outcomes[0]).to.deep.include({ kind: 'committed', revision: 1 });
    expect(replyOf(planned.outcomes[0])).to.deep.include({ created: true, session: planned.next!.document });
    expect(bodiesOf(planned)).to.deep.equal([
      {
        event: 'session:created',
        sessionId: 's',
        epoch: 'b1b1b1b1b1b1b1b1-cafe0123',
        revision: 1,
        at: iso(noon),
        by: ada,
        updateId: first.updateId,
        title: 'T',
        metadata: { a: 1 },
        settings,
      },
    ]);
    expect(planned.created).to.equal(true);
    expect(planned.versions.map(({ revision, replaces }) => [revision, replaces])).to.deep.equal([[1, 0]]);
  });

  it('[N1] an open is refused without the right to create and with settings that break the schema', () => {
    refusal(one(nowhere(), open({}, false)).outcome, 'FORBIDDEN');
    const broken = one(nowhere(), open({ settings: { options: { temperature: 'hot' } } }));
    expect(refusal(broken.outcome, 'INVALID_SETTINGS').details!['issues']).to.have.length(1);
    expect(broken.planned).to.deep.include({ commits: [], versions: [], next: null, created: false });
  });

  const counters: Record<string, { action: UpdateAction; event: string; moves: string[]; count: number }> = {
    settings: { action: merge({ x: 1 }), event: 'settings:updated', moves: ['settingsRevision'], count: 1 },
    describe: { action: { kind: 'describe', title: 'New' }, event: 'session:described', moves: [], count: 1 },
    'message:add': { action: add('m2'), event: 'message:added', moves: ['messagesRevision'], count: 2 },
    'message:update': {
      action: change('m1', { append: '!' }),
      event: 'message:updated',
      moves: ['messagesRevision'],
      count: 1,
    },
    'message:delete': { action: remove('m1'), event: 'message:deleted', moves: ['messagesRevision'], count: 0 },
    clear: { action: { kind: 'clear' }, event: 'session:cleared', moves: ['messagesRevision'], count: 0 },
  };
  for (const [name, { action, event, moves, count }] of Object.entries(counters)) {
    it(`[N2] ${name} is one commit at the next revision and moves no counter but its own`, () => {
      const known = given(add('m1'));
      const before = documentOf(known);
      const { planned, outcome, commit } = one(known, action, { now: noon + 5 }, bot);
      expect(outcome).to.include({ kind: 'committed', revision: 3, epoch: before.epoch });
      expect(commit).to.deep.include({ event, sessionId: 's', epoch: before.epoch, revision: 3, by: bot });
      const next = planned.next!.document;
      expect(next).to.deep.include({ revision: 3, messageCount: count, updatedAt: iso(noon + 5), updatedBy: bot });
      expect(next.createdAt).to.equal(before.createdAt);
      for (const counter of ['settingsRevision', 'messagesRevision'] as const) {
        expect(next[counter], counter).to.equal(moves.includes(counter) ? 3 : before[counter]);
      }
    });
  }

  it('[N3] whatever is asked of a session that is not there but an open is SESSION_NOT_FOUND', () => {
    const actions: UpdateAction[] = [
      merge({ x: 1 }),
      { kind: 'describe', title: 'x' },
      add('m1'),
      change('m1', { append: 'x' }),
      remove('m1'),
      { kind: 'clear' },
      { kind: 'delete' },
    ];
    const planned = planOver(
      nowhere(),
      actions.map((action) => update(action)),
    );
    for (const outcome of planned.outcomes) refusal(outcome, 'SESSION_NOT_FOUND');
    expect(planned).to.deep.include({ commits: [], versions: [], next: null, deleted: false });
  });

  it('[N4] a bad update refuses only itself, and those after it are planned over the state without it', () => {
    const known = given(add('m1'));
    const asked = [
      merge({ x: 1 }),
      { kind: 'settings', change: { patch: [{ op: 'remove', path: '/not-there' }] } },
      merge({ options: { temperature: 99 } }),
      add('m1'),
      change('m3', { append: 'x' }),
      merge({ y: 2 }),
    ] as UpdateAction[];
    const planned = planOver(
      known,
      asked.map((action) => update(action)),
    );
    const codes = planned.outcomes.map((outcome) => (outcome.kind === 'refused' ? outcome.error.code : outcome.kind));
    expect(codes).to.deep.equal([
      'committed',
      'INVALID_REQUEST',
      'INVALID_SETTINGS',
      'INVALID_REQUEST',
      'MESSAGE_NOT_FOUND',
      'committed',
    ]);
    expect(refusal(planned.outcomes[1], 'INVALID_REQUEST').details).to.deep.equal({ index: 0 });
    expect(bodiesOf(planned).map(({ revision }) => revision)).to.deep.equal([3, 4]);
    expect(planned.next!.document.settings).to.deep.equal({ ...schema.defaults, x: 1, y: 2 });
  });

  const idle: Record<string, UpdateAction> = {
    'open of what exists': open({ settings: { other: true } }),
    'empty merge': merge({}),
    'merge of what is there': merge({ mode: schema.defaults['mode']! }),
    'replace by the same': { kind: 'settings', change: { replace: { ...schema.defaults } } },
    'patch that only tests': {
      kind: 'settings',
      change: { patch: [{ op: 'test', path: '/mode', value: schema.defaults['mode']! }] },
    },
    'restore of what is in force': { kind: 'settings', change: { restore: 1 } },
    'describe of what is there': { kind: 'describe', title: null },
    'message update of what is there': change('m1', { content: 'hi', status: 'complete', metadata: null }),
  };
  for (const [name, action] of Object.entries(idle)) {
    it(`[N5] ${name} commits nothing and answers with the revision that is`, () => {
      const known = given(add('m1'));
      const { planned, outcome } = one(known, action, { restorable: new Map([[1, schema.defaults]]) });
      expect(outcome).to.include({ kind: 'unchanged', revision: 2, epoch: documentOf(known).epoch });
      expect(replyOf(outcome)).to.deep.include({ revision: 2, duplicate: false });
      if (action.kind === 'settings') expect(replyOf(outcome).changedPaths).to.deep.equal([]);
      expect(planned).to.deep.include({ commits: [], versions: [], next: known.state, cleared: false });
      expect(planned.messages.size).to.equal(0);
    });
  }

  it('[N5] a clear of no messages commits nothing', () => {
    const { planned, outcome } = one(given(), { kind: 'clear' });
    expect(outcome).to.include({ kind: 'unchanged', revision: 1 });
    expect(replyOf(outcome).removed).to.equal(0);
    expect(planned).to.deep.include({ commits: [], cleared: false });
  });

  it('[N6] ifRevision stands against settings that changed later and against the future, ifEpoch against another life', () => {
    const known = given(merge({ x: 1 }), add('m1'));
    const document = documentOf(known);
    expect(document).to.include({ revision: 3, settingsRevision: 2 });
    const taken = [{ ifRevision: 2 }, { ifRevision: 3 }, { ifEpoch: document.epoch }, {}];
    for (const guards of taken)
      expect(one(known, merge({ x: 2 }, guards)).outcome.kind, JSON.stringify(guards)).to.equal('committed');
    for (const guards of [{ ifRevision: 1 }, { ifRevision: 0 }, { ifRevision: 4 }, { ifEpoch: 'another' }]) {
      const { details } = refusal(one(known, merge({ x: 2 }, guards)).outcome, 'REVISION_CONFLICT');
      const { epoch, revision, settingsRevision, settings } = document;
      expect(details).to.deep.equal({ epoch, revision, settingsRevision, settings });
    }
    refusal(one(known, merge({ x: 1 }, { ifRevision: 1 })).outcome, 'REVISION_CONFLICT'); // no-op or not
    refusal(one(known, { kind: 'delete', ifEpoch: 'another' }).outcome, 'REVISION_CONFLICT');
  });

  it('[N6] of updates with one ifRevision in one batch the first is taken', () => {
    const known = given();
    const race = [1, 2, 3].map((x) => update(merge({ x }, { ifRevision: 1 })));
    const planned = planOver(known, race);
    expect(planned.outcomes.map(({ kind }) => kind)).to.deep.equal(['committed', 'refused', 'refused']);
    expect(planned.next!.document.settings['x']).to.equal(1);
  });

  it('[N7] commits of one author to the same paths less than 2 s apart are one version, in a chain', () => {
    let known = given();
    const replaced: number[] = [];
    for (const [at, value] of [0, 1999, 3998, 5998].entries()) {
      const { planned } = one(known, merge({ x: at }), { now: noon + 10_000 + value });
      replaced.push(planned.versions[0]!.replaces);
      known = after(known, planned);
    }
    expect(replaced, 'the last is exactly 2 s after the one before it').to.deep.equal([0, 2, 3, 0]);
    expect(known.state!.lastVersion).to.include({ revision: 5, first: 5 });
  });

  it('[N7] other authors, other tabs and other paths begin a version of their own', () => {
    const known = after(given(), one(given(), merge({ x: 1 })).planned);
    const same = one(known, merge({ x: 2 }));
    expect(same.planned.versions[0]).to.include({ revision: 3, first: 2, replaces: 2 });
    for (const { action, by } of [
      { action: merge({ x: 2 }), by: bot },
      { action: merge({ x: 2 }), by: { ...ada, clientId: 'tab-b' } },
      { action: merge({ y: 2 }), by: ada },
      { action: merge({ x: 2, y: 2 }), by: ada },
    ]) {
      expect(one(known, action, {}, by).planned.versions[0]).to.include({ revision: 3, first: 3, replaces: 0 });
    }
  });

  it('[N7] what a session began with stays a version, though its creator changes the very same paths at once', () => {
    const known = after(nowhere(), planOver(nowhere(), [update(open({ settings: { x: 0 } }))]));
    const everything = Object.fromEntries(Object.keys(documentOf(known).settings).map((key) => [key, null]));
    const { planned } = one(known, merge({ ...everything, x: 1 }));
    expect(planned.versions[0]!.replaces).to.equal(0);
  });

  it('[N8] a version that continues one of the same batch takes its place there, not in Redis', () => {
    const known = after(given(), one(given(), merge({ x: 0 })).planned);
    const planned = planOver(
      known,
      [1, 2, 3].map((x) => update(merge({ x }))),
    );
    expect(planned.versions).to.have.length(1);
    expect(planned.versions[0]).to.include({ revision: 5, first: 2, replaces: 2 });
    const version = JSON.parse(planned.versions[0]!.json);
    expect(version).to.deep.include({ revision: 5, first: 2, by: ada, changedPaths: ['/x'] });
    expect(version.settings.x).to.equal(3);
    expect(planned.commits).to.have.length(3);
  });

  it('[N9] the time of a commit is never before the one it follows, though the clock is', () => {
    const known = given(); // at noon
    const planned = planOver(known, [update(merge({ x: 1 })), update(add('m1')), update({ kind: 'clear' })], {
      now: noon - 60_000,
    });
    expect(bodiesOf(planned).map(({ at }) => at)).to.deep.equal([iso(noon), iso(noon), iso(noon)]);
    expect(planned.next!.document.updatedAt).to.equal(iso(noon));
    const gone = one(known, { kind: 'delete' }, { now: noon - 60_000 });
    expect(gone.commit!.at).to.equal(iso(noon));
    expect(one(known, merge({ x: 1 }), { now: noon + 1 }).commit!.at).to.equal(iso(noon + 1));
  });

  it('[N10] a message keeps its id, role, author and time, and says which settings were in force', () => {
    const known = given(merge({ x: 1 }));
    const { planned, outcome } = one(known, add('m1', 'hello'));
    const message = {
      id: 'm1',
      revision: 3,
      settingsRevision: 2,
      role: 'user',
      content: 'hello',
      timestamp: iso(noon),
      status: 'complete',
      author: ada,
    };
    expect(replyOf(outcome).message).to.deep.equal(message);
    expect(planned.messages.get('m1')).to.deep.equal(message);
    const changed = one(
      after(known, planned),
      change('m1', { append: '!', status: 'error', metadata: { a: 1 } }),
      { now: noon + 9 },
      bot,
    );
    expect(replyOf(changed.outcome).message).to.deep.equal({
      ...message,
      revision: 4,
      content: 'hello!',
      status: 'error',
      metadata: { a: 1 },
    });
  });

  it('[N10] appends need text, and content stays within its limit', () => {
    const known = given(add('m1', [{ type: 'text', text: 'x' }]), add('m2', 'x'.repeat(CONTENT_BYTES_MAX - 1)));
    refusal(one(known, change('m1', { append: 'y' })).outcome, 'INVALID_REQUEST');
    expect(one(known, change('m2', { append: 'y' })).outcome.kind).to.equal('committed');
    refusal(one(known, change('m2', { append: 'é' })).outcome, 'TOO_LARGE');
  });

  it('[N10] who may change only own messages is refused those of others', () => {
    const known = after(given(), one(given(), add('m1'), {}, bot).planned);
    refusal(one(known, change('m1', { append: 'x', ownOnly: true })).outcome, 'FORBIDDEN');
    refusal(one(known, remove('m1', true)).outcome, 'FORBIDDEN');
    expect(one(known, remove('m1', true), {}, bot).outcome.kind).to.equal('committed');
  });

  it('[N10] later updates of a batch see the messages that earlier ones left', () => {
    const known = given(add('m1'));
    const actions = [remove('m1'), change('m1', { append: 'x' }), add('m1', 'new'), change('m1', { append: '!' })];
    const removed = planOver(
      known,
      actions.map((action) => update(action)),
    );
    expect(removed.outcomes.map(({ kind }) => kind)).to.deep.equal(['committed', 'refused', 'committed', 'committed']);
    expect(removed.messages.get('m1')!.content).to.equal('new!');
    const cleared = planOver(
      known,
      [{ kind: 'clear' } as const, remove('m1'), add('m2')].map((action) => update(action)),
    );
    expect(cleared.outcomes.map(({ kind }) => kind)).to.deep.equal(['committed', 'refused', 'committed']);
    expect(cleared.cleared).to.equal(true);
    expect([...cleared.messages.keys()]).to.deep.equal(['m2']);
    expect(cleared.next!.document.messageCount).to.equal(1);
  });

  it('[N11] a session holds SESSION_MESSAGES_MAX messages, settings SETTINGS_BYTES_MAX bytes after the update', () => {
    const known = given(add('m1'), add('m2'));
    refusal(one(known, add('m3'), { limits: { SESSION_MESSAGES_MAX: 2 } }).outcome, 'TOO_LARGE');
    const bytes = Buffer.byteLength(JSON.stringify({ ...documentOf(known).settings, x: 'é' }));
    const grow = merge({ x: 'é' });
    expect(one(known, grow, { limits: { SETTINGS_BYTES_MAX: bytes } }).outcome.kind).to.equal('committed');
    refusal(one(known, grow, { limits: { SETTINGS_BYTES_MAX: bytes - 1 } }).outcome, 'TOO_LARGE');
    refusal(one(nowhere(), open(), { limits: { SETTINGS_BYTES_MAX: 10 } }).outcome, 'TOO_LARGE');
  });

  it('[N12] restore brings the settings that were read for the revision, or is refused', () => {
    const known = given(merge({ x: 1 }));
    const restorable = new Map([
      [1, schema.defaults],
      [9, null],
    ]);
    const back = one(known, { kind: 'settings', change: { restore: 1 } }, { restorable });
    expect(back.commit).to.deep.include({ request: { restore: 1 }, changedPaths: ['/x'], settings: schema.defaults });
    refusal(one(known, { kind: 'settings', change: { restore: 9 } }, { restorable }).outcome, 'INVALID_REQUEST');
  });

  it('[N13] a delete is the last commit of a life, with no document after it', () => {
    const known = given(add('m1'));
    const planned = planOver(known, [update({ kind: 'delete' }), update(merge({ x: 1 }))]);
    expect(bodiesOf(planned)).to.have.length(1);
    expect(bodiesOf(planned)[0]).to.include({ event: 'session:deleted', revision: 3, reason: 'deleted' });
    expect(planned).to.include({ deleted: true, next: null });
    refusal(planned.outcomes[1], 'SESSION_NOT_FOUND');
    refusal(one(known, { kind: 'delete', ifDocumentRevision: 1 }).outcome, 'REVISION_CONFLICT');
    expect(one(known, { kind: 'delete', ifDocumentRevision: 2 }).outcome.kind).to.equal('committed');
  });

  it('[N13] no commit of a creation or a deletion is applied to a document', () => {
    const document = documentOf(given());
    for (const event of ['session:created', 'session:deleted'] as const) {
      expect(() => applyCommit(document, { event } as Commit)).to.throw(event);
    }
  });

  it('[N14] a message that was not read before is a mistake of ours, not a refusal', () => {
    const known = given();
    expect(() => one({ ...known, messages: new Map() }, remove('m1'))).to.throw('not read before');
  });
});
