// A session as one client has it: joined while somebody uses it, its replica fed from the room, its writes in the outbox.
// Nothing is decided here that the replica (what is seen) or the outbox (what is sent) decides.
import { ClientError } from './client-error.js';
import type { Connection, ConnectionStatus } from './connection.js';
import { mergeBetween, type PatchOperation } from './json-change.js';
import { Listeners } from './listeners.js';
import { Outbox, type StoredWrite } from './outbox.js';
import type { Json, JsonObject } from './protocol/json.js';
import type {
  ClearReply,
  ClientEvent,
  Cursor,
  DescribeReply,
  Message,
  MessageReply,
  SessionDocument,
  SettingsRequest,
  SettingsVersion,
  WriteReply,
} from './protocol/messages.js';
import { randomId } from './random-id.js';
import {
  applied,
  emptyReplica,
  isMessageCommit,
  reduce,
  viewOf,
  type Replica,
  type ReplicaEvent,
  type SeenCommit,
} from './replica.js';
import type {
  MessageChange,
  NewMessage,
  Participant,
  PresenceChange,
  SessionEvents,
  SessionOptions,
  SessionSnapshot,
  SessionStorage,
  SettingsChange,
  Signal,
  UpdateOptions,
  UpdateResult,
  WriteOptions,
} from './shapes.js';

/** How long a handle that nobody uses stays joined, milliseconds: who comes back at once finds it live. */
const LINGER_MS = 1000;
/** Pause before a join is tried again, milliseconds: doubled each time, from the first to the second. */
const REJOIN_MS = [200, 5000] as const;

/** What a session is given by its client. */
export interface SessionSetting {
  connection: Connection;
  /** Kept over a reload. */
  storage: SessionStorage | undefined;
  now: () => number;
  /** Nobody uses the handle any more. */
  ended: () => void;
}

/** A shared handle of one session. Nothing is sent before it is used: `subscribe`, `on`, `ready` or a call. */
export class Session<S = JsonObject> {
  readonly id: string;
  private readonly options: SessionOptions<S>;
  private readonly setting: SessionSetting;
  private readonly outbox: Outbox;
  private readonly events = new Listeners<SessionEvents & { change: undefined }>();
  private replica: Replica = emptyReplica;
  private readonly participants = new Map<string, Participant>();
  private presence: { state: Json | undefined; isSending: boolean };
  private phase: 'idle' | 'away' | 'joining' | 'joined' | 'over' = 'idle';
  private error: ClientError | null = null;
  private snapshot: SessionSnapshot<S> | undefined;
  private uses = 0;
  private lingering: ReturnType<typeof setTimeout> | undefined;
  private rejoining: ReturnType<typeof setTimeout> | undefined;
  private rejoinMs: number = REJOIN_MS[0];

  /** Made by the client. */
  constructor(id: string, options: SessionOptions<S>, setting: SessionSetting) {
    this.id = id;
    this.options = options;
    this.setting = setting;
    this.presence = { state: options.presence, isSending: false };
    this.outbox = new Outbox({
      sessionId: id,
      now: setting.now,
      send: (event, request) => setting.connection.request(event, request),
      changed: (writes) => {
        this.store(writes);
        this.touch();
      },
      acknowledged: ({ updateId, event }, reply) => {
        const { epoch, revision } = reply as WriteReply;
        this.error = null;
        this.reduce({ type: 'acknowledged', updateId, epoch, revision });
        this.events.tell('acknowledged', { updateId, event, reply: reply as WriteReply });
      },
      refused: ({ updateId }, error) => {
        this.error = error;
        this.reduce({ type: 'refused', updateId });
      },
    });
  }

  /** Calls the listener after each change of the snapshot, until the result is called. */
  subscribe(listener: () => void): () => void {
    return this.listen('change', listener);
  }

  /** Calls the listener with each event, until the result is called. */
  on<E extends keyof SessionEvents>(event: E, listener: (body: SessionEvents[E]) => void): () => void {
    return this.listen(event, listener);
  }

  /** The session now. Does nothing else, so it may be called while rendering. */
  getSnapshot(): SessionSnapshot<S> {
    if (this.snapshot) return this.snapshot;
    const { confirmed } = this.replica;
    const { status, error } = this.setting.connection;
    const isSettled = this.phase === 'joined' && this.outbox.size + this.replica.pending.length === 0;
    return (this.snapshot = {
      status,
      syncStatus: status !== 'connected' ? 'offline' : isSettled ? 'synchronized' : 'synchronizing',
      settings: this.view as S | undefined,
      confirmed: confirmed?.settings as S | undefined,
      revision: confirmed?.revision ?? 0,
      pending: this.outbox.size,
      title: confirmed?.title,
      metadata: confirmed?.metadata,
      participants: [...this.participants.values()],
      error: this.error ?? error,
    });
  }

  /** Resolves once the session is joined and its settings are known. Rejects where that cannot be. */
  ready(): Promise<SessionSnapshot<S>> {
    this.start();
    return new Promise((resolve, reject) => {
      const look = () => {
        const { connection } = this.setting;
        const refusal =
          this.phase === 'over' ? this.error : connection.status === 'disconnected' ? connection.error : null;
        if (refusal) reject(refusal);
        else if (this.phase === 'joined') resolve(this.getSnapshot());
        else return false;
        return true;
      };
      if (look()) return;
      const stop = this.subscribe(() => look() && stop());
    });
  }

  /**
   * Changes the settings: at once in the snapshot, and for everybody once the server took it. A function is given what
   * the user sees now; the difference to its result is sent. Rejects with the server's reason, and the change is taken
   * back; offline it waits. A rejection that nobody handles is no error of the process: it is in the snapshot, too.
   */
  update(change: SettingsChange<S>, options: UpdateOptions = {}): Promise<UpdateResult> {
    if (typeof change !== 'function') return this.change({ merge: change as JsonObject }, options);
    const before = this.view;
    if (!before) return this.afterReady(() => this.update(change, options));
    const after = change(before as S) as JsonObject;
    const merge = mergeBetween(before, after);
    return this.change(merge ? { merge } : { replace: after }, options);
  }

  /** Puts these settings in place of all. */
  replace(settings: S, options: UpdateOptions = {}): Promise<UpdateResult> {
    return this.change({ replace: settings as JsonObject }, options);
  }

  /** Changes the settings by operations of RFC 6902. */
  patch(operations: PatchOperation[], options: UpdateOptions = {}): Promise<UpdateResult> {
    return this.change({ patch: operations }, options);
  }

  /** A new commit with the settings as they were at a revision. */
  restore(toRevision: number, options: UpdateOptions = {}): Promise<UpdateResult> {
    return this.change({ restore: toRevision }, options);
  }

  /** Versions of the settings, newest first; `next` is the `before` of the next page. */
  history(page: { before?: number; limit?: number } = {}): Promise<{ versions: SettingsVersion[]; next?: number }> {
    return this.read('settings:history', page) as Promise<{ versions: SettingsVersion[]; next?: number }>;
  }

  /** Messages, newest first, before a revision or changed since one; `next` is the `before` of the next page. As a list that
   * stays current: `liveMessages` of `@attune/client/messages`. */
  messages(
    page: { before?: number; after?: number; limit?: number } = {},
  ): Promise<{ messages: Message[]; next?: number }> {
    return this.read('message:list', page) as Promise<{ messages: Message[]; next?: number }>;
  }

  /** Own writes that are not answered, oldest first. */
  get unsent(): readonly StoredWrite[] {
    return this.outbox.writes;
  }

  /** Changes title or metadata; null removes. */
  describe(
    change: { title?: string | null; metadata?: JsonObject | null },
    options: WriteOptions = {},
  ): Promise<DescribeReply> {
    return this.write('session:describe', change, options, (reply) => reply as DescribeReply);
  }

  /** Adds a message; a live list shows it at once. */
  addMessage(message: NewMessage, options: WriteOptions = {}): Promise<Message> {
    return this.write('message:add', { message: { ...message, id: message.id ?? randomId() } }, options, messageOf);
  }

  /** Changes a message. */
  updateMessage(messageId: string, change: MessageChange, options: WriteOptions = {}): Promise<Message> {
    return this.write('message:update', { messageId, ...change }, options, messageOf);
  }

  /** Removes a message. */
  deleteMessage(messageId: string, options: WriteOptions = {}): Promise<void> {
    return this.write('message:delete', { messageId }, options, () => undefined);
  }

  /** Removes all messages and keeps the settings; resolves with how many they were. */
  clear(options: WriteOptions = {}): Promise<number> {
    return this.write('session:clear', {}, options, (reply) => (reply as ClearReply).removed);
  }

  /** Removes the session itself, for everybody. */
  delete(options: WriteOptions = {}): Promise<void> {
    return this.write('session:delete', {}, options, () => undefined);
  }

  /** Shows a state to the others: at most 4 KiB of JSON. The newest wins; it is shown again after each reconnection. */
  setPresence(state: Json): void {
    this.presence.state = state;
    this.start();
    this.sendPresence();
  }

  /** Sends an ephemeral message to the others in the room: at most 16 KiB of JSON. Rejects with `OFFLINE` where the
   * session is not joined now, for it is never kept. */
  async signal(type: string, data: Json): Promise<void> {
    this.start();
    if (this.phase !== 'joined')
      throw new ClientError('OFFLINE', 'the session is not joined', { retry: 'after-delay' });
    await this.setting.connection.request('signal', { sessionId: this.id, type, data });
  }

  /** Gives the handle back. When nobody uses it any more the room is left, after a moment. */
  leave(): void {
    this.release();
  }

  /** One more uses the handle. The client's part of `leave`. */
  retain(): this {
    this.uses += 1;
    clearTimeout(this.lingering);
    return this;
  }

  /** The connection came or went. The client's to call. */
  statusChanged(status: ConnectionStatus): void {
    if (this.phase !== 'idle' && this.phase !== 'over') {
      if (status === 'connected') this.join();
      else this.pause();
      // Who stays offline knows of nobody; in a short interruption the others stay where they were.
      if (status === 'disconnected') this.participants.clear();
    }
    this.touch();
    this.events.tell('status', status);
  }

  /** An event of the room. The client's to call. */
  receive(event: string, body: object): void {
    if (this.phase !== 'joined') return;
    if (event === 'presence:updated') this.presenceChanged(body as PresenceChange);
    else if (event === 'signal') this.events.tell('signal', body as Signal);
    else if (event === 'session:snapshot') this.resync((body as { session: SessionDocument }).session);
    else this.commit({ ...body, event } as SeenCommit);
  }

  /** Ends the handle for good: what waits fails. The client's to call. */
  end(error: ClientError): void {
    if (this.phase === 'over') return;
    this.pause();
    this.phase = 'over';
    this.error = error;
    this.participants.clear();
    this.setting.ended();
    this.outbox.fail(error);
    this.error = error;
    this.touch();
  }

  private get view(): JsonObject | undefined {
    return viewOf(this.replica);
  }

  private listen<E extends keyof SessionEvents | 'change'>(event: E, listener: (body: never) => void): () => void {
    const stop = this.events.add(event, listener as never);
    const release = this.use();
    return () => {
      stop();
      release();
    };
  }

  /** Uses the handle until the result is called, once. */
  private use(): () => void {
    this.retain();
    this.start();
    let isUsed = true;
    return () => {
      if (isUsed) this.release();
      isUsed = false;
    };
  }

  private release(): void {
    this.uses -= 1;
    if (this.uses > 0) return;
    clearTimeout(this.lingering);
    this.lingering = setTimeout(() => this.endUnused(), LINGER_MS);
  }

  private endUnused(): void {
    // What was written before the last one left is sent first.
    if (this.outbox.size > 0 && this.phase !== 'over')
      return void (this.lingering = setTimeout(() => this.endUnused(), LINGER_MS));
    if (this.phase === 'joined')
      this.setting.connection.request('session:leave', { sessionId: this.id }).catch(() => undefined);
    this.end(new ClientError('CLOSED', 'the session was left'));
  }

  private start(): void {
    if (this.phase !== 'idle') return;
    this.phase = 'away';
    this.load();
    const { connection } = this.setting;
    connection.start();
    if (connection.status === 'connected') this.join();
  }

  private load(): void {
    const { writes, document } = this.setting.storage?.load(this.id) ?? { writes: [], document: null };
    if (document) this.reduce({ type: 'snapshot', session: document });
    for (const write of writes) {
      const request = settingsRequestOf(write);
      if (request) this.reduce({ type: 'updated', update: { updateId: write.updateId, request } });
      this.outbox.add(write).catch(() => undefined);
    }
  }

  private store(writes: readonly StoredWrite[]): void {
    // What a client leaves unanswered the next one sends.
    if (this.error?.code !== 'CLOSED') this.setting.storage?.save(this.id, writes, this.replica.confirmed);
  }

  private pause(): void {
    clearTimeout(this.rejoining);
    this.phase = 'away';
    this.outbox.close();
  }

  private join(): void {
    clearTimeout(this.rejoining);
    this.outbox.close();
    this.phase = 'joining';
    const { create, initialSettings: settings, delivery } = this.options;
    const { confirmed } = this.replica;
    const cursor: Cursor | undefined = confirmed ? { epoch: confirmed.epoch, revision: confirmed.revision } : undefined;
    const presence = this.presence.state;
    const request = {
      sessionId: this.id,
      body: 'delta',
      ...(delivery && { delivery }),
      ...(presence !== undefined && { presence }),
      ...(cursor ? { cursor } : create ? { create, ...(settings && { settings }) } : {}),
    };
    this.setting.connection.ask('session:join', request, (error, reply) => {
      if (this.phase !== 'joining') return;
      if (!error) this.joined(reply as JoinReply, presence);
      else if (error instanceof ClientError && error.retry !== 'after-delay' && error.retry !== 'same-id')
        this.end(error);
      else this.joinLater(error instanceof ClientError ? error.retryAfterMs : undefined);
    });
  }

  private joinLater(afterMs = 0): void {
    const pauseMs = Math.max(afterMs, this.rejoinMs * (0.5 + Math.random() / 2));
    this.rejoinMs = Math.min(this.rejoinMs * 2, REJOIN_MS[1]);
    // Without a connection the next one joins.
    this.rejoining = setTimeout(() => this.setting.connection.status === 'connected' && this.join(), pauseMs);
  }

  private joined({ session, commits, participants }: JoinReply, shown: Json | undefined): void {
    this.phase = 'joined';
    this.rejoinMs = REJOIN_MS[0];
    this.participants.clear();
    for (const participant of participants) this.participants.set(participant.participantId, participant);
    if (session) this.resync(session);
    else for (const commit of commits ?? []) this.commit(commit);
    if (this.phase !== 'joined') return;
    if (this.presence.state !== shown) this.sendPresence();
    this.outbox.open();
    this.touch();
  }

  private commit(commit: SeenCommit): void {
    const isSeen = commit.epoch === this.replica.confirmed?.epoch && commit.revision <= this.replica.confirmed.revision;
    if (isSeen) return;
    // Something is missing in between: the join with our cursor brings it.
    if (!this.reduce({ type: 'commit', commit })) return this.join();
    this.events.tell('commit', commit);
    if (commit.event === 'session:deleted') {
      return this.end(new ClientError('SESSION_NOT_FOUND', 'the session was deleted'));
    }
    if (isMessageCommit(commit)) this.events.tell('message', commit);
  }

  private resync(session: SessionDocument): void {
    this.reduce({ type: 'snapshot', session });
    this.events.tell('snapshot', session);
  }

  /** False where the replica cannot follow. */
  private reduce(event: ReplicaEvent): boolean {
    const next = reduce(this.replica, event);
    if (!next) return false;
    if (next === this.replica) return true;
    const isNewer = next.confirmed !== this.replica.confirmed;
    this.replica = next;
    if (isNewer) this.store(this.outbox.writes);
    this.touch();
    return true;
  }

  private change(request: SettingsRequest, options: UpdateOptions): Promise<UpdateResult> {
    this.start();
    const refusal = this.refusalOf(request);
    if (refusal) return quiet(Promise.reject(refusal));
    const { ifRevision, updateId = randomId(), ...rest } = options;
    const isRestore = 'restore' in request;
    const form = isRestore ? { toRevision: request.restore } : request;
    const isThere = this.replica.pending.some((update) => update.updateId === updateId);
    if (!isThere) this.reduce({ type: 'updated', update: { updateId, request } });
    return this.write(
      isRestore ? 'settings:restore' : 'settings:update',
      ifRevision === undefined ? form : { ...form, ifRevision },
      { updateId, ...rest },
      (reply) => reply as UpdateResult,
    );
  }

  /** What is wrong with the settings after a request, as far as this client knows. */
  private refusalOf(request: SettingsRequest): ClientError | null {
    const before = this.view;
    const issues = before && !('restore' in request) ? this.options.validate?.(applied(before, request)) : undefined;
    if (!issues?.length) return null;
    return new ClientError('INVALID_SETTINGS', issues[0]!.message, { details: { issues } });
  }

  private write<T>(
    event: ClientEvent,
    request: object,
    { updateId = randomId(), signal }: WriteOptions,
    result: (reply: object) => T,
  ): Promise<T> {
    this.start();
    const answer =
      this.phase === 'over' ? Promise.reject(this.error!) : this.outbox.add({ updateId, event, request }, signal);
    return quiet(
      answer.then(result, (error: ClientError) => {
        // Also where the outbox never had it.
        if (error.outcome === 'not-committed') this.reduce({ type: 'refused', updateId });
        throw error;
      }),
    );
  }

  private read(event: ClientEvent, request: object): Promise<object> {
    return this.afterReady(() => this.setting.connection.request(event, { ...request, sessionId: this.id }));
  }

  private async afterReady<T>(work: () => Promise<T>): Promise<T> {
    const release = this.use();
    try {
      await this.ready();
      return await work();
    } finally {
      release();
    }
  }

  private presenceChanged(change: PresenceChange): void {
    for (const participant of [...change.joined, ...change.updated]) {
      this.participants.set(participant.participantId, participant);
    }
    for (const id of change.left) this.participants.delete(id);
    this.touch();
    this.events.tell('presence', change);
  }

  /** One at a time; what was set meanwhile follows. */
  private sendPresence(): void {
    const { presence } = this;
    if (this.phase !== 'joined' || presence.isSending) return;
    const { state = {} } = presence;
    presence.isSending = true;
    const next = (again: boolean) => {
      presence.isSending = false;
      if (again || presence.state !== state) this.sendPresence();
    };
    this.setting.connection.request('presence:update', { sessionId: this.id, state }).then(
      () => next(false),
      (error: unknown) => {
        if (!(error instanceof ClientError) || error.retry === 'never') return next(false);
        setTimeout(() => next(true), error.retryAfterMs ?? REJOIN_MS[0]);
      },
    );
  }

  private touch(): void {
    this.snapshot = undefined;
    this.events.tell('change', undefined);
  }
}

type JoinReply = { session?: SessionDocument; commits?: SeenCommit[]; participants: Participant[] };

function settingsRequestOf({ event, request }: StoredWrite): SettingsRequest | undefined {
  if (event === 'settings:restore') return { restore: (request as { toRevision: number }).toRevision };
  return event === 'settings:update' ? (request as SettingsRequest) : undefined;
}

const messageOf = (reply: object) => (reply as MessageReply).message!;

/** Its rejection is no error of the process where nobody handles it. */
function quiet<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}
