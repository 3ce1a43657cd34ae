// Real clients of fault tests, writers and readers, that write down what they did and saw as entries of a history.
// It judges nothing: that is the checker's.
import { setTimeout as delay } from 'node:timers/promises';
import type { Cursor } from '../../client-sdk/protocol/messages.js';
import type { Entry, Fail, Info, Mark, Ok, SessionTruth } from './history-entries.js';
import { editOf, type KnownSession } from './history-edits.js';
import type { Random } from './history-model.js';
import type { Wire } from './shapes.js';
import { connect, type TestSocket } from './socket.js';
import { until } from './until.js';

/** How long a client tries to connect at all, and each time. */
const CONNECT_DEADLINE_MS = 20_000;
const CONNECT_TRY_MS = 2_000;
/** How long one answer may take. */
const ANSWER_DEADLINE_MS = 10_000;
/** Pause before another try where the server names none. */
const RETRY_MS = 20;
/** What of the workload is what: reads, then messages, then settings with `ifRevision`; the rest are patches. */
const READS = 0.1;
const MESSAGES = 0.25;
const GUARDED = 0.45;
/** How often a writer leaves a write alone whose outcome it does not know. */
const ABANDONED = 0.2;

const COMMITS = new Set([
  'settings:updated',
  'message:added',
  'message:updated',
  'message:deleted',
  'session:described',
  'session:cleared',
]);

type Ended = Ok | Fail | Info;
type WithoutTime<E> = E extends Entry ? Omit<E, 'at'> : never;

/** One connection whose every event and answer is written down. */
interface RecordedSocket {
  readonly test: TestSocket;
  readonly name: string;
  /** Sends, and resolves with how it ended; never rejects. */
  call(event: string, request: Wire): Promise<Ended>;
  /** Where it is in a session. */
  readonly cursors: ReadonlyMap<string, Cursor>;
}

/** A writer or a reader at work. */
export interface Client {
  readonly name: string;
  /** Rejects with what ended it before its time. */
  readonly done: Promise<void>;
  /** A writer ends after its request under way, and closes its socket; a reader at once. */
  stop(): Promise<void>;
}

export interface ReaderClient extends Client {
  /** Where it is; undefined while it is not in the session. */
  position(): Cursor | undefined;
  /** Loses its connection. */
  drop(): void;
}

export interface Recorder {
  readonly entries: readonly Entry[];
  mark(what: Mark['what'], text: string): void;
  /** How many writes were answered `ok` so far. */
  okCount(): number;
  /** Opens a session, which has to be a new one. */
  open(url: string, sessionId: string): Promise<void>;
  /** One request after the other, to one of the sessions each; a new connection goes to one of `urls()`. */
  startWriter(options: WriterOptions): Client;
  /** In the session from now on; after a lost connection again with its cursor, `awayMs` later (default 0). */
  startReader(
    options: ClientOptions & { sessionId: string; delivery?: 'every' | 'latest'; awayMs?: number },
  ): ReaderClient;
  /** Joins and leaves a session of its choice again and again, with a cursor where one is given. */
  startJoiner(options: JoinerOptions): Client;
  /** Waits until all readers are where the truth is, at most so long, and marks the end either way. */
  settle(readers: readonly { client: ReaderClient; truth: SessionTruth }[], deadlineMs: number): Promise<void>;
  /** Ends all clients, whatever they do: for afterEach. */
  close(): void;
}

interface ClientOptions {
  name: string;
  /** The nodes that take connections now. */
  urls: () => readonly string[];
}

interface WriterOptions extends ClientOptions {
  /** A session that is named several times is written so many times as often. */
  sessionIds: readonly string[];
  random: Random;
  /** It pauses for up to twice as long after each request, milliseconds; default 0. */
  pauseMs?: number;
  /** It also edits, removes, describes, restores and clears; default false. */
  edits?: boolean;
}

interface JoinerOptions extends ClientOptions {
  sessionIds: readonly string[];
  random: Random;
  /** It stays in the session, and then out of it, for up to twice as long, milliseconds. */
  pauseMs: number;
  /** What it joins with, where it was last in the session. */
  cursor?: (last: Cursor | undefined) => Cursor | undefined;
}

export function createRecorder(): Recorder {
  const entries: Entry[] = [];
  const sockets = new Set<TestSocket>();
  let isClosed = false;
  let connections = 0;
  let attempts = 0;
  let oks = 0;
  const happened = (what: WithoutTime<Entry>): Entry => {
    const entry = { at: process.hrtime.bigint(), ...what } as Entry;
    entries.push(entry);
    return entry;
  };

  async function connected({ name, urls }: ClientOptions): Promise<RecordedSocket> {
    const test = await until(
      async () => {
        if (isClosed) return 'closed';
        const all = urls();
        if (all.length === 0) return false;
        return connect(all[connections++ % all.length]!, { clientId: name }, { timeout: CONNECT_TRY_MS });
      },
      { deadlineMs: CONNECT_DEADLINE_MS, what: `a connection of ${name}` },
    );
    if (test === 'closed') throw new Error(`${name} was to connect and the recorder is closed`);
    sockets.add(test);
    return record(test, `${name}#${connections}`);
  }

  /** From here on all that the socket is sent is written down in the turn in which it comes. */
  function record(test: TestSocket, socket: string): RecordedSocket {
    const { raw } = test;
    const cursors = new Map<string, Cursor>();
    const note = (sessionId: string, { epoch, revision }: Cursor) => cursors.set(sessionId, { epoch, revision });
    happened({ kind: 'connect', socket, node: (raw.io as unknown as { uri: string }).uri });
    raw.onAny((event: string, body: Wire) => {
      if (COMMITS.has(event)) {
        happened({ kind: 'commit', socket, body: { ...body, event } });
        note(body.sessionId, body);
      } else if (event === 'session:snapshot') {
        happened({ kind: 'snapshot', socket, body });
        note(body.sessionId, body.session);
      }
    });
    raw.once('disconnect', () => {
      cursors.clear();
      happened({ kind: 'disconnect', socket });
      sockets.delete(test);
    });
    const call = (event: string, request: Wire): Promise<Ended> =>
      new Promise((resolve) => {
        const attempt = `a${(attempts += 1)}`;
        happened({ kind: 'invoke', socket, attempt, event, request });
        raw.timeout(ANSWER_DEADLINE_MS).emit(event, request, (failure: Error | null, answer: Wire) => {
          const ended = happened(endOf(attempt, failure, answer)) as Ended;
          if (ended.kind === 'ok' && request.updateId !== undefined) oks += 1;
          if (ended.kind === 'ok' && event === 'session:join') note(request.sessionId, answer.session ?? answer);
          resolve(ended);
        });
      });
    return { test, name: socket, call, cursors };
  }

  function startWriter(options: WriterOptions): Client {
    const { name, sessionIds, random, pauseMs = 0, edits = false } = options;
    const known = new Map<string, KnownSession>();
    let isStopped = false;
    let count = 0;
    let socket: RecordedSocket | undefined;
    const next = (): [event: string, request: Wire] => {
      const sessionId = sessionIds[Math.floor(random() * sessionIds.length)]!;
      const what = random();
      if (what < READS) return ['session:get', { sessionId }];
      count += 1;
      const updateId = `${name}-${count}`;
      const edit = edits && known.has(sessionId) ? editOf(random, updateId, known.get(sessionId)!) : undefined;
      if (edit) return [edit[0], { sessionId, updateId, ...edit[1] }];
      const message = { id: updateId, role: 'user', content: `${name} says ${count}` };
      if (what < MESSAGES) return ['message:add', { sessionId, updateId, message }];
      const seen = known.get(sessionId)?.settingsRevision;
      const guard = what < GUARDED && seen !== undefined ? { ifRevision: seen } : {};
      return ['settings:update', { sessionId, updateId, merge: { [name]: count }, ...guard }];
    };
    const learn = (sessionId: string, event: string, ended: Ended) => {
      const answer = ended.kind === 'ok' ? ended.answer : ended.kind === 'fail' ? ended.error.details : undefined;
      const { messageIds = [], settingsRevision } = known.get(sessionId) ?? {};
      const seen = answer?.settingsRevision ?? answer?.session?.settingsRevision;
      if (event === 'message:add' && answer?.message) messageIds.push(answer.message.id);
      known.set(sessionId, { messageIds, settingsRevision: seen ?? settingsRevision });
    };
    const run = async () => {
      while (!isStopped) {
        const [event, request] = next();
        for (;;) {
          if (!socket?.test.raw.connected) socket = await connected(options);
          const ended = await socket.call(event, request);
          learn(request.sessionId, event, ended);
          if (ended.kind === 'fail') await delay(ended.error.retryAfterMs ?? 0);
          if (ended.kind !== 'info' || request.updateId === undefined || isClosed || random() < ABANDONED) break;
          await delay(RETRY_MS);
        }
        if (pauseMs > 0) await delay(2 * pauseMs * random());
      }
      socket?.test.close();
    };
    return clientOf(name, run(), () => (isStopped = true));
  }

  function startReader(
    options: ClientOptions & { sessionId: string; delivery?: 'every' | 'latest'; awayMs?: number },
  ): ReaderClient {
    const { name, sessionId, delivery = 'every', awayMs = 0 } = options;
    let isStopped = false;
    let socket: RecordedSocket | undefined;
    let last: Cursor | undefined;
    const position = () => socket?.cursors.get(sessionId);
    const run = async () => {
      while (!isStopped) {
        socket = await connected(options);
        const { raw } = socket.test;
        // A session that ended may be made again: it goes there with what it has.
        raw.once('session:deleted', () => raw.disconnect());
        const lost = new Promise<void>((resolve) => void raw.once('disconnect', () => resolve()));
        const ended = await socket.call('session:join', { sessionId, delivery, ...(last && { cursor: last }) });
        raw.onAny(() => (last = position() ?? last));
        last = position() ?? last;
        if (ended.kind !== 'ok') {
          socket.test.close();
          await delay(RETRY_MS);
        } else if (raw.connected && !isStopped) {
          await lost;
          await delay(awayMs);
        }
      }
    };
    const client = clientOf(name, run(), () => {
      isStopped = true;
      socket?.test.close();
    });
    return { ...client, position, drop: () => socket?.test.close() };
  }

  function startJoiner(options: JoinerOptions): Client {
    const { name, sessionIds, random, pauseMs, cursor: cursorOf } = options;
    const last = new Map<string, Cursor>();
    let isStopped = false;
    const run = async () => {
      let socket: RecordedSocket | undefined;
      while (!isStopped) {
        if (!socket?.test.raw.connected) socket = await connected(options);
        const sessionId = sessionIds[Math.floor(random() * sessionIds.length)]!;
        const cursor = cursorOf?.(last.get(sessionId));
        await socket.call('session:join', { sessionId, ...(cursor && { cursor }) });
        await delay(2 * pauseMs * random());
        const at = socket.cursors.get(sessionId);
        if (at) last.set(sessionId, at);
        await socket.call('session:leave', { sessionId });
        await delay(2 * pauseMs * random());
      }
      socket?.test.close();
    };
    return clientOf(name, run(), () => (isStopped = true));
  }

  return {
    entries,
    mark: (what, text) => void happened({ kind: 'mark', what, text }),
    okCount: () => oks,
    async open(url, sessionId) {
      const socket = await connected({ name: 'opener', urls: () => [url] });
      const ended = await socket.call('session:open', { sessionId, updateId: `open-${sessionId}-${connections}` });
      socket.test.close();
      if (ended.kind !== 'ok' || !ended.answer.created) throw new Error(`${sessionId} was not opened: ${ended.kind}`);
    },
    startWriter,
    startReader,
    startJoiner,
    async settle(readers, deadlineMs) {
      const isThere = ({ client, truth }: (typeof readers)[number]) => {
        const { epoch, revision } = client.position() ?? {};
        return epoch === truth.epoch && revision === truth.stream.at(-1)?.revision;
      };
      const waited = until(() => readers.every(isThere), { deadlineMs, what: 'all readers' });
      // Who is not there is the checker's to tell.
      await waited.catch(() => undefined);
      happened({ kind: 'mark', what: 'end', text: 'nobody writes any more' });
    },
    close() {
      isClosed = true;
      for (const socket of sockets) socket.close();
    },
  };
}

function endOf(attempt: string, failure: Error | null, answer: Wire): WithoutTime<Ended> {
  if (failure) return { kind: 'info', attempt, why: failure.message };
  if (answer.ok) return { kind: 'ok', attempt, answer };
  if (answer.error.outcome !== 'not-committed') return { kind: 'info', attempt, why: answer.error.code };
  return { kind: 'fail', attempt, error: answer.error };
}

function clientOf(name: string, done: Promise<void>, end: () => void): Client {
  done.catch(() => undefined);
  return {
    name,
    done,
    async stop() {
      end();
      await done;
    },
  };
}
