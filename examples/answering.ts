// How copies of a bot share the work in one session: each question is answered by one of them, and an answer whose writer
// died is written by another. What the answer is, is the bot's.
import { createHash } from 'node:crypto';
import type { Message, Session } from '@attune/client';
import type { Jobs } from './jobs.js';

/** How often what was said so far is stored, milliseconds; the single words are only shown. */
const STORE_EVERY_MS = 1000;

export interface Bot<S> {
  readonly clientId: string;
  /** Yields the answer to the last message piece by piece. */
  readonly answer: (settings: S, messages: readonly Message[]) => AsyncIterable<string>;
  /** Who stored nothing of an answer for so long is given up, milliseconds. */
  readonly takeoverMs: number;
  readonly jobs: Jobs;
}

/** Stands for a message in ids: itself where it fits into one of at most 128 characters, else its SHA-256 in hex. */
const keyOf = (id: string) => (/^[!-~]{1,122}$/.test(id) ? id : createHash('sha256').update(id).digest('hex'));

/** Answers in a session from now on. All that is done may be done twice: the ids see to that. */
export function answerIn<S>(session: Session<S>, bot: Bot<S>): void {
  const silences = new Map<string, NodeJS.Timeout>();
  const start = (what: string, job: () => Promise<void>) => bot.jobs.start(`${session.id} ${what}`, job);

  const see = (message: Message, isAsked: boolean, settings?: S) => {
    const { id, role, author, status, metadata } = message;
    if (isAsked && role === 'user' && author.kind !== 'bot') start(id, () => reply(session, bot, message, settings));
    // Each sign of life puts the end of an answer's writer off.
    clearTimeout(silences.get(id));
    silences.delete(id);
    const questionId = metadata?.['inReplyTo'];
    if (status !== 'streaming' || typeof questionId !== 'string') return;
    const silent = () => {
      silences.delete(id);
      // Who is cut off hears of nobody.
      if (session.getSnapshot().syncStatus === 'offline') see(message, false);
      else start(questionId, () => takeOver(session, bot, message));
    };
    silences.set(id, setTimeout(silent, bot.takeoverMs).unref());
  };

  const catchUp = async () => {
    const { messages } = await session.messages();
    const known = messages.findIndex(({ role, status }) => role === 'assistant' && status !== 'streaming');
    const open = messages.slice(0, known < 0 ? undefined : known);
    const replies = new Set(open.map(({ metadata }) => metadata?.['inReplyTo']));
    for (const message of open.toReversed()) see(message, !replies.has(message.id));
  };

  session.on('message', (commit) => {
    // Commits come in their order: these are the settings that were in force when the message was written.
    if ('message' in commit) see(commit.message, commit.event === 'message:added', session.getSnapshot().confirmed);
  });
  // At the start, and where too much was missed: what nobody has answered since the newest answer. Each by itself, for what
  // one of them reads may be older than the next.
  session.on('snapshot', ({ epoch, revision }) => start(`what was missed before ${epoch}:${revision}`, catchUp));
}

async function reply<S>(session: Session<S>, bot: Bot<S>, question: Message, settings?: S): Promise<void> {
  // Every copy adds the same message under the same id: the first one's is added, and all are told whose it is.
  const key = keyOf(question.id);
  const { id, author } = await session.addMessage(
    { id: `reply-${key}`, role: 'assistant', content: '', status: 'streaming', metadata: { inReplyTo: question.id } },
    { updateId: `reply:${key}` },
  );
  if (author.clientId === bot.clientId) await write(session, bot, id, question, settings);
}

async function takeOver<S>(session: Session<S>, bot: Bot<S>, { id, revision, metadata }: Message): Promise<void> {
  const { messages } = await session.messages();
  const question = messages.find((message) => message.id === metadata?.['inReplyTo']);
  if (!question) return;
  // Every copy waited for what follows this revision: the first to use this id has it, for the others' change is another.
  const change = { metadata: { ...metadata, takenOverBy: bot.clientId } };
  const { status } = await session.updateMessage(id, change, { updateId: keyOf(`${id}:${revision}`) });
  if (status === 'streaming') await write(session, bot, id, question);
}

async function write<S>(session: Session<S>, bot: Bot<S>, id: string, question: Message, known?: S): Promise<void> {
  const { messages } = await session.messages({ before: question.revision + 1 });
  const settings = known ?? (await settingsAt(session, question.settingsRevision));
  let text = '';
  let storedAt = performance.now();
  let storing: Promise<unknown> | undefined;
  let refusal: Error | undefined;
  let status: 'complete' | 'error' = 'complete';
  try {
    for await (const word of bot.answer(settings, messages.toReversed())) {
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

async function settingsAt<S>(session: Session<S>, revision: number): Promise<S> {
  const { versions } = await session.history({ before: revision + 1, limit: 1 });
  return (versions[0]?.settings ?? {}) as S;
}
