// The calls: each client event, parsed, authorized and carried out. Sockets and HTTP both come through here, so that the
// two cannot differ. A write takes its place in the queue in the same turn in which it was called.
import { createHash, hash, randomBytes } from 'node:crypto';
import { AttuneError } from '../../client-sdk/protocol/errors.js';
import { canonical, checkJson, type Json } from '../../client-sdk/protocol/json.js';
import {
  CONTENT_BYTES_MAX,
  JSON_DEPTH_MAX,
  MESSAGE_METADATA_BYTES_MAX,
  METADATA_BYTES_MAX,
  PRESENCE_BYTES_MAX,
  REFERENCES_BYTES_MAX,
  REQUEST_BYTES_MAX,
  REQUEST_DEPTH_MAX,
  SIGNAL_BYTES_MAX,
  type Limits,
} from '../../client-sdk/protocol/limits.js';
import {
  requests,
  type AnyWriteReply,
  type Author,
  type OpenReply,
  type ClientEvent,
  type Request,
} from '../../client-sdk/protocol/messages.js';
import type { SessionReads } from '../sync/reads.js';
import type { Signals } from '../sync/signals.js';
import type { Origin, UpdateQueue } from '../sync/update-queue.js';
import type { SettingsChange, UpdateAction } from '../session/update.js';
import { can, demand, type Action, type Principal } from './auth.js';
import { invalidRequest } from './reply.js';

/** Who calls, from where. */
export interface Caller {
  readonly principal: Principal;
  readonly author: Author;
  readonly origin: Origin;
}

export type Parsed<E extends ClientEvent> = { request: Request<E>; bytes: number };
type WithUpdateId = { sessionId: string; updateId?: string | undefined };

/** Checks a request before anything recursive touches it, and parses it. Throws INVALID_REQUEST or TOO_LARGE. */
export function parseRequest<E extends ClientEvent>(event: E, raw: unknown): Parsed<E> {
  const bytes = checkSize(raw, 'the request', REQUEST_DEPTH_MAX, REQUEST_BYTES_MAX);
  const parsed = requests[event].safeParse(raw);
  if (!parsed.success) throw invalidRequest(parsed.error);
  return { request: parsed.data as Request<E>, bytes };
}

function checkSize(value: unknown, name: string, maxDepth: number, maxBytes: number): number {
  const checked = checkJson(value, { maxDepth, maxBytes });
  if (checked.ok) return checked.bytes;
  throw new AttuneError(checked.code, `${name}: ${checked.message}`, { details: { path: checked.path } });
}

const checkOptional = (value: unknown, name: string, maxBytes: number) => {
  if (value !== undefined && value !== null) checkSize(value, name, JSON_DEPTH_MAX, maxBytes);
};

export class Calls {
  private readonly queue: UpdateQueue;
  private readonly reads: SessionReads;
  private readonly limits: Limits;
  private readonly now: () => number;
  private readonly relay: Signals['send'];

  constructor(options: {
    queue: UpdateQueue;
    reads: SessionReads;
    relay: Signals['send'];
    limits: Limits;
    now: () => number;
  }) {
    this.queue = options.queue;
    this.relay = options.relay;
    this.reads = options.reads;
    this.limits = options.limits;
    this.now = options.now;
  }

  open(caller: Caller, { request, bytes }: Parsed<'session:open'>): Promise<AnyWriteReply> {
    const { prefix, updateId, settings, title, metadata } = request;
    const sessionId = request.sessionId ?? newSessionId(prefix, updateId && [caller.principal.userId, updateId]);
    return this.create(caller, { sessionId, settings, title, metadata, updateId }, bytes);
  }

  /** Get or create, as `session:open` and a join with `create` do it. */
  private create(
    caller: Caller,
    request: Pick<Request<'session:join'>, 'sessionId' | 'settings' | 'title' | 'metadata' | 'updateId'>,
    bytes: number,
  ): Promise<AnyWriteReply> {
    const { sessionId, settings, title, metadata } = request;
    this.demand(caller, 'read', sessionId);
    this.checkSettings(settings);
    checkOptional(metadata, 'metadata', METADATA_BYTES_MAX);
    const action: UpdateAction = {
      kind: 'open',
      initial: { settings, title, metadata },
      birth: randomBytes(8).toString('hex'),
      mayCreate: can(caller.principal, 'create', sessionId),
    };
    return this.submit(caller, request, action, bytes, { settings, title, metadata });
  }

  /** The creating part of a join; a cursor makes `create` void. Where this call made the session: by which update. */
  async createForJoin(
    caller: Caller,
    { request, bytes }: Parsed<'session:join'>,
  ): Promise<{ updateId: string } | null> {
    if (!request.create || request.cursor) return null;
    const updateId = request.updateId ?? newUpdateId();
    const reply = (await this.create(caller, { ...request, updateId }, bytes)) as OpenReply;
    return reply.created && !reply.duplicate ? { updateId } : null;
  }

  async get(caller: Caller, { request }: Parsed<'session:get'>) {
    this.demand(caller, 'read', request.sessionId);
    return { session: found(await this.reads.session(request.sessionId)) };
  }

  describe(caller: Caller, { request, bytes }: Parsed<'session:describe'>): Promise<AnyWriteReply> {
    this.demand(caller, 'writeAny', request.sessionId);
    checkOptional(request.metadata, 'metadata', METADATA_BYTES_MAX);
    const { title, metadata } = request;
    return this.submit(caller, request, { kind: 'describe', title, metadata }, bytes, { title, metadata });
  }

  updateSettings(caller: Caller, { request, bytes }: Parsed<'settings:update'>): Promise<AnyWriteReply> {
    this.demand(caller, 'writeSettings', request.sessionId);
    const { merge, patch, ifRevision, ifEpoch } = request;
    const replace = request.replace ?? request.settings;
    if (replace) this.checkSettings(replace);
    if (merge) this.checkSettings(merge);
    const change: SettingsChange = replace ? { replace } : merge ? { merge } : { patch: patch! };
    const action: UpdateAction = { kind: 'settings', change, ifRevision, ifEpoch };
    return this.submit(caller, request, action, bytes, { change, ifRevision, ifEpoch });
  }

  restoreSettings(caller: Caller, { request, bytes }: Parsed<'settings:restore'>): Promise<AnyWriteReply> {
    this.demand(caller, 'writeSettings', request.sessionId);
    const { toRevision, ifRevision, ifEpoch } = request;
    const change: SettingsChange = { restore: toRevision };
    const action: UpdateAction = { kind: 'settings', change, ifRevision, ifEpoch };
    return this.submit(caller, request, action, bytes, { change, ifRevision, ifEpoch });
  }

  async history(caller: Caller, { request }: Parsed<'settings:history'>) {
    this.demand(caller, 'read', request.sessionId);
    return found(await this.reads.history(request.sessionId, request.before, request.limit));
  }

  addMessage(caller: Caller, { request, bytes }: Parsed<'message:add'>): Promise<AnyWriteReply> {
    const { sessionId, message } = request;
    this.demand(caller, 'writeOwn', sessionId);
    if (message.role !== 'user') this.demand(caller, 'writeAny', sessionId);
    checkMessage(message);
    const { id, ...rest } = message;
    const action: UpdateAction = {
      kind: 'message:add',
      message: { ...rest, id: id ?? randomBytes(12).toString('base64url'), idGiven: id !== undefined },
    };
    return this.submit(caller, request, action, bytes, { message });
  }

  updateMessage(caller: Caller, { request, bytes }: Parsed<'message:update'>): Promise<AnyWriteReply> {
    const { sessionId, updateId: _updateId, ...change } = request;
    this.demand(caller, 'writeOwn', sessionId);
    checkMessage(change);
    const ownOnly = !can(caller.principal, 'writeAny', sessionId);
    return this.submit(caller, request, { kind: 'message:update', ...change, ownOnly }, bytes, change);
  }

  deleteMessage(caller: Caller, { request, bytes }: Parsed<'message:delete'>): Promise<AnyWriteReply> {
    const { sessionId, messageId } = request;
    this.demand(caller, 'writeOwn', sessionId);
    const ownOnly = !can(caller.principal, 'writeAny', sessionId);
    return this.submit(caller, request, { kind: 'message:delete', messageId, ownOnly }, bytes, { messageId });
  }

  async listMessages(caller: Caller, { request }: Parsed<'message:list'>) {
    this.demand(caller, 'read', request.sessionId);
    return found(await this.reads.messages(request.sessionId, request));
  }

  clear(caller: Caller, { request, bytes }: Parsed<'session:clear'>): Promise<AnyWriteReply> {
    this.demand(caller, 'clear', request.sessionId);
    return this.submit(caller, request, { kind: 'clear' }, bytes, {});
  }

  /** `ifDocumentRevision` is HTTP's `If-Match`: only as the caller has seen it. */
  delete(
    caller: Caller,
    { request, bytes }: Parsed<'session:delete'>,
    ifDocumentRevision?: number,
  ): Promise<AnyWriteReply> {
    this.demand(caller, 'delete', request.sessionId);
    const { ifEpoch } = request;
    const action: UpdateAction = { kind: 'delete', ifEpoch, ifDocumentRevision };
    return this.submit(caller, request, action, bytes, { ifEpoch });
  }

  /** What a joiner shows: nothing of its own where it may only read. Throws INVALID_REQUEST or TOO_LARGE. */
  presenceForJoin(caller: Caller, { request }: Parsed<'session:join'>): Json | undefined {
    checkOptional(request.presence, 'the presence', PRESENCE_BYTES_MAX);
    return can(caller.principal, 'presence', request.sessionId) ? request.presence : undefined;
  }

  /** Whether a caller may show `state` to a session. Throws FORBIDDEN, INVALID_REQUEST or TOO_LARGE. */
  checkPresence(caller: Caller, sessionId: string, state: Json): void {
    this.demand(caller, 'presence', sessionId);
    checkOptional(state, 'the presence', PRESENCE_BYTES_MAX);
  }

  /** As {@link checkPresence}, of a signal. */
  checkSignal(caller: Caller, { request }: Parsed<'signal'>): void {
    this.demand(caller, 'signal', request.sessionId);
    checkOptional(request.data, 'data', SIGNAL_BYTES_MAX);
  }

  /** Relays a signal that was checked; `sender` is the socket it came from, none over HTTP. */
  async signal(
    caller: Caller,
    { request, bytes }: Parsed<'signal'>,
    sender?: { participantId: string; socketId: string },
  ): Promise<void> {
    const { sessionId, type, data } = request;
    const from = { sessionId, type, data, from: caller.author };
    if (sender === undefined) return this.relay({ body: from }, bytes);
    const { participantId, socketId } = sender;
    return this.relay({ body: { ...from, participantId }, socketId }, bytes);
  }

  demand(caller: Caller, action: Action, sessionId: string): void {
    demand(caller.principal, action, sessionId, this.now());
  }

  private checkSettings(settings: unknown): void {
    checkOptional(settings, 'settings', this.limits.SETTINGS_BYTES_MAX);
  }

  private submit(
    caller: Caller,
    { sessionId, updateId }: WithUpdateId,
    action: UpdateAction,
    bytes: number,
    payload: object,
  ): Promise<AnyWriteReply> {
    const update = {
      sessionId,
      updateId: updateId ?? newUpdateId(),
      payloadHash: digest(canonical([action.kind, payload as Json])),
      by: caller.author,
      action,
    };
    return this.queue.submit(update, caller.origin, bytes);
  }
}

function newUpdateId(): string {
  return randomBytes(12).toString('base64url');
}

function digest(text: string): string {
  return hash('sha256', text, 'base64url').slice(0, 22);
}

/** A fresh id; with an update id the same one for each retry, so that a retry does not create a second session. */
function newSessionId(prefix = '', retried: false | '' | undefined | readonly [string, string]): string {
  const random = retried
    ? createHash('sha256')
        .update(JSON.stringify([prefix, ...retried]))
        .digest()
    : randomBytes(32);
  return prefix + random.subarray(0, 12).toString('hex');
}

function checkMessage(message: {
  content?: unknown;
  append?: unknown;
  metadata?: unknown;
  references?: unknown;
}): void {
  const text = message.append ?? message.content;
  if (typeof text === 'string') {
    if (Buffer.byteLength(text) > CONTENT_BYTES_MAX) {
      throw new AttuneError('TOO_LARGE', `the content has more than ${CONTENT_BYTES_MAX} bytes`);
    }
  } else {
    checkOptional(text, 'content', CONTENT_BYTES_MAX);
  }
  checkOptional(message.metadata, 'metadata', MESSAGE_METADATA_BYTES_MAX);
  checkOptional(message.references, 'references', REFERENCES_BYTES_MAX);
}

function found<T>(value: T | null): T {
  if (value === null) throw new AttuneError('SESSION_NOT_FOUND', 'there is no such session');
  return value;
}
