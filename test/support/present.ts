// Joins a session and folds what presence says from then on into who is there now, as a client would.
import { expect } from 'chai';
import { expectAuthor, expectTime, type Wire } from './shapes.js';
import type { TestSocket } from './socket.js';
import { until, type UntilOptions } from './until.js';

export interface Present {
  readonly socket: TestSocket;
  /** The acknowledgement of the join. */
  readonly ack: Wire;
  /** The participant of this socket, as the acknowledgement had it. */
  readonly self: Wire;
  /** Who is there, by client id; fails where one is there twice. */
  states(): Record<string, Wire>;
  /** Everybody who is there. */
  everybody(): Wire[];
  /** The `presence:updated` events since the join. */
  heard(): Wire[];
  /** Resolves when exactly these clients are there, each with this state. */
  sees(states: Record<string, unknown>, options?: UntilOptions): Promise<void>;
}

/** Joins; the acknowledgement must list the socket itself, once. `clientId` is the one that it connected with. */
export async function joinPresent(
  socket: TestSocket,
  clientId: string,
  sessionId: string,
  more: Wire = {},
): Promise<Present> {
  const told = () => socket.bodies('presence:updated');
  const from = told().length;
  const ack = await socket.ok('session:join', { sessionId, ...more });
  for (const participant of ack.participants) expectParticipant(participant);
  const heard = () =>
    told()
      .slice(from)
      .filter((body) => body.sessionId === sessionId);
  const everybody = () => {
    const there = new Map<string, Wire>(ack.participants.map((one: Wire) => [one.participantId, one]));
    for (const body of heard()) {
      expect(body).to.have.all.keys('sessionId', 'joined', 'left', 'updated');
      for (const one of [...body.joined, ...body.updated]) there.set(one.participantId, expectParticipant(one));
      for (const id of body.left) there.delete(id);
    }
    return [...there.values()];
  };
  const states = () => {
    const all = everybody();
    const byClient = Object.fromEntries(all.map((one) => [one.clientId, one.state]));
    expect(Object.keys(byClient), 'clients').to.have.length(all.length);
    return byClient;
  };
  const self = ack.participants.filter((one: Wire) => one.clientId === clientId);
  expect(self, `${clientId} in its acknowledgement`).to.have.length(1);
  return {
    socket,
    ack,
    self: self[0],
    states,
    everybody,
    heard,
    async sees(wanted, options = {}) {
      let seen: unknown;
      const isSo = () => {
        seen = states();
        expect(seen).to.deep.equal(wanted);
        return true;
      };
      await until(isSo, { what: `what ${clientId} sees`, ...options });
    },
  };
}

export function expectParticipant(participant: Wire): Wire {
  expect(participant).to.have.any.keys('name', 'state');
  const { name: _name, ...rest } = participant;
  expect(rest).to.have.all.keys('participantId', 'userId', 'clientId', 'kind', 'state', 'joinedAt');
  expect(participant.participantId).to.match(/^[\w-]{20,}$/);
  expectAuthor(participant);
  expectTime(participant.joinedAt);
  return participant;
}
