// Faults in which the data Redis, or nodes with it, do not answer for a time: D1, D2, D6, D7.
import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { counted, timed, type Fault, type NodeSlot, type World } from '../../support/fault-run.js';
import { resume } from '../../support/fault-world.js';
import { connect } from '../../support/socket.js';
import { until } from '../../support/until.js';

/** Answers between two kills: at least, and at most so many more, so that they come at any moment. */
const BETWEEN_KILLS = 20;
const BETWEEN_KILLS_SPREAD = 60;
const moment = (world: World) => world.load(BETWEEN_KILLS + Math.floor(world.random() * BETWEEN_KILLS_SPREAD));

export const redisKilled: Fault = {
  id: 'D1',
  title: 'kill -9 of the data Redis under load, again and again',
  async inject(world) {
    const rounds = world.size.isShort ? 4 : 20;
    let slowestMs = 0;
    for (let round = 0; round < rounds; round += 1) {
      await moment(world);
      await world.data.kill();
      await world.data.restart();
      const from = performance.now();
      await world.load(1);
      slowestMs = Math.max(slowestMs, performance.now() - from);
    }
    return {
      heal: () => Promise.resolve(),
      effect: () => rounds,
      counted: 'kills of Redis',
      beside: () => [timed('first ok after Redis is back ms', slowestMs, 1000)],
    };
  },
};

export const nodesAndRedisKilled: Fault = {
  id: 'D2',
  title: 'kill -9 of nodes and of the data Redis together, again and again',
  async inject(world) {
    const rounds = world.size.isShort ? 3 : 50;
    let killed = 0;
    for (let round = 0; round < rounds; round += 1) {
      await moment(world);
      const kills = [() => world.data.kill(), ...someNodes(world).map((node) => () => node.kill())];
      killed += kills.length;
      await Promise.all(kills.map((kill) => delay(world.random() * 5).then(kill)));
      await world.data.restart();
      await Promise.all(world.nodes.filter(({ takesClients }) => !takesClients).map((node) => node.start()));
    }
    return { heal: () => Promise.resolve(), effect: () => killed, counted: 'kills' };
  },
};

/** At least one, and sometimes all. */
function someNodes({ nodes, random }: World): NodeSlot[] {
  const some = nodes.filter(() => random() < 0.5);
  return some.length > 0 ? some : [nodes[Math.floor(random() * nodes.length)]!];
}

/** A connection loses one answer of Redis in so many, and is reset with it. */
const REPLY_LOST = 0.05;

export const repliesLost: Fault = {
  id: 'D6',
  title: 'one reply in twenty is lost after its execution, and the connection with it',
  needs: { proxies: ['data'] },
  async inject(world) {
    let lost = 0;
    for (const { data } of world.nodes) {
      data.frames('attune-data', (frame) => {
        if (world.random() >= REPLY_LOST) return [frame];
        lost += 1;
        return 'cut';
      });
    }
    await world.load(world.size.isShort ? 200 : 2000);
    return {
      heal: () => Promise.resolve(world.nodes.forEach(({ data }) => data.frames('attune-data', undefined))),
      effect: () => lost,
      counted: 'replies lost',
      beside: ({ pending, answers }) => [
        counted('not answered', pending + answers.filter(({ code }) => code.includes('timed out')).length),
      ],
    };
  },
};

/** Updates that a flood offers a node of a Redis that hangs: more than wait in one lane. */
const FLOOD = 3000;
/** How long Redis hangs, milliseconds; short: for longer than anybody waits. */
const HUNG_MS = 10_000;
const HUNG_SHORT_MS = 2200;
const FLOOD_DEADLINE_MS = 10_000;
/** What waits in one session's lane at most, and in a batch under way. */
const WAITING_MAX = 2000 + 256;
/** As many commands in the second after as in so many seconds before, at most: the flood is among them. */
const HERD = 10;

/** A socket that floods a session of its own. */
async function openFlood(url: string) {
  const socket = await connect(url, { clientId: 'flood' });
  const sessionId = 'flooded';
  await socket.ok('session:open', { sessionId });
  const codes: Record<string, number> = {};
  let answered = 0;
  const note = (code: string) => {
    codes[code] = (codes[code] ?? 0) + 1;
    answered += 1;
  };
  const sendOne = (n: number) =>
    socket.call('settings:update', { sessionId, merge: { n } }, FLOOD_DEADLINE_MS).then(
      (answer) => note(answer.ok ? 'ok' : answer.error.code),
      () => note('no answer'),
    );
  return {
    send: (count: number) => void Promise.all(Array.from({ length: count }, (_, n) => sendOne(n))),
    answered: () => answered,
    codes: () => codes,
    close: () => socket.close(),
  };
}

/** Commands that Redis carried out. */
async function commandsOf(redis: Redis): Promise<number> {
  return Number(/total_commands_processed:(\d+)/.exec(await redis.info('stats'))?.[1]);
}

export const redisHung: Fault = {
  id: 'D7',
  title: 'the data Redis hangs under load, and one session is flooded',
  async inject(world) {
    const { size, direct, data } = world;
    const { url } = world.nodes[0]!.attune;
    const flood = await openFlood(url);
    const before = await commandsOf(direct);
    await delay(1000);
    const usual = (await commandsOf(direct)) - before;
    process.kill(data.pid, 'SIGSTOP');
    const from = process.hrtime.bigint();
    flood.send(FLOOD);
    let waiting = 0;
    const endsAt = performance.now() + (size.isShort ? HUNG_SHORT_MS : HUNG_MS);
    while (performance.now() < endsAt) {
      waiting = Math.max(waiting, await world.metric('attune_queued_updates'));
      await delay(50);
    }
    const to = process.hrtime.bigint();
    let after = 0;
    return {
      async heal() {
        resume(data.pid);
        const first = await commandsOf(direct);
        await delay(1000);
        after = (await commandsOf(direct)) - first;
        await until(() => flood.answered() === FLOOD, { deadlineMs: 10_000, what: 'answers to the flood' });
        flood.close();
      },
      effect: () => flood.codes()['OVERLOADED'] ?? 0,
      counted: 'updates refused as too many',
      beside: ({ answers, writesSinceFault, pending }) => {
        const hung = writesSinceFault.filter(({ invokedAt }) => invokedAt > from && invokedAt < to);
        const slowest = hung.reduce((one, other) => (other.tookMs > one.tookMs ? other : one));
        return [
          timed(`longest answer while it hangs (${slowest.code || 'ok'}) ms`, slowest.tookMs, 2000),
          counted('updates waiting', waiting, WAITING_MAX),
          counted('commands of the next second by those of the one before', after / usual, HERD),
          counted('not answered', pending + answers.filter(({ code }) => code.includes('timed out')).length),
        ];
      },
    };
  },
};
