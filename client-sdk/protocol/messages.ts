// Every request, document, commit and event of the contract: the schemas of what clients send (types inferred), and the
// types of what the server sends. It holds shapes only; what a request means is decided in server/session/.
import { z } from 'zod';
import type { Json, JsonObject } from './json.js';
import { ID_CHARS_MAX, LIST_DEFAULT, LIST_MAX, TITLE_CHARS_MAX } from './limits.js';

// ---- Documents ----------------------------------------------------------------------------------------------------

/** What a client can be. */
export const kinds = ['tab', 'bot', 'service'] as const;
/** Who a message can be from. */
export const roles = ['user', 'assistant', 'system', 'tool'] as const;
/** Whether a message is whole, still growing, or was broken off. */
export const statuses = ['complete', 'streaming', 'error'] as const;
/** One of {@link kinds}. */
export type Kind = (typeof kinds)[number];
/** One of {@link roles}. */
export type MessageRole = (typeof roles)[number];
/** One of {@link statuses}. */
export type MessageStatus = (typeof statuses)[number];

/** Who did something. */
export interface Author {
  userId: string;
  clientId: string;
  kind: Kind;
  name?: string;
}

/** What a reader already has. Positions of two epochs do not compare. */
export interface Cursor {
  epoch: string;
  revision: number;
}

/** A session without its messages, at `{ epoch, revision }`. Times are ISO 8601, UTC, milliseconds. */
export interface SessionDocument extends Cursor {
  id: string;
  settingsRevision: number;
  messagesRevision: number;
  settings: JsonObject;
  title?: string;
  metadata?: JsonObject;
  messageCount: number;
  createdAt: string;
  updatedAt: string;
  updatedBy: Author;
}

/** One message of a session, as everybody sees it. */
export interface Message {
  id: string;
  /** Newest commit that changed this message. */
  revision: number;
  /** The settings that were in force when it was added. */
  settingsRevision: number;
  role: MessageRole;
  content: string | Json[];
  /** ISO 8601 with a zone; precision as the caller gave it. */
  timestamp: string;
  status: MessageStatus;
  metadata?: JsonObject;
  references?: JsonObject[];
  author: Author;
}

/** One version in the settings' history. */
export interface SettingsVersion {
  revision: number;
  at: string;
  by: Author;
  settings: JsonObject;
  changedPaths: string[];
}

// ---- Commits: the body of each server event, plus `event` ---------------------------------------------------------

export interface CommitBase extends Cursor {
  sessionId: string;
  at: string;
  by: Author;
  updateId?: string;
}

/** What a settings commit was asked for. */
export type SettingsRequest = { replace: JsonObject } | { merge: JsonObject } | { patch: Json[] } | { restore: number };

export interface CreatedCommit extends CommitBase {
  event: 'session:created';
  settings: JsonObject;
  title?: string;
  metadata?: JsonObject;
}
export interface SettingsCommit extends CommitBase {
  event: 'settings:updated';
  settings: JsonObject;
  settingsRevision: number;
  request: SettingsRequest;
  changedPaths: string[];
}
export interface MessageCommit extends CommitBase {
  event: 'message:added' | 'message:updated';
  message: Message;
}
export interface MessageDeletedCommit extends CommitBase {
  event: 'message:deleted';
  messageId: string;
}
export interface DescribedCommit extends CommitBase {
  event: 'session:described';
  title?: string;
  metadata?: JsonObject;
}
export interface ClearedCommit extends CommitBase {
  event: 'session:cleared';
  removed: number;
}
export interface DeletedCommit extends CommitBase {
  event: 'session:deleted';
  reason: 'deleted' | 'lost';
}
/** One accepted change, as it is sent to the session's readers; `event` tells which. */
export type Commit =
  | CreatedCommit
  | SettingsCommit
  | MessageCommit
  | MessageDeletedCommit
  | DescribedCommit
  | ClearedCommit
  | DeletedCommit;

// ---- Presence and signals: never stored, no commits ---------------------------------------------------------------

/** A socket of a session as the others see it. */
export interface Participant extends Author {
  /** Made by the server for each stay of a socket in a session. */
  participantId: string;
  /** What it shows; `{}` where it showed nothing. */
  state: Json;
  joinedAt: string;
}
/** Who came, went, or shows another state. */
export interface PresenceEvent {
  sessionId: string;
  joined: Participant[];
  /** Ids of participants. */
  left: string[];
  updated: Participant[];
}
/** An ephemeral message of a participant. */
export interface SignalEvent {
  sessionId: string;
  type: string;
  data: Json;
  from: Author;
  /** Left out where it came by HTTP: such a sender is no participant. */
  participantId?: string;
}

/** Why a reader is given a snapshot in place of commits. */
export type SnapshotReason = 'initial' | 'slow-consumer' | 'gap' | 'epoch' | 'replaced';

/** What a reader is sent in place of commits that it did not see. */
export interface SnapshotEvent {
  sessionId: string;
  session: SessionDocument;
  reason: SnapshotReason;
}

// ---- Requests -----------------------------------------------------------------------------------------------------

/** 1..128 of A-Z a-z 0-9 . _ : - , the first a letter or digit. */
export const sessionIdPattern = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/;
/** A calendar date and a time of day, zone optional. */
export const timestampPattern = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)?$/;

const sessionId = z
  .string()
  .regex(sessionIdPattern, 'must be 1..128 of A-Z a-z 0-9 . _ : - and begin with a letter or digit');
const prefix = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._:-]{0,95}$/, 'must be 1..96 of A-Z a-z 0-9 . _ : - and begin with a letter or digit');
// A lone surrogate has no UTF-8 form: two such ids would become one.
const opaqueId = z
  .string()
  .min(1)
  .max(ID_CHARS_MAX)
  .refine((id) => id.isWellFormed(), 'must be well-formed Unicode');
const updateId = opaqueId.optional();
const revision = z.int().min(0);
const plainObject = z.custom<JsonObject>(
  (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
  'must be an object',
);
const title = z.string().max(TITLE_CHARS_MAX);
const limit = z.int().min(1).max(LIST_MAX).default(LIST_DEFAULT);
const guards = { ifRevision: revision.optional(), ifEpoch: z.string().max(128).optional() };
const content = z.union([z.string(), z.array(z.custom<Json>(() => true))], 'must be a string or an array of parts');
const references = z.array(plainObject);
// `null` is a value, nothing at all is none.
const anyJson = z.custom<Json>((value) => value !== undefined, 'is needed');

/** An ISO 8601 time; without a zone it is UTC, which the result says. */
export const timestamp = z
  .string()
  .regex(timestampPattern, 'must be an ISO 8601 date and time')
  .transform((text) => (/(Z|[+-]\d\d:\d\d)$/.test(text) ? text : `${text}Z`))
  .refine(exists, 'must be a date that exists');

/** Whether a time of {@link timestampPattern} with a zone is one: the 30th of February is not, though Date takes it. */
function exists(text: string): boolean {
  const [year = 0, month = 0, day = 0] = text.slice(0, 10).split('-').map(Number);
  const lastDay = new Date(Date.UTC(year, month, 0)).getUTCDate();
  return day <= lastDay && !Number.isNaN(Date.parse(text));
}

/** A message as its author gives it; the server adds what is missing. */
export const newMessage = z.object({
  id: opaqueId.optional(),
  role: z.enum(roles),
  content,
  timestamp: timestamp.optional(),
  status: z.enum(statuses).default('complete'),
  metadata: plainObject.optional(),
  references: references.optional(),
});

const initial = { settings: plainObject.optional(), title: title.optional(), metadata: plainObject.optional() };
// Any text and number: one that is no position of ours is answered with a snapshot.
const cursor = z.object({ epoch: z.string(), revision: z.number() });

/** Which of the update's forms were given; exactly one must be. */
const settingsForms = ['replace', 'settings', 'merge', 'patch'] as const;

/** The schema of each client event's request. */
export const requests = {
  'session:open': z.object({ sessionId: sessionId.optional(), prefix: prefix.optional(), ...initial, updateId }),
  'session:join': z.object({
    sessionId,
    create: z.boolean().optional(),
    ...initial,
    cursor: cursor.optional(),
    delivery: z.enum(['every', 'latest']).default('every'),
    body: z.enum(['full', 'delta']).default('full'),
    presence: anyJson.optional(),
    updateId,
  }),
  'session:leave': z.object({ sessionId }),
  'session:get': z.object({ sessionId }),
  'session:describe': z
    .object({ sessionId, title: title.nullable().optional(), metadata: plainObject.nullable().optional(), updateId })
    .refine((r) => r.title !== undefined || r.metadata !== undefined, 'needs title or metadata'),
  'settings:update': z
    .object({
      sessionId,
      updateId,
      ...guards,
      replace: plainObject.optional(),
      settings: plainObject.optional(),
      merge: plainObject.optional(),
      patch: z.array(z.custom<Json>(() => true)).optional(),
    })
    .refine(
      (r) => settingsForms.filter((form) => r[form] !== undefined).length === 1,
      'needs exactly one of replace, settings, merge, patch',
    ),
  'settings:history': z.object({ sessionId, before: revision.optional(), limit }),
  'settings:restore': z.object({ sessionId, toRevision: z.int().min(1), updateId, ...guards }),
  'message:add': z.object({ sessionId, message: newMessage, updateId }),
  'message:update': z
    .object({
      sessionId,
      messageId: opaqueId,
      append: z.string().optional(),
      content: content.optional(),
      status: z.enum(statuses).optional(),
      metadata: plainObject.nullable().optional(),
      references: references.nullable().optional(),
      updateId,
    })
    .refine((r) => r.append === undefined || r.content === undefined, 'takes append or content, not both')
    .refine(
      (r) => [r.append, r.content, r.status, r.metadata, r.references].some((member) => member !== undefined),
      'needs one of append, content, status, metadata, references',
    ),
  'message:delete': z.object({ sessionId, messageId: opaqueId, updateId }),
  'message:list': z.object({ sessionId, before: revision.optional(), after: revision.optional(), limit }),
  'session:clear': z.object({ sessionId, updateId }),
  'session:delete': z.object({ sessionId, updateId, ifEpoch: z.string().max(128).optional() }),
  'presence:update': z.object({ sessionId, state: anyJson }),
  signal: z.object({ sessionId, type: z.string().min(1).max(64), data: anyJson }),
} as const;

/** Name of a client event. */
export type ClientEvent = keyof typeof requests;
/** A request as the server has it after parsing. */
export type Request<E extends ClientEvent> = z.output<(typeof requests)[E]>;

/** What a client sends to connect. */
export const handshake = z.object({
  token: z.string().max(8192).optional(),
  clientId: opaqueId.optional(),
  kind: z.enum(kinds).default('tab'),
  protocol: z.number().optional(),
});

/** One line of an import: the session document, and its messages oldest first. Unknown members are ignored. */
export const importLine = z.object({
  id: sessionId,
  settings: plainObject.optional(),
  title: title.optional(),
  metadata: plainObject.optional(),
  createdAt: timestamp.optional(),
  updatedAt: timestamp.optional(),
  updatedBy: z
    .object({ userId: opaqueId, clientId: opaqueId, kind: z.enum(kinds), name: z.string().max(200).optional() })
    .optional(),
  messages: z
    .array(
      newMessage.extend({
        author: z
          .object({ userId: opaqueId, clientId: opaqueId, kind: z.enum(kinds), name: z.string().max(200).optional() })
          .optional(),
      }),
    )
    .default([]),
});
/** A line that {@link importLine} let through. */
export type ImportLine = z.output<typeof importLine>;

// ---- Replies ------------------------------------------------------------------------------------------------------

/** What every acknowledged write says. */
export interface WriteReply extends Cursor {
  /** True where this id was answered before; nothing was committed now. */
  duplicate: boolean;
}
export interface OpenReply extends WriteReply {
  session?: SessionDocument;
  created: boolean;
}
export interface DescribeReply extends WriteReply {
  title?: string;
  metadata?: JsonObject;
}
export interface SettingsReply extends WriteReply {
  settings?: JsonObject;
  settingsRevision: number;
  updatedAt: string;
  changedPaths: string[];
}
export interface MessageReply extends WriteReply {
  message?: Message;
}
export interface ClearReply extends WriteReply {
  removed: number;
}
/** The answer to any write, without `ok`. */
export type AnyWriteReply = OpenReply | DescribeReply | SettingsReply | MessageReply | ClearReply | WriteReply;
