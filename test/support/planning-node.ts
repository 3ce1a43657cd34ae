// A node's view of one session, for tests of the Lua scripts: it plans over what it knows and has Redis decide, as the
// queue does, without queue, lease or sockets around it.
import { expect } from 'chai';
import { pino } from 'pino';
import type { JsonObject } from '../../client-sdk/protocol/json.js';
import { defaultLimits, type Limits } from '../../client-sdk/protocol/limits.js';
import type { Author, Message } from '../../client-sdk/protocol/messages.js';
import { defaultSettingsSchema } from '../../client-sdk/protocol/settings.js';
import { connectRedis, type RedisClient } from '../../server/redis/connection.js';
import { createKeys } from '../../server/redis/keys.js';
import { SessionStore, type Remembered } from '../../server/redis/session-store.js';
import { plan, type Outcome, type Plan } from '../../server/session/plan.js';
import { compileSettingsSchema } from '../../server/session/settings-schema.js';
import type { SessionState } from '../../server/session/state.js';
import { frees, type Update, type UpdateAction } from '../../server/session/update.js';
import { startRedis } from './redis.js';
import { freshId } from './shapes.js';

const schema = compileSettingsSchema(defaultSettingsSchema);
const silent = pino({ level: 'silent' });
export const keys = createKeys('t');
export const ada: Author = { userId: 'u1', clientId: 'tab-a', kind: 'tab' };
export const noon = Date.parse('2026-11-22T12:00:00.000Z');

export interface ScriptsRedis {
  /** The connection that the scripts are called on. */
  readonly client: RedisClient;
  /** Another connection; the caller disconnects it. */
  connect(role: 'data' | 'feed'): Promise<RedisClient>;
  stop(): Promise<void>;
}

/** A Redis for the scripts. What is on disk is not the point: without the file thousands of steps do not take seconds. */
export async function startScriptsRedis(): Promise<ScriptsRedis> {
  const redis = await startRedis({ config: ['--appendonly', 'no'] });
  const connect = (role: 'data' | 'feed') => connectRedis({ url: redis.url }, role, silent);
  const client = await connect('data');
  const stop = async () => {
    client.disconnect();
    await redis.stop();
  };
  return { client, connect, stop };
}

export const bytesOf = (texts: readonly string[]): number =>
  texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);

let made = 0;
export function update(sessionId: string, action: UpdateAction, by = ada): Update {
  made += 1;
  return { sessionId, updateId: `u${made}`, payloadHash: `h${made}`, by, action };
}

export const open = (settings: JsonObject = {}): UpdateAction => ({
  kind: 'open',
  initial: { settings },
  birth: (made + 1).toString(16).padStart(16, '0'),
  mayCreate: true,
});
export const merge = (value: JsonObject): UpdateAction => ({ kind: 'settings', change: { merge: value } });
export const add = (id: string, content: string): UpdateAction => ({
  kind: 'message:add',
  message: { id, idGiven: true, role: 'user', content, status: 'complete' },
});
export const remove = (messageId: string): UpdateAction => ({ kind: 'message:delete', messageId, ownOnly: false });

/** The name under which the script remembers an update. */
export const idKey = ({ by, updateId }: Update) => `${by.userId.length}:${by.userId}${updateId}`;

/** What the queue has Redis remember of an update. */
export function memoryOf({ payloadHash }: Update, outcome: Outcome): Remembered | null {
  if (outcome.kind === 'refused') return null;
  const { revision, epoch, at } = outcome;
  return { revision, epoch, at, payloadHash, changed: outcome.kind === 'committed' };
}

/** A node's view of one session: it plans over what it knows, and has Redis decide. */
export class PlanningNode {
  readonly id: string;
  readonly store: SessionStore;
  state: SessionState | null = null;
  messages = new Map<string, Message | null>();
  redisLife = '';
  fence = 1;
  now = noon;
  private readonly client: RedisClient;
  private readonly limits: Limits;

  constructor(client: RedisClient, id: string, limits: Partial<Limits> = {}) {
    this.client = client;
    this.id = id;
    this.limits = { ...defaultLimits, ...limits };
    this.store = new SessionStore(client, keys, this.limits, 'a-node');
  }

  /** A node with a session that has just been made. */
  static async withSession(
    client: RedisClient,
    limits: Partial<Limits> = {},
    ...actions: UpdateAction[]
  ): Promise<PlanningNode> {
    const node = new PlanningNode(client, freshId(), limits);
    await node.learn();
    await node.committed(open());
    for (const action of actions) await node.committed(action);
    return node;
  }

  async learn(): Promise<void> {
    const read = await this.store.read(this.id, null);
    this.messages.clear();
    this.state = read.kind === 'state' ? read.stored.state : null;
    this.redisLife = read.kind === 'absent' ? read.redisLife : this.state!.document.epoch.slice(-8);
    this.fence = read.kind === 'state' ? read.stored.fence : 1;
  }

  private async plan(updates: readonly Update[]): Promise<Plan> {
    const named = updates.flatMap(({ action }) =>
      action.kind === 'message:add' ? action.message.id : 'messageId' in action ? action.messageId : [],
    );
    const unknown = [...new Set(named)].filter((id) => !this.messages.has(id));
    if (unknown.length > 0) {
      const read = await this.store.read(this.id, null, { messageIds: unknown });
      unknown.forEach((id, i) => this.messages.set(id, read.kind === 'state' ? (read.messages[i] ?? null) : null));
    }
    const { state, redisLife, messages, now, limits } = this;
    return plan({ state, redisLife, messages, restorable: new Map(), now, limits, schema }, updates);
  }

  /** Plans and sends; what this node knows moves on only with `committed`. */
  async send(updates: readonly Update[], { fence = this.fence }: { fence?: number } = {}) {
    const planned = await this.plan(updates);
    const answer = await this.store.commit({
      sessionId: this.id,
      over: this.state,
      redisLife: this.redisLife,
      fence,
      plan: planned,
      ids: updates.map((one, i) => ({ key: idKey(one), remember: memoryOf(one, planned.outcomes[i]!) })),
      freeing: updates.every(({ action }) => frees(action)),
    });
    if (answer.kind === 'committed') {
      if (planned.cleared || planned.next === null) this.messages.clear();
      for (const [id, message] of planned.messages) this.messages.set(id, message);
      this.state = planned.next;
    }
    return { answer, planned };
  }

  async committed(...actions: UpdateAction[]): Promise<Plan> {
    const { answer, planned } = await this.send(actions.map((action) => update(this.id, action)));
    expect(answer.kind).to.equal('committed');
    return planned;
  }

  /** The session's log as Redis has it, oldest first. */
  async log(): Promise<{ revision: number; event: string; fence: number; body: string }[]> {
    const entries = await this.client.xrange(keys.session(this.id).log, '-', '+');
    return entries.map(([at, fields]) => {
      expect([fields[0], fields[2], fields[4]]).to.deep.equal(['e', 'f', 'b']);
      return { revision: Number(at.split('-')[0]), event: fields[1]!, fence: Number(fields[3]), body: fields[5]! };
    });
  }

  /** A number that the document keeps; 0 where it keeps none. */
  async number(field: 'logBytes' | 'messageBytes'): Promise<number> {
    return Number((await this.client.hget(keys.session(this.id).doc, field)) ?? 0);
  }

  /** The two sums that the document keeps, against what is there. */
  async expectSums(): Promise<void> {
    expect(await this.number('logBytes'), 'logBytes').to.equal(bytesOf((await this.log()).map(({ body }) => body)));
    const messages = await this.client.hvals(keys.session(this.id).messages);
    expect(await this.number('messageBytes'), 'messageBytes').to.equal(bytesOf(messages));
  }
}
