// What an acknowledgement is worth on this Redis: read from its own settings, said once in the log and in /readyz.
import { Cluster, type Redis } from 'ioredis';
import type { Logger } from 'pino';
import type { RedisClient } from './connection.js';

/**
 * `replica`: on the disks of the primary and of a replica; `fsync`: on disk; `everysec`: on disk within about a second;
 * `none`: in memory; `unknown`: Redis does not say.
 */
export type Durability = 'replica' | 'fsync' | 'everysec' | 'none' | 'unknown';

/** From the least that is known to be kept. */
const WEAKEST_FIRST: readonly Durability[] = ['unknown', 'none', 'everysec', 'fsync'];
/** The first version of Redis with WAITAOF. */
const WAITAOF_SINCE = [7, 2] as const;

type Settings = Record<'appendonly' | 'appendfsync' | 'policy' | 'maxmemory', string>;

/**
 * Reads the persistence settings, of a cluster those of every primary, logs what they mean, and warns where sessions could be
 * lost or dropped. The weakest primary decides.
 */
export async function describeDurability(client: RedisClient, logger: Logger): Promise<Durability> {
  const servers = client instanceof Cluster ? client.nodes('master') : [client];
  const found = await Promise.all(servers.map((server) => ofOne(server, logger)));
  const durability = WEAKEST_FIRST.find((one) => found.includes(one)) ?? 'unknown';
  logger.info({ durability }, 'what an acknowledgement is worth');
  return durability;
}

async function ofOne(client: Redis, logger: Logger): Promise<Durability> {
  let settings: Settings;
  try {
    const read = async (name: string) => ((await client.config('GET', name)) as string[])[1] ?? '';
    settings = {
      appendonly: await read('appendonly'),
      appendfsync: await read('appendfsync'),
      policy: await read('maxmemory-policy'),
      maxmemory: await read('maxmemory'),
    };
  } catch (error) {
    logger.warn(
      { err: error },
      'Redis does not tell its persistence settings: what an acknowledgement is worth is unknown',
    );
    return 'unknown';
  }
  const { appendonly, appendfsync, policy, maxmemory } = settings;
  const isNone = appendonly !== 'yes' || appendfsync === 'no';
  if (isNone) {
    logger.warn({ appendonly, appendfsync }, 'acknowledged changes are lost when Redis ends: set appendonly yes');
  }
  if (policy !== 'noeviction' && maxmemory !== '0') {
    logger.warn(
      { policy, maxmemory },
      'Redis may drop sessions when its memory is full: set maxmemory-policy noeviction',
    );
  }
  return isNone ? 'none' : appendfsync === 'always' ? 'fsync' : 'everysec';
}

/**
 * Throws an Error that says why commits cannot wait for a replica here: it takes one primary with an append-only file, of a
 * Redis that knows WAITAOF.
 */
export async function requireReplicaWait(client: RedisClient): Promise<void> {
  const refuse = (why: string) => {
    throw new Error(`DURABILITY=replica cannot be kept: ${why}`);
  };
  if (client instanceof Cluster) return refuse('it is not offered on a Cluster');
  const version = /redis_version:(\d+)\.(\d+)/.exec(await client.info('server'));
  const [major, minor] = [Number(version?.[1]), Number(version?.[2])];
  if (!(major > WAITAOF_SINCE[0] || (major === WAITAOF_SINCE[0] && minor >= WAITAOF_SINCE[1]))) {
    return refuse(`it needs Redis ${WAITAOF_SINCE.join('.')} or newer, or Valkey; this is ${major}.${minor}`);
  }
  const [, appendonly] = (await client.config('GET', 'appendonly')) as string[];
  if (appendonly !== 'yes') return refuse('Redis has no append-only file: set appendonly yes');
}
