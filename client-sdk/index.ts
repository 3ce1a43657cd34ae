// What `@attune/client` exports.
export { createClient, type AttuneClient, type ClientOptions } from './client.js';
export { ClientError, type ClientErrorCode } from './client-error.js';
export type { ConnectionStatus } from './connection.js';
export type { PatchOperation } from './json-change.js';
export type { StoredWrite } from './outbox.js';
export type { Confirmed, DeltaCommit, MessageCommit, SeenCommit } from './replica.js';
export type {
  MessageChange,
  NewMessage,
  PartialSettings,
  PresenceChange,
  Session,
  SessionEvents,
  SessionOptions,
  SessionSnapshot,
  SessionStorage,
  SettingsChange,
  SettingsValidator,
  Signal,
  SyncStatus,
  UpdateOptions,
  UpdateResult,
  WriteOptions,
} from './shapes.js';
export type { Link, LinkEvents, Reply, Transport } from './socket-link.js';
export type { Json, JsonObject } from './protocol/json.js';
export type {
  Author,
  ClearReply,
  Commit,
  Cursor,
  DescribeReply,
  Kind,
  Message,
  MessageRole,
  MessageStatus,
  Participant,
  PresenceEvent,
  SessionDocument,
  SettingsVersion,
  SignalEvent,
} from './protocol/messages.js';
