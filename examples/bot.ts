// A chat bot to copy, with the two files beside it: put your model into `answer`. Any number of copies may run: each message
// is answered by one of them, and an answer whose writer died is written by another. It never answers a bot.
// Start it with: npx tsx examples/bot.ts SESSION... [--url URL] [--token TOKEN]
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { createClient, type Message } from '@attune/client';
import { answerIn } from './answering.js';
import { createJobs } from './jobs.js';

/** What this bot obeys of a session's settings. */
type Settings = { model?: string; mode?: string; options?: { temperature?: number; max_tokens?: number } };

/** Pause between two words, milliseconds. */
const WORD_MS = 40;
/** Characters of a message that the answer quotes. */
const QUOTED_CHARS = 1000;

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
  const asked = Array.from(JSON.stringify(messages.at(-1)?.content))
    .slice(0, QUOTED_CHARS)
    .join('');
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
const jobs = createJobs();
const bot = { clientId: client.clientId, answer, takeoverMs: Number(options['takeover-ms']), jobs };
let isStopping = false;

/** Answers in one session. Resolves once it is joined. */
async function serve(sessionId: string): Promise<void> {
  const session = client.session<Settings>(sessionId, { create: true, presence: { name: 'Bot' } });
  answerIn(session, bot);
  session.on('commit', ({ event }) => event === 'session:deleted' && deleted(sessionId));
  await session.ready();
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
  await jobs.stop();
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
