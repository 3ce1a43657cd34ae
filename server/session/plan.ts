// Plans a batch: state and updates in, commits and refusals out. Pure, and only a proposal: Redis decides.
// A bad update refuses only itself; those after it are planned over the state without it.
import { AttuneError } from '../../client-sdk/protocol/errors.js';
import { equalJson, type JsonObject } from '../../client-sdk/protocol/json.js';
import { CONTENT_BYTES_MAX, HISTORY_MERGE_MS, JSON_DEPTH_MAX, type Limits } from '../../client-sdk/protocol/limits.js';
import type {
  AnyWriteReply,
  Commit,
  CommitBase,
  Message,
  SessionDocument,
  SettingsRequest,
  SettingsVersion,
} from '../../client-sdk/protocol/messages.js';
import type { SettingsSchema } from './settings-schema.js';
import { applyJsonPatch, changedPaths, mergePatch, overlay } from './settings-rules.js';
import { applyCommit, type KnownMessages, type LastVersion, type SessionState } from './state.js';
import type { Guards, SettingsChange, Update } from './update.js';

/** What planning needs beside state and updates. */
export interface PlanInput {
  /** `null`: there is no such session. */
  readonly state: SessionState | null;
  /** Suffix of the epoch of a session created now: names this life of Redis. */
  readonly redisLife: string;
  /** Every message that an update names must be known, or known to be absent. */
  readonly messages: KnownMessages;
  /** Settings as of the revisions that updates restore; `null`: no longer kept. */
  readonly restorable: ReadonlyMap<number, JsonObject | null>;
  /** Milliseconds since 1970. */
  readonly now: number;
  readonly limits: Limits;
  readonly schema: SettingsSchema;
}

/** What a planned update is answered with, once Redis has confirmed the batch. */
export type Outcome =
  | { kind: 'committed' | 'unchanged'; revision: number; epoch: string; at: string; reply: AnyWriteReply }
  | { kind: 'refused'; error: AttuneError };

/** A version for the settings' history; `replaces` is the newest version where it continues that one, else 0. */
export interface PlannedVersion {
  readonly revision: number;
  readonly first: number;
  readonly replaces: number;
  readonly json: string;
}

/** What to write, in terms of the session. */
export interface Plan {
  /** One per update, in order. */
  readonly outcomes: Outcome[];
  readonly commits: { revision: number; event: Commit['event']; body: string }[];
  readonly versions: PlannedVersion[];
  /** Messages as they are after the batch; `null` was removed. */
  readonly messages: ReadonlyMap<string, Message | null>;
  /** Messages that the batch added -> the commit that did; they may have been changed by a later one. */
  readonly added: ReadonlyMap<string, number>;
  readonly cleared: boolean;
  readonly created: boolean;
  readonly deleted: boolean;
  /** The state after the batch; `null` where the session does not exist then. */
  readonly next: SessionState | null;
}

/** Plans `updates` over `state`, in order. Never throws for anything a client asked for. */
export function plan(input: PlanInput, updates: readonly Update[]): Plan {
  const batch = new Batch(input);
  const outcomes = updates.map((update): Outcome => {
    try {
      return batch.take(update);
    } catch (error) {
      if (error instanceof AttuneError) return { kind: 'refused', error };
      throw error;
    }
  });
  return { outcomes, ...batch.result() };
}

const refuse = (message: string, details?: Record<string, unknown>) =>
  new AttuneError('INVALID_REQUEST', message, details ? { details } : {});

/** The author and paths of a commit as one comparable text; long ones are never merged. */
function signatureOf(update: Update, paths: string[]): string {
  const text = JSON.stringify([update.by.userId, update.by.clientId, paths]);
  return text.length > 1024 ? '' : text;
}

/** One batch under way: each step checks first and changes this only when nothing can refuse any more. */
class Batch {
  private readonly input: PlanInput;
  private state: SessionState | null;
  private readonly messages = new Map<string, Message | null>();
  private readonly added = new Map<string, number>();
  private readonly commits: Plan['commits'] = [];
  private readonly versions: PlannedVersion[] = [];
  private cleared = false;
  private created = false;
  private deleted = false;

  constructor(input: PlanInput) {
    this.input = input;
    this.state = input.state;
  }

  result(): Omit<Plan, 'outcomes'> {
    const { commits, versions, messages, added, cleared, created, deleted, state } = this;
    return { commits, versions, messages, added, cleared, created, deleted, next: state };
  }

  take(update: Update): Outcome {
    const action = update.action;
    if (action.kind === 'open') return this.open(update, action);
    const state = this.state;
    if (!state) throw new AttuneError('SESSION_NOT_FOUND', 'there is no such session');
    switch (action.kind) {
      case 'settings':
        return this.settings(update, state, action.change, action);
      case 'describe':
        return this.describe(update, state, action);
      case 'message:add':
        return this.addMessage(update, state, action.message);
      case 'message:update':
        return this.updateMessage(update, state, action);
      case 'message:delete':
        return this.deleteMessage(update, state, action);
      case 'clear':
        return this.clear(update, state);
      case 'delete':
        return this.delete(update, state, action);
      default:
        return action satisfies never;
    }
  }

  private open(update: Update, action: Extract<Update['action'], { kind: 'open' }>): Outcome {
    if (this.state) {
      const document = this.state.document;
      return unchanged(document, { session: document, created: false });
    }
    if (!action.mayCreate) throw new AttuneError('FORBIDDEN', 'creating a session needs the right to');
    const { initial } = action;
    const settings = overlay(this.input.schema.defaults, initial.settings ?? {});
    const settingsJson = this.checkedSettings(settings);
    const at = this.time();
    const document: SessionDocument = {
      id: update.sessionId,
      epoch: `${action.birth}-${this.input.redisLife}`,
      revision: 1,
      settingsRevision: 1,
      messagesRevision: 0,
      settings,
      ...(initial.title === undefined ? {} : { title: initial.title }),
      ...(initial.metadata === undefined ? {} : { metadata: initial.metadata }),
      messageCount: 0,
      createdAt: at,
      updatedAt: at,
      updatedBy: update.by,
    };
    const version = this.addVersion(update, document, changedPaths({}, settings), settings, settingsJson, null);
    // The first version stays: what a session began with can always be restored.
    this.state = { document, settingsJson, lastVersion: { ...version, signature: '' } };
    this.created = true;
    const { title, metadata } = initial;
    const commit = { event: 'session:created' as const, ...this.base(update, document), title, metadata };
    this.log(document.revision, commit, settingsJson);
    return committed(document, { session: document, created: true });
  }

  private settings(update: Update, state: SessionState, change: SettingsChange, guards: Guards): Outcome {
    checkGuards(state.document, guards);
    const before = state.document.settings;
    const settings = this.changed(before, change);
    const paths = changedPaths(before, settings);
    if (paths.length === 0) return unchanged(state.document, settingsReply(state.document, []));
    const settingsJson = this.checkedSettings(settings);
    const document = this.advance(update, state, { event: 'settings:updated', settings });
    const lastVersion = this.addVersion(update, document, paths, settings, settingsJson, state.lastVersion);
    this.state = { document, settingsJson, lastVersion };
    const commit = {
      event: 'settings:updated' as const,
      ...this.base(update, document),
      settingsRevision: document.revision,
      request: change satisfies SettingsRequest,
      changedPaths: paths,
    };
    this.log(document.revision, commit, settingsJson);
    return committed(document, settingsReply(document, paths));
  }

  private changed(before: JsonObject, change: SettingsChange): JsonObject {
    if ('replace' in change) return change.replace;
    if ('merge' in change) return mergePatch(before, change.merge);
    if ('patch' in change) {
      const patched = applyJsonPatch(before, change.patch);
      if (patched.ok) return patched.settings;
      const details = patched.index === undefined ? {} : { index: patched.index };
      throw new AttuneError(patched.code, patched.message, { details });
    }
    const restored = this.input.restorable.get(change.restore);
    if (!restored) throw refuse(`no settings are kept for revision ${change.restore}`);
    return restored;
  }

  /** The settings as JSON; refuses what is too large or breaks the schema. Depth was checked on what came in. */
  private checkedSettings(settings: JsonObject): string {
    const json = JSON.stringify(settings);
    const max = this.input.limits.SETTINGS_BYTES_MAX;
    const bytes = json.length > max ? json.length : Buffer.byteLength(json);
    if (bytes > max) {
      throw new AttuneError('TOO_LARGE', `the settings would have ${bytes} bytes; at most ${max} are kept`);
    }
    if (deeperThan(settings, JSON_DEPTH_MAX)) throw refuse(`the settings would nest deeper than ${JSON_DEPTH_MAX}`);
    const issues = this.input.schema.validate(settings);
    if (issues.length > 0) {
      throw new AttuneError('INVALID_SETTINGS', `the settings would break the schema at ${issues[0]?.path || '/'}`, {
        details: { issues },
      });
    }
    return json;
  }

  private addVersion(
    update: Update,
    document: SessionDocument,
    paths: string[],
    settings: JsonObject,
    settingsJson: string,
    last: LastVersion | null,
  ): LastVersion {
    const at = Date.parse(document.updatedAt);
    const signature = signatureOf(update, paths);
    const continues =
      last !== null && signature !== '' && last.signature === signature && at - last.at < HISTORY_MERGE_MS;
    const revision = document.revision;
    const first = continues ? last.first : revision;
    const version: SettingsVersion & { first: number } = {
      revision,
      first,
      at: document.updatedAt,
      by: update.by,
      changedPaths: paths,
      settings,
    };
    const planned: PlannedVersion = {
      revision,
      first,
      replaces: continues ? last.revision : 0,
      json: splice(version, settingsJson),
    };
    // A version that was planned in this very batch was never written: it is replaced here, not in Redis.
    const newest = this.versions.at(-1);
    if (newest && newest.revision === planned.replaces) {
      this.versions[this.versions.length - 1] = { ...planned, replaces: newest.replaces };
    } else {
      this.versions.push(planned);
    }
    return { revision, first, at, signature };
  }

  private describe(
    update: Update,
    state: SessionState,
    action: Extract<Update['action'], { kind: 'describe' }>,
  ): Outcome {
    const { document } = state;
    const title = action.title === undefined ? document.title : (action.title ?? undefined);
    const metadata = action.metadata === undefined ? document.metadata : (action.metadata ?? undefined);
    const described = { ...(title === undefined ? {} : { title }), ...(metadata === undefined ? {} : { metadata }) };
    if (title === document.title && equalJson(metadata ?? null, document.metadata ?? null)) {
      return unchanged(document, described);
    }
    const next = this.advance(update, state, { event: 'session:described', ...described });
    this.state = { ...state, document: next };
    this.log(next.revision, { event: 'session:described', ...this.base(update, next), ...described });
    return committed(next, described);
  }

  private addMessage(
    update: Update,
    state: SessionState,
    given: Extract<Update['action'], { kind: 'message:add' }>['message'],
  ): Outcome {
    const { document } = state;
    if (given.idGiven && this.message(given.id)) {
      throw refuse('a message with this id exists already', { messageId: given.id });
    }
    const max = this.input.limits.SESSION_MESSAGES_MAX;
    if (document.messageCount >= max) {
      throw new AttuneError('TOO_LARGE', `the session has ${document.messageCount} messages; at most ${max} are kept`);
    }
    const message: Message = {
      id: given.id,
      revision: document.revision + 1,
      settingsRevision: document.settingsRevision,
      role: given.role,
      content: given.content,
      timestamp: given.timestamp ?? this.time(),
      status: given.status,
      ...(given.metadata === undefined ? {} : { metadata: given.metadata }),
      ...(given.references === undefined ? {} : { references: given.references }),
      author: update.by,
    };
    this.added.set(message.id, message.revision);
    return this.writeMessage(update, state, 'message:added', message);
  }

  private updateMessage(
    update: Update,
    state: SessionState,
    action: Extract<Update['action'], { kind: 'message:update' }>,
  ): Outcome {
    const before = this.ownMessage(update, action);
    const message: Message = { ...before, revision: state.document.revision + 1 };
    if (action.append !== undefined) {
      if (typeof before.content !== 'string') throw refuse('only text can be appended to, not an array of parts');
      message.content = before.content + action.append;
      if (Buffer.byteLength(message.content) > CONTENT_BYTES_MAX) {
        throw new AttuneError('TOO_LARGE', `the content would have more than ${CONTENT_BYTES_MAX} bytes`);
      }
    }
    if (action.content !== undefined) message.content = action.content;
    if (action.status !== undefined) message.status = action.status;
    if (action.metadata === null) delete message.metadata;
    else if (action.metadata !== undefined) message.metadata = action.metadata;
    if (action.references === null) delete message.references;
    else if (action.references !== undefined) message.references = action.references;
    const same = (['content', 'status', 'metadata', 'references'] as const).every((member) =>
      equalJson(before[member] ?? null, message[member] ?? null),
    );
    if (same) return unchanged(state.document, { message: before });
    return this.writeMessage(update, state, 'message:updated', message);
  }

  private writeMessage(
    update: Update,
    state: SessionState,
    event: 'message:added' | 'message:updated',
    message: Message,
  ): Outcome {
    const document = this.advance(update, state, { event, message });
    this.messages.set(message.id, message);
    this.state = { ...state, document };
    this.log(document.revision, { event, ...this.base(update, document), message });
    return committed(document, { message });
  }

  private deleteMessage(
    update: Update,
    state: SessionState,
    action: Extract<Update['action'], { kind: 'message:delete' }>,
  ): Outcome {
    this.ownMessage(update, action);
    const { messageId } = action;
    const document = this.advance(update, state, { event: 'message:deleted', messageId });
    this.messages.set(messageId, null);
    this.state = { ...state, document };
    this.log(document.revision, { event: 'message:deleted', ...this.base(update, document), messageId });
    return committed(document, {});
  }

  private clear(update: Update, state: SessionState): Outcome {
    const removed = state.document.messageCount;
    if (removed === 0) return unchanged(state.document, { removed });
    const document = this.advance(update, state, { event: 'session:cleared', removed });
    this.messages.clear();
    this.cleared = true;
    this.state = { ...state, document };
    this.log(document.revision, { event: 'session:cleared', ...this.base(update, document), removed });
    return committed(document, { removed });
  }

  private delete(update: Update, state: SessionState, action: Extract<Update['action'], { kind: 'delete' }>): Outcome {
    checkGuards(state.document, action);
    if (action.ifDocumentRevision !== undefined && action.ifDocumentRevision !== state.document.revision) {
      throw conflict(state.document);
    }
    const document = { ...state.document, revision: state.document.revision + 1, updatedAt: this.time() };
    this.deleted = true;
    this.state = null;
    this.log(document.revision, { event: 'session:deleted', ...this.base(update, document), reason: 'deleted' });
    return committed(document, {});
  }

  /** A message as this batch has it; reading one that was not asked for is a mistake of ours. */
  private message(id: string): Message | null {
    const known = this.messages.has(id) ? this.messages.get(id) : this.cleared ? null : this.input.messages.get(id);
    if (known === undefined) throw new Error('a message was not read before planning');
    return known;
  }

  private ownMessage(update: Update, action: { messageId: string; ownOnly: boolean }): Message {
    const message = this.message(action.messageId);
    if (!message) throw new AttuneError('MESSAGE_NOT_FOUND', 'there is no such message in this session');
    if (action.ownOnly && message.author.userId !== update.by.userId) {
      throw new AttuneError('FORBIDDEN', 'this message is not yours to change');
    }
    return message;
  }

  /** The time of the next commit: never before the one it follows, though nodes' clocks differ. */
  private time(): string {
    const now = new Date(this.input.now).toISOString();
    const last = this.state?.document.updatedAt;
    return last !== undefined && last > now ? last : now;
  }

  private advance(update: Update, state: SessionState, change: object): SessionDocument {
    const revision = state.document.revision + 1;
    const step = { ...change, revision, at: this.time(), by: update.by } as Commit;
    return applyCommit(state.document, step);
  }

  private base(update: Update, document: SessionDocument): CommitBase {
    return {
      sessionId: update.sessionId,
      epoch: document.epoch,
      revision: document.revision,
      at: document.updatedAt,
      by: update.by,
      updateId: update.updateId,
    };
  }

  private log(
    revision: number,
    commit: { event: Commit['event']; [member: string]: unknown },
    settingsJson?: string,
  ): void {
    const body = settingsJson === undefined ? JSON.stringify(commit) : splice(commit, settingsJson);
    this.commits.push({ revision, event: commit.event, body });
  }
}

/** `value` as JSON with `settings` spliced in as it was encoded already. */
function splice(value: object, settingsJson: string): string {
  const json = JSON.stringify({ ...value, settings: undefined });
  return `${json.slice(0, -1)},"settings":${settingsJson}}`;
}

function deeperThan(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (levels === 0) return true;
  return Object.values(value).some((member) => deeperThan(member, levels - 1));
}

function checkGuards(document: SessionDocument, { ifRevision, ifEpoch }: Guards): void {
  const moved = ifRevision !== undefined && (document.settingsRevision > ifRevision || ifRevision > document.revision);
  if (!moved && (ifEpoch === undefined || ifEpoch === document.epoch)) return;
  throw conflict(document);
}

function conflict({ epoch, revision, settingsRevision, settings }: SessionDocument): AttuneError {
  return new AttuneError('REVISION_CONFLICT', 'the session is not where the update expects it', {
    details: { epoch, revision, settingsRevision, settings },
  });
}

function settingsReply(document: SessionDocument, paths: string[]) {
  const { settings, settingsRevision, updatedAt } = document;
  return { settings, settingsRevision, updatedAt, changedPaths: paths };
}

const reply = (
  kind: 'committed' | 'unchanged',
  { epoch, revision, updatedAt: at }: SessionDocument,
  adds: object,
): Outcome => ({
  kind,
  epoch,
  revision,
  at,
  reply: { epoch, revision, duplicate: false, ...adds },
});
const committed = (document: SessionDocument, adds: object) => reply('committed', document, adds);
const unchanged = (document: SessionDocument, adds: object) => reply('unchanged', document, adds);
