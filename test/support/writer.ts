// Writers of fault tests: each writes values of its own under update ids of its own, tries again under the same id what
// did not end for certain, and keeps an account of what it was told. It never drops an update that may have happened.
import { setTimeout as delay } from 'node:timers/promises';
import type { Wire } from './shapes.js';
import { connect, type TestSocket } from './socket.js';
import { until } from './until.js';

/** How long a writer tries to connect. */
const CONNECT_DEADLINE_MS = 15_000;
/** How long one answer may take. */
const ANSWER_DEADLINE_MS = 10_000;
/** Pause between two looks at the writers. */
const POLL_MS = 2;
/** Pause before an update is tried again where the server names none. */
const RETRY_MS = 20;

export interface Write {
  readonly updateId: string;
  readonly value: number;
  /** Every answer, an error's code or `no answer`, in order; the last is `ok` where it was acknowledged. */
  readonly told: string[];
  /** The acknowledgement. */
  ack: Wire;
}

export interface Writer {
  /** Names its key in the settings and its clientId. */
  readonly name: string;
  readonly writes: readonly Write[];
  /** Those acknowledged, in the form that expectAcknowledged() takes. */
  acknowledged(): { updateId: string; revision: number; holds: (body: Wire) => boolean }[];
  /** The newest acknowledged value of its key in the settings, 0 for none. */
  newest(): number;
  /** How many updates some answer left unknown for a time. */
  unknown(): number;
  /** Throws what ended the writer, where something did. */
  check(): void;
  /** Ends after the update under way was acknowledged, and closes its socket; rejects where the writer failed. */
  stop(): Promise<void>;
}

const open = new Set<() => void>();

/** Ends every writer that was not stopped, whatever became of its update: for afterEach. */
export function abandonWriters(): void {
  for (const abandon of open) abandon();
  open.clear();
}

/**
 * Starts a writer: one update after the other, each `{ merge: { [name]: value } }` or, every third, a message with the
 * value in it. `url` is asked for each connection: another one after a server was lost.
 */
export function startWriter(options: {
  name: string;
  sessionId: string;
  url: () => string;
  /** No messages: every update can be committed without a read before. */
  settingsOnly?: boolean;
}): Writer {
  const { name, sessionId, url, settingsOnly = false } = options;
  const isMessage = (value: number) => value % 3 === 0 && !settingsOnly;
  const writes: Write[] = [];
  let stopped = false;
  let abandoned = false;
  let socket: TestSocket | undefined;

  const connected = async (): Promise<TestSocket> => {
    if (socket?.raw.connected) return socket;
    socket?.close();
    socket = undefined;
    const open = () => connect(url(), { clientId: name }, { timeout: 2000 });
    socket = await until(open, { deadlineMs: CONNECT_DEADLINE_MS, what: `a connection of ${name}` });
    return socket;
  };
  const once = async (write: Write): Promise<void> => {
    const [event, body] = requestOf(name, write, isMessage(write.value));
    try {
      const answer = await (await connected()).call(event, { sessionId, ...body }, ANSWER_DEADLINE_MS);
      write.told.push(answer.ok ? 'ok' : answer.error.code);
      if (answer.ok) write.ack = answer;
      else if (!['after-delay', 'same-id'].includes(answer.error.retry)) {
        throw new RefusedError(`${name} was refused: ${JSON.stringify(answer.error)}`);
      } else await delay(answer.error.retryAfterMs ?? RETRY_MS);
    } catch (error) {
      if (error instanceof RefusedError || socket === undefined) throw error;
      write.told.push('no answer');
    }
  };
  const running = (async () => {
    for (let value = 1; !stopped; value += 1) {
      const write: Write = { updateId: `${name}-${value}`, value, told: [], ack: undefined };
      writes.push(write);
      while (write.ack === undefined && !abandoned) await once(write);
    }
  })();
  let failure: unknown;
  running.catch((error: unknown) => {
    failure = error;
  });
  const abandon = () => {
    stopped = abandoned = true;
    socket?.close();
  };
  open.add(abandon);

  return {
    name,
    writes,
    acknowledged: () =>
      writes
        .filter(({ ack }) => ack !== undefined)
        .map(({ updateId, value, ack }) => ({
          updateId,
          revision: ack.revision,
          holds: (body) => holds(name, value, isMessage(value), body),
        })),
    check() {
      if (failure !== undefined) throw failure;
    },
    newest: () => Math.max(0, ...writes.filter(({ value, ack }) => ack && !isMessage(value)).map(({ value }) => value)),
    unknown: () => writes.filter(({ told }) => told.some((one) => UNKNOWN.has(one))).length,
    async stop() {
      stopped = true;
      try {
        await running;
      } finally {
        abandon();
        open.delete(abandon);
      }
    },
  };
}

const UNKNOWN = new Set(['OUTCOME_UNKNOWN', 'INTERNAL', 'no answer']);

class RefusedError extends Error {}

function requestOf(name: string, { updateId, value }: Write, isMessage: boolean): [string, Wire] {
  if (!isMessage) return ['settings:update', { updateId, merge: { [name]: value } }];
  const message = { id: updateId, role: 'user', content: `${name} says ${value}` };
  return ['message:add', { updateId, message }];
}

function holds(name: string, value: number, isMessage: boolean, body: Wire): boolean {
  if (isMessage) return body.event === 'message:added' && body.message.content === `${name} says ${value}`;
  return body.event === 'settings:updated' && body.settings[name] === value;
}

/** The newest value that each writer's acknowledged settings updates left, by its name. */
export function finalValues(writers: readonly Writer[]): Record<string, number> {
  return Object.fromEntries(writers.map((writer) => [writer.name, writer.newest()]));
}

/** Resolves when the writers together have had `more` further acknowledgements; rejects after the deadline. */
export async function acknowledgements(writers: readonly Writer[], more: number, deadlineMs = 15_000): Promise<void> {
  const count = () => writers.reduce((sum, { writes }) => sum + writes.length, 0);
  const goal = count() + more;
  const endsAt = performance.now() + deadlineMs;
  while (count() < goal) {
    for (const writer of writers) writer.check();
    if (performance.now() > endsAt) throw new Error(`${goal - count()} of ${more} acknowledgements did not come`);
    await delay(POLL_MS);
  }
}
