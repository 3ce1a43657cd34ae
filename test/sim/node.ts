// A server node of the simulation: the real queue, leases, store, feed and hub, and sockets without a transport, which carry
// requests out as server/api/ does.
import { pino } from 'pino';
import { AttuneError, errorTable } from '../../client-sdk/protocol/errors.js';
import { defaultLimits, type Limits } from '../../client-sdk/protocol/limits.js';
import type { Author } from '../../client-sdk/protocol/messages.js';
import { defaultSettingsSchema } from '../../client-sdk/protocol/settings.js';
import type { Metrics } from '../../server/metrics.js';
import { CommitFeed } from '../../server/redis/commit-feed.js';
import { createKeys } from '../../server/redis/keys.js';
import { Leases } from '../../server/redis/lease.js';
import { SessionStore } from '../../server/redis/session-store.js';
import { compileSettingsSchema } from '../../server/session/settings-schema.js';
import type { UpdateAction } from '../../server/session/update.js';
import type { Presence } from '../../server/sync/presence.js';
import { SessionReads } from '../../server/sync/reads.js';
import { RETRY_AFTER_MS } from '../../server/sync/retry-after.js';
import type { Audience, Sink } from '../../server/sync/room.js';
import { SessionHub } from '../../server/sync/session-hub.js';
import type { Signals } from '../../server/sync/signals.js';
import { UpdateQueue, type Origin } from '../../server/sync/update-queue.js';
import type { Wire } from '../support/shapes.js';
import type { SimProcess } from './process.js';
import { SimClient } from './redis-client.js';
import type { SimRedis } from './redis-server.js';

export const keys = createKeys('sim');
/** As server.ts gives lock servers. */
const LOCK_COMMAND_TIMEOUT_MS = 100;
const schema = compileSettingsSchema(defaultSettingsSchema);
const logger = pino({ level: 'silent' });

/** Presence and signals are not simulated. */
const nobody = {
  open: () => Promise.resolve(),
  end: () => undefined,
  hear: () => undefined,
  versionOf: () => 0,
  checked: () => undefined,
} as unknown as Presence;
const noSignals = { hear: () => undefined } as unknown as Signals;

export interface NodeOptions {
  process: SimProcess;
  /** The node's place: it names the ways to it for the weather, whichever process is there. */
  place: string;
  data: SimRedis;
  locks: readonly SimRedis[];
  limits: Partial<Limits>;
  metrics: Metrics;
  /** Called when its parts are made: a planted bug may change them. */
  onStarted: (node: SimNode) => void;
  /** An error that no caller should ever be given. */
  onFault: (error: unknown) => void;
}

/** Sends to the client of a socket: an answer to a request, or an event. */
export interface ToClient {
  answer(request: number, answer: Wire): void;
  event(event: string, body: Wire): void;
  /** The node is gone. */
  gone(): void;
}

export class SimNode {
  readonly process: SimProcess;
  readonly place: string;
  /** Requests that were taken and not answered. */
  open = 0;
  hub!: SessionHub;
  queue!: UpdateQueue;
  reads!: SessionReads;
  readonly sockets = new Set<NodeSocket>();
  private readonly options: NodeOptions;
  private readonly clients: readonly SimClient[];
  private isStarted = false;

  constructor(options: NodeOptions) {
    this.options = options;
    const { process, place, data, locks } = options;
    this.process = process;
    this.place = place;
    const lockEnd = (i: number) => (locks[i] === data ? `${place}.lock` : `${place}.lock${i}`);
    this.clients = [
      new SimClient(process, data, `${place}.data`),
      new SimClient(process, data, `${place}.feed`),
      ...locks.map((lock, i) => new SimClient(process, lock, lockEnd(i), LOCK_COMMAND_TIMEOUT_MS)),
    ];
    for (const client of this.clients.slice(0, 2)) client.once('ready', () => this.startWhenReady());
  }

  /** Takes connections. */
  get isServing(): boolean {
    return this.isStarted && this.process.state !== 'dead';
  }

  /** Nothing waits, nobody is in a room, no request is open. What is wrong, in words. */
  get leftovers(): string[] {
    if (!this.isStarted) return ['never started'];
    const queued = (this.queue as unknown as { updates: number }).updates;
    return [
      ...(this.open > 0 ? [`${this.open} requests were never answered`] : []),
      ...(queued > 0 ? [`${queued} updates are counted as waiting`] : []),
      ...this.hub.sessionIds().map((id) => `a room of ${id} is left`),
    ];
  }

  kill(): void {
    this.process.kill();
    for (const client of this.clients) client.destroy();
    for (const { toClient } of this.sockets) toClient.gone();
  }

  private startWhenReady(): void {
    const [data, feed, ...locks] = this.clients as [SimClient, SimClient, ...SimClient[]];
    if (this.isStarted || data.status !== 'ready' || feed.status !== 'ready') return;
    this.isStarted = true;
    const { process, metrics, onFault } = this.options;
    const { time, name: nodeId } = process;
    const limits: Limits = { ...defaultLimits, ...this.options.limits };
    const store = new SessionStore(data.asRedis, keys, limits, nodeId);
    const lockClients = locks.map((lock) => lock.asRedis);
    const leases = new Leases({ store, keys, lockClients, metrics, logger, time });
    const hears = (sessionId: string) => this.hub.hears(sessionId);
    const error = (about: { err?: unknown }, text: string) => onFault(about.err ?? text);
    const told = Object.assign(Object.create(logger) as typeof logger, { error });
    this.queue = new UpdateQueue({ store, leases, limits, schema, metrics, logger: told, time, hears });
    this.reads = new SessionReads(store);
    this.hub = new SessionHub({
      store,
      feed: (onGap) => new CommitFeed({ client: feed.asRedis, keys, logger: told, time, onGap }),
      sinks: [this.sink()],
      presence: nobody,
      signals: noSignals,
      nodeId,
      onWanted: (sessionId) => this.queue.giveUp(sessionId),
      metrics,
      logger: told,
      time,
    });
    this.options.onStarted(this);
  }

  private sink(): Sink {
    const of = (sessionId: string) => [...this.sockets].filter((socket) => socket.places.has(sessionId));
    return {
      emit: (sessionId, audience, event, body) => {
        for (const socket of of(sessionId)) {
          if (socket.places.get(sessionId) === audience) socket.toClient.event(event, body);
        }
      },
      tell: () => undefined,
      end: (sessionId) => {
        for (const socket of of(sessionId)) socket.places.delete(sessionId);
      },
    };
  }

  /** What a caller is told of an error. */
  wireError(error: unknown): Wire {
    if (!(error instanceof AttuneError) || error.code === 'INTERNAL') this.options.onFault(error);
    const code = error instanceof AttuneError ? error.code : 'INTERNAL';
    const { retry, outcome } = errorTable[code];
    const details = error instanceof AttuneError ? error.details : undefined;
    const after = retry === 'after-delay' ? { retryAfterMs: RETRY_AFTER_MS } : {};
    return { ok: false, error: { code, retry, outcome, ...after, ...(details && { details }) } };
  }
}

/** One client's socket at a node. */
export class NodeSocket {
  readonly toClient: ToClient;
  readonly places = new Map<string, Audience>();
  private readonly node: SimNode;
  private readonly author: Author;
  private readonly origin: Origin;
  /** Refusal -> the number of the answer that told of it. */
  private readonly told = new WeakMap<object, number>();
  private answers = 0;
  /** Answers that the client had when it sent what comes now. */
  private heard = 0;
  private isOpen = true;

  constructor(node: SimNode, author: Author, toClient: ToClient) {
    this.node = node;
    this.author = author;
    this.toClient = toClient;
    const hasHeard = (refusal: object) => (this.told.get(refusal) ?? Infinity) <= this.heard;
    this.origin = { barriers: new Map(), hasHeard };
    node.sockets.add(this);
  }

  /** A request has arrived; `heard`: how many answers the client had when it was sent. */
  receive(request: number, event: string, body: Wire, heard: number): void {
    if (!this.isOpen) return;
    this.heard = heard;
    this.node.open += 1;
    const tell = (answer: Wire, refusal?: unknown) => {
      this.node.open -= 1;
      this.answers += 1;
      if (refusal instanceof Object) this.told.set(refusal, this.answers);
      if (this.isOpen) this.toClient.answer(request, answer);
    };
    this.carryOut(event, body).then(
      (answer) => tell({ ok: true, ...answer }),
      (error: unknown) => tell(this.node.wireError(error), error),
    );
  }

  /** The client has heard so many answers. */
  pong(heard: number): void {
    this.heard = heard;
  }

  close(): void {
    this.isOpen = false;
    this.node.sockets.delete(this);
    for (const [sessionId, audience] of this.places) this.node.hub.leave(sessionId, audience);
    this.places.clear();
  }

  private carryOut(event: string, body: Wire): Promise<Wire> {
    const { sessionId, updateId } = body;
    if (event === 'session:get') return this.get(sessionId);
    if (event === 'session:join') return this.join(body);
    if (event === 'session:leave') return this.leave(sessionId);
    const action = actionOf(event, body, this.node.process);
    const payloadHash = JSON.stringify(event === 'session:open' ? body.settings : body);
    const update = { sessionId, updateId, payloadHash, by: this.author, action };
    return this.node.queue.submit(update, this.origin, payloadHash.length);
  }

  private async get(sessionId: string): Promise<Wire> {
    const session = await this.node.reads.session(sessionId);
    if (!session) throw new AttuneError('SESSION_NOT_FOUND', 'there is no such session');
    return { session };
  }

  private async join({ sessionId, cursor, delivery }: Wire): Promise<Wire> {
    const audience: Audience = `${delivery as 'every' | 'latest'}-full`;
    let answer: Wire;
    await this.node.hub.join(sessionId, audience, cursor ?? null, ({ document, resumed }) => {
      if (!this.isOpen) return;
      const before = this.places.get(sessionId);
      if (before) this.node.hub.leave(sessionId, before);
      this.places.set(sessionId, audience);
      const { epoch, revision } = document;
      answer = resumed === null ? { session: document } : { resumed: true, epoch, revision, commits: resumed };
    });
    if (!answer) this.node.hub.leave(sessionId, audience);
    return answer;
  }

  private leave(sessionId: string): Promise<Wire> {
    const audience = this.places.get(sessionId);
    if (audience) this.node.hub.leave(sessionId, audience);
    this.places.delete(sessionId);
    return Promise.resolve({});
  }
}

function actionOf(event: string, body: Wire, process: SimProcess): UpdateAction {
  switch (event) {
    case 'session:open': {
      const birth = Math.floor(process.time.random() * 2 ** 48)
        .toString(16)
        .padStart(16, '0');
      return { kind: 'open', initial: { settings: body.settings }, birth, mayCreate: true };
    }
    case 'settings:update':
      return { kind: 'settings', change: { merge: body.merge }, ifRevision: body.ifRevision };
    case 'message:add':
      return { kind: 'message:add', message: { ...body.message, idGiven: true, status: 'complete' } };
    case 'session:describe':
      return { kind: 'describe', title: body.title };
    case 'session:clear':
      return { kind: 'clear' };
    default:
      throw new Error(`${event} is not simulated`);
  }
}
