// A server of one session as replicas see it, planned by the server's own rules: a total order of commits, ids that are
// remembered, epochs. It has no Redis, no sockets and no time.
import type { PatchOperation } from '../../client-sdk/json-change.js';
import type { JsonObject } from '../../client-sdk/protocol/json.js';
import { defaultLimits } from '../../client-sdk/protocol/limits.js';
import type { Author, Commit, Cursor, SessionDocument } from '../../client-sdk/protocol/messages.js';
import { defaultSettingsSchema } from '../../client-sdk/protocol/settings.js';
import type { DeltaCommit, SeenCommit, SettingsRequest } from '../../client-sdk/replica.js';
import { plan, type Outcome, type PlanInput } from '../../server/session/plan.js';
import { compileSettingsSchema } from '../../server/session/settings-schema.js';
import { changedPaths, deltaOf } from '../../server/session/settings-rules.js';
import type { SessionState } from '../../server/session/state.js';
import type { UpdateAction } from '../../server/session/update.js';

const schema = compileSettingsSchema(defaultSettingsSchema);
const by: Author = { userId: 'u1', clientId: 'tab-a', kind: 'tab' };

/** What an update is answered with. */
export type ModelAnswer = { at: Cursor & { duplicate: boolean } } | { refused: string };

export interface SettingsModel {
  readonly document: SessionDocument;
  /** Every commit so far with the form in which a reader of deltas is given it. */
  readonly log: readonly { whole: Commit; delta: SeenCommit }[];
  /** Commits the update, once per id. */
  update(updateId: string, request: SettingsRequest): ModelAnswer;
  /** A commit that changes no settings. */
  describe(title: string): void;
  /** Redis was started again: from now on another epoch. */
  restart(): void;
}

/** A session that was just created with these settings. */
export function createSettingsModel(settings: JsonObject): SettingsModel {
  let life = 1;
  let made = 0;
  const log: { whole: Commit; delta: SeenCommit }[] = [];
  const answers = new Map<string, Cursor>();
  const versions = new Map<number, JsonObject>();
  let state: SessionState | null = null;

  const take = (updateId: string, action: UpdateAction): Outcome => {
    const input: PlanInput = {
      state,
      redisLife: `life${life}`,
      messages: new Map(),
      restorable: new Map([...versions].map(([revision, value]) => [revision, value])),
      now: Date.UTC(2026, 10, 22) + made * 1000,
      limits: defaultLimits,
      schema,
    };
    made += 1;
    const planned = plan(input, [{ sessionId: 's', updateId, payloadHash: updateId, by, action }]);
    const before = state?.document.settings;
    const from = state?.document.settingsRevision;
    state = planned.next;
    for (const { body } of planned.commits) {
      const whole = JSON.parse(body) as Commit;
      if ('settings' in whole) versions.set(whole.revision, whole.settings);
      log.push({ whole, delta: before && from ? deltaForm(whole, before, from) : whole });
    }
    return planned.outcomes[0]!;
  };
  take('birth', { kind: 'open', initial: { settings }, birth: 'birth', mayCreate: true });
  const current = (): SessionState => state!;

  return {
    log,
    get document() {
      return current().document;
    },
    update(updateId, request) {
      const first = answers.get(updateId);
      if (first) return { at: { ...first, duplicate: true } };
      const outcome = take(updateId, { kind: 'settings', change: changeOf(request) });
      if (outcome.kind === 'refused') return { refused: outcome.error.code };
      const { epoch, revision } = outcome;
      answers.set(updateId, { epoch, revision });
      return { at: { epoch, revision, duplicate: false } };
    },
    describe: (title) => void take(`describe${made}`, { kind: 'describe', title }),
    restart() {
      life += 1;
      state = { ...current(), document: { ...current().document, epoch: `birth-life${life}` } };
    },
  };
}

function changeOf({
  replace,
  merge,
  patch,
  toRevision,
}: SettingsRequest): Extract<UpdateAction, { kind: 'settings' }>['change'] {
  if (replace) return { replace };
  if (merge) return { merge };
  if (patch) return { patch: patch as never };
  return { restore: toRevision! };
}

/** A settings commit as a room of deltas is given it; others as they are. */
function deltaForm(commit: Commit, before: JsonObject, from: number): SeenCommit {
  if (commit.event !== 'settings:updated') return commit;
  const { settings, request: _request, ...base } = commit;
  const delta = deltaOf(changedPaths(before, settings), before, settings) as PatchOperation[];
  return { ...base, delta, from } satisfies DeltaCommit;
}
