// What an acknowledgement is worth on this Redis: read from its own settings, said once in the log and in /readyz.
import type { Logger } from 'pino';
import type { RedisClient } from './connection.js';

/** `fsync`: on disk; `everysec`: on disk within about a second; `none`: in memory; `unknown`: Redis does not say. */
export type Durability = 'fsync' | 'everysec' | 'none' | 'unknown';

/** Reads the persistence settings, logs what they mean, and warns where sessions could be lost or dropped. */
export async function describeDurability(client: RedisClient, logger: Logger): Promise<Durability> {
  let settings: Record<string, string>;
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
  const durability =
    appendonly !== 'yes' || appendfsync === 'no' ? 'none' : appendfsync === 'always' ? 'fsync' : 'everysec';
  logger.info({ durability, appendonly, appendfsync }, 'what an acknowledgement is worth');
  if (durability === 'none') {
    logger.warn({ appendonly, appendfsync }, 'acknowledged changes are lost when Redis ends: set appendonly yes');
  }
  if (policy !== 'noeviction' && maxmemory !== '0') {
    logger.warn(
      { policy, maxmemory },
      'Redis may drop sessions when its memory is full: set maxmemory-policy noeviction',
    );
  }
  return durability;
}
