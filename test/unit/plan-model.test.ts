// Random batches: what is planned is what a plain fold of its commits gives, however the batch is cut, and changes no input.
import { expect } from 'chai';
import fc from 'fast-check';
import { errorTable } from '../../client-sdk/protocol/errors.js';
import type { JsonObject } from '../../client-sdk/protocol/json.js';
import type { Commit, Message, SessionDocument } from '../../client-sdk/protocol/messages.js';
import type { Outcome, Plan } from '../../server/session/plan.js';
import { applyCommit } from '../../server/session/state.js';
import type { Update, UpdateAction } from '../../server/session/update.js';
import {
  ada,
  add,
  after,
  bodiesOf,
  bot,
  change,
  noon,
  nowhere,
  open,
  planOver,
  remove,
  schema,
  update,
  type Known,
} from '../support/planned.js';

describe('plan, with random batches', () => {
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
      arbitrary: fc.tuple(asked, guards).map(([what, g]) => ({ kind: 'settings', change: what, ...g }) as UpdateAction),
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
