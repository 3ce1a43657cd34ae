// Connections to Redis: made from a URL, with options under which no command is ever sent twice, and one call that
// says of each failure whether the command may have run.
import { Cluster, Redis } from 'ioredis';
import type { Logger } from 'pino';

/** A command without an answer for so long has failed, and its connection is closed. */
export const COMMAND_TIMEOUT_MS = 1500;
/** An attempt to connect. */
const CONNECT_TIMEOUT_MS = 1000;
/** Longest pause between two attempts to connect; short, for every update waits for it. */
const RECONNECT_MAX_MS = 500;
/** Pause between two looks at a Redis that loads its data, milliseconds: its own guess is a second at least. */
const LOADING_POLL_MS = 100;
/**
 * Less than that for this process: nodes that lost one Redis at one moment must not come back to it at one moment. All of a
 * node's connections have the same pace, for a join needs two of them.
 */
const pace = 0.5 + Math.random() / 2;
/** What Redis answers before it executed anything: the first word of its error. */
const REFUSED_UNEXECUTED = new Set(
  'NOSCRIPT OOM MISCONF READONLY NOREPLICAS LOADING BUSY MASTERDOWN CLUSTERDOWN NOAUTH NOPERM WRONGPASS TRYAGAIN CROSSSLOT'.split(
    ' ',
  ),
);

/** How long a Redis is waited for that is not required, milliseconds: what is asked of it at once would find it away. */
const OPTIONAL_WAIT_MS = 1000;

export type RedisClient = Redis | Cluster;

/** What a connection is for; it is its name in Redis too. */
export type RedisRole = 'data' | 'bulk' | 'presence' | 'feed' | 'lock' | 'commit';

/** Where Redis is: a URL as `REDIS_URL` takes it, or the unix socket of the managed one. */
export type RedisAddress = { url: string } | { socketPath: string };

/**
 * Why a command failed: `not-sent` (certain), `refused` (Redis said so before executing), `no-answer` (it may have run).
 */
export class RedisFailure extends Error {
  readonly kind: 'not-sent' | 'refused' | 'no-answer';
  /** Of what was refused: the first word of Redis's error. */
  readonly code: string | undefined;
  constructor(kind: RedisFailure['kind'], message: string, cause?: unknown, code?: string) {
    super(message, { cause });
    this.name = 'RedisFailure';
    this.kind = kind;
    this.code = code;
  }
}

/**
 * Connects to `address` and waits until it is ready; rejects after `deadlineMs`. Where it is not required it goes on trying
 * instead, after OPTIONAL_WAIT_MS. `role` names it in Redis and in logs; the subscriber keeps trying and re-subscribes by
 * itself.
 */
export async function connectRedis(
  address: RedisAddress,
  role: RedisRole,
  logger: Logger,
  options: { deadlineMs?: number; commandTimeoutMs?: number; require?: boolean } = {},
): Promise<RedisClient> {
  const client = createClient(address, role, options.commandTimeoutMs ?? COMMAND_TIMEOUT_MS);
  client.on('error', (error: Error) => logger.debug({ err: error, role }, 'redis connection'));
  client.on('close', () => logger.debug({ role }, 'redis connection closed'));
  const isRequired = options.require ?? true;
  const deadline = Date.now() + (isRequired ? (options.deadlineMs ?? 10_000) : OPTIONAL_WAIT_MS);
  let last: unknown = new Error('no answer');
  client.on('error', (error: Error) => (last = error));
  client.connect().catch((error: unknown) => (last = error));
  // Without a queue the first command needs every node of a cluster.
  const nodes = () => (client instanceof Cluster && !client.options.enableOfflineQueue ? client.nodes('master') : []);
  while (client.status !== 'ready' || nodes().some(({ status }) => status !== 'ready')) {
    if (Date.now() > deadline) {
      if (!isRequired) return client;
      client.disconnect();
      throw new Error(`Redis (${role}) cannot be reached: ${last instanceof Error ? last.message : String(last)}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return client;
}

function createClient(address: RedisAddress, role: string, commandTimeout: number): RedisClient {
  const subscriber = role === 'feed';
  const options = {
    lazyConnect: true,
    connectionName: `attune-${role}`,
    connectTimeout: CONNECT_TIMEOUT_MS,
    commandTimeout,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    enableOfflineQueue: subscriber,
    maxLoadingRetryTime: LOADING_POLL_MS,
    // ioredis would do it without handling a failure; the feed does it itself.
    autoResubscribe: false,
    // It is no primary any more: whoever is is found by connecting again.
    reconnectOnError: (error: Error) => error.message.startsWith('READONLY'),
    retryStrategy: (attempt: number) => Math.min(20 * 2 ** Math.min(attempt, 5), RECONNECT_MAX_MS) * pace,
  };
  if ('socketPath' in address) return new Redis({ ...options, path: address.socketPath });
  const several = parseSeveral(address.url);
  if (!several) return new Redis(address.url, options);
  const { kind, hosts, path, ...credentials } = several;
  if (kind === 'sentinel') {
    // The old primary may go on taking writes that nobody keeps: it is left as soon as a sentinel names another.
    return new Redis({
      ...options,
      ...credentials,
      sentinels: hosts,
      name: path || 'mymaster',
      failoverDetector: true,
    });
  }
  return new Cluster(hosts, {
    lazyConnect: true,
    // A node is connected to by its first command, and without this queue the others meanwhile would be refused. Nothing
    // waits in it for a cluster that is away: send() looks first. Redlock does not, so locks do without, and connect at once.
    enableOfflineQueue: role !== 'lock',
    retryDelayOnFailover: 0,
    retryDelayOnClusterDown: 0,
    retryDelayOnTryAgain: 0,
    redisOptions: {
      ...options,
      ...credentials,
      lazyConnect: role !== 'lock',
      // One node that hangs is left, by its own connection: those to the others go on.
      socketTimeout: commandTimeout,
    },
  });
}

/** The parts of `redis+sentinel://` and `redis+cluster://` with several hosts, which is no URL to the URL parser. */
function parseSeveral(url: string) {
  const parts = /^redis\+(sentinel|cluster):\/\/(?:([^:@/]*)(?::([^@/]*))?@)?([^/]+)(?:\/(.*))?$/.exec(url);
  if (!parts) return undefined;
  const [, kind, username, password, hostList = '', path = ''] = parts;
  const hosts = hostList.split(',').map((entry) => {
    const [host = '', port] = entry.split(':');
    return { host, port: Number(port ?? (kind === 'sentinel' ? 26379 : 6379)) };
  });
  return {
    kind,
    hosts,
    path,
    ...(username ? { username: decodeURIComponent(username) } : {}),
    ...(password ? { password: decodeURIComponent(password) } : {}),
  };
}

/**
 * Runs one command and tells its failures apart by kind. After a command that was not answered in time the connection
 * is closed: a late answer must not meet a later command, and what Redis has not read yet is dropped.
 */
export async function send<T>(client: RedisClient, command: (client: RedisClient) => Promise<T>): Promise<T> {
  if (client.status !== 'ready') throw new RedisFailure('not-sent', `Redis is away (${client.status})`);
  try {
    return await command(client);
  } catch (error) {
    const cause = error as Error;
    if (cause.name === 'ReplyError') {
      const code = cause.message.split(' ', 1)[0] ?? '';
      // An error that names the script came from within it: what stood before it was executed.
      const isFromWithin = / script: /.test(cause.message);
      if (REFUSED_UNEXECUTED.has(code) && !isFromWithin)
        throw new RedisFailure('refused', `Redis refused: ${code}`, cause, code);
    } else if (/timed out/i.test(cause.message) && client instanceof Redis && client.status === 'ready') {
      client.disconnect(true);
    }
    throw new RedisFailure('no-answer', `no answer from Redis: ${cause.message}`, cause);
  }
}

/** The kind of Redis an address names. */
export function redisKind(address: RedisAddress): 'managed' | 'single' | 'sentinel' | 'cluster' {
  if ('socketPath' in address) return 'managed';
  return (parseSeveral(address.url)?.kind as 'sentinel' | 'cluster' | undefined) ?? 'single';
}
