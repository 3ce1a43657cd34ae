// Faults in which somebody else's hand is in the data: D9.
import { counted, timed, type Fault, type World } from '../../support/fault-run.js';
import { keysOf } from '../../support/session-log.js';
import { connect, type TestSocket } from '../../support/socket.js';
import { until } from '../../support/until.js';

/** Who is in a session that is gone is told within so long, milliseconds. */
const TOLD_MS = 5000;
/** How long it is waited for, milliseconds. */
const TOLD_DEADLINE_MS = 10 * TOLD_MS;

/** A socket at every node, in this session. */
async function everywhere({ nodes }: World, sessionId: string): Promise<TestSocket[]> {
  const joined = async (url: string) => {
    const socket = await connect(url, { clientId: 'probe' });
    await socket.ok('session:join', { sessionId });
    return socket;
  };
  return Promise.all(nodes.map(({ attune }) => joined(attune.url)));
}

/** Resolves with the milliseconds until all of them were told that the session was lost. */
async function allTold(sockets: readonly TestSocket[], sessionId: string): Promise<number> {
  const from = performance.now();
  await Promise.all(
    sockets.map((socket) => {
      const isLoss = (body: Record<string, unknown>) => body['sessionId'] === sessionId && body['reason'] === 'lost';
      return socket.next('session:deleted', isLoss, TOLD_DEADLINE_MS);
    }),
  );
  return performance.now() - from;
}

/** The document of a session is taken away as `how` says: everybody is told, and a read says so too. How long it took. */
async function loseDocument(
  world: World,
  sessionId: string,
  how: (key: string) => Promise<unknown>,
): Promise<{ toldMs: number; wrong: number }> {
  const sockets = await everywhere(world, sessionId);
  await how(keysOf(sessionId).doc);
  const toldMs = await allTold(sockets, sessionId);
  const answers = await Promise.all(sockets.map((socket) => socket.call('session:get', { sessionId })));
  const wrong = answers.filter(({ error }) => error?.code !== 'SESSION_NOT_FOUND').length;
  for (const socket of sockets) socket.close();
  return { toldMs, wrong };
}

/** The log is taken away: who reads goes on, and old cursors are given the document. How many answers were wrong. */
async function loseLog(world: World, sessionId: string): Promise<number> {
  const [socket, ...others] = await everywhere(world, sessionId);
  const { session } = await socket!.ok('session:get', { sessionId });
  const cursor = { epoch: session.epoch, revision: 1 };
  await world.direct.del(keysOf(sessionId).log);
  // Some commits later, so that the old cursor has something to miss.
  await until(async () => (await socket!.ok('session:get', { sessionId })).session.revision > session.revision + 2);
  const again = await socket!.ok('session:join', { sessionId, cursor });
  for (const one of [socket!, ...others]) one.close();
  return again.resumed === undefined && again.session.revision > session.revision ? 0 : 1;
}

const LOST = 'calm1';
const LOGLESS = 'calm2';

export const keysDamaged: Fault = {
  id: 'D9',
  spoils: [LOST, LOGLESS],
  title: "a session's document is deleted, another's log, and a document's key holds something else",
  async inject(world) {
    const { direct } = world;
    let wrong = 0;
    let toldMs = 0;
    const lose = async (how: (key: string) => Promise<unknown>) => {
      const found = await loseDocument(world, LOST, how);
      wrong += found.wrong;
      toldMs = Math.max(toldMs, found.toldMs);
      await world.load(50);
    };
    await lose((key) => direct.del(key));
    wrong += await loseLog(world, LOGLESS);
    await world.recorder.open(world.urls()[0]!, LOST);
    await world.load(50);
    await lose((key) => direct.set(key, 'not ours'));
    wrong += (await direct.get(keysOf(LOST).doc)) === 'not ours' ? 0 : 1;
    await direct.del(keysOf(LOST).doc);
    await world.recorder.open(world.urls()[0]!, LOST);
    return {
      heal: () => Promise.resolve(),
      effect: () => 3,
      counted: 'keys damaged',
      beside: () => [timed('told after ms', toldMs, TOLD_MS), counted('wrong answers', wrong)],
    };
  },
};

export const flushed: Fault = {
  id: 'D9 flush',
  title: 'FLUSHALL under load',
  async inject(world) {
    const { sessionIds, direct, recorder, urls } = world;
    const sockets = await everywhere(world, sessionIds[0]!);
    await direct.flushall();
    const toldMs = await allTold(sockets, sessionIds[0]!);
    for (const socket of sockets) socket.close();
    for (const sessionId of sessionIds) await recorder.open(urls()[0]!, sessionId);
    return {
      heal: () => Promise.resolve(),
      effect: () => sockets.length,
      counted: 'rooms told that the session is lost',
      beside: () => [timed('told after ms', toldMs, TOLD_MS)],
    };
  },
};
