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
  /** The values of the acknowledged and those that some answer left unknown, for counts. */
  unknown(): number;
  /** Ends after the update under way was acknowledged, and closes its socket; rejects where the writer failed. */
  stop(): Promise<void>;
}

/**
 * Starts a writer: one update after the other, each `{ merge: { [name]: value } }` or, every third, a message with the
 * value in it. `url` is asked for each connection: another one after a server was lost.
 */
export function startWriter(options: {
  name: string;
  sessionId: string;
  url: () => string;
  /** Called for each acknowledgement. */
  acknowledged?: () => void;
}): Writer {
  const { name, sessionId, url } = options;
  const writes: Write[] = [];
  let stopped = false;
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
    const [event, body] = requestOf(name, write);
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
      while (write.ack === undefined) await once(write);
      options.acknowledged?.();
    }
  })();
  running.catch(() => undefined);

  return {
    name,
    writes,
    acknowledged: () =>
      writes
        .filter(({ ack }) => ack !== undefined)
        .map(({ updateId, value, ack }) => ({
          updateId,
          revision: ack.revision,
          holds: (body) => holds(name, value, body),
        })),
    unknown: () => writes.filter(({ told }) => told.some((one) => UNKNOWN.has(one))).length,
    async stop() {
      stopped = true;
      try {
        await running;
      } finally {
        socket?.close();
      }
    },
  };
}

const UNKNOWN = new Set(['OUTCOME_UNKNOWN', 'INTERNAL', 'no answer']);

class RefusedError extends Error {}

const isMessage = (value: number) => value % 3 === 0;

function requestOf(name: string, { updateId, value }: Write): [string, Wire] {
  if (!isMessage(value)) return ['settings:update', { updateId, merge: { [name]: value } }];
  const message = { id: updateId, role: 'user', content: `${name} says ${value}` };
  return ['message:add', { updateId, message }];
}

function holds(name: string, value: number, body: Wire): boolean {
  if (isMessage(value)) return body.event === 'message:added' && body.message.content === `${name} says ${value}`;
  return body.event === 'settings:updated' && body.settings[name] === value;
}

/** The newest value that each writer's acknowledged settings updates left, by its name. */
export function finalValues(writers: readonly Writer[]): Record<string, number> {
  return Object.fromEntries(
    writers.map(({ name, writes }) => [
      name,
      Math.max(0, ...writes.filter(({ value, ack }) => ack !== undefined && !isMessage(value)).map((w) => w.value)),
    ]),
  );
}

/** Resolves when the writers together have had `more` further acknowledgements; rejects after the deadline. */
export async function acknowledgements(writers: readonly Writer[], more: number, deadlineMs = 15_000): Promise<void> {
  const count = () => writers.reduce((sum, { writes }) => sum + writes.length, 0);
  const goal = count() + more;
  await until(() => count() >= goal, { deadlineMs, everyMs: 2, what: `${more} more acknowledgements` });
}
