// A connection to a real Redis whose script calls are played on the model as well: where the two answer differently, the
// call rejects.
import { isDeepStrictEqual } from 'node:util';
import type { RedisClient } from '../../server/redis/connection.js';
import type { Argument, Publication, RedisModel } from './redis-model.js';

type Command = (...args: Argument[]) => Promise<unknown>;

export interface Twin {
  readonly client: RedisClient;
  /** Script -> calls that both answered alike. */
  readonly calls: ReadonlyMap<string, number>;
  /** What the model published. */
  readonly published: readonly Publication[];
}

/** The model has to be as the Redis is: empty, and of the same life. */
export function twinOf(real: RedisClient, model: RedisModel): Twin {
  const calls = new Map<string, number>();
  const published: Publication[] = [];
  const keyCounts = new Map<string, number>();
  const both =
    (name: string, command: Command): Command =>
    async (...args) => {
      const reply = await command(...args);
      const count = keyCounts.get(name)!;
      model.keyspace.now = Date.now();
      const modelled = model.run(name, args.slice(0, count).map(String), args.slice(count));
      if (!modelled) return reply;
      if (!isDeepStrictEqual(reply, modelled.reply)) {
        const [had, has] = [reply, modelled.reply].map((one) => JSON.stringify(one));
        throw new Error(`${name} ${JSON.stringify(args)}: Redis answers ${had}, the model ${has}`);
      }
      calls.set(name, (calls.get(name) ?? 0) + 1);
      published.push(...modelled.published);
      return reply;
    };
  const client = new Proxy(real, {
    get(target, property) {
      const own = Reflect.get(target, property, target) as unknown;
      if (property === 'defineCommand') {
        return (name: string, definition: { lua: string; numberOfKeys: number }) => {
          keyCounts.set(name.replace('attune_', ''), definition.numberOfKeys);
          target.defineCommand(name, definition);
        };
      }
      if (typeof own !== 'function') return own;
      const bound = own.bind(target) as Command;
      const script = /^attune_(\w+)$/.exec(String(property))?.[1];
      return script === undefined ? bound : both(script, bound);
    },
  });
  return { client, calls, published };
}
