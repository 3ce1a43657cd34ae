// One server for all tests of a describe, and the sockets that tests of the contract speak to it with: what they ask, and
// sessions in the state that most tests begin in.
import { startAttune, type Attune } from './attune.js';
import { freshId, type Wire } from './shapes.js';
import { closeSockets, connect, type HandshakeAuth, type TestSocket } from './socket.js';

/** A session, and a socket that is not in its room. */
export interface OpenedSession {
  socket: TestSocket;
  sessionId: string;
  epoch: string;
}

/** Registers the hooks: to be called in a describe. The server runs from its first test to its last. */
export function oneServer(options: Parameters<typeof startAttune>[0] = {}) {
  let attune: Attune;
  before(async () => {
    attune = await startAttune(options);
  });
  after(() => attune?.destroy());
  afterEach(closeSockets);

  const client = (auth?: HandshakeAuth) => connect(attune.url, auth);
  return {
    /** The server; known when tests run. */
    server: {
      get url() {
        return attune.url;
      },
      get pid() {
        return attune.pid;
      },
    },
    client,
    /** Opens a session by this socket, which does not join; answers with its document. */
    opened: async (socket: TestSocket, more: Wire = {}): Promise<Wire> => {
      return (await socket.ok('session:open', { sessionId: freshId('s'), ...more })).session;
    },
    /** A session whose settings are exactly these, at revision 2; without settings as it was opened, at revision 1. */
    session: async (settings?: Wire, auth?: HandshakeAuth): Promise<OpenedSession> => {
      const socket = await client(auth);
      const asked = { sessionId: freshId('s'), ...(settings && { settings: { seed: 1 } }) };
      const { session } = await socket.ok('session:open', asked);
      if (settings) await socket.ok('settings:update', { sessionId: session.id, replace: settings });
      return { socket, sessionId: session.id, epoch: session.epoch };
    },
    /** A socket of its own in the session's room. */
    joined: async (sessionId: string): Promise<TestSocket> => {
      const socket = await client();
      await socket.ok('session:join', { sessionId });
      return socket;
    },
    /** The session's document as it is now. */
    stored: async (socket: TestSocket, sessionId: string): Promise<Wire> => {
      return (await socket.ok('session:get', { sessionId })).session;
    },
  };
}
