// The sessions that one socket is in: it enters and leaves each in the order asked for, and is a participant of each.
// It never carries out a write.
import type { Socket } from 'socket.io';
import { AttuneError } from '../../client-sdk/protocol/errors.js';
import type { Json } from '../../client-sdk/protocol/json.js';
import type { Participant } from '../../client-sdk/protocol/messages.js';
import type { Presence } from '../sync/presence.js';
import type { Audience } from '../sync/room.js';
import type { Entry, SessionHub } from '../sync/session-hub.js';
import type { Caller, Calls, Parsed } from './calls.js';

/** Sessions that one socket may be in at the same time. */
const SESSIONS_PER_SOCKET_MAX = 1000;

/** The room of Socket.IO that the readers of a session with one audience are in. */
export const roomOf = (sessionId: string, audience: Audience) => `${audience} ${sessionId}`;

/** What a socket is in a session. */
interface Place {
  readonly audience: Audience;
  readonly participantId: string;
}

export interface SocketSessionsOptions {
  readonly socket: Socket;
  readonly caller: Caller;
  readonly calls: Calls;
  readonly hub: SessionHub;
  readonly presence: Presence;
}

export class SocketSessions {
  private readonly options: SocketSessionsOptions;
  private readonly places = new Map<string, Place>();
  /** Joins and leaves of one session are carried out one after the other. */
  private readonly moves = new Map<string, Promise<unknown>>();
  /** The newest write to each session that was not answered: what this socket asks after it sees it. */
  private readonly writes = new Map<string, Promise<unknown>>();

  constructor(options: SocketSessionsOptions) {
    this.options = options;
  }

  /** Keeps the answer of a write: what is asked behind it waits for it. */
  wrote<T>(sessionId: string, answer: Promise<T>): Promise<T> {
    return noted(this.writes, sessionId, answer);
  }

  /** Asks behind the writes of this socket, as if it had waited for their answers. */
  async read<T>(sessionId: string, ask: () => Promise<T>): Promise<T> {
    await this.writes.get(sessionId)?.catch(() => undefined);
    return ask();
  }

  isReaderOfDeltas(sessionId: string): boolean {
    return this.places.get(sessionId)?.audience.endsWith('delta') ?? false;
  }

  async join(parsed: Parsed<'session:join'>): Promise<object> {
    const { calls, caller } = this.options;
    const { sessionId, create } = parsed.request;
    calls.demand(caller, 'read', sessionId);
    const state = calls.presenceForJoin(caller, parsed);
    if (this.places.size + this.moves.size >= SESSIONS_PER_SOCKET_MAX && !this.places.has(sessionId)) {
      throw new AttuneError('RATE_LIMITED', `a socket is in at most ${SESSIONS_PER_SOCKET_MAX} sessions`);
    }
    const created = calls.createForJoin(caller, parsed);
    // It is awaited when this join has its turn; a refusal before that must not count as one that nobody handles.
    created.catch(() => undefined);
    if (create) void this.wrote(sessionId, created);
    return this.move(sessionId, async () => {
      const made = await created;
      return this.enter(parsed, state).catch((error: unknown) => {
        // It was created and is gone again: "not committed" would be wrong.
        const isGone = made !== null && error instanceof AttuneError && error.code === 'SESSION_NOT_FOUND';
        if (!isGone) throw error;
        throw new AttuneError('OUTCOME_UNKNOWN', 'the session was created and is gone again', { details: made });
      });
    });
  }

  leave(sessionId: string): Promise<object> {
    return this.move(sessionId, async () => {
      this.takeOut(sessionId);
      return {};
    });
  }

  /** The socket is gone. */
  leaveAll(): void {
    for (const sessionId of this.places.keys()) this.takeOut(sessionId);
  }

  /** The session is over. */
  ended(sessionId: string): void {
    this.places.delete(sessionId);
  }

  async show({ request }: Parsed<'presence:update'>): Promise<object> {
    const { calls, caller, presence } = this.options;
    const { sessionId, state } = request;
    calls.checkPresence(caller, sessionId, state);
    const { participantId } = await this.placeIn(sessionId);
    presence.update(sessionId, participantId, state);
    return {};
  }

  async signal(parsed: Parsed<'signal'>): Promise<object> {
    const { calls, caller, socket } = this.options;
    calls.checkSignal(caller, parsed);
    const { participantId } = await this.placeIn(parsed.request.sessionId);
    await calls.signal(caller, parsed, { participantId, socketId: socket.id });
    return {};
  }

  /** Where the socket is in a session; a join that it did not wait for counts. */
  private async placeIn(sessionId: string): Promise<Place> {
    await this.moves.get(sessionId)?.catch(() => undefined);
    const place = this.places.get(sessionId);
    if (!place) throw new AttuneError('INVALID_REQUEST', 'this socket is not in the session: join it first');
    return place;
  }

  private async enter({ request }: Parsed<'session:join'>, state: Json | undefined): Promise<object> {
    const { socket, hub, presence } = this.options;
    const { sessionId, cursor, delivery, body } = request;
    const audience: Audience = `${delivery}-${body}`;
    let reply: object = {};
    let entered = false;
    await hub.join(sessionId, audience, cursor ?? null, (entry) => {
      entered = socket.connected;
      if (!entered) return;
      const self = this.participate(sessionId, state);
      const before = this.places.get(sessionId);
      if (before) this.takeFromRoom(sessionId, before);
      this.places.set(sessionId, { audience, participantId: self.participantId });
      void socket.join(roomOf(sessionId, audience));
      reply = joinReply(entry, presence.participants(sessionId, self));
    });
    // It left while it was let in: the place that the hub now counts is given back.
    if (!entered) hub.leave(sessionId, audience);
    return reply;
  }

  /** The participant that this socket is, as of now one, where it was not. */
  private participate(sessionId: string, state: Json | undefined): Participant {
    const { presence, caller } = this.options;
    const place = this.places.get(sessionId);
    const same = place && presence.update(sessionId, place.participantId, state);
    return same ?? presence.enter(sessionId, caller.author, state === undefined ? {} : state);
  }

  private takeOut(sessionId: string): void {
    const place = this.places.get(sessionId);
    if (!place) return;
    this.places.delete(sessionId);
    this.options.presence.leave(sessionId, place.participantId);
    this.takeFromRoom(sessionId, place);
  }

  private takeFromRoom(sessionId: string, { audience }: Place): void {
    void this.options.socket.leave(roomOf(sessionId, audience));
    this.options.hub.leave(sessionId, audience);
  }

  private move<T>(sessionId: string, step: () => Promise<T>): Promise<T> {
    const before = Promise.allSettled([this.moves.get(sessionId), this.writes.get(sessionId)]);
    return noted(this.moves, sessionId, before.then(step));
  }
}

/** Keeps `answer` as the newest of its session until it is settled. */
function noted<T>(newest: Map<string, Promise<unknown>>, sessionId: string, answer: Promise<T>): Promise<T> {
  newest.set(sessionId, answer);
  const settled = () => {
    if (newest.get(sessionId) === answer) newest.delete(sessionId);
  };
  answer.then(settled, settled);
  return answer;
}

function joinReply({ document, resumed }: Entry, participants: Participant[]): object {
  if (resumed === null) return { session: document, participants };
  const { epoch, revision } = document;
  return { resumed: true, epoch, revision, commits: resumed, participants };
}
