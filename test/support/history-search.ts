// A search for an order that explains short histories of one session, after Wing and Gong. It knows neither log
// nor invariants: it tries. Exponential; for a dozen requests or so.
import { isDeepStrictEqual } from 'node:util';
import type { Entry, Nanoseconds } from './history-entries.js';
import type { Wire } from './shapes.js';

/** A request, the time in which it took effect, and what was said of it. */
interface Operation {
  event: string;
  request: Wire;
  from: Nanoseconds;
  /** Absent where it may have taken effect at any later time, or never. */
  to: Nanoseconds | undefined;
  /** The acknowledgement or the error; undefined where nothing was said. */
  answer: Wire;
}

/** A session as one machine would keep it. */
interface Register {
  revision: number;
  settingsRevision: number;
  settings: Wire;
  messageCount: number;
  /** What each update was answered, by its id. */
  done: Readonly<Record<string, Wire>>;
}

/**
 * Whether some order of the requests that keeps to real time gives each the answer it had. The history is of one session
 * that begins at revision 1 with `settings`: writes by merge, with `ifRevision` or without, new messages, and reads.
 */
export function isLinearizable(history: readonly Entry[], settings: Wire): boolean {
  const operations = operationsOf(history);
  const tried = new Set<string>();
  const search = (left: readonly Operation[], register: Register): boolean => {
    if (left.every(({ to }) => to === undefined)) return true;
    const key = JSON.stringify([left.map((one) => operations.indexOf(one)), register]);
    if (tried.has(key)) return false;
    tried.add(key);
    const first = left.reduce<Nanoseconds | undefined>((min, { to }) => {
      return to !== undefined && (min === undefined || to < min) ? to : min;
    }, undefined);
    // What began after another had ended cannot be before it.
    const next = left.filter(({ from }) => first === undefined || from <= first);
    return next.some((one) => {
      const after = step(register, one);
      const others = left.filter((other) => other !== one);
      return after !== undefined && search(others, after);
    });
  };
  return search(operations, { revision: 1, settingsRevision: 1, settings, messageCount: 0, done: {} });
}

function operationsOf(history: readonly Entry[]): Operation[] {
  const operations = new Map<string, Operation>();
  for (const entry of history) {
    if (entry.kind !== 'invoke' || !['settings:update', 'message:add', 'session:get'].includes(entry.event)) continue;
    const { attempt, event, request, at } = entry;
    operations.set(attempt, { event, request, from: at, to: undefined, answer: undefined });
  }
  for (const entry of history) {
    if (entry.kind !== 'ok' && entry.kind !== 'fail') continue;
    const operation = operations.get(entry.attempt);
    if (operation) Object.assign(operation, { to: entry.at, answer: entry.kind === 'ok' ? entry.answer : entry });
  }
  return [...operations.values()];
}

/** The register after the request, undefined where the answer is not what one would have had here. */
function step(register: Register, { event, request, answer }: Operation): Register | undefined {
  const { revision, settingsRevision, settings, messageCount, done } = register;
  if (event === 'session:get') return answer === undefined || tells(answer.session, register) ? register : undefined;
  const { updateId, merge, message, ifRevision } = request;
  const before = done[updateId];
  const isConflict =
    before === undefined && ifRevision !== undefined && (ifRevision < settingsRevision || ifRevision > revision);
  if (answer?.error) {
    const { code, details } = answer.error;
    const isFit = code !== 'REVISION_CONFLICT' || (isConflict && tells(details, { revision, settingsRevision }));
    return isFit ? register : undefined;
  }
  if (isConflict) return answer === undefined ? register : undefined;
  if (before) return answer === undefined || tells(answer, before) ? register : undefined;
  const next = revision + 1;
  const change = message
    ? { messageCount: messageCount + 1 }
    : { settings: { ...settings, ...merge }, settingsRevision: next };
  const own = message ? { message: { ...message, revision: next, settingsRevision } } : change;
  const told = { revision: next, ...own };
  if (answer !== undefined && !tells(answer, told)) return undefined;
  return { ...register, ...change, revision: next, done: { ...done, [updateId]: told } };
}

/** Whether an answer tells these values; it may tell more. */
function tells(answer: Wire, { done: _done, message = {}, ...values }: Wire): boolean {
  const has = (given: Wire, expected: Wire) =>
    Object.entries(expected).every(([name, value]) => isDeepStrictEqual(given?.[name], value));
  return has(answer, values) && has(answer.message, message);
}
