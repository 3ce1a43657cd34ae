// Faults in which the data Redis, or nodes with it, are gone for a time: D1, D2, D7.
import { timed, type Fault, type World } from '../../support/fault-run.js';

/** Resolves when a write was answered `ok` from now on; how long that took, milliseconds. */
export async function nextOk(world: World): Promise<number> {
  const from = performance.now();
  await world.load(1);
  return performance.now() - from;
}

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
      slowestMs = Math.max(slowestMs, await nextOk(world));
    }
    return {
      heal: () => Promise.resolve(),
      effect: () => rounds,
      counted: 'kills of Redis',
      beside: () => [timed('first ok after Redis is back ms', slowestMs, 1000)],
    };
  },
};
