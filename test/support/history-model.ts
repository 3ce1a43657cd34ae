// A small model of the server with writers and readers that plays out at random: it makes histories that are right.
import type { Entry, Invoke, Mark, SessionTruth } from './history-entries.js';
import { ModelSession } from './history-model-session.js';
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

/** A request on its way: first it is carried out, then it is answered. */
interface Call {
  invoke: Invoke;
  session: ModelSession;
  answer: Wire;
}

interface Reader {
  name: string;
  session: ModelSession;
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
  const truth = world.sessions.map((session) => {
    const { id, log, document } = session;
    return { sessionId: id, epoch: document.epoch, stream: session.stream(), file: [log] };
  });
  return {
    history: structuredClone(world.history),
    truth: truth.map((one) => structuredClone({ ...one, file: structuredClone(one.file) })),
  };
}

class World {
  readonly history: Entry[] = [];
  readonly sessions: ModelSession[];
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
    this.sessions = SESSIONS.map((id) => new ModelSession(id));
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

  mark(what: Mark['what']): void {
    this.happened({ kind: 'mark', what, text: what });
  }

  step(): void {
    const { random } = this;
    const what = random();
    if (what < 0.45) this.stepWriter(pick(random, this.writers)!);
    else if (what < 0.5) this.carryOutForgotten();
    else this.stepReader(pick(random, this.readers)!);
  }

  /** Redis begins another life, without the newest commits that nobody was answered: readers are told by a snapshot. */
  renewEpoch(): void {
    this.life = 'r2';
    const answered = new Set(this.history.flatMap((entry) => (entry.kind === 'ok' ? [entry.answer.revision] : [])));
    for (const session of this.sessions) {
      let kept = session.log.length;
      while (kept > 1 && !answered.has(kept) && this.random() < 0.8) kept -= 1;
      const lost = session.beginLife(this.life, kept);
      // Who waits for the answer to what is lost waits until it is carried out, or given up.
      for (const { call } of this.writers) {
        if (call?.session === session && lost.includes(call.invoke.request.updateId)) call.answer = undefined;
      }
    }
    this.mark('back');
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
    const [event, request] = this.request(session, updateId, writer);
    writer.call = this.ask(name, event, session, { updateId, ...request });
  }

  private request(session: ModelSession, updateId: string, { name, count }: Writer): [event: string, request: Wire] {
    const { random } = this;
    const kind = random();
    const messageId = pick(random, session.messageIds);
    if (kind < 0.2) return ['message:add', { message: { id: updateId, role: 'user', content: `value ${count}` } }];
    if (kind < 0.28 && messageId) return ['message:update', { messageId, append: `, ${updateId}` }];
    if (kind < 0.3 && messageId) return ['message:delete', { messageId }];
    if (kind < 0.35) return ['session:describe', random() < 0.3 ? { metadata: { updateId } } : { title: updateId }];
    if (kind < 0.36) return ['session:clear', {}];
    const { keptFrom, document } = session;
    const toRevision = keptFrom + Math.floor(random() * (document.revision - keptFrom));
    if (kind < 0.45 && toRevision >= 1) return ['settings:restore', { toRevision }];
    const guard = kind < 0.6 ? { ifRevision: document.settingsRevision } : {};
    return ['settings:update', { merge: { [name]: count }, ...guard }];
  }

  private carryOutForgotten(): void {
    const call = this.forgotten.shift();
    if (call) this.carryOut(call);
  }

  private ask(socket: string, event: string, session: ModelSession, request: Wire): Call {
    const attempt = `a${(this.attempts += 1)}`;
    const given = { sessionId: session.id, ...request };
    const invoke = this.happened({ kind: 'invoke', socket, attempt, event, request: given }) as Invoke;
    return { invoke, session, answer: undefined };
  }

  private carryOut(call: Call): void {
    const { session, invoke } = call;
    if (this.random() < 0.1) this.fence += 1;
    const at = new Date(Number(this.now / 1_000_000n)).toISOString();
    const { answer, body } = session.carryOut(invoke.event, invoke.request, { at, life: this.life, fence: this.fence });
    call.answer = answer;
    if (!body) return;
    for (const reader of this.readers) {
      if (reader.state === 'joined' && reader.session === session) reader.queue.push(body);
    }
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
      request.cursor?.epoch === epoch && request.cursor.revision + 1 >= session.keptFrom
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
