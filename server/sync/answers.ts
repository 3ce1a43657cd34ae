// Answers that need another look at Redis: an update id that was answered before, and the paths of a conflict.
import { AttuneError } from '../../client-sdk/protocol/errors.js';
import type { JsonObject } from '../../client-sdk/protocol/json.js';
import type { AnyWriteReply, Commit, SessionDocument } from '../../client-sdk/protocol/messages.js';
import type { AtReply, Remembered, SessionStore } from '../redis/session-store.js';
import { changedPaths } from '../session/settings-rules.js';
import { messageNeeded, type Update } from '../session/update.js';

/**
 * The answer to an update id that was used before: as the first one, but for `duplicate`. It is put together from the
 * log; what the log no longer has is taken from the history, or left out. Rejects with INVALID_REQUEST where the payload
 * is another one.
 */
export async function answerAgain(store: SessionStore, update: Update, first: Remembered): Promise<AnyWriteReply> {
  if (first.payloadHash !== update.payloadHash) {
    throw new AttuneError('INVALID_REQUEST', `the updateId ${update.updateId} was used with another payload`, {
      details: { updateId: update.updateId },
    });
  }
  const base = { epoch: first.epoch, revision: first.revision, duplicate: true };
  try {
    const found = await store.at(update.sessionId, first.revision);
    // A later life of the session says nothing of an earlier one.
    const at = found && lifeOf(found.now.epoch) === lifeOf(first.epoch) ? found : null;
    return { ...base, ...(await firstAnswer(store, update, first, at)) };
  } catch (error) {
    // It was committed: an error that said otherwise would be wrong.
    throw new AttuneError('OUTCOME_UNKNOWN', 'the first answer could not be read; the same id is safe to send again', {
      details: { updateId: update.updateId },
      cause: error,
    });
  }
}

async function firstAnswer(
  store: SessionStore,
  update: Update,
  first: Remembered,
  at: AtReply | null,
): Promise<object> {
  const commit = at?.commit ?? null;
  if (!at) return ofAnotherLife(update, first);
  switch (update.action.kind) {
    case 'open': {
      if (first.changed && commit?.event === 'session:created') return { session: asCreated(commit), created: true };
      const read = await store.read(update.sessionId, null);
      return { ...(read.kind === 'state' ? { session: read.stored.state.document } : {}), created: first.changed };
    }
    case 'settings': {
      const { settings } = at;
      // A version of the history that stands for several commits has the settings of the last of them.
      const exact = settings && settings.revision <= first.revision ? settings : null;
      const settingsRevision = first.changed ? first.revision : exact?.revision;
      return {
        ...(exact ? { settings: exact.value } : {}),
        ...(settingsRevision === undefined ? {} : { settingsRevision }),
        updatedAt: first.at,
        ...(first.changed && !settings ? {} : { changedPaths: first.changed ? settings?.changedPaths : [] }),
      };
    }
    case 'describe': {
      const read = commit?.event === 'session:described' ? null : await store.read(update.sessionId, null);
      const from = read === null ? commit : read.kind === 'state' ? read.stored.state.document : null;
      const { title, metadata } = (from ?? {}) as { title?: string; metadata?: JsonObject };
      return { ...(title === undefined ? {} : { title }), ...(metadata === undefined ? {} : { metadata }) };
    }
    case 'message:add':
    case 'message:update': {
      const id = messageNeeded(update.action) ?? (update.action.kind === 'message:add' ? update.action.message.id : '');
      // Where it changed nothing, the commit at its revision is another's.
      if (commit && 'message' in commit && (first.changed || commit.message.id === id)) {
        return { message: commit.message };
      }
      const read = await store.read(update.sessionId, null, { messageIds: [id] });
      const message = read.kind === 'state' ? read.messages[0] : null;
      return message ? { message } : {};
    }
    case 'clear':
      return { removed: first.changed && commit?.event === 'session:cleared' ? commit.removed : 0 };
    default:
      return {};
  }
}

/** What is certain of an answer when the session was deleted since; what it held is gone. */
function ofAnotherLife({ action }: Update, first: Remembered): object {
  if (action.kind === 'open') return { created: first.changed };
  if (action.kind !== 'settings') return {};
  const settingsRevision = first.changed ? { settingsRevision: first.revision } : { changedPaths: [] };
  return { updatedAt: first.at, ...settingsRevision };
}

/** The part of an epoch that names the life of the session; the rest names that of its Redis. */
function lifeOf(epoch: string): string {
  return epoch.split('-', 1)[0] ?? '';
}

function asCreated(commit: Extract<Commit, { event: 'session:created' }>): SessionDocument {
  const { sessionId: id, epoch, settings, title, metadata, at, by } = commit;
  return {
    id,
    epoch,
    revision: 1,
    settingsRevision: 1,
    messagesRevision: 0,
    settings,
    ...(title === undefined ? {} : { title }),
    ...(metadata === undefined ? {} : { metadata }),
    messageCount: 0,
    createdAt: at,
    updatedAt: at,
    updatedBy: by,
  };
}

/**
 * The conflict with `details.changedPaths`: what changed between the revision that the update expected and now; [''] (all
 * of it) where that revision is no longer kept or belongs to another epoch.
 */
export async function completeConflict(store: SessionStore, update: Update, error: AttuneError): Promise<AttuneError> {
  const details = error.details as { epoch: string; revision: number; settings: JsonObject };
  const { ifRevision, ifEpoch } = update.action as { ifRevision?: number; ifEpoch?: string };
  let paths: string[] = [''];
  if (ifEpoch === undefined || ifEpoch === details.epoch) {
    if ((ifRevision ?? 0) > details.revision) paths = [];
    else {
      const at = await store.at(update.sessionId, ifRevision ?? 0).catch(() => null);
      if (at?.settings) paths = changedPaths(at.settings.value, details.settings);
    }
  }
  return new AttuneError(error.code, error.message, { details: { ...details, changedPaths: paths } });
}
