// The rarer writes of a recorded run: edits and removals of messages, descriptions, restores, clears.
import type { Random } from './history-model.js';
import type { Wire } from './shapes.js';

/** How many of a writer's requests are of these, where it makes them at all. */
const EDITS = 0.2;
/** What of them is what: clears, restores, descriptions, removals; the rest append to messages. */
const CLEARS = 0.03;
const RESTORES = 0.25;
const DESCRIPTIONS = 0.4;
const REMOVALS = 0.5;

/** What a writer knows of a session: the newest settings' revision, and the messages that it added. */
export interface KnownSession {
  settingsRevision: number | undefined;
  readonly messageIds: string[];
}

/** One of them, or undefined where it is something else's turn. */
export function editOf(random: Random, updateId: string, known: KnownSession): [event: string, own: Wire] | undefined {
  if (random() > EDITS) return undefined;
  const what = random();
  const { settingsRevision, messageIds } = known;
  if (what < CLEARS) return ['session:clear', {}];
  if (what < RESTORES && settingsRevision) {
    return ['settings:restore', { toRevision: Math.max(1, settingsRevision - Math.floor(random() * 20)) }];
  }
  // Each changes something: a description that changed nothing could not be told from one that did.
  if (what < DESCRIPTIONS && random() < 0.5) return ['session:describe', { metadata: { updateId } }];
  if (what < DESCRIPTIONS) return ['session:describe', { title: updateId, ...(random() < 0.3 && { metadata: null }) }];
  const messageId = messageIds[Math.floor(random() * messageIds.length)];
  if (messageId === undefined) return undefined;
  return what < REMOVALS ? ['message:delete', { messageId }] : ['message:update', { messageId, append: updateId }];
}
