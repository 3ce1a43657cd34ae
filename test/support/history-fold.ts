// What a session is after each commit of its log, and whether each commit does what was asked for. Pure.
import { isDeepStrictEqual } from 'node:util';
import type { Logged, SessionIndex, Update } from './history-entries.js';
import type { Wire } from './shapes.js';

/** A session's log, folded. */
export interface Fold {
  /** The documents after each commit by its place, without their epochs. */
  documents: readonly Wire[];
  /** Commits that are not what their update asked for. */
  misfits: ReadonlySet<Logged>;
  /** Commits whose settings are not those before with what was asked in them. */
  unfolded: ReadonlySet<Logged>;
  /** First revision of the last life that a clear or a removed message left in the stream. */
  keptFrom: number;
}

/** A session between two commits of a life. */
interface State {
  document: Wire;
  messages: Map<string, Wire>;
  /** Settings by the revisions that set them, oldest first. */
  settings: { revision: number; value: Wire }[];
  keptFrom: number;
}

const folds = new WeakMap<SessionIndex, Fold>();

/** The fold of a session's log; made once. */
export function foldOf(session: SessionIndex): Fold {
  let fold = folds.get(session);
  if (!fold) folds.set(session, (fold = foldLog(session)));
  return fold;
}

function foldLog({ logged, truth: { sessionId } }: SessionIndex): Fold {
  const misfits = new Set<Logged>();
  const unfolded = new Set<Logged>();
  const documents: Wire[] = [];
  let state = emptyState();
  let life = 0;
  for (const one of logged) {
    if (one.life !== life) state = emptyState();
    life = one.life;
    const { update, commit } = one;
    if (update && !fits(update, one, state)) misfits.add(one);
    if (commit.event === 'settings:updated') {
      const expected = asked(state, commit.body);
      if (!isDeepStrictEqual(expected, commit.body.settings)) unfolded.add(one);
    }
    advance(state, sessionId, one);
    documents.push(state.document);
  }
  return { documents, misfits, unfolded, keptFrom: state.keptFrom };
}

const emptyState = (): State => ({ document: {}, messages: new Map(), settings: [], keptFrom: 1 });

function advance(state: State, sessionId: string, { commit: { revision, body } }: Logged): void {
  const { event, at, by, settings, title, metadata, message, messageId } = body;
  const { messages } = state;
  const next: Wire = { ...state.document, revision, updatedAt: at, updatedBy: by };
  if (event === 'session:created') {
    Object.assign(next, { id: sessionId, messagesRevision: 0, createdAt: at });
    for (const name of ['title', 'metadata']) delete next[name];
  }
  if (settings !== undefined) {
    Object.assign(next, { settings, settingsRevision: revision });
    state.settings.push({ revision, value: settings });
  }
  if (event.startsWith('message:') || event === 'session:cleared') next.messagesRevision = revision;
  if (message !== undefined) messages.set(message.id, message);
  if (event === 'message:deleted') {
    state.keptFrom = Math.max(state.keptFrom, (messages.get(messageId)?.revision ?? 0) + 1);
    messages.delete(messageId);
  }
  if (event === 'session:cleared') {
    state.keptFrom = revision;
    messages.clear();
  }
  next.messageCount = messages.size;
  if (event === 'session:described' || event === 'session:created') {
    for (const [name, value] of Object.entries({ title, metadata })) {
      if (value === undefined) delete next[name];
      else next[name] = value;
    }
  }
  state.document = next;
}

/**
 * The settings that a commit says it was asked for. Those of a JSON Patch are taken from the commit itself, and those that a
 * restore finds no longer in the log: a version of the history stands for several.
 */
function asked(state: State, { request, settings }: Wire): Wire {
  if (request.replace !== undefined) return request.replace;
  if (request.merge !== undefined) return merged(state.document.settings, request.merge);
  const restored = state.settings.findLast(({ revision }) => revision <= request.restore);
  return restored && restored.revision >= state.keptFrom ? restored.value : settings;
}

/** RFC 7396. */
function merged(before: Wire, patch: Wire): Wire {
  if (!isObject(patch)) return patch;
  const after: Wire = isObject(before) ? { ...before } : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete after[name];
    else after[name] = merged(after[name], value);
  }
  return after;
}
const isObject = (value: unknown): boolean => typeof value === 'object' && value !== null && !Array.isArray(value);

/** Whether a commit is what the update asked for, in the session as it was before. */
function fits({ event, request }: Update, { commit: { body } }: Logged, before: State): boolean {
  const is = (name: string, ...pairs: readonly (readonly [unknown, unknown])[]) =>
    body.event === name && pairs.every(([given, expected]) => isDeepStrictEqual(given, expected));
  switch (event) {
    case 'session:open':
      return is('session:created');
    case 'settings:update': {
      const { replace, settings = replace, merge, patch } = request;
      const change = settings !== undefined ? { replace: settings } : merge !== undefined ? { merge } : { patch };
      return is('settings:updated', [body.request, change]);
    }
    case 'settings:restore':
      return is('settings:updated', [body.request, { restore: request.toRevision }]);
    case 'message:add': {
      const { settingsRevision } = before.document;
      const expected = { ...body.message, ...request.message, settingsRevision, revision: body.revision };
      return is('message:added', [body.message, expected], [before.messages.has(body.message?.id), false]);
    }
    case 'message:update':
      return is('message:updated', [body.message, edited(before.messages.get(request.messageId), request, body)]);
    case 'message:delete':
      return is('message:deleted', [body.messageId, request.messageId], [before.messages.has(body.messageId), true]);
    case 'session:describe': {
      const { title, metadata } = { ...before.document, ...request };
      return is('session:described', [body.title, title ?? undefined], [body.metadata, metadata ?? undefined]);
    }
    default:
      return is('session:cleared', [body.removed, before.messages.size]);
  }
}

/** A message with an edit in it; undefined where there was none. */
function edited(before: Wire, { append, ...request }: Wire, { revision }: Wire): Wire {
  if (before === undefined) return undefined;
  const after = { ...before, revision };
  if (append !== undefined) after.content += append;
  for (const name of ['content', 'status', 'metadata', 'references']) {
    if (request[name] === null) delete after[name];
    else if (request[name] !== undefined) after[name] = request[name];
  }
  return after;
}
