// The connection's times, moved by hand: how long an answer, an opening and a token may take. Its line is played by the test.
import { expect } from 'chai';
import type { ClientError } from '../../client-sdk/client-error.js';
import {
  ANSWER_TIMEOUT_MS,
  CONNECT_TIMEOUT_MS,
  createConnection,
  RECONNECT_MS,
  type Connection,
  type ConnectionStatus,
} from '../../client-sdk/connection.js';
import type { LinkEvents } from '../../client-sdk/socket-link.js';
import { takeTime, type ManualTime } from '../support/manual-time.js';

describe("the connection's times", () => {
  let time: ManualTime;
  beforeEach(() => {
    time = takeTime();
  });
  afterEach(() => time.restore());

  interface Played {
    connection: Connection;
    statuses: ConnectionStatus[];
    /** When the line was opened, milliseconds since the start. */
    openings: number[];
    /** Tokens that the handshakes held. */
    tokens: unknown[];
    line: () => LinkEvents;
  }
  /** A connection over a line that is open at once where `isReachable`, and never answers. */
  function play({ isReachable = () => true, getToken }: Partial<Script> = {}): Played {
    const startedAt = time.now;
    let line: LinkEvents;
    const played = { statuses: [], openings: [], tokens: [] } as Omit<Played, 'connection' | 'line'>;
    const transport = (_url: string, events: LinkEvents) => ({
      open() {
        const { auth, opened } = events;
        line = events;
        played.openings.push(time.now - startedAt);
        void auth().then((held) => {
          played.tokens.push((held as { token?: unknown }).token);
          if (isReachable()) opened();
        });
      },
      close() {},
      request(_event: string, _body: object, timeoutMs: number, answered: (reply: null) => void) {
        setTimeout(() => answered(null), timeoutMs);
      },
    });
    const connection = createConnection({
      url: '',
      transport,
      identity: {},
      ...(getToken && { getToken }),
      statusChanged: (status) => played.statuses.push(status),
      received: () => undefined,
    });
    return { connection, line: () => line, ...played };
  }
  interface Script {
    isReachable: () => boolean;
    getToken: () => string;
  }
  /** What waits for promises goes on: a token is asked for within one. */
  const settled = async () => {
    for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
  };
  const pass = async (ms: number) => {
    time.pass(ms);
    await settled();
  };

  it('[CK29] a line whose answer does not come in time is given up, not before, and another one opened', async () => {
    const { connection, statuses, openings } = play();
    connection.start();
    await settled();
    const failures: (ClientError | null)[] = [];
    connection.ask('settings:update', {}, (error) => failures.push(error));
    await pass(ANSWER_TIMEOUT_MS - 1);
    expect(failures).to.deep.equal([]);
    expect(statuses).to.deep.equal(['connecting', 'connected']);
    await pass(1);
    expect(failures).to.have.length(1);
    expect(failures[0]).to.include({ code: 'OFFLINE', outcome: 'unknown' });
    expect(statuses).to.deep.equal(['connecting', 'connected', 'reconnecting']);
    expect(connection.error).to.equal(failures[0]);
    await pass(RECONNECT_MS[0]);
    expect(statuses.slice(3)).to.deep.equal(['connected']);
    expect(connection.error).to.equal(null);
    expect(openings).to.have.length(2);
  });

  it('[CK30] an opening that takes too long is given up, and the next one comes after a pause that grows', async () => {
    let isReachable = false;
    const { connection, statuses, openings } = play({ isReachable: () => isReachable });
    connection.start();
    await settled();
    await pass(CONNECT_TIMEOUT_MS);
    expect(openings, 'a pause before the next').to.deep.equal([0]);
    while (openings.length < 9) await pass(100);
    const [first, longest] = RECONNECT_MS;
    for (const [n, at] of openings.slice(1).entries()) {
      const most = Math.min(longest, first * 2 ** n);
      expect(at - openings[n]! - CONNECT_TIMEOUT_MS, `pause ${n + 1}`).to.be.within(most / 2, most);
    }
    // Told again with the reason of each attempt.
    expect(new Set(statuses)).to.deep.equal(new Set(['connecting']));
    expect(connection.error).to.include({ code: 'OFFLINE' });
    isReachable = true;
    while (connection.status !== 'connected') await pass(100);
    expect(statuses.at(-1)).to.equal('connected');
    expect(connection.error).to.equal(null);
  });

  it('[CK32] when the server says that its token ends the line is opened with another one, and by no clock of its own', async () => {
    let asked = 0;
    const { connection, line, openings, tokens, statuses } = play({ getToken: () => `token ${(asked += 1)}` });
    connection.start();
    await settled();
    await pass(1000 * 60 * 60 * 24 * 30);
    expect(openings).to.deep.equal([0]);
    line().received('auth:expiring', {});
    await settled();
    expect(openings).to.have.length(2);
    expect(tokens).to.deep.equal(['token 1', 'token 2']);
    expect(statuses).to.deep.equal(['connecting', 'connected', 'reconnecting', 'connected']);
  });
});
