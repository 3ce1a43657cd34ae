// The demo bot: a second client in the tab that sent a message, which answers it with canned words. It streams tokens as
// signals and commits what it has now and then, so that who comes late, or the bot's end, loses little.
import {
  ClientError,
  createClient,
  type AttuneClient,
  type Json,
  type JsonObject,
  type Session,
} from '../../../client-sdk/index.js';
import { clientIdOf, type Person } from '../person.js';
import { randomName } from '../session-address.js';
import { answerTo } from './answer.js';
import { TOKEN_SIGNAL } from './live-text.js';

/** How fast it speaks: milliseconds for each token. */
const TOKEN_MS = 45;
/** Tokens between two commits of what was said so far. */
const COMMIT_TOKENS = 24;
/** Before it begins, as a model would. */
const THINKING_MS = 350;

const self: Person = { name: 'Demo bot', color: '#4c5a66' };

export interface DemoBot {
  /** Answers a message of the session, once, whoever asks how often, unless another bot is there to answer. Resolves when
   * the answer is complete. */
  answer(message: { id: string; content: string }): Promise<void>;
  /** With its tab: offline, and back. */
  setOnline(isOnline: boolean): void;
}

/** A bot for one session. It connects when it has something to say. */
export function createDemoBot(sessionId: string, token: string | undefined): DemoBot {
  let client: AttuneClient | undefined;
  let session: Session | undefined;
  const joined = (): Session => {
    client ??= createClient({
      clientId: clientIdOf(self, randomName(8)),
      kind: 'bot',
      ...(token !== undefined && { getToken: () => token }),
    });
    return (session ??= client.session(sessionId, { presence: { ...self } }));
  };
  return {
    answer: (message) => answer(joined(), message),
    setOnline(isOnline) {
      if (isOnline) client?.connect();
      else client?.disconnect();
    },
  };
}

async function answer(session: Session, message: { id: string; content: string }): Promise<void> {
  const { settings = {}, revision, participants } = await session.ready();
  if (participants.some(({ kind, clientId }) => kind === 'bot' && !clientId.startsWith(clientIdOf(self, '')))) return;
  const id = `reply-${message.id}`;
  if (!(await begin(session, id, message.id))) return;
  const reply = answerTo(message.content, settings, Math.random);
  const metadata = { demo: true, inReplyTo: message.id, ...usedSettings(settings), settingsAtRevision: revision };
  const isStreamed = (settings['options'] as JsonObject | undefined)?.['stream'] !== false;
  if (isStreamed) await say(session, id, reply.tokens);
  await session.updateMessage(
    id,
    { content: reply.text, status: 'complete', metadata: { ...metadata, endedBy: reply.endedBy } },
    { updateId: `complete:${id}` },
  );
}

/** Adds the answer as every bot does, so that one of them writes it. Whether it is ours to write. */
async function begin(session: Session, id: string, inReplyTo: string): Promise<boolean> {
  try {
    const { author } = await session.addMessage(
      { id, role: 'assistant', content: '', status: 'streaming', metadata: { inReplyTo } },
      { updateId: `reply:${inReplyTo}` },
    );
    return author.clientId.startsWith(clientIdOf(self, ''));
  } catch (error) {
    // Somebody answered otherwise: whole, for instance.
    if (error instanceof ClientError && error.code === 'INVALID_REQUEST') return false;
    throw error;
  }
}

async function say(session: Session, id: string, tokens: readonly string[]): Promise<void> {
  await pause(THINKING_MS);
  let said = '';
  for (const [index, token] of tokens.entries()) {
    // Lost signals are made good by the next commit.
    session.signal(TOKEN_SIGNAL, { messageId: id, at: said.length, text: token }).catch(() => undefined);
    said += token;
    if (index % COMMIT_TOKENS === COMMIT_TOKENS - 1) {
      session.updateMessage(id, { content: said }, { updateId: `said:${id}:${index}` }).catch(() => undefined);
    }
    await pause(TOKEN_MS);
  }
}

/** The settings that the answer went by, for the label beside it. */
function usedSettings(settings: JsonObject): JsonObject {
  const options = (settings['options'] ?? {}) as JsonObject;
  const used: Record<string, Json | undefined> = {
    model: settings['model'],
    temperature: options['temperature'],
    max_tokens: options['max_tokens'],
  };
  return Object.fromEntries(Object.entries(used).filter(([, value]) => value != null)) as JsonObject;
}

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
