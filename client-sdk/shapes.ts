// What a session looks like from outside: its snapshot, its events, and what its calls take and give.
import type { ClientError } from './client-error.js';
import type { ConnectionStatus } from './connection.js';
import type { StoredWrite } from './outbox.js';
import type { Json, JsonObject } from './protocol/json.js';
import type { ClientEvent, Message, SessionDocument, SettingsReply, WriteReply } from './protocol/messages.js';
import type { MessageCommit, SeenCommit } from './replica.js';

/** One socket of a session as the others see it. Oneself is the one with the client's own `clientId`. */
export interface Participant {
  participantId: string;
  userId: string;
  clientId: string;
  kind: string;
  name?: string;
  state: Json;
  joinedAt: string;
}

/** Who came, went, or shows another state. */
export interface PresenceChange {
  joined: Participant[];
  left: string[];
  updated: Participant[];
}

/** An ephemeral message of a participant. */
export interface Signal {
  type: string;
  data: Json;
  from: { userId: string; clientId: string; kind: string; name?: string };
  participantId: string;
}

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
  /** Why the session is not live, or the newest of the own writes that was refused since one was taken. */
  readonly error: ClientError | null;
}

/** Events of a session. */
export interface SessionEvents {
  /** Each commit of the room in order. After a snapshot in their place there are none for what it holds. */
  commit: SeenCommit;
  /** Those of them that change the messages. */
  message: MessageCommit;
  /** The state of the session in place of commits that were missed. */
  snapshot: SessionDocument;
  presence: PresenceChange;
  signal: Signal;
  /** An own write that the server took, with its answer. */
  acknowledged: { updateId: string; event: ClientEvent; reply: WriteReply };
  status: ConnectionStatus;
}

/** What is wrong with settings, each with the JSON Pointer of the value; nothing where they are right. `standardSchema` and
 * `jsonSchema` of `@attune/client/schema` make one. */
export type SettingsValidator<S = JsonObject> = ((settings: JsonObject) => readonly SettingsIssue[]) & {
  /** Only for the compiler: what settings that pass are. */
  readonly settings?: S;
};
export interface SettingsIssue {
  path: string;
  message: string;
}

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

export interface WriteOptions {
  /** Names the write; the same id again has the first one's answer and changes nothing. Made where it is missing. */
  updateId?: string;
  /** Takes the write back where it was not sent yet; afterwards only ends the waiting. */
  signal?: AbortSignal;
}
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

type Partially<S> = { [K in keyof S]?: (S[K] extends object ? Partially<S[K]> : S[K]) | null };
/** A merge patch (null removes), or a function of what the user sees. */
export type SettingsChange<S> = Partially<S> | ((settings: S) => S);

/** Keeps what was not answered, and what was confirmed last, over a reload of the page. Never throws. */
export interface SessionStorage {
  load(sessionId: string): { writes: StoredWrite[]; document: SessionDocument | null };
  /** After each change; what it is given changes later. */
  save(sessionId: string, writes: readonly StoredWrite[], document: SessionDocument | null): void;
}
