// Updates and what they are planned over, for tests of plan(). It knows no rule, and nothing here talks to Redis.
import type { JsonObject } from '../../client-sdk/protocol/json.js';
import { defaultLimits, type Limits } from '../../client-sdk/protocol/limits.js';
import type { Author, Commit, Message } from '../../client-sdk/protocol/messages.js';
import { defaultSettingsSchema } from '../../client-sdk/protocol/settings.js';
import { plan, type Plan } from '../../server/session/plan.js';
import { compileSettingsSchema } from '../../server/session/settings-schema.js';
import type { SessionState } from '../../server/session/state.js';
import type { Update, UpdateAction } from '../../server/session/update.js';

export const schema = compileSettingsSchema(defaultSettingsSchema);
export const ada: Author = { userId: 'u1', clientId: 'tab-a', kind: 'tab', name: 'Ada' };
export const bot: Author = { userId: 'u2', clientId: 'bot-b', kind: 'bot' };
export const noon = Date.parse('2026-11-22T12:00:00.000Z');
export const iso = (ms: number) => new Date(ms).toISOString();

let made = 0;
/** An update with an id of its own. */
export function update(action: UpdateAction, by: Author = ada): Update {
  made += 1;
  return { sessionId: 's', updateId: `u${made}`, payloadHash: `h${made}`, by, action };
}

export const open = (
  initial: Extract<UpdateAction, { kind: 'open' }>['initial'] = {},
  mayCreate = true,
): UpdateAction => ({
  kind: 'open',
  initial,
  birth: 'b1b1b1b1b1b1b1b1',
  mayCreate,
});
export const merge = (value: JsonObject, guards: { ifRevision?: number; ifEpoch?: string } = {}): UpdateAction => ({
  kind: 'settings',
  change: { merge: value },
  ...guards,
});
export const add = (id: string, content: Message['content'] = 'hi', idGiven = true): UpdateAction => ({
  kind: 'message:add',
  message: { id, idGiven, role: 'user', content, status: 'complete' },
});
export type MessageChange = Partial<Omit<Extract<UpdateAction, { kind: 'message:update' }>, 'kind' | 'messageId'>>;
export const change = (messageId: string, what: MessageChange): UpdateAction => ({
  kind: 'message:update',
  messageId,
  ownOnly: false,
  ...what,
});
export const remove = (messageId: string, ownOnly = false): UpdateAction => ({
  kind: 'message:delete',
  messageId,
  ownOnly,
});

/** A session between two batches: what a node knows of it. */
export interface Known {
  state: SessionState | null;
  messages: Map<string, Message | null>;
}

/** No session, and three messages that are known not to be there. */
export const nowhere = (): Known => ({ state: null, messages: new Map(['m1', 'm2', 'm3'].map((id) => [id, null])) });

export interface Circumstances {
  now?: number;
  limits?: Partial<Limits>;
  restorable?: ReadonlyMap<number, JsonObject | null>;
}

/** What a batch becomes over what is known, at noon and with the usual limits where nothing else is given. */
export function planOver({ state, messages }: Known, updates: readonly Update[], given: Circumstances = {}): Plan {
  const { now = noon, limits = {}, restorable = new Map<number, JsonObject | null>() } = given;
  return plan(
    { state, redisLife: 'cafe0123', messages, restorable, now, limits: { ...defaultLimits, ...limits }, schema },
    updates,
  );
}

/** What is known after a batch was committed. */
export function after({ messages }: Known, planned: Plan): Known {
  const gone = planned.cleared || planned.next === null;
  const next = new Map([...messages].map(([id, message]) => [id, gone ? null : message]));
  for (const [id, message] of planned.messages) next.set(id, message);
  return { state: planned.next, messages: next };
}

/** The planned commits, as readers get them. */
export const bodiesOf = ({ commits }: Plan) => commits.map(({ body }) => JSON.parse(body) as Commit);
