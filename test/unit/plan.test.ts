// What a batch of updates becomes: commits, refusals and no-ops over a known state. Nothing here talks to Redis.
import { expect } from 'chai';
import fc from 'fast-check';
import { AttuneError, errorTable, type ErrorCode } from '../../client-sdk/protocol/errors.js';
import type { JsonObject } from '../../client-sdk/protocol/json.js';
import { CONTENT_BYTES_MAX, defaultLimits, type Limits } from '../../client-sdk/protocol/limits.js';
import type { Author, Commit, Message, SessionDocument } from '../../client-sdk/protocol/messages.js';
import { defaultSettingsSchema } from '../../client-sdk/protocol/settings.js';
import { plan, type Outcome, type Plan } from '../../server/session/plan.js';
import { compileSettingsSchema } from '../../server/session/settings-schema.js';
import { applyCommit, type SessionState } from '../../server/session/state.js';
import type { Update, UpdateAction } from '../../server/session/update.js';

const schema = compileSettingsSchema(defaultSettingsSchema);
const ada: Author = { userId: 'u1', clientId: 'tab-a', kind: 'tab', name: 'Ada' };
const bot: Author = { userId: 'u2', clientId: 'bot-b', kind: 'bot' };
const noon = Date.parse('2026-11-22T12:00:00.000Z');
const iso = (ms: number) => new Date(ms).toISOString();

let made = 0;
function update(action: UpdateAction, by: Author = ada): Update {
  made += 1;
  return { sessionId: 's', updateId: `u${made}`, payloadHash: `h${made}`, by, action };
}

const open = (initial: Extract<UpdateAction, { kind: 'open' }>['initial'] = {}, mayCreate = true): UpdateAction => ({
  kind: 'open',
  initial,
  birth: 'b1b1b1b1b1b1b1b1',
  mayCreate,
});
const merge = (value: JsonObject, guards: { ifRevision?: number; ifEpoch?: string } = {}): UpdateAction => ({
  kind: 'settings',
  change: { merge: value },
  ...guards,
});
const add = (id: string, content: Message['content'] = 'hi', idGiven = true): UpdateAction => ({
  kind: 'message:add',
  message: { id, idGiven, role: 'user', content, status: 'complete' },
});
type MessageChange = Partial<Omit<Extract<UpdateAction, { kind: 'message:update' }>, 'kind' | 'messageId'>>;
const change = (messageId: string, what: MessageChange): UpdateAction => ({
  kind: 'message:update',
  messageId,
  ownOnly: false,
  ...what,
});
const remove = (messageId: string, ownOnly = false): UpdateAction => ({ kind: 'message:delete', messageId, ownOnly });

/** A session between two batches: what a node knows of it. */
interface Known {
  state: SessionState | null;
  messages: Map<string, Message | null>;
}

const nowhere = (): Known => ({ state: null, messages: new Map(['m1', 'm2', 'm3'].map((id) => [id, null])) });

interface Circumstances {
  now?: number;
  limits?: Partial<Limits>;
  restorable?: ReadonlyMap<number, JsonObject | null>;
}

function planOver({ state, messages }: Known, updates: readonly Update[], given: Circumstances = {}): Plan {
  const { now = noon, limits = {}, restorable = new Map<number, JsonObject | null>() } = given;
  return plan(
    { state, redisLife: 'cafe0123', messages, restorable, now, limits: { ...defaultLimits, ...limits }, schema },
    updates,
  );
}

/** What is known after a batch was committed. */
function after({ messages }: Known, planned: Plan): Known {
  const gone = planned.cleared || planned.next === null;
  const next = new Map([...messages].map(([id, message]) => [id, gone ? null : message]));
  for (const [id, message] of planned.messages) next.set(id, message);
  return { state: planned.next, messages: next };
}

function given(...actions: UpdateAction[]): Known {
  const known = nowhere();
  const planned = planOver(
    known,
    [open(), ...actions].map((action) => update(action)),
  );
  planned.outcomes.forEach((outcome) => expect(outcome.kind).to.equal('committed'));
  return after(known, planned);
}

const bodiesOf = ({ commits }: Plan) => commits.map(({ body }) => JSON.parse(body) as Commit);
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

  describe('with random batches', () => {
    const key = fc.constantFrom('a', 'b', 'mode');
    const value = fc.constantFrom<JsonObject[string]>(1, 'x', null, [], {}, { c: 1 }, [1, { d: null }], 'é"\\\u0001');
    const settings = fc.dictionary(key, value, { maxKeys: 3 }).map((given) => ({ ...given }) as JsonObject);
    const guards = fc.record(
      { ifRevision: fc.integer({ min: 0, max: 12 }), ifEpoch: fc.constantFrom('b1b1b1b1b1b1b1b1-cafe0123', 'other') },
      { requiredKeys: [] },
    );
    const operation = fc.oneof(
      fc.record({ op: fc.constantFrom('add', 'replace', 'test'), path: key.map((name) => `/${name}`), value }),
      fc.record({ op: fc.constant('remove'), path: key.map((name) => `/${name}`) }),
    );
    const asked = fc.oneof(
      fc.record({ replace: settings }),
      fc.record({ merge: settings }),
      fc.record({ patch: fc.array(operation, { maxLength: 3 }) }),
      fc.record({ restore: fc.integer({ min: 1, max: 4 }) }),
    );
    const messageId = fc.constantFrom('m1', 'm2', 'm3');
    const content = fc.constantFrom<Message['content']>('', 'x', 'long text', [], [{ type: 'text' }]);
    const metadata = fc.constantFrom<JsonObject | null>(null, {}, { a: [] });
    const action = fc.oneof(
      { arbitrary: fc.boolean().map((may) => open({ title: 'again' }, may)), weight: 1 },
      {
        arbitrary: fc
          .tuple(asked, guards)
          .map(([what, g]) => ({ kind: 'settings', change: what, ...g }) as UpdateAction),
        weight: 8,
      },
      {
        arbitrary: fc
          .record({ title: fc.constantFrom('A', 'B', null), metadata }, { requiredKeys: [] })
          .map((what): UpdateAction => ({ kind: 'describe', ...what })),
        weight: 2,
      },
      { arbitrary: fc.tuple(messageId, content).map(([id, text]) => add(id, text)), weight: 4 },
      { arbitrary: fc.uuid().map((id) => add(id, 'made here', false)), weight: 1 },
      {
        arbitrary: fc
          .tuple(
            messageId,
            fc.oneof(fc.record({ append: fc.constantFrom('', 'y') }), fc.record({ content }), fc.constant({})),
            fc.record(
              { status: fc.constantFrom('complete' as const, 'error' as const), metadata, ownOnly: fc.boolean() },
              { requiredKeys: [] },
            ),
          )
          .map(([id, text, more]) => change(id, { ...text, ...more })),
        weight: 4,
      },
      { arbitrary: fc.tuple(messageId, fc.boolean()).map(([id, own]) => remove(id, own)), weight: 2 },
      { arbitrary: fc.constant<UpdateAction>({ kind: 'clear' }), weight: 1 },
    );
    const by = fc.constantFrom(ada, bot);
    const updates = fc
      .array(fc.tuple(action, by), { maxLength: 12 })
      .map((all) => all.map(([what, who]) => update(what, who)));
    // A deletion goes to Redis alone, and so it is planned alone: what a batch planned before it would outlive it.
    const deletion = fc.constant(null).map(() => [update({ kind: 'delete' })]);
    const batch = fc.oneof({ arbitrary: updates, weight: 9 }, { arbitrary: deletion, weight: 1 });
    const restorable = new Map<number, JsonObject | null>([
      [1, schema.defaults],
      [2, { a: 1 }],
      [3, null],
      [4, { options: { temperature: 'bad' } }],
    ]);

    /** A session after a first random batch, or none; the second batch; where to cut it; how far the clock moves. */
    const scene = fc.record({
      before: fc.option(updates),
      batch,
      cut: fc.nat(12),
      moved: fc.integer({ min: -3000, max: 5000 }),
    });
    const start = (before: readonly Update[] | null): Known => {
      if (before === null) return nowhere();
      return after(nowhere(), planOver(nowhere(), [update(open()), ...before], { restorable }));
    };

    it('[N20] folding the planned commits over the document before gives the document after', () => {
      const seen = new Set<string>();
      fc.assert(
        fc.property(scene, ({ before, batch: asked, moved }) => {
          const known = start(before);
          const planned = planOver(known, asked, { now: noon + moved, restorable });
          let document = known.state?.document ?? null;
          let revision = document?.revision ?? 0;
          for (const commit of bodiesOf(planned)) {
            revision += 1;
            expect(commit.revision).to.equal(revision);
            seen.add(commit.event);
            if (document !== null) expect(commit.at >= document.updatedAt, 'time').to.equal(true);
            if (commit.event === 'session:created') document = planned.next && created(planned, commit);
            else document = commit.event === 'session:deleted' ? null : applyCommit(document!, commit);
          }
          expect(planned.next?.document ?? null).to.deep.equal(document);
          if (planned.next) expect(JSON.parse(planned.next.settingsJson)).to.deep.equal(document!.settings);
          const committed = planned.outcomes.filter(({ kind }) => kind === 'committed');
          expect(committed.map((outcome) => (outcome as { revision: number }).revision)).to.deep.equal(
            planned.commits.map((commit) => commit.revision),
          );
        }),
        { numRuns: 400 },
      );
      expect(seen.size, [...seen].join()).to.be.at.least(6);
    });

    it('[N21] a batch cut in two gives the same commits, versions, messages and state', () => {
      fc.assert(
        fc.property(scene, ({ before, batch: asked, cut, moved }) => {
          const known = start(before);
          const circumstances = { now: noon + moved, restorable };
          const whole = planOver(known, asked, circumstances);
          const first = planOver(known, asked.slice(0, cut), circumstances);
          const between = after(known, first);
          const second = planOver(between, asked.slice(cut), circumstances);
          expect([...first.commits, ...second.commits]).to.deep.equal(whole.commits);
          expect([...first.outcomes, ...second.outcomes].map(plain)).to.deep.equal(whole.outcomes.map(plain));
          expect(second.next).to.deep.equal(whole.next);
          expect(present(after(between, second))).to.deep.equal(present(after(known, whole)));
          // The list differs (a version of the same batch is replaced before it is written), what is left does not.
          expect(history([...first.versions, ...second.versions])).to.deep.equal(history(whole.versions));
        }),
        { numRuns: 400 },
      );
    });

    it('[N22] no input is changed, and everything planned is JSON with nothing undefined in it', () => {
      fc.assert(
        fc.property(scene, ({ before, batch: asked }) => {
          const known = start(before);
          deepFreeze(known.state);
          for (const message of known.messages.values()) deepFreeze(message);
          deepFreeze(asked);
          const planned = planOver(known, asked, { restorable });
          for (const commit of bodiesOf(planned)) expect(undefinedIn(commit)).to.equal(undefined);
          for (const { event, body } of planned.commits) {
            expect(JSON.parse(body).event).to.equal(event);
            expect(body.match(/"settings":/g)?.length ?? 0, 'settings is spliced in once').to.be.at.most(1);
          }
          for (const { json } of planned.versions) expect(undefinedIn(JSON.parse(json))).to.equal(undefined);
          for (const outcome of planned.outcomes) {
            if (outcome.kind === 'refused') expect(errorTable[outcome.error.code].outcome).to.equal('not-committed');
            else expect(undefinedIn(outcome.reply), JSON.stringify(outcome.reply)).to.equal(undefined);
          }
        }),
        { numRuns: 300 },
      );
    });
  });
});

/** The document of a creation, as a reader of the commit makes it. */
function created(planned: Plan, commit: Extract<Commit, { event: 'session:created' }>): SessionDocument {
  expect(planned.created).to.equal(true);
  const { sessionId: id, epoch, at, by, settings, title, metadata } = commit;
  return {
    id,
    epoch,
    revision: 1,
    settingsRevision: 1,
    messagesRevision: 0,
    settings,
    ...(title === undefined ? {} : { title }),
    ...(metadata === undefined ? {} : { metadata }),
    messageCount: 0,
    createdAt: at,
    updatedAt: at,
    updatedBy: by,
  };
}

/** The messages that are there: known to be absent and not known are the same afterwards. */
const present = ({ messages }: Known) => new Map([...messages].filter(([, message]) => message !== null));

/** An outcome as comparable data. */
function plain(outcome: Outcome): object {
  if (outcome.kind !== 'refused') return outcome;
  const { code, message, details } = outcome.error;
  return { code, message, details };
}

/** The history as planned versions leave it in Redis. */
function history(versions: Plan['versions']): Record<number, string> {
  const kept: Record<number, string> = {};
  for (const { revision, replaces, json } of versions) {
    if (replaces !== 0) delete kept[replaces];
    kept[revision] = json;
  }
  return kept;
}

/** The path of the first undefined in a value, or undefined where there is none. */
function undefinedIn(value: unknown, path = ''): string | undefined {
  if (value === undefined) return path || '/';
  if (typeof value !== 'object' || value === null) return undefined;
  for (const [name, member] of Object.entries(value)) {
    const found = undefinedIn(member, `${path}/${name}`);
    if (found !== undefined) return found;
  }
  return undefined;
}

function deepFreeze(value: unknown): void {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return;
  Object.freeze(value);
  Object.values(value).forEach(deepFreeze);
}
