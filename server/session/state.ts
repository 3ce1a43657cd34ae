// The state of one session as the rules see it, and how one commit changes a document. Pure.
import type { Commit, SessionDocument } from '../../client-sdk/protocol/messages.js';
import type { Message } from '../../client-sdk/protocol/messages.js';

/** What later commits need to know of the newest version in the settings' history. */
export interface LastVersion {
  /** The commit that made it what it is. */
  readonly revision: number;
  /** The first commit that it stands for: several of one author to the same paths are one version. */
  readonly first: number;
  /** Milliseconds since 1970. */
  readonly at: number;
  /** Key of author and paths; '' is never equal to another. */
  readonly signature: string;
}

/** A session as a batch of updates is planned over it. Never mutated. */
export interface SessionState {
  readonly document: SessionDocument;
  /** `document.settings` as JSON: encoded once per commit, used for Redis, the log and every reader. */
  readonly settingsJson: string;
  readonly lastVersion: LastVersion;
}

/** Messages that a batch touches: `null` is known to be absent. */
export type KnownMessages = ReadonlyMap<string, Message | null>;

/**
 * The document after one commit. The commit must be the next one (`revision` + 1, same epoch); a deletion has no
 * document and must not come here.
 */
export function applyCommit(document: SessionDocument, commit: Commit): SessionDocument {
  const next: SessionDocument = {
    ...document,
    revision: commit.revision,
    updatedAt: commit.at,
    updatedBy: commit.by,
  };
  switch (commit.event) {
    case 'settings:updated':
      next.settings = commit.settings;
      next.settingsRevision = commit.revision;
      break;
    case 'message:added':
      next.messageCount += 1;
      next.messagesRevision = commit.revision;
      break;
    case 'message:updated':
      next.messagesRevision = commit.revision;
      break;
    case 'message:deleted':
      next.messageCount -= 1;
      next.messagesRevision = commit.revision;
      break;
    case 'session:cleared':
      next.messageCount = 0;
      next.messagesRevision = commit.revision;
      break;
    case 'session:described':
      delete next.title;
      delete next.metadata;
      if (commit.title !== undefined) next.title = commit.title;
      if (commit.metadata !== undefined) next.metadata = commit.metadata;
      break;
    case 'session:created':
    case 'session:deleted':
      throw new Error(`a ${commit.event} commit does not follow another`);
    default:
      commit satisfies never;
  }
  return next;
}
