// The faults of a simulation: each begins at some time, changes the weather or a process, and ends by itself. Which, when
// and how long is the seed's to say.
import type { Weather } from './network.js';
import type { World } from './world.js';

/** Begins a fault that lasts `ms`; what it changed is as before when the time is over. */
type Begin = (world: World, ms: number) => void;

/** How long faults last, milliseconds. */
const LASTS_MS = [50, 4000] as const;
/** Of them as many as a run has. */
const FAULTS_MAX = 4;

const pick = <T>({ scheduler }: World, from: readonly T[]): T => from[Math.floor(scheduler.random() * from.length)]!;
const place = (world: World): string => pick(world, world.places);
const both = (world: World, client: string, server: string): Weather[] => [
  world.network.weather(client, server),
  world.network.weather(server, client),
];

/** Weather that is so for a while. */
function whileItLasts(world: World, ms: number, weathers: readonly Weather[], change: Partial<Weather>): void {
  for (const weather of weathers) Object.assign(weather, change);
  world.scheduler.after(ms, 'the weather is better', () => {
    for (const weather of weathers) Object.assign(weather, { cut: 0, delayed: 0, delayMs: 0 });
  });
}
const heldFor = (world: World, ms: number) => ({ heldUntil: world.scheduler.now + ms });

export const faults: Record<string, Begin> = {
  'redis killed and restarted': (world, ms) => {
    world.data.crash();
    world.scheduler.after(Math.min(ms, 1500), 'redis starts', () => world.data.start(world.freshLife()));
  },
  'redis hangs': (world, ms) => {
    world.data.hang();
    world.scheduler.after(ms, 'redis goes on', () => world.data.wake());
  },
  'node killed': (world, ms) => {
    const where = place(world);
    world.killNode(where);
    world.scheduler.after(Math.min(ms, 2000), `${where} starts`, () => world.startNode(where));
  },
  'node stopped': (world, ms) => {
    // Now and then for longer than a lease lives.
    const lasts = world.scheduler.chance(0.2) ? 3 * ms : ms;
    const node = world.nodeAt(place(world));
    node.process.stop();
    world.scheduler.after(lasts, `${node.process.name} goes on`, () => node.process.continue());
  },
  'replies lost': (world, ms) => {
    const weather = world.network.weather('redis', `${place(world)}.data`);
    whileItLasts(world, ms, [weather], { cut: world.scheduler.between(0.02, 0.3) });
  },
  'commands lost': (world, ms) => {
    const weather = world.network.weather(`${place(world)}.data`, 'redis');
    whileItLasts(world, ms, [weather], { cut: world.scheduler.between(0.02, 0.3) });
  },
  'commands held up': (world, ms) => {
    Object.assign(world.network.weather(`${place(world)}.data`, 'redis'), heldFor(world, ms));
  },
  'replies held up': (world, ms) => {
    Object.assign(world.network.weather('redis', `${place(world)}.data`), heldFor(world, ms));
  },
  'node cut off from redis': (world, ms) => {
    const where = place(world);
    for (const role of ['data', 'feed']) {
      for (const weather of both(world, `${where}.${role}`, 'redis')) Object.assign(weather, heldFor(world, ms));
    }
  },
  'slow commands': (world, ms) => {
    const where = place(world);
    const delayMs = world.scheduler.chance(0.3) ? 2500 : 50;
    const delayed = delayMs > 1000 ? 0.02 : 0.3;
    whileItLasts(world, ms, both(world, `${where}.data`, 'redis'), { delayed, delayMs });
  },
  'feed drops, doubles and reorders': ({ data, scheduler }, ms) => {
    Object.assign(data.feedFaults, { dropped: 0.2, doubled: 0.1, late: 0.1 });
    scheduler.after(ms, 'the feed is well', () => Object.assign(data.feedFaults, { dropped: 0, doubled: 0, late: 0 }));
  },
  'feed cut': (world, ms) => {
    const weathers = world.places.flatMap((where) => both(world, `${where}.feed`, 'redis'));
    whileItLasts(world, ms, weathers, { cut: 0.05 });
  },
  'feed held up': (world, ms) => {
    Object.assign(world.network.weather('redis', `${place(world)}.feed`), heldFor(world, ms));
  },
  'lock servers restarted empty': (world, ms) => {
    for (const lock of world.ownLocks.filter(() => world.scheduler.chance(0.6))) {
      lock.crash();
      lock.model.keyspace.unlink(...world.lockKeys());
      world.scheduler.after(ms, `${lock.name} starts`, () => lock.start(world.freshLife()));
    }
  },
  'lock servers hang': (world, ms) => {
    for (const lock of world.ownLocks.filter(() => world.scheduler.chance(0.6))) {
      lock.hang();
      world.scheduler.after(ms, `${lock.name} goes on`, () => lock.wake());
    }
  },
  'lock replies lost': (world, ms) => {
    const weathers = world.places.flatMap((where) =>
      world.lockEnds(where).map(([end, server]) => world.network.weather(server, end)),
    );
    whileItLasts(world, ms, weathers, { cut: 0.1 });
  },
  'clients cut off': (world, ms) => {
    const where = place(world);
    whileItLasts(world, ms, both(world, 'clients', where), { cut: 0.1 });
  },
  'clients held up': (world, ms) => {
    Object.assign(world.network.weather(pick(world, ['clients', place(world)]), place(world)), heldFor(world, ms));
  },
};

/** Plans a run's faults, of these kinds; gives when the last one is over (virtual milliseconds). */
export function planFaults(world: World, names: readonly string[], counts: Map<string, number>): number {
  const { scheduler } = world;
  let over = scheduler.now;
  const count = 1 + Math.floor(scheduler.random() * FAULTS_MAX);
  for (let i = 0; i < count; i += 1) {
    const name = pick(world, names);
    const startsIn = scheduler.between(0, 2000);
    const [least, most] = LASTS_MS;
    // Short ones are more frequent.
    const ms = least + (most - least) * scheduler.random() ** 2;
    scheduler.after(startsIn, `FAULT ${name} for ${ms.toFixed(0)} ms`, () => {
      counts.set(name, (counts.get(name) ?? 0) + 1);
      faults[name]!(world, ms);
    });
    over = Math.max(over, scheduler.now + startsIn + (name === 'node stopped' ? 3 * ms : ms));
  }
  return over;
}
