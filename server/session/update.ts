// An update: what a client asked for, after parsing and authorization and before it is decided. Shapes only.
import type { Json, JsonObject } from '../../client-sdk/protocol/json.js';
import type { Author, Message, MessageRole, MessageStatus } from '../../client-sdk/protocol/messages.js';

/** What a new session is made of. */
export interface NewSession {
  settings?: JsonObject | undefined;
  title?: string | undefined;
  metadata?: JsonObject | undefined;
}

/** Where the settings must still be for an update to be taken. */
export interface Guards {
  ifRevision?: number | undefined;
  ifEpoch?: string | undefined;
}

export type SettingsChange =
  | { replace: JsonObject }
  | { merge: JsonObject }
  | { patch: Json[] }
  /** `settings` is what was in force at that revision, read before planning; `null`: no longer kept. */
  | { restore: number };

export type UpdateAction =
  /** `birth`: a fresh random id for the session's life, should it be created. */
  | { kind: 'open'; initial: NewSession; birth: string; mayCreate: boolean }
  | ({ kind: 'settings'; change: SettingsChange } & Guards)
  | { kind: 'describe'; title?: string | null | undefined; metadata?: JsonObject | null | undefined }
  | { kind: 'message:add'; message: NewMessage }
  | {
      kind: 'message:update';
      messageId: string;
      append?: string | undefined;
      content?: Message['content'] | undefined;
      status?: MessageStatus | undefined;
      metadata?: JsonObject | null | undefined;
      references?: JsonObject[] | null | undefined;
      /** The caller may change only messages of its own. */
      ownOnly: boolean;
    }
  | { kind: 'message:delete'; messageId: string; ownOnly: boolean }
  | { kind: 'clear' }
  /** `ifDocumentRevision`: only as it was found, for removals that nobody asked for. */
  | { kind: 'delete'; ifEpoch?: string | undefined; ifDocumentRevision?: number | undefined };

/** A message as the caller gave it; the id was made by the server where the caller gave none. */
export interface NewMessage {
  id: string;
  /** The caller gave the id, so that it must be looked up. */
  idGiven: boolean;
  role: MessageRole;
  content: Message['content'];
  timestamp?: string | undefined;
  status: MessageStatus;
  metadata?: JsonObject | undefined;
  references?: JsonObject[] | undefined;
}

export interface Update {
  readonly sessionId: string;
  readonly updateId: string;
  /** Hash of what was asked, to tell a retry from another update under the same id. */
  readonly payloadHash: string;
  readonly by: Author;
  readonly action: UpdateAction;
}

/** Updates that make room: they must work when Redis is out of memory, and are committed alone. */
export function frees(action: UpdateAction): boolean {
  return action.kind === 'clear' || action.kind === 'delete' || action.kind === 'message:delete';
}

/** The message that an update needs to know before it can be planned. */
export function messageNeeded(action: UpdateAction): string | undefined {
  switch (action.kind) {
    case 'message:add':
      return action.message.idGiven ? action.message.id : undefined;
    case 'message:update':
    case 'message:delete':
      return action.messageId;
    default:
      return undefined;
  }
}
