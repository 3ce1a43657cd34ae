// A chat bot to copy: put your model into `answer`. Any number of copies may run: each message is answered by one of them,
// and an answer whose writer died is written by another. It never answers a bot.
// Start it with: npx tsx examples/bot.ts SESSION... [--url URL] [--token TOKEN]
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { ClientError, createClient, type Message, type Session } from '@attune/client';

/** What this bot obeys of a session's settings. */
type Settings = { model?: string; mode?: string; options?: { temperature?: number; max_tokens?: number } };

/** Pause between two words, milliseconds. */
const WORD_MS = 40;
/** How often what was said so far is stored, milliseconds; the single words are only shown. */
const STORE_EVERY_MS = 1000;
/** Pause before what failed in passing is done again, milliseconds. */
const AGAIN_MS = 1000;
/** How long a stop waits for answers under way, milliseconds. */
const STOP_WITHIN_MS = 10_000;

const { values: options, positionals: sessionIds } = parseArgs({
  allowPositionals: true,
  options: {
    url: { type: 'string', default: process.env['ATTUNE_URL'] ?? 'http://127.0.0.1:4100' },
    token: { type: 'string', default: process.env['BOT_TOKEN'] ?? '' },
    // Who wrote nothing for so long is given up: longer than your model ever thinks.
    'takeover-ms': { type: 'string', default: '20000' },
  },
});

/** Your model goes here: yields the answer to the last message piece by piece. */
async function* answer(settings: Settings, messages: readonly Message[]): AsyncGenerator<string> {
  const { model = 'no model', mode = 'no mode', options: { temperature = 1, max_tokens: most = 500 } = {} } = settings;
  const asked = JSON.stringify(messages.at(-1)?.content);
  const text = `${model} as ${mode} at temperature ${temperature} read ${asked} after ${messages.length - 1} messages.`;
  for (const word of text.split(/(?<= )/).slice(0, most)) {
    await pause(WORD_MS);
    yield word;
  }
}

const client = createClient({
  url: options.url,
  kind: 'bot',
  ...(options.token && { getToken: () => options.token }),
});
/** What this copy is at work on: sessions and the ids of answers. */
const working = new Set<string>();
let isStopping = false;

/** Answers in one session. Resolves once it is joined. */
async function serve(sessionId: string): Promise<void> {
  const session = client.session<Settings>(sessionId, { create: true, presence: { name: 'Bot' } });
  const silences = new Map<string, NodeJS.Timeout>();

  const see = (message: Message, isAsked: boolean, settings?: Settings) => {
    if (isAsked && message.role === 'user' && message.author.kind !== 'bot') {
      const replyId = `reply-${message.id}`;
      work(sessionId, replyId, () => reply(session, replyId, message, settings));
    }
    // Each sign of life puts the end of an answer's writer off.
    clearTimeout(silences.get(message.id));
    silences.delete(message.id);
    if (message.status !== 'streaming' || message.metadata?.['inReplyTo'] === undefined) return;
    const silent = () => {
      silences.delete(message.id);
      // Who is cut off hears of nobody.
      if (session.getSnapshot().syncStatus === 'offline') see(message, false);
      else work(sessionId, message.id, () => takeOver(session, message));
    };
    silences.set(message.id, setTimeout(silent, Number(options['takeover-ms'])).unref());
  };
  session.on('message', (commit) => {
    if (!('message' in commit)) return;
    // Commits come in their order: these are the settings that were in force when the message was written.
    see(commit.message, commit.event === 'message:added', session.getSnapshot().confirmed);
  });
  session.on('commit', ({ event }) => event === 'session:deleted' && deleted(sessionId));
  // At the start, and where too much was missed: what nobody has answered since the newest answer.
  session.on('snapshot', () =>
    work(sessionId, 'what was missed', async () => {
      const { messages } = await session.messages();
      const known = messages.findIndex(({ role, status }) => role === 'assistant' && status !== 'streaming');
      const open = messages.slice(0, known < 0 ? undefined : known);
      const replies = new Set(open.map(({ metadata }) => metadata?.['inReplyTo']));
      for (const message of open.toReversed()) see(message, !replies.has(message.id));
    }),
  );
  await session.ready();
}

/** Does what is to be done for an answer, unless it is under way. All of it may be done twice: the ids see to that. */
function work(sessionId: string, id: string, task: () => Promise<void>): void {
  const key = `${sessionId} ${id}`;
  if (isStopping || working.has(key)) return;
  working.add(key);
  const failed = (error: Error) => {
    console.error(`${key}: ${error.message}`);
    // A read that the end of the connection left without an answer, for instance.
    if (!(error instanceof ClientError && error.retry === 'never')) setTimeout(work, AGAIN_MS, sessionId, id, task);
  };
  void task()
    .finally(() => working.delete(key))
    .catch(failed);
}

async function reply(session: Session<Settings>, id: string, question: Message, settings?: Settings): Promise<void> {
  // Every copy adds the same message under the same id: the first one's is added, and all are told whose it is.
  const { author } = await session.addMessage(
    { id, role: 'assistant', content: '', status: 'streaming', metadata: { inReplyTo: question.id } },
    { updateId: `reply:${question.id}` },
  );
  if (author.clientId === client.clientId) await write(session, id, question, settings);
}

async function takeOver(session: Session<Settings>, { id, revision, metadata }: Message): Promise<void> {
  const { messages } = await session.messages();
  const question = messages.find((message) => message.id === metadata?.['inReplyTo']);
  if (!question) return;
  // Every copy waited for what follows this revision: the first to use this id has it, for the others' change is another.
  const change = { metadata: { ...metadata, takenOverBy: client.clientId } };
  const { status } = await session.updateMessage(id, change, { updateId: `${id}:${revision}` });
  if (status === 'streaming') await write(session, id, question);
}

async function write(session: Session<Settings>, id: string, question: Message, known?: Settings): Promise<void> {
  let text = '';
  let storedAt = performance.now();
  let storing: Promise<unknown> | undefined;
  let refusal: Error | undefined;
  const { messages } = await session.messages({ before: question.revision + 1 });
  const settings = known ?? (await settingsAt(session, question.settingsRevision));
  let status: 'complete' | 'error' = 'complete';
  try {
    for await (const word of answer(settings, messages.toReversed())) {
      // Who misses a word has it with what is stored.
      session.signal('token', { messageId: id, at: text.length, text: word }).catch(() => undefined);
      text += word;
      if (refusal) break;
      if (storing || performance.now() - storedAt < STORE_EVERY_MS) continue;
      storedAt = performance.now();
      storing = session
        .updateMessage(id, { content: text, status: 'streaming' })
        .catch((error: Error) => (refusal = error)) // it was deleted, for instance
        .finally(() => (storing = undefined));
    }
  } catch (error) {
    console.error(error);
    status = 'error';
  }
  if (refusal) throw refusal;
  await session.updateMessage(id, { content: text, status });
}

async function settingsAt(session: Session<Settings>, revision: number): Promise<Settings> {
  const { versions } = await session.history({ before: revision + 1, limit: 1 });
  return (versions[0]?.settings ?? {}) as Settings;
}

function deleted(sessionId: string): void {
  console.error(`${sessionId} was deleted`);
  sessionIds.splice(sessionIds.indexOf(sessionId), 1);
  if (sessionIds.length === 0) void stop();
}

async function stop(): Promise<void> {
  if (isStopping) process.exit(1);
  isStopping = true;
  // What is not done by then is taken over.
  const endsAt = performance.now() + STOP_WITHIN_MS;
  while (working.size > 0 && performance.now() < endsAt) await pause(50);
  client.close();
}

function fail(error: Error): never {
  console.error(error.message);
  process.exit(1);
}

if (sessionIds.length === 0) fail(new Error('usage: bot.ts SESSION... [--url URL] [--token TOKEN]'));
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => void stop());
// It reconnects by itself, unless that is of no use: for instance with a token that is refused.
client.on('status', (status) => status === 'disconnected' && client.error && fail(client.error));
await Promise.all(sessionIds.map(serve)).catch(fail);
for (const sessionId of sessionIds) console.log(`answering in ${sessionId} as ${client.clientId}`);
