// What a session looks like from outside: its snapshot, its events, and what its calls take and give.
import type { ClientError } from './client-error.js';
import type { ConnectionStatus } from './connection.js';
import type { StoredWrite } from './outbox.js';
import type { Json, JsonObject } from './protocol/json.js';
import type {
  DescribeReply,
  Message,
  Participant,
  PresenceEvent,
  SettingsReply,
  SettingsVersion,
  SignalEvent,
  WriteReply,
} from './protocol/messages.js';
import type { PatchOperation } from './json-change.js';
import type { Confirmed, MessageCommit, SeenCommit } from './replica.js';

/** Who came, went, or shows another state. */
export type PresenceChange = Omit<PresenceEvent, 'sessionId'>;

/** An ephemeral message; `participantId` is missing where it did not come from the room but by HTTP. */
export type Signal = Omit<SignalEvent, 'sessionId'>;

/** `offline`: not connected. `synchronizing`: catching up, or own updates are not confirmed. */
export type SyncStatus = 'synchronized' | 'synchronizing' | 'offline';

/** What a session is at one moment. The same reference until something in it changed; `settings` keeps the references of
 * its parts that did not change. */
export interface SessionSnapshot<S = JsonObject> {
  readonly status: ConnectionStatus;
  readonly syncStatus: SyncStatus;
  /** What the user sees: what is confirmed, and the own updates on top. Undefined until something is known. */
  readonly settings: S | undefined;
  /** As the server has them at `revision`. */
  readonly confirmed: S | undefined;
  /** Newest commit of any kind that is confirmed; 0 until something is known. */
  readonly revision: number;
  /** Own writes that are not answered. */
  readonly pending: number;
  readonly title: string | undefined;
  readonly metadata: JsonObject | undefined;
  readonly participants: readonly Participant[];
  /** Why the session is not live (`isTemporary` where that is tried again), or the newest of the own writes that was
   * refused since one was taken. */
  readonly error: ClientError | null;
}

/** Events of a session. */
export interface SessionEvents {
  /** Each commit of the room in order. After a snapshot in their place there are none for what it holds. */
  commit: SeenCommit;
  /** Those of them that change the messages. */
  message: MessageCommit;
  /** The state of the session in place of commits that were missed. */
  snapshot: Confirmed;
  presence: PresenceChange;
  signal: Signal;
  /** An own write that the server took, with its answer. */
  acknowledged: { write: StoredWrite; reply: WriteReply };
  status: ConnectionStatus;
}

/** Says why settings are refused (an `INVALID_SETTINGS` with `details.issues`), or nothing where they are right. Made by
 * `jsonSchema` or `standardSchema` of `@attune/client/schema`. */
export type SettingsValidator<S = JsonObject> = ((settings: JsonObject) => ClientError | undefined) & {
  /** Only for the compiler: what settings that pass are. */
  readonly settings?: S;
};

/** How a session is opened; the first who asks for its handle decides. */
export interface SessionOptions<S = JsonObject> {
  /** Make the session where there is none. */
  create?: boolean;
  /** Settings of a new one, on top of the server's defaults. */
  initialSettings?: JsonObject;
  /** `latest`: intermediate settings may be left out. */
  delivery?: 'every' | 'latest';
  /** Own updates whose result is wrong are refused before anything is sent. */
  validate?: SettingsValidator<S>;
  /** What one shows at first. */
  presence?: Json;
}

/** What any write can be given. */
export interface WriteOptions {
  /** Names the write; the same id again has the first one's answer and changes nothing. Made where it is missing. */
  updateId?: string;
  /** Takes the write back where it was not sent yet; afterwards only ends the waiting. */
  signal?: AbortSignal;
}
/** What a change of the settings can be given beside. */
export interface UpdateOptions extends WriteOptions {
  /** Refuses with `REVISION_CONFLICT` where the settings were changed after this revision. */
  ifRevision?: number;
}

/** Where an update of the settings was committed; `changedPaths` is empty where it changed nothing. */
export type UpdateResult = Omit<SettingsReply, 'settings'>;

/** A message to add. */
export type NewMessage = Pick<Message, 'role' | 'content'> &
  Partial<Pick<Message, 'id' | 'timestamp' | 'status' | 'metadata' | 'references'>>;
/** A change of a message: `append` adds text at the end of a string content. */
export type MessageChange = { append?: string } & {
  [K in 'content' | 'status']?: Message[K];
} & { [K in 'metadata' | 'references']?: Message[K] | null };

/** Some members of the settings, at any depth; null removes one. */
export type PartialSettings<S> = {
  [K in keyof S]?:
    | (NonNullable<S[K]> extends readonly unknown[]
        ? S[K]
        : NonNullable<S[K]> extends object
          ? PartialSettings<NonNullable<S[K]>>
          : S[K])
    | null;
};
/** A merge patch (null removes), or a function of what the user sees. */
export type SettingsChange<S> = PartialSettings<S> | ((settings: S) => S);

/** Keeps what was not answered, and what was confirmed last, over a reload of the page. Never throws. */
export interface SessionStorage {
  /**
   * A session is used from now on: tells what was kept of it, at once or later, and returns what is called after each change
   * with all that is to be kept. What that is given changes later.
   */
  open(
    sessionId: string,
    kept: {
      /** The newest document: at once, before the first write, or never. */
      confirmed: (session: Confirmed) => void;
      /** The writes in their order: those of an earlier page, and of pages that are gone. */
      unsent: (write: StoredWrite) => void;
    },
  ): (writes: readonly StoredWrite[], confirmed: Confirmed | null) => void;
}

/** A shared handle of one session. Nothing is sent before it is used: `subscribe`, `on`, `ready` or a call. */
export interface Session<S = JsonObject> {
  readonly id: string;
  /** Own writes that are not answered, oldest first. */
  readonly unsent: readonly StoredWrite[];
  /** Calls the listener after each change of the snapshot, until the result is called. Who listens uses the session, as who
   * holds a handle does: it is left when the last of both is gone. */
  subscribe(listener: () => void): () => void;
  /** Calls the listener with each event, until the result is called. */
  on<E extends keyof SessionEvents>(event: E, listener: (body: SessionEvents[E]) => void): () => void;
  /** The session now. Does nothing else, so it may be called while rendering. */
  getSnapshot(): SessionSnapshot<S>;
  /** Resolves once the session is joined and its settings are known. Rejects where that cannot be. */
  ready(): Promise<SessionSnapshot<S>>;
  /**
   * Changes the settings: at once in the snapshot, and for everybody once the server took it. A function is given a copy of
   * what the user sees now, which it may change; the difference to its result is sent (what is null there is removed, as by
   * a merge patch). What is handed over is copied, here and in every write; what is no JSON is refused. Resolves, as every
   * write does, once the snapshot holds it. Rejects with the server's reason, or the validator's, which the snapshot has, too, and the change is taken back; offline it waits. A
   * rejection that nobody handles is no error of the process.
   */
  update(change: SettingsChange<S>, options?: UpdateOptions): Promise<UpdateResult>;
  /** Puts these settings in place of all. */
  replace(settings: S, options?: UpdateOptions): Promise<UpdateResult>;
  /** Changes the settings by operations of RFC 6902. */
  patch(operations: PatchOperation[], options?: UpdateOptions): Promise<UpdateResult>;
  /** A new commit with the settings as they were at a revision. */
  restore(toRevision: number, options?: UpdateOptions): Promise<UpdateResult>;
  /** Waits until the session is joined, as `messages` does. Versions of the settings, newest first; `next` is the `before` of the next page. */
  history(page?: { before?: number; limit?: number }): Promise<{ versions: SettingsVersion[]; next?: number }>;
  /** Messages, newest first, before a revision or changed since one; `next` is the `before` of the next page. As a list
   * that stays current: `liveMessages` of `@attune/client/messages`. */
  messages(page?: { before?: number; after?: number; limit?: number }): Promise<{ messages: Message[]; next?: number }>;
  /** Changes title or metadata; null removes. */
  describe(
    change: { title?: string | null; metadata?: JsonObject | null },
    options?: WriteOptions,
  ): Promise<DescribeReply>;
  /** Adds a message; a live list shows it at once. Resolves with it as it was sent where it was removed before the answer. */
  addMessage(message: NewMessage, options?: WriteOptions): Promise<Message>;
  /** Changes a message. */
  updateMessage(messageId: string, change: MessageChange, options?: WriteOptions): Promise<Message>;
  /** Removes a message. */
  deleteMessage(messageId: string, options?: WriteOptions): Promise<void>;
  /** Removes all messages and keeps the settings; resolves with how many they were. */
  clear(options?: WriteOptions): Promise<number>;
  /** Removes the session itself, for everybody. */
  delete(options?: WriteOptions): Promise<void>;
  /** Shows a state to the others: at most 4 KiB of JSON. The newest wins; it is shown again after each reconnection. One that
   * the server refuses is the snapshot's `error`. Throws where it is no JSON. */
  setPresence(state: Json): void;
  /** Sends an ephemeral message to the others in the room: at most 16 KiB of JSON. Rejects with `OFFLINE` where there is
   * no connection now, for it is never kept. */
  signal(type: string, data: Json): Promise<void>;
  /** Gives the handle back, once for each `client.session()`. When nobody uses it any more the room is left, after a moment. */
  leave(): void;
}
