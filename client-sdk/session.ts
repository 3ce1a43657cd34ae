// A session as one client has it: joined while somebody uses it, its replica fed from the room, its writes in the outbox.
// Nothing is decided here that the replica (what is seen) or the outbox (what is sent) decides.
import { pauseMs } from './backoff.js';
import { ClientError } from './client-error.js';
import type { Connection, ConnectionStatus } from './connection.js';
import { mergeBetween } from './json-change.js';
import { jsonOf } from './json-copy.js';
import { createListeners } from './listeners.js';
import { createOutbox } from './outbox.js';
import type { Json, JsonObject } from './protocol/json.js';
import type {
  ClearReply,
  ClientEvent,
  DescribeReply,
  MessageReply,
  Participant,
  WriteReply,
} from './protocol/messages.js';
import { randomId } from './random-id.js';
import {
  acknowledged,
  applied,
  committed,
  emptyReplica,
  isBehind,
  isMessageCommit,
  refreshed,
  refused,
  updated,
  viewOf,
  type Confirmed,
  type Replica,
  type SeenCommit,
  type SettingsRequest,
} from './replica.js';
import type { StoredWrite } from './outbox.js';
import type {
  PresenceChange,
  Session,
  SessionEvents,
  SessionOptions,
  SessionSnapshot,
  SessionStorage,
  Signal,
  UpdateOptions,
  UpdateResult,
  WriteOptions,
} from './shapes.js';

/** How long a handle that nobody uses stays joined, milliseconds: who comes back at once finds it live. */
const LINGER_MS = 1000;
/** Pause before something is tried again that the server refused for now, milliseconds: the first and the longest. */
const RETRY_MS = [200, 5000] as const;

/** Pause between two states that are shown, milliseconds: the newest follows. */
const SHOW_EVERY_MS = 50;

/** What a session is given by its client. */
export interface SessionSetting {
  connection: Connection;
  /** Keeps what was not answered over a reload. */
  storage: SessionStorage | undefined;
  /** The handle is of no use any more. */
  ended: () => void;
}

/** The handle, and what only the client does with it. */
export interface OwnedSession<S> {
  readonly handle: Session<S>;
  /** The handle, with one more that uses it, until its `leave`. */
  retain: () => Session<S>;
  statusChanged: (status: ConnectionStatus) => void;
  /** An event of the room. */
  receive: (event: string, body: object) => void;
  /** Ends it: what waits fails. */
  end: (error: ClientError) => void;
}

type JoinReply = { session?: Confirmed; commits?: SeenCommit[]; participants: Participant[] };

/** A session that does nothing until it is used. */
export function createSession<S = JsonObject>(
  id: string,
  options: SessionOptions<S>,
  { connection, storage, ended }: SessionSetting,
): OwnedSession<S> {
  const events = createListeners<SessionEvents & { change: void }>();
  let participants: readonly Participant[] = [];
  let replica = emptyReplica;
  let phase: 'idle' | 'away' | 'joining' | 'joined' | 'over' = 'idle';
  let error: ClientError | null = null;
  let snapshot: SessionSnapshot<S> | undefined;
  let presence = options.presence;
  let isShowing = false;
  let uses = 0;
  let lingering: ReturnType<typeof setTimeout> | undefined;
  let rejoining: ReturnType<typeof setTimeout> | undefined;
  let attempts = 0;
  let wasJoined = false;
  let save: ReturnType<SessionStorage['open']> | undefined;

  const ask = (event: ClientEvent, body: object | undefined, answered: Parameters<Connection['ask']>[2]) =>
    connection.ask(event, { ...body, sessionId: id }, answered);

  const touch = () => {
    snapshot = undefined;
    events.tell('change');
  };

  /** What is kept is another, too. */
  const changed = () => {
    save?.(outbox.writes, replica.confirmed);
    touch();
  };

  const outbox = createOutbox({
    ask,
    changed,
    settled(write, refusal, reply) {
      const { updateId } = write;
      const at = reply as WriteReply;
      // What ended the session stays the reason.
      if (phase !== 'over') error = refusal;
      // First, for a list shows what is acknowledged from then on.
      if (!refusal) events.tell('acknowledged', { write, reply: at });
      replica = refusal ? refused(replica, updateId) : acknowledged(replica, updateId, at);
    },
  });

  // ---- What is seen

  /** Shows an error that ends nothing; `state` is an own one that was refused, and is not offered again. */
  const complain = (refusal: ClientError, state?: Json) => {
    if (presence === state) presence = undefined;
    error = refusal;
    touch();
    return refusal;
  };

  /** Whether that changed anything; null where the replica cannot follow. */
  const step = (next: Replica | null): boolean | null => {
    const isNew = next && next !== replica;
    if (isNew) {
      replica = next;
      changed();
    }
    return isNew;
  };

  const commit = (seen: SeenCommit) => {
    // Also one that was lost, whose end has no revision of its own.
    const isEnd = seen.event === 'session:deleted';
    const isNew = isEnd || step(committed(replica, seen));
    // Something is missing in between: the join with our cursor brings it.
    if (isNew === null) joinLater();
    if (!isNew) return;
    events.tell('commit', seen);
    if (isMessageCommit(seen)) events.tell('message', seen);
    if (isEnd) end(new ClientError('SESSION_NOT_FOUND'), seen);
  };

  const resync = (session: Confirmed) => {
    step(refreshed(replica, session));
    events.tell('snapshot', session);
  };

  const present = ({ joined = [], updated = [], left = [] }: Partial<PresenceChange>) => {
    const all: Record<string, Participant> = {};
    for (const participant of [...participants, ...joined, ...updated]) all[participant.participantId] = participant;
    for (const participantId of left) delete all[participantId];
    participants = Object.values(all);
  };

  // ---- Entering and leaving the room

  const start = () => {
    if (phase !== 'idle') return;
    phase = 'away';
    save = storage?.open(id, {
      confirmed: (session) => step(refreshed(replica, session)),
      unsent: (entry) => void write(entry.event, entry.request, entry),
    });
    // Who was told to stay offline does.
    if (connection.status === 'initial') connection.start();
    if (connection.status === 'connected') join();
  };

  const pause = () => {
    clearTimeout(rejoining);
    phase = 'away';
    outbox.close();
  };

  const join = () => {
    pause();
    phase = 'joining';
    const { create, initialSettings: settings, delivery } = options;
    const { confirmed } = replica;
    // What an earlier page left may be of a session that is gone, and with a cursor none is made.
    const cursor =
      confirmed && (wasJoined || !create) ? { epoch: confirmed.epoch, revision: confirmed.revision } : undefined;
    const shown = presence;
    // Members that are undefined are not sent; with a cursor nothing is created.
    const entry = { body: 'delta', delivery, presence, create, settings, cursor };
    ask('session:join', entry, (failure, reply) => {
      if (phase !== 'joining') return;
      if (!failure) joined(reply as JoinReply, shown);
      else if (failure.isTemporary) {
        complain(failure);
        joinLater(failure.retryAfterMs);
      }
      // Perhaps it is only what would be shown.
      else if (shown !== undefined) {
        complain(failure, shown);
        // Who heard of it may have left.
        if (phase === 'joining') join();
      } else end(failure);
    });
  };

  const joinLater = (afterMs?: number) => {
    pause();
    rejoining = setTimeout(join, pauseMs(attempts++, RETRY_MS, afterMs));
  };

  const joined = (reply: JoinReply, shown: Json | undefined) => {
    wasJoined = true;
    participants = reply.participants;
    // Only now, for who waits for it is given what is known then.
    phase = 'joined';
    if (reply.session) resync(reply.session);
    for (const seen of reply.commits ?? []) {
      commit(seen);
      // It may have been deleted, or left by one who heard of that; or the next one does not follow.
      if (phase !== 'joined') return;
    }
    attempts = 0;
    if (error?.isTemporary) error = null;
    if (presence !== shown) show();
    outbox.open();
    touch();
  };

  const end = (reason: ClientError, commit?: SeenCommit) => {
    if (phase === 'over') return;
    pause();
    phase = 'over';
    error = reason;
    participants = [];
    ended();
    // What a client leaves unanswered the next one sends. Or it is gone, or not for this user: that one begins anew.
    if (reason.code !== 'CLOSED') save?.([], null);
    save = undefined;
    outbox.fail(reason, commit);
    touch();
  };

  const retain = () => {
    uses += 1;
    clearTimeout(lingering);
    return handle;
  };

  const release = () => {
    if (uses && !--uses) linger();
  };
  const linger = () => {
    lingering = setTimeout(() => {
      // What was written before the last one left is sent first.
      if (outbox.writes.length) return linger();
      // Also behind a join that was not answered: the server carries it out all the same.
      if (phase.startsWith('join')) ask('session:leave', {}, () => undefined);
      end(new ClientError('CLOSED'));
    }, LINGER_MS);
  };

  /** Who listens uses the handle. */
  const listen = <E extends keyof SessionEvents | 'change'>(
    event: E,
    listener: (body: (SessionEvents & { change: void })[E]) => void,
  ) => {
    const stop = events.add(event, listener);
    retain();
    start();
    return () => {
      if (stop()) release();
    };
  };

  /** What `test` gives, as soon as it gives something; the handle is used meanwhile. */
  const when = <T>(test: () => T) =>
    new Promise<T>((resolve) => {
      const stop = listen('change', look);
      function look() {
        const given = test();
        if (!given) return;
        stop();
        resolve(given);
      }
      look();
    });

  // ---- What is asked for

  /** What the caller does with its objects afterwards is no part of the write. */
  const write = <T>(
    event: ClientEvent,
    given: object,
    { updateId = randomId(), sentAt, signal }: WriteOptions & Partial<StoredWrite> = {},
    result = (reply: object, _request: object) => reply as T,
  ): Promise<T> => {
    start();
    const answer = async () => {
      if (phase === 'over') throw error!;
      const [request, size] = jsonOf(given);
      if (event.startsWith('settings')) {
        const view = viewOf(replica);
        const refusal = view && !(request as SettingsRequest).toRevision && options.validate?.(applied(view, request));
        if (refusal) throw complain(refusal);
        // Nobody is told before it has its place: what a listener answers it with comes behind it.
        replica = updated(replica, { updateId, request });
      }
      try {
        const reply = await outbox.add({ updateId, event, request, sentAt }, size, signal);
        // Who reads the snapshot then finds it there, and writes again from that.
        await when(() => phase !== 'joined' || !isBehind(replica.confirmed, reply as WriteReply));
        return result(reply, request);
      } catch (failure) {
        // Also where the outbox never had it.
        if ((failure as ClientError).outcome !== 'unknown') step(refused(replica, updateId));
        throw failure;
      }
    };
    return quiet(answer());
  };

  const change = (
    request: SettingsRequest,
    { ifRevision, ...rest }: UpdateOptions = {},
    event: ClientEvent = 'settings:update',
  ) => write<UpdateResult>(event, { ...request, ifRevision }, rest);

  const changeBy = async (how: (settings: S) => S, rest?: UpdateOptions) => {
    if (!viewOf(replica)) await handle.ready();
    const before = viewOf(replica)!;
    const [after] = jsonOf(how(jsonOf(before)[0] as S) as JsonObject);
    return change({ merge: mergeBetween(before, after) }, rest);
  };

  const request = <T>(event: ClientEvent, body: object = {}) =>
    new Promise<T>((resolve, reject) =>
      ask(event, jsonOf(body)[0], (failure, reply) => (failure ? reject(failure) : resolve(reply as T))),
    );

  /** Again where the line was lost before the answer came: a read changes nothing. */
  const read = async <T>(event: ClientEvent, page?: object): Promise<T> => {
    await handle.ready();
    return request<T>(event, page).catch((failure: ClientError) => {
      if (failure.code !== 'OFFLINE') throw failure;
      return read<T>(event, page);
    });
  };

  /** Shows the own state: one at a time; what was set meanwhile follows. */
  const show = () => {
    if (phase !== 'joined' || isShowing || presence === undefined) return;
    isShowing = true;
    const state = presence;
    ask('presence:update', { state }, (failure) => {
      if (failure && !failure.isTemporary) complain(failure, state);
      setTimeout(() => {
        isShowing = false;
        if (failure?.isTemporary || presence !== state) show();
      }, failure?.retryAfterMs ?? SHOW_EVERY_MS);
    });
  };

  const handle: Session<S> = {
    id,
    unsent: outbox.writes,
    subscribe: (listener) => listen('change', listener),
    on: listen,
    getSnapshot() {
      const { settings: confirmed, revision = 0, title, metadata }: Partial<Confirmed> = replica.confirmed ?? {};
      const { status } = connection;
      const pending = outbox.writes.length;
      const isSettled = phase === 'joined' && !pending && !replica.pending.length;
      return (snapshot ??= {
        status,
        syncStatus:
          status !== 'connected' || phase === 'over' ? 'offline' : isSettled ? 'synchronized' : 'synchronizing',
        settings: viewOf(replica) as S | undefined,
        confirmed: confirmed as S | undefined,
        revision,
        pending,
        title,
        metadata,
        participants,
        error: phase === 'over' ? error : (connection.error ?? error),
      });
    },
    async ready() {
      const refusal = await when(() =>
        phase === 'over' ? error : phase === 'joined' || (connection.status === 'disconnected' && connection.error),
      );
      if (refusal !== true) throw refusal!;
      return handle.getSnapshot();
    },
    update: (how, rest) =>
      typeof how === 'function' ? quiet(changeBy(how, rest)) : change({ merge: how as JsonObject }, rest),
    replace: (settings, rest) => change({ replace: settings as JsonObject }, rest),
    patch: (patch, rest) => change({ patch }, rest),
    restore: (toRevision, rest) => change({ toRevision }, rest, 'settings:restore'),
    history: (page) => read('settings:history', page),
    messages: (page) => read('message:list', page),
    describe: (what, rest) => write<DescribeReply>('session:describe', what, rest),
    addMessage: (message, rest) => write('message:add', { message: { id: randomId(), ...message } }, rest, messageOf),
    updateMessage: (messageId, what, rest) => write('message:update', { messageId, ...what }, rest, messageOf),
    deleteMessage: (messageId, rest) => write('message:delete', { messageId }, rest),
    clear: (rest) => write('session:clear', {}, rest, (reply) => (reply as ClearReply).removed),
    delete: (rest) => write('session:delete', {}, rest),
    setPresence(state) {
      [presence] = jsonOf(state);
      start();
      show();
    },
    signal(type, data) {
      start();
      return quiet(request('signal', { type, data }));
    },
    leave: release,
  };

  return {
    handle,
    retain,
    statusChanged(status) {
      if (phase !== 'idle' && phase !== 'over') {
        if (status === 'connected') join();
        else pause();
      }
      // Who stays offline knows of nobody; in a short interruption the others stay where they were.
      if (status === 'disconnected') participants = [];
      touch();
      events.tell('status', status);
    },
    receive(event, body) {
      if (phase !== 'joined') return;
      if (event === 'presence:updated') {
        present(body);
        touch();
        events.tell('presence', body as PresenceChange);
      } else if (event === 'signal') events.tell('signal', body as Signal);
      else if (event === 'session:snapshot') resync((body as { session: Confirmed }).session);
      else commit({ ...body, event } as SeenCommit);
    },
    end,
  };
}

/** Its rejection is no error of the process where nobody handles it. */
const quiet = <T>(promise: Promise<T>): Promise<T> => {
  promise.catch(() => undefined);
  return promise;
};

/** As it was sent, where it was removed before the answer came. */
const messageOf = (reply: object, request: object) =>
  ((reply as MessageReply).message ?? (request as MessageReply).message)!;
