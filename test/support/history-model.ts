// A small model of the server with writers and readers that plays out at random: it makes histories that are right.
import { applyCommit } from '../../server/session/state.js';
import type { Entry, Invoke, SessionTruth } from './history-entries.js';
import type { LoggedCommit } from './session-log.js';
import type { Wire } from './shapes.js';

/** How long one step takes: the whole run stays below what a reader may be behind. */
const STEP_NS = 500_000n;
const SESSIONS = ['s0', 's1'];
const WRITERS = 3;
const READERS = 5;

export interface Run {
  history: Entry[];
  truth: SessionTruth[];
}

/** Numbers from 0 up to 1, the same for the same seed. */
export type Random = () => number;

export function seeded(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function pick<T>(random: Random, from: readonly T[]): T | undefined {
  return from[Math.floor(random() * from.length)];
}

interface Session {
  id: string;
  document: Wire;
  log: LoggedCommit[];
  /** First answers by update id. */
  remembered: Map<string, Wire>;
}

/** A request on its way: first it is carried out, then it is answered. */
interface Call {
  invoke: Invoke;
  session: Session;
  answer: Wire;
}

interface Reader {
  name: string;
  session: Session;
  latest: boolean;
  connection: number;
  state: 'away' | 'connected' | 'joined';
  join: Call | undefined;
  read: Call | undefined;
  /** Commits and snapshots on their way to it. */
  queue: Wire[];
  cursor: { epoch: string; revision: number } | undefined;
}

interface Writer {
  name: string;
  count: number;
  call: Call | undefined;
  /** Asked for again under the same id: what came of it is not known. */
  again: { event: string; request: Wire } | undefined;
}

/** Plays so many steps, then lets everything arrive. The history begins with the opening of the sessions. */
export function playRun(random: Random, steps: number): Run {
  const world = new World(random);
  world.begin();
  for (let step = 0; step < steps; step += 1) {
    if (step === Math.floor(steps / 3)) world.mark('fault');
    if (step === Math.floor(steps / 2)) world.mark('effect');
    if (step === Math.floor(steps / 2) && random() < 0.5) world.renewEpoch();
    if (step === Math.floor((steps * 2) / 3)) world.mark('heal');
    world.step();
  }
  world.settle();
  const truth = world.sessions.map(({ id, log, document: { epoch } }) => {
    return { sessionId: id, epoch, stream: log, file: [structuredClone(log)] };
  });
  return { history: structuredClone(world.history), truth: structuredClone(truth) };
}

class World {
  readonly history: Entry[] = [];
  readonly sessions: Session[];
  private readonly random: Random;
  private readonly writers: Writer[];
  private readonly readers: Reader[];
  /** Requests that nobody waits for any more, and that may still be carried out. */
  private readonly forgotten: Call[] = [];
  private now = 1_000_000n;
  private attempts = 0;
  private fence = 1;
  private life = 'r1';

  constructor(random: Random) {
    this.random = random;
    this.sessions = SESSIONS.map((id) => ({ id, document: undefined, log: [], remembered: new Map() }));
    this.writers = Array.from({ length: WRITERS }, (_, n) => ({
      name: `w${n}`,
      count: 0,
      call: undefined,
      again: undefined,
    }));
    this.readers = Array.from({ length: READERS }, (_, n) => ({
      name: `r${n}`,
      session: this.sessions[n % 2]!,
      latest: n < 2,
      connection: 0,
      state: 'away' as const,
      join: undefined,
      read: undefined,
      queue: [],
      cursor: undefined,
    }));
  }

  begin(): void {
    for (const [n, session] of this.sessions.entries()) {
      const call = this.ask('opener', 'session:open', session, { updateId: `open-${n}`, settings: { n } });
      this.carryOut(call);
      this.happened({ kind: 'ok', attempt: call.invoke.attempt, answer: call.answer });
    }
  }

  mark(what: 'fault' | 'effect' | 'heal' | 'end'): void {
    this.happened({ kind: 'mark', what, text: what });
  }

  step(): void {
    const { random } = this;
    const what = random();
    if (what < 0.45) this.stepWriter(pick(random, this.writers)!);
    else if (what < 0.5) this.carryOutForgotten();
    else this.stepReader(pick(random, this.readers)!);
  }

  /** Redis begins another life: readers are told by a snapshot. */
  renewEpoch(): void {
    this.life = 'r2';
    for (const session of this.sessions) session.document = { ...session.document, epoch: this.epochOf(session) };
    for (const reader of this.readers) if (reader.state === 'joined') this.queueSnapshot(reader, 'epoch');
  }

  /** Nothing new is begun; all that is under way arrives. */
  settle(): void {
    for (const writer of this.writers) {
      const { call } = writer;
      if (!call) continue;
      if (call.answer === undefined) this.carryOut(call);
      this.answer(call);
    }
    while (this.forgotten.length > 0) this.carryOutForgotten();
    for (const reader of this.readers) {
      if (reader.read) this.answerRead(reader);
      if (reader.state === 'away') this.connect(reader);
      if (reader.state === 'connected') this.join(reader);
      while (reader.queue.length > 0) this.deliver(reader);
    }
    this.mark('end');
  }

  private stepWriter(writer: Writer): void {
    const { call } = writer;
    const chance = this.random();
    if (!call) return this.invoke(writer);
    if (chance < 0.12) {
      this.happened({ kind: 'info', attempt: call.invoke.attempt, why: 'no answer' });
      if (call.answer === undefined) this.forgotten.push(call);
      writer.call = undefined;
      if (this.random() < 0.8) writer.again = { event: call.invoke.event, request: call.invoke.request };
    } else if (call.answer === undefined) {
      if (chance < 0.2) call.answer = { ok: false, error: { code: 'UNAVAILABLE', outcome: 'not-committed' } };
      else this.carryOut(call);
    } else {
      this.answer(call);
      writer.call = undefined;
    }
  }

  private invoke(writer: Writer): void {
    const { again, name } = writer;
    writer.again = undefined;
    if (again) {
      const session = this.sessions.find(({ id }) => id === again.request.sessionId)!;
      writer.call = this.ask(name, again.event, session, again.request);
      return;
    }
    writer.count += 1;
    const updateId = `${name}-${writer.count}`;
    const session = pick(this.random, this.sessions)!;
    const kind = this.random();
    if (kind < 0.25) {
      const message = { id: updateId, role: 'user', content: `value ${writer.count}` };
      writer.call = this.ask(name, 'message:add', session, { updateId, message });
      return;
    }
    const guard = kind < 0.5 ? { ifRevision: session.document.settingsRevision } : {};
    writer.call = this.ask(name, 'settings:update', session, { updateId, merge: { [name]: writer.count }, ...guard });
  }

  private carryOutForgotten(): void {
    const call = this.forgotten.shift();
    if (call) this.carryOut(call);
  }

  private ask(socket: string, event: string, session: Session, request: Wire): Call {
    const attempt = `a${(this.attempts += 1)}`;
    const given = { sessionId: session.id, ...request };
    const invoke = this.happened({ kind: 'invoke', socket, attempt, event, request: given }) as Invoke;
    return { invoke, session, answer: undefined };
  }

  /** What the commit script and the queue before it do. */
  private carryOut(call: Call): void {
    const { session } = call;
    const { event, request } = call.invoke;
    const first = session.remembered.get(request.updateId);
    if (first) {
      call.answer = { ...first, duplicate: true };
      return;
    }
    if (request.ifRevision !== undefined && request.ifRevision < session.document.settingsRevision) {
      const { epoch, revision, settingsRevision } = session.document;
      const details = { epoch, revision, settingsRevision };
      call.answer = { ok: false, error: { code: 'REVISION_CONFLICT', outcome: 'not-committed', details } };
      return;
    }
    const body = this.commit(session, event, request);
    const { epoch, revision, at } = body;
    call.answer = { ok: true, epoch, revision, duplicate: false };
    if (event === 'message:add') call.answer.message = body.message;
    else if (event === 'session:open') Object.assign(call.answer, { created: true, session: session.document });
    else Object.assign(call.answer, { settings: body.settings, settingsRevision: revision, updatedAt: at });
    session.remembered.set(request.updateId, call.answer);
  }

  private commit(session: Session, event: string, request: Wire): Wire {
    const revision = session.log.length + 1;
    const by = { userId: 'anonymous', clientId: 'x', kind: 'tab' };
    const at = new Date(Number(this.now / 1_000_000n)).toISOString();
    const { id: sessionId } = session;
    const base = { sessionId, epoch: this.epochOf(session), revision, at, by, updateId: request.updateId };
    let body: Wire;
    if (event === 'session:open') {
      body = { ...base, event: 'session:created', settings: request.settings };
      session.document = {
        id: sessionId,
        epoch: base.epoch,
        revision,
        settingsRevision: 1,
        messagesRevision: 0,
        settings: request.settings,
        messageCount: 0,
        createdAt: at,
        updatedAt: at,
        updatedBy: by,
      };
    } else if (event === 'message:add') {
      const { settingsRevision } = session.document;
      const message = { ...request.message, revision, settingsRevision, timestamp: at, status: 'complete', author: by };
      body = { ...base, event: 'message:added', message };
    } else {
      const settings = { ...session.document.settings, ...request.merge };
      const [name] = Object.keys(request.merge);
      const asked = { request: { merge: request.merge }, changedPaths: [`/${name}`] };
      body = { ...base, event: 'settings:updated', settings, settingsRevision: revision, ...asked };
    }
    if (event !== 'session:open') session.document = applyCommit(session.document, body);
    if (this.random() < 0.1) this.fence += 1;
    session.log.push({ revision, event: body.event, fence: this.fence, body });
    for (const reader of this.readers) {
      if (reader.state === 'joined' && reader.session === session) reader.queue.push(body);
    }
    return body;
  }

  private answer({ invoke: { attempt }, answer }: Call): void {
    if (answer.ok) this.happened({ kind: 'ok', attempt, answer });
    else this.happened({ kind: 'fail', attempt, error: answer.error });
  }

  private stepReader(reader: Reader): void {
    const chance = this.random();
    if (reader.state === 'away') return this.connect(reader);
    if (reader.state === 'connected') return this.join(reader);
    if (chance < 0.02) this.disconnect(reader);
    else if (chance < 0.04) this.queueSnapshot(reader, 'gap');
    else if (chance < 0.15) this.stepRead(reader);
    else if (reader.queue.length > 0) this.deliver(reader);
  }

  private connect(reader: Reader): void {
    reader.connection += 1;
    reader.state = 'connected';
    this.happened({ kind: 'connect', socket: socketOf(reader), node: 'model' });
  }

  private disconnect(reader: Reader): void {
    if (reader.read) this.happened({ kind: 'info', attempt: reader.read.invoke.attempt, why: 'no answer' });
    Object.assign(reader, { read: undefined, join: undefined, state: 'away', queue: [] });
    this.happened({ kind: 'disconnect', socket: socketOf(reader) });
  }

  /** Asks, then is answered where the session is then; commits from there on are on their way to it. */
  private join(reader: Reader): void {
    const { session, latest } = reader;
    if (!reader.join) {
      const cursor = this.random() < 0.7 && reader.cursor ? { cursor: reader.cursor } : {};
      const request = { delivery: latest ? 'latest' : 'every', ...cursor };
      reader.join = this.ask(socketOf(reader), 'session:join', session, request);
      if (this.random() < 0.5) return;
    }
    const { attempt, request } = reader.join.invoke;
    const { epoch, revision } = session.document;
    const answer =
      request.cursor?.epoch === epoch
        ? {
            resumed: true,
            epoch,
            revision,
            commits: session.log.slice(request.cursor.revision).map(({ body }) => body),
          }
        : { session: session.document };
    this.happened({ kind: 'ok', attempt, answer: { ok: true, ...answer } });
    Object.assign(reader, { state: 'joined', join: undefined, cursor: { epoch, revision } });
  }

  private stepRead(reader: Reader): void {
    const { read, session } = reader;
    if (!read) reader.read = this.ask(socketOf(reader), 'session:get', session, {});
    else if (!read.answer) read.answer = { ok: true, session: session.document };
    else this.answerRead(reader);
  }

  private answerRead(reader: Reader): void {
    const { invoke, answer = { ok: true, session: reader.session.document } } = reader.read!;
    this.happened({ kind: 'ok', attempt: invoke.attempt, answer });
    reader.read = undefined;
  }

  private queueSnapshot(reader: Reader, reason: string): void {
    const { session } = reader;
    reader.queue.push({ sessionId: session.id, session: session.document, reason });
  }

  private deliver(reader: Reader): void {
    let body = reader.queue.shift();
    while (reader.latest && isSettings(body) && isSettings(reader.queue[0]) && this.random() < 0.5) {
      body = reader.queue.shift();
    }
    const socket = socketOf(reader);
    this.happened(body.session ? { kind: 'snapshot', socket, body } : { kind: 'commit', socket, body });
    const { epoch, revision } = body.session ?? body;
    reader.cursor = { epoch, revision };
  }

  private epochOf({ id }: Session): string {
    return `birth-${id}-${this.life}`;
  }

  private happened(what: WithoutTime<Entry>): Entry {
    this.now += STEP_NS;
    const entry = { at: this.now, ...what } as Entry;
    this.history.push(entry);
    return entry;
  }
}

type WithoutTime<E> = E extends Entry ? Omit<E, 'at'> : never;

const socketOf = ({ name, connection }: Reader) => `${name}#${connection}`;
const isSettings = (body: Wire) => body?.event === 'settings:updated';
