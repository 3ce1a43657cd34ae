// The configuration: every variable with its default, unit and description in one table, read and checked once at start.
// The README's table is made from it. Nothing else reads the environment.
import { readFileSync } from 'node:fs';
import { defaultLimits, tunableLimits, type Limits, type TunableLimit } from '../client-sdk/protocol/limits.js';

interface Variable<T> {
  readonly default: T;
  /** As the README shows the default, where the value alone does not say it. */
  readonly shown?: string;
  readonly description: string;
  /** Throws an Error that says what is wrong with the text. */
  parse(text: string): T;
}

const text = (value: string) => value;
const optional = (description: string, shown = 'unset', parse: (value: string) => string = text) =>
  ({ default: undefined, shown, description, parse }) as Variable<string | undefined>;

function integer(value: string, min: number, max: number): number {
  if (!/^\d+$/.test(value) || Number(value) < min || Number(value) > max) {
    throw new Error(`must be a whole number from ${min} to ${max}`);
  }
  return Number(value);
}

function redisUrl(value: string): string {
  if (!/^(rediss?|redis\+sentinel|redis\+cluster):\/\/[^/\s]+/.test(value)) {
    throw new Error('must be redis://, rediss://, redis+sentinel:// or redis+cluster://');
  }
  return value;
}

function list(value: string): string[] {
  return value
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

function lockUrls(value: string): string[] {
  const urls = list(value);
  if (urls.length % 2 === 0) throw new Error('must name an odd number of servers: an even number may never agree');
  return urls.map((url) => redisUrl(url));
}

function origins(value: string): string[] {
  const all = list(value);
  for (const origin of all) {
    if (!URL.canParse(origin) || new URL(origin).origin !== origin) {
      throw new Error(`must hold origins like https://app.example.org, which "${origin}" is not`);
    }
  }
  return all;
}

function secret(value: string): string {
  if (Buffer.byteLength(value) < 32) throw new Error('must have at least 32 bytes');
  return value;
}

function durability(value: string): string {
  if (value !== 'replica') throw new Error('must be replica, or not be set');
  return value;
}

function logLevel(value: string): string {
  const levels = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'];
  if (!levels.includes(value)) throw new Error(`must be one of ${levels.join(', ')}`);
  return value;
}

function keyPrefix(value: string): string {
  if (!/^[A-Za-z0-9._-]{1,32}$/.test(value)) throw new Error('must be 1..32 of A-Z a-z 0-9 . _ -');
  return value;
}

/** Every variable, in the order of the README's table. */
export const variables = {
  HOST: {
    default: '127.0.0.1',
    description: 'Address it listens on. One that is not loopback needs auth to be configured',
    parse: text,
  },
  PORT: { default: 4100, description: 'Port; 0 takes a free one', parse: (value: string) => integer(value, 0, 65_535) },
  DATA_DIR: { default: './data', description: 'Directory of the managed Redis', parse: text },
  REDIS_URL: optional(
    '`redis://`, `rediss://`, `redis+sentinel://user:password@h1,h2/name` or `redis+cluster://h1,h2,h3`; unset: the managed Redis',
    'unset',
    redisUrl,
  ),
  DURABILITY: optional(
    '`replica`: answer a write only when a replica has it on its disk too (Redis 7.2 or newer, not a Cluster)',
    'as Redis is set up',
    durability,
  ),
  REDIS_KEY_PREFIX: { default: 'attune', description: 'First part of every key and channel', parse: keyPrefix },
  LOCK_REDIS_URLS: {
    default: [] as string[],
    shown: 'the data Redis',
    description: 'Independent Redis servers for Redlock, separated by commas; an odd number',
    parse: lockUrls,
  },
  AUTH_SECRET: optional('HS256 key for tokens, UTF-8 text of at least 32 bytes', 'unset', secret),
  AUTH_JWKS_URL: optional('Where the keys of tokens are published (a later version; refused at start until then)'),
  AUTH_ISSUER: optional('`iss` that tokens must have'),
  AUTH_AUDIENCE: optional('`aud` that tokens must have'),
  CORS_ORIGINS: {
    default: [] as string[],
    shown: 'same origin',
    description:
      'Origins of browsers that are allowed, for HTTP and the WebSocket handshake, exact, separated by commas',
    parse: origins,
  },
  SETTINGS_SCHEMA: optional('Path of a JSON Schema file that the settings must fit', 'built in'),
  SESSION_IDLE_TTL_S: {
    default: 0,
    shown: 'never',
    description: 'Seconds after which a session without a commit or a socket is removed',
    parse: (value: string) => integer(value, 1, 10 ** 9),
  },
  DRAIN_TIMEOUT_MS: {
    default: 5000,
    description: 'Milliseconds that SIGTERM may take',
    parse: (value: string) => integer(value, 0, 600_000),
  },
  LOG_LEVEL: { default: 'info', description: "pino's levels, on stderr", parse: logLevel },
  RATE_CALLS_PER_S: {
    default: 10_000,
    description: 'Calls per second of one socket or address; twice as many at once',
    parse: (value: string) => integer(value, 1, 10 ** 7),
  },
} satisfies Record<string, Variable<unknown>>;

type Values = {
  [N in keyof typeof variables]: (typeof variables)[N] extends { parse(text: string): infer T } ? T : never;
};

export interface Config extends Omit<Values, 'SETTINGS_SCHEMA'> {
  readonly limits: Limits;
  /** The parsed JSON Schema file, where one is configured. */
  readonly settingsSchema: unknown;
}

/** A configuration that cannot be used: the message names every variable that is wrong. */
export class ConfigError extends Error {
  constructor(problems: string[]) {
    super(`the configuration cannot be used:\n${problems.map((problem) => `  ${problem}`).join('\n')}`);
    this.name = 'ConfigError';
  }
}

/** Reads the configuration from `environment`. Throws ConfigError. */
export function readConfig(environment: Readonly<Record<string, string | undefined>>): Config {
  const problems: string[] = [];
  const read = <T>(name: string, fallback: T, parse: (text: string) => T): T => {
    const value = environment[name];
    if (value === undefined || value === '') return fallback;
    try {
      return parse(value);
    } catch (error) {
      problems.push(`${name} ${(error as Error).message}`);
      return fallback;
    }
  };
  const values = Object.fromEntries(
    Object.entries(variables).map(([name, variable]) => [
      name,
      read<unknown>(name, variable.default, variable.parse as (text: string) => unknown),
    ]),
  ) as unknown as Values;
  const limits = { ...defaultLimits } as Record<TunableLimit, number>;
  for (const name of Object.keys(tunableLimits) as TunableLimit[]) {
    limits[name] = read<number>(name, limits[name], (value) => integer(value, 1, 2 ** 31));
  }
  const settingsSchema = read<unknown>('SETTINGS_SCHEMA', undefined, readSchema);
  problems.push(...contradictions(values));
  if (problems.length > 0) throw new ConfigError(problems);
  return { ...values, limits, settingsSchema };
}

function readSchema(path: string): unknown {
  let content: string;
  try {
    content = readFileSync(path, 'utf8');
  } catch (error) {
    throw new Error(`names a file that cannot be read: ${(error as Error).message}`, { cause: error });
  }
  try {
    return JSON.parse(content);
  } catch (error) {
    throw new Error(`names a file that is not JSON: ${path}: ${(error as Error).message}`, { cause: error });
  }
}

/** Whether a host is reachable from this machine only. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host === '[::1]' || /^127(\.\d{1,3}){3}$/.test(host);
}

function contradictions(values: Values): string[] {
  const problems: string[] = [];
  if (values.AUTH_JWKS_URL !== undefined) {
    problems.push('AUTH_JWKS_URL is not supported by this version; use AUTH_SECRET');
  }
  if (values.DURABILITY !== undefined && values.REDIS_URL === undefined) {
    problems.push('DURABILITY replica needs a Redis with a replica (REDIS_URL): the managed Redis has none');
  }
  if (!isLoopback(values.HOST) && values.AUTH_SECRET === undefined) {
    problems.push(
      `HOST ${values.HOST} can be reached from other machines: configure auth (AUTH_SECRET), or use 127.0.0.1`,
    );
  }
  return problems;
}
