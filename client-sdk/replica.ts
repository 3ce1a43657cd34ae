// The replica: one session's confirmed state plus this client's own updates that are not confirmed, as a pure state
// machine. It sends nothing, waits for nothing and never changes a state it was given.
import { applyMerge, applyPatch, type PatchOperation } from './json-change.js';
import type { JsonObject } from './protocol/json.js';
import type { Commit, Cursor } from './protocol/messages.js';

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

/** Whether a commit changes the messages. */
export const isMessageCommit = (commit: SeenCommit): commit is MessageCommit => /^message|cleared$/.test(commit.event);

/** What is kept of the session's document: what commits change of it, but for the messages. */
export interface Confirmed extends Cursor {
  readonly settingsRevision: number;
  readonly settings: JsonObject;
  readonly title?: string | undefined;
  readonly metadata?: JsonObject | undefined;
}

/** An update of the settings as it is sent: one of these, or none of them. */
export interface SettingsRequest {
  replace?: JsonObject;
  merge?: JsonObject;
  patch?: PatchOperation[];
  toRevision?: number;
}

/** An own update of the settings that is not confirmed. */
export interface PendingUpdate {
  readonly updateId: string;
  readonly request: SettingsRequest;
  /** Where it was committed: acknowledged, though the commit itself was not seen yet. */
  readonly at?: Cursor;
}

/** A state; what the user sees is {@link viewOf}. */
export interface Replica {
  /** As the server had it at its cursor; null until the first snapshot. */
  readonly confirmed: Confirmed | null;
  /** In the order in which they were made. */
  readonly pending: readonly PendingUpdate[];
}

/** Where every replica begins. */
export const emptyReplica: Replica = { confirmed: null, pending: [] };

/** An update was made. */
export const updated = ({ confirmed, pending }: Replica, update: PendingUpdate): Replica => ({
  confirmed,
  pending: [...pending, update],
});

/** An update will not happen; the same reference where there is none. */
export const refused = (replica: Replica, id: string): Replica => keeping(replica, ({ updateId }) => updateId !== id);

/** An update was committed there. */
export const acknowledged = (replica: Replica, id: string, answer: Cursor & { duplicate?: boolean }): Replica => {
  const { confirmed, pending } = replica;
  return keeping(
    { confirmed, pending: pending.map((update) => (update.updateId === id ? { ...update, at: answer } : update)) },
    // What is confirmed holds it, or it stays in the view until that does. A duplicate of another epoch was committed in an
    // earlier one.
    ({ updateId, at }) =>
      !isIn(confirmed, at) && !(updateId === id && answer.duplicate && answer.epoch !== confirmed?.epoch),
  );
};

/**
 * The server's state in place of what was confirmed. Positions of two epochs do not compare: an update acknowledged in an
 * earlier one is in the snapshot, or was lost, which the new epoch tells.
 */
export const refreshed = ({ pending }: Replica, session: Confirmed): Replica =>
  keeping({ confirmed: session, pending }, ({ at }) => !at || (at.epoch === session.epoch && !isIn(session, at)));

/**
 * The next commit; the same reference for one that was seen before. Null where it does not follow: a commit is missing in
 * between, or it belongs to another epoch. A snapshot mends that.
 */
export const committed = (replica: Replica, commit: SeenCommit): Replica | null => {
  const { confirmed, pending } = replica;
  if (isIn(confirmed, commit)) return replica;
  const next = confirmed && following(confirmed, commit);
  return (
    next && keeping({ confirmed: next, pending }, ({ updateId, at }) => updateId !== commit.updateId && !isIn(next, at))
  );
};

/** Whether what is confirmed does not hold yet what was committed there; positions of two epochs do not compare. */
export const isBehind = (confirmed: Cursor | null, at: Cursor): boolean =>
  confirmed?.epoch === at.epoch && !isIn(confirmed, at);

const isIn = (confirmed: Cursor | null, at: Cursor | undefined): boolean =>
  at !== undefined && confirmed?.epoch === at.epoch && confirmed.revision >= at.revision;

/** The same reference where all are kept. */
const keeping = (replica: Replica, keeps: (update: PendingUpdate) => boolean): Replica => {
  const pending = replica.pending.filter(keeps);
  return pending.length < replica.pending.length ? { confirmed: replica.confirmed, pending } : replica;
};

/** The settings that the user sees: what is confirmed with the own updates on top; undefined until something is known. */
export function viewOf({ confirmed, pending }: Replica): JsonObject | undefined {
  return confirmed ? pending.reduce((view, { request }) => applied(view, request), confirmed.settings) : undefined;
}

/** The settings with a request applied. One that does not apply shows nothing: the server will refuse it. What a version to
 * be restored held, only the server knows. */
export function applied(settings: JsonObject, request: SettingsRequest): JsonObject {
  const { replace, merge, patch } = request;
  return (replace ??
    (merge ? applyMerge(settings, merge) : patch && applyPatch(settings, patch)) ??
    settings) as JsonObject;
}

/** What is confirmed after a commit; null where it does not follow. */
function following(before: Confirmed, commit: SeenCommit): Confirmed | null {
  const { epoch, revision, event } = commit;
  const { settings: whole, delta, from } = commit as Partial<DeltaCommit>;
  // With `latest` several settings commits arrive as the newest of them, with the whole settings.
  if (epoch !== before.epoch || (revision !== before.revision + 1 && !whole)) return null;
  if (event === 'session:described') return { ...before, revision, title: commit.title, metadata: commit.metadata };
  if (event !== 'settings:updated') return { ...before, revision };
  const settings = whole ?? (from === before.settingsRevision && delta && applyPatch(before.settings, delta));
  if (!settings) return null;
  return { ...before, revision, settings: settings as JsonObject, settingsRevision: commit.settingsRevision };
}
