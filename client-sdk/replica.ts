// The replica: one session's confirmed state plus this client's own updates that are not confirmed, as a pure state
// machine. It sends nothing, waits for nothing and never changes a state it was given.
import { applyMerge, applyPatch, type PatchOperation } from './json-change.js';
import type { Json, JsonObject } from './protocol/json.js';
import type { Commit, SessionDocument, SettingsRequest } from './protocol/messages.js';

/** A settings commit as a reader of deltas is given it; `settings` in place of `delta` where commits were conflated. */
export type DeltaCommit = Omit<Extract<Commit, { event: 'settings:updated' }>, 'settings' | 'request'> & {
  settings?: JsonObject;
  delta?: PatchOperation[];
  from?: number;
};
/** A commit in any form that a reader may be given it. */
export type SeenCommit = Commit | DeltaCommit;

/** A commit that changes the messages. */
export type MessageCommit = Extract<SeenCommit, { event: `message:${string}` | 'session:cleared' }>;

export function isMessageCommit(commit: SeenCommit): commit is MessageCommit {
  return commit.event.startsWith('message:') || commit.event === 'session:cleared';
}

/** An own update of the settings that is not confirmed. */
export interface PendingUpdate {
  readonly updateId: string;
  readonly request: SettingsRequest;
  /** Where it was committed: acknowledged, though the commit itself was not seen yet. */
  readonly at?: { readonly epoch: string; readonly revision: number };
}

/** A state; what the user sees is {@link viewOf}. */
export interface Replica {
  /** As the server had it at its cursor; null until the first snapshot, and after a deletion. */
  readonly confirmed: SessionDocument | null;
  /** In the order in which they were made. */
  readonly pending: readonly PendingUpdate[];
}

/** What may happen to a replica. */
export type ReplicaEvent =
  | { type: 'updated'; update: PendingUpdate }
  | { type: 'acknowledged'; updateId: string; epoch: string; revision: number }
  | { type: 'refused'; updateId: string }
  | { type: 'commit'; commit: SeenCommit }
  | { type: 'snapshot'; session: SessionDocument };

/** Where every replica begins. */
export const emptyReplica: Replica = { confirmed: null, pending: [] };

/**
 * The state after an event; the same reference where it changes nothing (a commit seen before, an update not known).
 * Null where the state cannot follow: a commit is missing in between, or belongs to another epoch. A snapshot mends that.
 */
export function reduce(replica: Replica, event: ReplicaEvent): Replica | null {
  const { confirmed, pending } = replica;
  switch (event.type) {
    case 'updated':
      return { confirmed, pending: [...pending, event.update] };
    case 'refused':
      return without(replica, (update) => update.updateId === event.updateId);
    case 'acknowledged': {
      const { updateId, epoch, revision } = event;
      // Its commit was seen, or a newer state: it is in what is confirmed. Otherwise it stays in the view until then.
      if (confirmed?.epoch === epoch && confirmed.revision >= revision) {
        return without(replica, (update) => update.updateId === updateId);
      }
      const at = { epoch, revision };
      if (!pending.some((update) => update.updateId === updateId)) return replica;
      return {
        confirmed,
        pending: pending.map((update) => (update.updateId === updateId ? { ...update, at } : update)),
      };
    }
    case 'snapshot':
      return settle(replica, event.session);
    case 'commit':
      return follow(replica, event.commit);
  }
}

/** The settings that the user sees: what is confirmed with the own updates on top; undefined until something is known. */
export function viewOf({ confirmed, pending }: Replica): JsonObject | undefined {
  let view = confirmed?.settings;
  if (view === undefined) return undefined;
  for (const { request } of pending) view = applied(view, request);
  return view;
}

/** The settings with a request applied. One that does not apply shows nothing: the server will refuse it. */
export function applied(settings: JsonObject, request: SettingsRequest): JsonObject {
  if ('replace' in request) return request.replace;
  if ('merge' in request) return applyMerge(settings, request.merge) as JsonObject;
  // What a restored version held, only the server knows.
  if ('restore' in request) return settings;
  try {
    return applyPatch(settings, request.patch as PatchOperation[]) as JsonObject;
  } catch {
    return settings;
  }
}

function follow(replica: Replica, commit: SeenCommit): Replica | null {
  const { confirmed } = replica;
  if (!confirmed || commit.epoch !== confirmed.epoch) return null;
  if (commit.revision <= confirmed.revision) return replica;
  if (commit.event === 'session:deleted') return { ...replica, confirmed: null };
  const isNext = commit.revision === confirmed.revision + 1;
  // With `latest` several settings commits arrive as the newest of them, with the whole settings.
  if (!isNext && !(commit.event === 'settings:updated' && commit.settings)) return null;
  const next = documentAfter(confirmed, commit);
  if (!next) return null;
  return settle(
    without(replica, (update) => update.updateId === commit.updateId),
    next,
  );
}

/** The document after a commit that follows it; null where a delta belongs to other settings. */
function documentAfter(document: SessionDocument, commit: SeenCommit): SessionDocument | null {
  const { epoch, revision, at: updatedAt, by: updatedBy } = commit;
  const next: SessionDocument = { ...document, epoch, revision, updatedAt, updatedBy };
  switch (commit.event) {
    case 'settings:updated':
      next.settingsRevision = commit.settingsRevision;
      if (commit.settings) next.settings = commit.settings;
      else {
        const { from, delta } = commit as DeltaCommit;
        if (from !== document.settingsRevision || !delta) return null;
        next.settings = applyPatch(document.settings as Json, delta) as JsonObject;
      }
      return next;
    case 'session:described':
      delete next.title;
      delete next.metadata;
      if (commit.title !== undefined) next.title = commit.title;
      if (commit.metadata !== undefined) next.metadata = commit.metadata;
      return next;
    case 'session:cleared':
      return { ...next, messagesRevision: revision, messageCount: 0 };
    case 'message:added':
      return { ...next, messagesRevision: revision, messageCount: document.messageCount + 1 };
    case 'message:deleted':
      return { ...next, messagesRevision: revision, messageCount: document.messageCount - 1 };
    case 'message:updated':
      return { ...next, messagesRevision: revision };
    default:
      return next;
  }
}

/** With this document confirmed: the updates that are in it are pending no more. */
function settle(replica: Replica, confirmed: SessionDocument): Replica {
  // Positions of two epochs do not compare: an update acknowledged in an earlier one is in the document, or was lost
  // with it, which the new epoch tells.
  return without({ confirmed, pending: replica.pending }, ({ at }) => {
    return at !== undefined && (at.epoch !== confirmed.epoch || at.revision <= confirmed.revision);
  });
}

function without(replica: Replica, isOver: (update: PendingUpdate) => boolean): Replica {
  if (!replica.pending.some(isOver)) return replica;
  return { confirmed: replica.confirmed, pending: replica.pending.filter((update) => !isOver(update)) };
}
