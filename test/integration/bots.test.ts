// The example bots against a real server: each as a process of its own, seen by a tab that asks.
import { expect } from 'chai';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { delimiter, dirname, join } from 'node:path';
import { Server } from 'socket.io';
import { projectDir, startAttune, type Attune } from '../support/attune.js';
import {
  botNames,
  endBots,
  pythonWithModules,
  runBot,
  startBot,
  startCommand,
  type Bot,
  type BotName,
} from '../support/bot.js';
import { exited } from '../support/child.js';
import { freshId, type Wire } from '../support/shapes.js';
import { closeSockets, connect, type TestSocket } from '../support/socket.js';
import { until } from '../support/until.js';

const ANSWER_DEADLINE_MS = 15_000;
/** After so long without a word a writer is given up, milliseconds: more than the bots' second between two stores. */
const TAKEOVER_MS = 2000;
const takeover = ['--takeover-ms', String(TAKEOVER_MS)];
/** Those that stream, and have copies that look after each other. */
const streaming = ['bot.ts', 'bot.py'] as const;
/** A question that takes seconds to answer. */
const long = Array.from({ length: 45 }, (_, n) => `word${n}`).join(' ');

/** Does it with each of these bots at once, for most of it is waiting; an error says of which bot it is. */
async function eachOf<N extends BotName>(names: readonly N[], work: (name: N) => Promise<void>): Promise<void> {
  const failed = (name: N) => (error: Error) => {
    throw new Error(`${name}: ${error.message}`, { cause: error });
  };
  await Promise.all(names.map((name) => work(name).catch(failed(name))));
}

/** A tab that asks. */
class Tab {
  readonly socket: TestSocket;
  readonly sessionId: string;

  constructor(socket: TestSocket, sessionId: string) {
    this.socket = socket;
    this.sessionId = sessionId;
  }

  async ask(content: string, more: Wire = {}): Promise<string> {
    const { sessionId } = this;
    const { message } = await this.socket.ok('message:add', { sessionId, message: { role: 'user', content, ...more } });
    return message.id as string;
  }

  set = (merge: Wire) => this.socket.ok('settings:update', { sessionId: this.sessionId, merge });

  /** What the room saw of the answer to a message, oldest first. */
  seen(questionId: string): Wire[] {
    return [...this.socket.bodies('message:added'), ...this.socket.bodies('message:updated')]
      .filter(({ message }) => message.metadata?.inReplyTo === questionId)
      .toSorted((a, b) => a.revision - b.revision)
      .map(({ message }) => message);
  }

  /** The answer once it is complete. */
  async answered(questionId: string): Promise<Wire> {
    const last = () => this.seen(questionId).at(-1);
    const isDone = () => last()?.status !== undefined && last().status !== 'streaming' && last();
    const reply = await until(isDone, { deadlineMs: ANSWER_DEADLINE_MS, what: `the answer to ${questionId}` });
    expect(reply).to.deep.include({ role: 'assistant', status: 'complete' });
    expect(reply.metadata.inReplyTo).to.equal(questionId);
    return reply;
  }

  /** Every message of the session that is no question, oldest first. */
  async replies(): Promise<Wire[]> {
    const { messages } = await this.socket.ok('message:list', { sessionId: this.sessionId, limit: 500 });
    return messages.filter(({ role }: Wire) => role === 'assistant').toReversed();
  }
}

describe('the example bots', function () {
  this.timeout(60_000);
  let server: Attune;
  before(async () => {
    server = await startAttune();
  });
  after(() => server?.destroy());
  afterEach(endBots);
  afterEach(closeSockets);

  async function opened(settings: Wire = { model: 'm-1', mode: 'poet', options: { temperature: 0.3 } }): Promise<Tab> {
    const socket = await connect(server.url, { clientId: 'tab' });
    const { session } = await socket.ok('session:open', { sessionId: freshId('bots'), settings });
    await socket.ok('session:join', { sessionId: session.id });
    return new Tab(socket, session.id as string);
  }
  const start = (name: BotName, tab: Tab, args: string[] = []): Promise<Bot> =>
    startBot(name, server.url, tab.sessionId, args);

  it('[BT1] each answers what a user wrote, with what the settings say', () =>
    eachOf(botNames, async (name) => {
      const tab = await opened();
      await start(name, tab);
      const reply = await tab.answered(await tab.ask('Hello "you" \u{1f600}\n<b>'));
      expect(reply.content).to.match(/^m-1 as poet at temperature 0\.3 read "Hello \\"you\\" \u{1f600}\\n<b>"/u);
      await tab.set({ options: { max_tokens: 4 } });
      expect((await tab.answered(await tab.ask('again'))).content.trim()).to.equal('m-1 as poet at');
    }));

  it('[BT2] each obeys the settings that were in force when the message was written', () =>
    eachOf(botNames, async (name) => {
      const tab = await opened();
      await start(name, tab);
      const asked: string[] = [];
      const writes: Promise<unknown>[] = [];
      // One socket's writes are decided in order: between any two questions stands exactly one change.
      for (let n = 0; n < 5; n += 1) {
        writes.push(tab.set({ model: `m-${n}`, mode: `mode-${n}` }));
        asked.push(`ask-${n}`);
        writes.push(tab.ask('which?', { id: `ask-${n}` }));
      }
      writes.push(tab.set({ model: 'too late' }));
      await Promise.all(writes);
      for (const [n, id] of asked.entries()) {
        expect((await tab.answered(id)).content).to.match(new RegExp(`^m-${n} as mode-${n} at`));
      }
    }));

  it('[BT3] each answers no bot, and nothing but what users write', () =>
    eachOf(botNames, async (name) => {
      const tab = await opened();
      await start(name, tab);
      const bot = new Tab(await connect(server.url, { clientId: 'other', kind: 'bot' }), tab.sessionId);
      const others = [await bot.ask('from a bot')];
      for (const role of ['assistant', 'system', 'tool']) others.push(await tab.ask('not from a user', { role }));
      // Commits are answered in order or at once: when this has its answer, those before would have theirs begun.
      const id = await tab.ask('from a user');
      await tab.answered(id);
      expect((await tab.replies()).map((reply) => reply.id)).to.deep.equal([others[1], `reply-${id}`]);
    }));

  it('[BT4] of two copies of each one answers each message, once', () =>
    eachOf(botNames, async (name) => {
      const tab = await opened();
      const bots = await Promise.all([start(name, tab), start(name, tab)]);
      const ids: string[] = [];
      for (let n = 0; n < 8; n += 1) ids.push(await tab.ask(`question ${n}`));
      for (const id of ids) {
        await tab.answered(id);
        const seen = tab.seen(id);
        // One writer: added once, and every change by who added it.
        expect(new Set(seen.map(({ author }) => author.clientId))).to.have.property('size', 1);
        expect(seen.filter(({ status }) => status === 'complete')).to.have.length(1);
      }
      const replies = await tab.replies();
      expect(replies.map(({ id }) => id)).to.have.members(ids.map((id) => `reply-${id}`));
      if (name !== 'bot.sh') {
        for (const { author } of replies) expect(bots.map(({ clientId }) => clientId)).to.include(author.clientId);
      }
    }));

  it('[BT5] each goes on after its server was killed, and answers what was asked meanwhile', async () => {
    let own = await startAttune();
    const { dataDir, port } = own;
    const dead = own;
    const ids: Record<string, string> = Object.fromEntries(botNames.map((name) => [name, freshId('bots')]));
    const joined = async (name: BotName) => {
      const socket = await connect(own.url);
      await socket.ok('session:join', { sessionId: ids[name], create: true });
      return new Tab(socket, ids[name]!);
    };
    try {
      await eachOf(botNames, async (name) => {
        const before = await joined(name);
        await startBot(name, own.url, before.sessionId);
        await before.answered(await before.ask('before'));
      });
      await own.kill();
      own = await startAttune({ dataDir, env: { PORT: String(port) } });
      await eachOf(botNames, async (name) => {
        const after = await joined(name);
        await after.answered(await after.ask('as soon as it is back'));
        await after.answered(await after.ask('later'));
        expect(await after.replies()).to.have.length(3);
      });
    } finally {
      await own.destroy();
      await dead.destroy();
    }
  });

  it('[BT6] each that has no right to answer says so and ends with 1', async () => {
    const own = await startAttune({ env: { AUTH_SECRET: 'a secret of tests that is long enough' } });
    try {
      await eachOf(botNames, async (name) => {
        const { status, output } = await runBot(name, own.url, 'demo', { BOT_TOKEN: 'none' });
        expect(output).to.match(name === 'bot.sh' ? /401/ : /token/i);
        expect(status).to.equal(1);
      });
    } finally {
      await own.destroy();
    }
  });

  it('[BT14] each whose only session is deleted says so and ends with 0', () =>
    eachOf(botNames, async (name) => {
      const tab = await opened();
      const bot = await start(name, tab);
      await tab.answered(await tab.ask('last words'));
      await tab.socket.ok('session:delete', { sessionId: tab.sessionId });
      expect(await exited(bot.process, ANSWER_DEADLINE_MS), bot.output()).to.equal(0);
      expect(bot.output()).to.include(`${tab.sessionId} was deleted`);
    }));

  it('[BT16] each answers a message of 200,000 characters, of which it quotes the beginning', () =>
    eachOf(botNames, async (name) => {
      const tab = await opened();
      await start(name, tab);
      const { content } = await tab.answered(await tab.ask(`\u{1f600}${'"x'.repeat(100_000)}`));
      expect(content).to.match(/^m-1 as poet at temperature 0\.3 read "\u{1f600}(\\"x){332}\\"/u);
      expect(content.length).to.be.below(2000);
    }));

  it('[BT17] each answers messages of any ids, and answers to the same message have the same id', () =>
    eachOf(botNames, async (name) => {
      const tab = await opened();
      await start(name, tab);
      const fitting = ['a', 'b-2', '"q"', `${'x'.repeat(121)}!`];
      const others = ['x'.repeat(123), '\u{1f600}'.repeat(64), 'two words', 'a\n', ' line\r\nX: y'];
      for (const id of [...fitting, ...others]) await tab.ask('Hello', { id });
      for (const id of [...fitting, ...others]) await tab.answered(id);
      const hash = (id: string) => createHash('sha256').update(id).digest('hex');
      const replies = await tab.replies();
      expect(replies.map(({ id }) => id)).to.have.members(
        [...fitting, ...others.map(hash)].map((key) => `reply-${key}`),
      );
    }));

  it('[BT18] what a snapshot tells of while a bot is still catching up is answered, too', () =>
    eachOf(streaming, async (name) => {
      const gapped = await serverWithGap();
      try {
        await startBot(name, gapped.url, 'gap');
        expect(await until(gapped.added, { what: 'an answer' })).to.include({ role: 'assistant', id: 'reply-missed' });
      } finally {
        await gapped.close();
      }
    }));

  it('[BT7] each that streams lets the answer grow while each word is signalled, and completes it', () =>
    eachOf(streaming, async (name) => {
      const tab = await opened();
      await start(name, tab);
      const id = await tab.ask(long);
      const reply = await tab.answered(id);
      const [first, ...later] = tab.seen(id);
      expect(first).to.include({ status: 'streaming', content: '' });
      expect(later.slice(0, -1).length, 'stored in between').to.be.above(0);
      for (const { status, content } of later.slice(0, -1)) {
        expect(status).to.equal('streaming');
        expect(reply.content.startsWith(content)).to.equal(true);
      }
      const tokens = await until(() => {
        const all = tab.socket.bodies('signal');
        return all.map(({ data }) => data.text).join('') === reply.content && all;
      });
      expect(tokens.length).to.be.above(45);
      for (const { type, data, from } of tokens) {
        expect(type).to.equal('token');
        expect(data.messageId).to.equal(reply.id);
        expect(reply.content.slice(data.at, data.at + data.text.length)).to.equal(data.text);
        expect(from.kind).to.equal('bot');
      }
    }));

  it('[BT15] one of each that streams answers in several sessions, also where their messages have the same ids', () =>
    eachOf(streaming, async (name) => {
      const tabs = [await opened({ model: 'left' }), await opened({ model: 'right' })] as const;
      await startBot(name, server.url, tabs[0].sessionId, [tabs[1].sessionId]);
      await Promise.all(tabs.map((tab) => tab.ask('which?', { id: 'same' })));
      const [left, right] = await Promise.all(tabs.map((tab) => tab.answered('same')));
      expect(left.content).to.match(/^left as/);
      expect(right.content).to.match(/^right as/);
    }));

  it('[BT8] the answer of one that was killed is written by another copy, with the settings of its question', () =>
    eachOf(streaming, async (name) => {
      const tab = await opened();
      const bots = await Promise.all([start(name, tab, takeover), start(name, tab, takeover)]);
      const id = await tab.ask(long, { id: 'q'.repeat(120) });
      await tab.set({ model: 'too late' });
      const reply = await until(() => tab.seen(id)[0], { what: 'an answer that was begun' });
      const writer = bots.find(({ clientId }) => clientId === reply.author.clientId);
      await writer!.end('SIGKILL');
      const { content, metadata } = await tab.answered(id);
      expect(content)
        .to.match(/^m-1 as poet at/)
        .and.include(JSON.stringify(long));
      expect(metadata.takenOverBy).to.equal(bots.find((bot) => bot !== writer)?.clientId);
      expect(await tab.replies()).to.have.length(1);
    }));

  it('[BT9] each that streams answers at its start what nobody answered, and what another left unfinished', () =>
    eachOf(streaming, async (name) => {
      const tab = await opened();
      const old = await tab.ask('answered long ago');
      await tab.ask('so it was', { role: 'assistant' });
      const ids = [await tab.ask('first'), await tab.ask('second'), await tab.ask('third')];
      await tab.ask('', {
        id: `reply-${ids[1]}`,
        role: 'assistant',
        status: 'streaming',
        metadata: { inReplyTo: ids[1] },
      });
      await start(name, tab, takeover);
      for (const id of ids) await tab.answered(id);
      expect(tab.seen(old)).to.deep.equal([]);
      expect(await tab.replies()).to.have.length(4);
    }));

  it('[BT10] each that streams finishes its answer when it is stopped, takes no new one, and ends with 0', () =>
    eachOf(streaming, async (name) => {
      const tab = await opened();
      const bot = await start(name, tab);
      const id = await tab.ask(long);
      await until(() => tab.seen(id).length > 0);
      const stopped = bot.end('SIGTERM');
      // Its answer takes a second longer than this: what is asked now comes after the signal.
      await until(() => tab.seen(id).length > 1);
      const late = await tab.ask('too late');
      expect(await stopped, bot.output()).to.equal(0);
      expect((await tab.answered(id)).content).to.include(JSON.stringify(long));
      expect(tab.seen(late)).to.deep.equal([]);
    }));

  it('[BT11] bots of all kinds answer once together', async () => {
    const tab = await opened();
    await Promise.all(botNames.map((name) => start(name, tab)));
    const ids: string[] = [];
    for (let n = 0; n < 8; n += 1) ids.push(await tab.ask(`question ${n}`));
    for (const id of ids) expect((await tab.answered(id)).content).to.match(/^m-1 as poet at temperature 0\.3 read/);
    expect((await tab.replies()).map(({ id }) => id)).to.have.members(ids.map((id) => `reply-${id}`));
  });

  describe('their README', () => {
    const readme = readFileSync(join(projectDir, 'examples/README.md'), 'utf8');
    const lines = [...readme.matchAll(/^```sh\n([^\n]+)\n```$/gm)].map((match) => match[1]!);

    it('[BT12] has one command for each bot, which starts it', async () => {
      expect(lines.map((line) => /examples\/(bot\.\w+)/.exec(line)?.[1])).to.deep.equal(botNames);
      // The system's packages are for the system's own Python.
      const PATH = `${dirname(pythonWithModules())}${delimiter}${process.env['PATH']}`;
      // One after the other, for each is in the session `demo`.
      for (const line of lines) {
        const bot = await startCommand(['bash', '-c', line], { ATTUNE_URL: server.url, PATH });
        const tab = new Tab(await connect(server.url), 'demo');
        await tab.socket.ok('session:join', { sessionId: 'demo' });
        await tab.answered(await tab.ask('Hello'));
        await bot.end('SIGKILL');
      }
    });
  });
});

/**
 * A server that sends a snapshot while the bot's first read is under way: that read finds nothing, the next one a question
 * named `missed`. `added` is what the bot adds then.
 */
async function serverWithGap() {
  let added: Wire = undefined;
  const http = createServer();
  const io = new Server(http);
  const by = { userId: 'anonymous', clientId: 'tab', kind: 'tab' };
  const session = { id: 'gap', epoch: 'e', revision: 1, settingsRevision: 1, settings: {} };
  const missed = { id: 'missed', revision: 2, settingsRevision: 1, role: 'user', content: 'Hello', status: 'complete' };
  io.on('connection', (socket) => {
    let reads = 0;
    socket.on('session:join', (_request, answer) => answer({ ok: true, session, created: false, participants: [] }));
    socket.on('message:list', (_request, answer) => {
      reads += 1;
      if (reads > 1) return answer({ ok: true, messages: [{ ...missed, author: by }] });
      socket.emit('session:snapshot', { sessionId: 'gap', session: { ...session, revision: 2 }, reason: 'gap' });
      // Socket.IO keeps the order: this reaches the bot after the snapshot did.
      answer({ ok: true, messages: [] });
    });
    socket.on('settings:history', (_request, answer) => answer({ ok: true, versions: [] }));
    socket.on('message:add', ({ message }, answer) => {
      added = message as Wire;
      answer({ ok: false, error: { code: 'FORBIDDEN', message: 'enough', retry: 'never', outcome: 'not-committed' } });
    });
  });
  await new Promise<void>((done) => http.listen(0, '127.0.0.1', done));
  const url = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
  return { url, added: () => added, close: () => io.close() };
}
