// Sessions in Redis: every read and every write of them, typed. It knows keys and scripts; it decides nothing.
import type { JsonObject } from '../../client-sdk/protocol/json.js';
import {
  IDS_REMEMBERED_MAX,
  IDS_REMEMBERED_MS,
  IMPORT_LINE_BYTES_MAX,
  RESUME_BYTES_MAX,
  type Limits,
} from '../../client-sdk/protocol/limits.js';
import type {
  Author,
  Commit,
  Cursor,
  Message,
  SessionDocument,
  SettingsVersion,
} from '../../client-sdk/protocol/messages.js';
import type { Plan } from '../session/plan.js';
import type { LastVersion, SessionState } from '../session/state.js';
import type { RedisClient } from './connection.js';
import { send } from './connection.js';
import { type Keys, PARTITIONS } from './keys.js';
import type { RunCommit } from './replicated-commits.js';
import { Scripts, type TaggedReply } from './scripts.js';

/** Bytes that one page of messages or versions may have; a longer page ends early. */
const PAGE_BYTES_MAX = 4 * 1024 * 1024;
/** How long a node's wish for a lease is kept, milliseconds: a little longer than until it wishes again. */
const WANTED_MS = 150;

/** A state with the fencing token that its Redis has. */
export interface StoredState {
  readonly state: SessionState;
  readonly fence: number;
}

/** Which Redis answered for a session that is not there: the epoch of one created now ends in it. */
export interface Absent {
  readonly kind: 'absent';
  readonly redisLife: string;
}

export type ReadReply =
  | Absent
  | { kind: 'same'; messages: (Message | null)[] }
  | { kind: 'tail'; cursor: Cursor; commits: Commit[]; bytes: number }
  | { kind: 'state'; stored: StoredState; messages: (Message | null)[] };

/** Where a session is. */
export interface Place extends Cursor {
  /** Version of who is shown; 0: nobody. */
  presence: number;
}

/** What is remembered of an update id. */
export interface Remembered {
  revision: number;
  epoch: string;
  payloadHash: string;
  changed: boolean;
  /** Time of that revision. */
  at: string;
}

export type CommitReply =
  | { kind: 'committed'; wanted: boolean }
  | { kind: 'duplicate'; remembered: Map<number, Remembered> }
  | { kind: 'stale'; stored: StoredState }
  | { kind: 'fenced'; fence: number }
  | { kind: 'broken'; key: number }
  | Absent;

export interface CommitCall {
  readonly sessionId: string;
  /** The state that the plan was made over; `null`: the session was absent. */
  readonly over: SessionState | null;
  readonly redisLife: string;
  readonly fence: number;
  readonly plan: Plan;
  /** One per update: what its id is looked up by, and what to remember should the plan hold. */
  readonly ids: { key: string; remember: Remembered | null }[];
  /** The batch makes room: it may run when Redis is out of memory. */
  readonly freeing: boolean;
}

/** What is left of a revision. */
export interface AtReply {
  now: Cursor;
  commit: Commit | null;
  /** Settings as of that revision; `null` where they are no longer kept. */
  settings: { value: JsonObject; revision: number; at: string; changedPaths: string[] } | null;
}

/** A session as an import puts it in place. */
export interface ImportedSession {
  document: SessionDocument;
  messages: Message[];
  birth: string;
  /** ISO 8601: an old session is not idle from the start. */
  importedAt: string;
}

export class SessionStore {
  private readonly client: RedisClient;
  private readonly keys: Keys;
  private readonly limits: Limits;
  private readonly scripts: Scripts;
  private readonly nodeId: string;
  private readonly runCommit: RunCommit;

  /** `nodeId` tells this node's wishes from those of others; `runCommit` may wait for more than Redis's own answer. */
  constructor(client: RedisClient, keys: Keys, limits: Limits, nodeId: string, runCommit?: RunCommit) {
    this.nodeId = nodeId;
    this.client = client;
    this.keys = keys;
    this.limits = limits;
    this.scripts = new Scripts(client);
    this.runCommit = runCommit ?? ((script, keysOfSession, args) => this.scripts.run(script, keysOfSession, args));
  }

  /** Whether Redis answers within `ms`. */
  async answers(ms: number): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<boolean>((resolve) => (timer = setTimeout(() => resolve(false), ms)));
    const pong = send(this.client, (client) => client.ping()).then(
      () => true,
      () => false,
    );
    return Promise.race([pong, late]).finally(() => clearTimeout(timer));
  }

  /** True while commands can be sent. */
  get ready(): boolean {
    return this.client.status === 'ready';
  }

  /** Compares the number of partitions that the data was written with; throws where it is another. */
  async checkPartitions(): Promise<void> {
    const { partitions } = this.keys;
    await send(this.client, (client) => client.set(partitions, String(PARTITIONS), 'NX'));
    const written = await send(this.client, (client) => client.get(partitions));
    if (Number(written) !== PARTITIONS) {
      throw new Error(`this Redis holds data in ${written} partitions; this version uses ${PARTITIONS}`);
    }
  }

  /**
   * One session at one moment, as seen from `have`. With `tail`, the commits after it where the log still has them all
   * and they are at most RESUME_BYTES_MAX; else the state. Messages in the order asked for.
   */
  async read(
    sessionId: string,
    have: Cursor | null,
    options: { tail?: boolean; messageIds?: readonly string[] } = {},
  ): Promise<ReadReply> {
    const reply = await this.scripts.run('read', this.keys.session(sessionId), [
      have?.epoch ?? '',
      have?.revision ?? 0,
      options.tail ? RESUME_BYTES_MAX : 0,
      ...(options.messageIds ?? []),
    ]);
    const [tag, epoch, revision, messages, rest] = reply as [string, string, number, (string | null)[], unknown];
    switch (tag) {
      case 'GONE':
        return absent(reply);
      case 'SAME':
        return { kind: 'same', messages: messages.map(parseMessage) };
      case 'TAIL': {
        const bodies = rest as string[];
        const bytes = bodies.reduce((sum, body) => sum + body.length, 0);
        const commits = bodies.map((body) => JSON.parse(body) as Commit);
        return { kind: 'tail', cursor: { epoch, revision }, commits, bytes };
      }
      default:
        return {
          kind: 'state',
          stored: readState(sessionId, epoch, revision, rest as StateFields),
          messages: messages.map(parseMessage),
        };
    }
  }

  /**
   * Where sessions and their presence are now, `null` for those that are gone, undefined for those of a part of a cluster
   * that does not answer; one pipeline. Throws RedisFailure where nothing answers.
   */
  async check(sessionIds: readonly string[]): Promise<(Place | null | undefined)[]> {
    const replies = await Promise.allSettled(
      sessionIds.map((id) => this.scripts.run('check', this.keys.session(id), [])),
    );
    const [failed] = replies.filter((reply) => reply.status === 'rejected');
    if (failed && !replies.some(({ status }) => status === 'fulfilled')) throw failed.reason;
    return replies.map((reply) => {
      if (reply.status === 'rejected') return undefined;
      const [tag, epoch, revision, presence] = reply.value;
      if (tag !== 'AT') return null;
      return { epoch: epoch as string, revision: revision as number, presence: Number(presence) };
    });
  }

  /** Takes the next fencing token; `stored` is what the caller does not know yet. */
  async fence(
    sessionId: string,
    have: Cursor | null,
  ): Promise<Absent | { kind: 'taken'; fence: number; stored: StoredState | null }> {
    const args = [have?.epoch ?? '', have?.revision ?? 0];
    const reply = await this.scripts.run('fence', this.keys.session(sessionId), args);
    if (reply[0] === 'GONE') return absent(reply);
    const [, fence, epoch, revision, fields] = reply as [string, number, string, number, StateFields | null];
    return { kind: 'taken', fence, stored: fields ? readState(sessionId, epoch, revision, fields) : null };
  }

  /**
   * Says to whoever holds the session's lease that another waits for it: by the feed, and by a mark that the holder's next
   * commit finds. Best effort.
   */
  async want(sessionId: string): Promise<void> {
    const { wanted, channel } = this.keys.session(sessionId);
    await send(this.client, (client) =>
      Promise.all([
        client.set(wanted, this.nodeId, 'PX', WANTED_MS),
        client.spublish(channel, JSON.stringify({ wanted: this.nodeId })),
      ]),
    );
  }

  /** Has Redis decide a batch. Throws RedisFailure, whose kind says whether it may have been written. */
  async commit(call: CommitCall): Promise<CommitReply> {
    const args = this.commitArguments(call);
    const script = call.freeing ? 'commitFreeing' : 'commit';
    const reply = await this.runCommit(script, this.keys.session(call.sessionId), args);
    switch (reply[0]) {
      case 'COMMITTED':
        return { kind: 'committed', wanted: reply[1] !== null && reply[1] !== this.nodeId };
      case 'DUPLICATE': {
        const remembered = new Map<number, Remembered>();
        for (let i = 1; i < reply.length; i += 2) {
          remembered.set(reply[i] as number, JSON.parse(reply[i + 1] as string) as Remembered);
        }
        return { kind: 'duplicate', remembered };
      }
      case 'STALE': {
        const [, epoch, revision, fields] = reply as [string, string, number, StateFields];
        return { kind: 'stale', stored: readState(call.sessionId, epoch, revision, fields) };
      }
      case 'FENCED':
        return { kind: 'fenced', fence: reply[1] as number };
      case 'BROKEN':
        return { kind: 'broken', key: reply[1] as number };
      default:
        return absent(reply);
    }
  }

  private commitArguments({ sessionId, over, redisLife, fence, plan, ids }: CommitCall): (string | number)[] {
    const mode = over === null ? 'create' : plan.deleted ? 'delete' : 'update';
    const epoch = over?.document.epoch ?? plan.next?.document.epoch ?? `-${redisLife}`;
    const { LOG_COMMITS_MAX, LOG_BYTES_MAX, HISTORY_VERSIONS_MAX } = this.limits;
    const args: (string | number)[] = [sessionId, mode, epoch, over?.document.revision ?? 0, fence];
    args.push(LOG_COMMITS_MAX, LOG_BYTES_MAX, HISTORY_VERSIONS_MAX, IDS_REMEMBERED_MAX, IDS_REMEMBERED_MS);
    const list = <T>(items: readonly T[], add: (item: T) => void) => {
      args.push(items.length);
      items.forEach(add);
    };
    list(ids, ({ key }) => args.push(key));
    list(plan.commits, ({ revision, event, body }) => args.push(revision, event, body));
    list(
      ids.filter(({ remember }) => remember !== null),
      ({ key, remember }) => args.push(key, JSON.stringify(remember)),
    );
    const next = plan.commits.length > 0 ? plan.next : null;
    list(next ? documentFields(next, over, plan.created) : [], ([field, value]) => args.push(field, value));
    const messages = [...plan.messages].map(([id, message]) => ({ id, message }));
    args.push(plan.cleared ? 1 : 0);
    list(
      messages.filter(({ message }) => message === null),
      ({ id }) => args.push(id),
    );
    list(
      messages.filter(({ message }) => message !== null),
      ({ id, message }) =>
        args.push(id, plan.added.get(id) ?? message!.revision, message!.revision, JSON.stringify(message)),
    );
    list(plan.versions, ({ replaces, revision, json }) => args.push(replaces, revision, json));
    return args;
  }

  /** What the log and the history still know of a revision; `null`: the session does not exist. */
  async at(sessionId: string, revision: number): Promise<AtReply | null> {
    const reply = await this.scripts.run('at', this.keys.session(sessionId), [revision]);
    if (reply[0] === 'GONE') return null;
    const [, epoch, now, commit, newest, before, after] = reply as [string, string, number, ...(string | null)[]];
    return {
      now: { epoch, revision: now },
      commit: commit ? (JSON.parse(commit) as Commit) : null,
      settings: settingsAsOf(revision, newest, before, after),
    };
  }

  /** Versions of the settings before revision `before` (or from the newest), newest first; `null`: no such session. */
  async history(sessionId: string, before: number | undefined, limit: number) {
    const args = [before ?? '', limit, PAGE_BYTES_MAX];
    const reply = await this.scripts.run('history', this.keys.session(sessionId), args);
    if (reply[0] === 'GONE') return null;
    const versions = reply.slice(1, -1).map((json) => {
      const { first: _first, ...version } = JSON.parse(json as string) as StoredVersion;
      return version as SettingsVersion;
    });
    const more = reply.at(-1) === 1;
    return { versions, ...(more ? { next: versions.at(-1)!.revision } : {}) };
  }

  /**
   * A page of messages, newest first; `null`: no such session. Ordered and paged by the revision that created each;
   * with `after`, those changed since that revision, by the revision that changed each last.
   */
  async messages(sessionId: string, page: { before?: number | undefined; after?: number | undefined; limit: number }) {
    const keys = this.keys.session(sessionId);
    const order = page.after === undefined ? keys.created : keys.changed;
    const lowest = page.after === undefined ? '-inf' : `(${page.after}`;
    const highest = page.before === undefined ? '+inf' : `(${page.before}`;
    const args = [lowest, highest, page.limit, PAGE_BYTES_MAX];
    const reply = await this.scripts.runOn('messages', [keys.doc, keys.messages, order], args);
    if (reply[0] === 'GONE') return null;
    const messages: Message[] = [];
    for (let i = 4; i < reply.length; i += 2) messages.push(JSON.parse(reply[i] as string) as Message);
    const last = Number(reply.at(-2));
    return { messages, ...(reply[2] === 1 ? { next: last } : {}) };
  }

  /** A whole session; `tooLarge` where its messages alone are more than a line of an export may be. */
  async export(sessionId: string) {
    const reply = await this.scripts.run('export', this.keys.session(sessionId), [IMPORT_LINE_BYTES_MAX]);
    if (reply[0] === 'GONE') return null;
    if (reply[0] === 'TOO_LARGE') return { kind: 'tooLarge' as const, bytes: reply[1] as number };
    const [, epoch, revision, fields, ...messages] = reply as [string, string, number, StateFields, ...string[]];
    const { document } = readState(sessionId, epoch, revision, fields).state;
    return { kind: 'session' as const, document, messagesJson: messages };
  }

  /** Puts a whole session in place. */
  async import({ document, messages, birth, importedAt }: ImportedSession, replace: boolean): Promise<TaggedReply> {
    const version: StoredVersion = {
      revision: 1,
      first: 1,
      at: document.createdAt,
      by: document.updatedBy,
      settings: document.settings,
      changedPaths: Object.keys(document.settings).map((key) => `/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`),
    };
    const state: SessionState = {
      document,
      settingsJson: JSON.stringify(document.settings),
      lastVersion: { revision: 1, first: 1, at: Date.parse(document.createdAt), signature: '' },
    };
    const fields = documentFields(state, null, true).filter(([field]) => field !== 'birth' && field !== 'revision');
    fields.push(['importedAt', importedAt]);
    return this.scripts.run('import', this.keys.session(document.id), [
      document.id,
      replace ? 1 : 0,
      birth,
      document.revision,
      JSON.stringify(version),
      fields.length,
      ...fields.flat(),
      ...messages.flatMap((message) => [message.id, JSON.stringify(message)]),
    ]);
  }

  /** Notes that a session has a reader at `at` (ISO 8601, UTC, milliseconds). */
  async touch(sessionId: string, at: string): Promise<void> {
    await this.scripts.run('idle', this.keys.session(sessionId), ['touch', at]);
  }

  /** Where a session is that had neither a commit nor a reader since `cutoff`; `null` for all others. */
  async idle(sessionId: string, cutoff: string): Promise<Cursor | null> {
    const reply = await this.scripts.run('idle', this.keys.session(sessionId), ['ask', cutoff]);
    return reply[0] === 'IDLE' ? { epoch: reply[1] as string, revision: reply[2] as number } : null;
  }

  /**
   * Ids of sessions that begin with `prefix`, from a position on, at most `limit`; `next` continues. Every session that
   * exists during the whole walk is in it once; in no particular order.
   */
  async list(prefix: string, from: ListPosition, limit: number): Promise<{ ids: string[]; next?: ListPosition }> {
    const ids: string[] = [];
    let { partition, after } = from;
    const range = (index: number, last: string) => {
      const lowest = last === '' ? (prefix === '' ? '-' : `[${prefix}`) : `(${last}`;
      const highest = prefix === '' ? '+' : `[${prefix}~`;
      return send(this.client, (client) =>
        client.zrangebylex(this.keys.index(index), lowest, highest, 'LIMIT', 0, limit + 1),
      );
    };
    for (let width = 4; partition < PARTITIONS; width = Math.min(2 * width, 128)) {
      // Partitions may be empty or large: one round trip asks for more of them the less was found.
      const stretch = Math.min(width, PARTITIONS - partition);
      const start = partition;
      const pages = await Promise.all(
        Array.from({ length: stretch }, (_, i) => range(start + i, i === 0 ? after : '')),
      );
      for (const page of pages) {
        for (const id of page) {
          if (ids.length === limit) return { ids, next: { partition, after } };
          ids.push(id);
          after = id;
        }
        partition += 1;
        after = '';
      }
    }
    return { ids };
  }
}

/** Where a walk over all sessions is: a partition, and the last id taken from it ('' for none). */
export interface ListPosition {
  partition: number;
  after: string;
}

interface StoredVersion extends SettingsVersion {
  first: number;
}

/** The fields of a state reply, in the order of session.part.lua. */
type StateFields = (string | null)[];

function readState(id: string, epoch: string, revision: number, fields: StateFields): StoredState {
  const [settingsRevision, messagesRevision, settings, title, metadata, count, createdAt, updatedAt, by, last, fence] =
    fields;
  const settingsJson = settings ?? '{}';
  const document: SessionDocument = {
    id,
    epoch,
    revision,
    settingsRevision: Number(settingsRevision),
    messagesRevision: Number(messagesRevision),
    settings: JSON.parse(settingsJson) as JsonObject,
    ...(title ? { title: JSON.parse(title) as string } : {}),
    ...(metadata ? { metadata: JSON.parse(metadata) as JsonObject } : {}),
    messageCount: Number(count),
    createdAt: createdAt ?? '',
    updatedAt: updatedAt ?? '',
    updatedBy: JSON.parse(by ?? '{}') as Author,
  };
  const lastVersion = JSON.parse(last ?? '{}') as LastVersion;
  return { state: { document, settingsJson, lastVersion }, fence: Number(fence) };
}

/** Fields of the document hash that differ between two states; '' removes a field. */
function documentFields(next: SessionState, over: SessionState | null, created: boolean): [string, string | number][] {
  const { document } = next;
  const before = over?.document;
  const fields: [string, string | number][] = [
    ['revision', document.revision],
    ['updatedAt', document.updatedAt],
    ['updatedBy', JSON.stringify(document.updatedBy)],
  ];
  if (created) fields.push(['birth', document.epoch.split('-', 1)[0] ?? ''], ['createdAt', document.createdAt]);
  if (next.settingsJson !== over?.settingsJson) fields.push(['settings', next.settingsJson]);
  if (next.lastVersion !== over?.lastVersion) fields.push(['lastVersion', JSON.stringify(next.lastVersion)]);
  const numbers = ['settingsRevision', 'messagesRevision', 'messageCount'] as const;
  for (const name of numbers) if (document[name] !== before?.[name]) fields.push([name, document[name]]);
  for (const name of ['title', 'metadata'] as const) {
    const value = document[name] === undefined ? '' : JSON.stringify(document[name]);
    if (value !== '' || before?.[name] !== undefined) fields.push([name, value]);
  }
  return fields;
}

function parseMessage(json: string | null): Message | null {
  return json ? (JSON.parse(json) as Message) : null;
}

function absent(reply: TaggedReply): Absent {
  return { kind: 'absent', redisLife: reply[1] as string };
}

/** The log is exact; a version stands for all commits from its first to its last. */
function settingsAsOf(
  revision: number,
  newest: string | null | undefined,
  before: string | null | undefined,
  after: string | null | undefined,
): AtReply['settings'] {
  if (newest) {
    const { settings: value, revision: at, ...commit } = JSON.parse(newest) as Extract<Commit, { settings: unknown }>;
    const paths = commit.event === 'settings:updated' ? commit.changedPaths : [];
    return { value, revision: at, at: commit.at, changedPaths: paths };
  }
  const covering = after ? (JSON.parse(after) as StoredVersion) : null;
  const version =
    covering && covering.first <= revision ? covering : before ? (JSON.parse(before) as StoredVersion) : null;
  if (!version) return null;
  const { settings: value, at, changedPaths } = version;
  return { value, revision: version.revision, at, changedPaths };
}
