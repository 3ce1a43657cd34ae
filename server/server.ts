// The composition root: starts everything in order, and drains it in reverse. Time, randomness and environment enter here.
import { randomUUID } from 'node:crypto';
import { createServer, type RequestListener, type Server as HttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Logger } from 'pino';
import { compileSettingsSchema } from './session/settings-schema.js';
import { defaultSettingsSchema } from '../client-sdk/protocol/settings.js';
import { createOriginCheck } from './api/access.js';
import { createAuthenticate } from './api/auth.js';
import { Calls } from './api/calls.js';
import { EventStreams } from './api/events.js';
import { RequestsUnderWay } from './api/requests-under-way.js';
import { createToWireError } from './api/reply.js';
import { createRest } from './api/rest.js';
import { SocketApi } from './api/socket.js';
import type { Config } from './config.js';
import { createMetrics } from './metrics.js';
import { CommitFeed } from './redis/commit-feed.js';
import { connectRedis, redisKind, type RedisAddress, type RedisRole } from './redis/connection.js';
import { describeDurability, requireReplicaWait } from './redis/durability.js';
import { createKeys } from './redis/keys.js';
import { Leases } from './redis/lease.js';
import { startManagedRedis } from './redis/managed-redis.js';
import { PresenceStore } from './redis/presence-store.js';
import { REPLICATED_CONNECTIONS, ReplicatedCommits } from './redis/replicated-commits.js';
import { SessionStore } from './redis/session-store.js';
import { IdleSessions } from './sync/idle-sessions.js';
import { Presence } from './sync/presence.js';
import { SessionReads } from './sync/reads.js';
import { SessionHub } from './sync/session-hub.js';
import { Signals } from './sync/signals.js';
import { Transfer } from './sync/transfer.js';
import { UpdateQueue } from './sync/update-queue.js';
import { realTime } from './time.js';

/** How long a lock server may take for one command, milliseconds: longer counts as no answer. */
const LOCK_COMMAND_TIMEOUT_MS = 100;
/** How long Redis may take for one command of an export or import, milliseconds: a session of 16 MiB is one command. */
const BULK_COMMAND_TIMEOUT_MS = 10_000;
/** Redis must answer a probe within, milliseconds. */
const READY_PING_MS = 500;
/** Of the time a drain may take, what is left for closing connections after the queues are empty, milliseconds. */
const CLOSE_MS = 500;
/** Of it, for what clients were not sent yet: answers, and where to go, milliseconds. */
const WRITE_MS = 100;

/** Connections that wait to be taken: when another node ends, all of its clients come at once. The system may take fewer. */
const LISTEN_BACKLOG = 4096;

/** A server that is listening. */
export interface AttuneServer {
  readonly url: string;
  /** Takes no more updates, finishes what is queued, tells clients, leaves. Idempotent; bounded by DRAIN_TIMEOUT_MS. */
  close(): Promise<void>;
}

/** Starts a server; rejects with an error that says what is missing, having stopped what it had started. */
export async function startServer(config: Config, logger: Logger): Promise<AttuneServer> {
  const undo: (() => Promise<void> | void)[] = [];
  const stop = async () => {
    for (const step of undo.splice(0).toReversed()) await step();
  };
  try {
    return await start(config, logger, undo, stop);
  } catch (error) {
    await stop();
    throw error;
  }
}

async function start(
  config: Config,
  logger: Logger,
  undo: (() => Promise<void> | void)[],
  stop: () => Promise<void>,
): Promise<AttuneServer> {
  const schema = compileSettingsSchema(config.settingsSchema ?? defaultSettingsSchema);
  const metrics = createMetrics();
  const time = realTime;
  const { now } = time;

  const address = await redisAddress(config, logger, undo);
  const connect = async (role: RedisRole, where: RedisAddress, options = {}) => {
    const client = await connectRedis(where, role, logger, options);
    undo.push(() => client.disconnect());
    return client;
  };
  const dataClient = await connect('data', address);
  // Whole sessions take long to read and write: on their own connection no commit waits behind them.
  const bulkClient = await connect('bulk', address, { commandTimeoutMs: BULK_COMMAND_TIMEOUT_MS });
  const presenceClient = await connect('presence', address);
  const feedClient = await connect('feed', address);
  const lockAddresses = config.LOCK_REDIS_URLS.map((url) => ({ url }));
  const lockClients = await Promise.all(
    (lockAddresses.length > 0 ? lockAddresses : [address]).map((where) =>
      connect('lock', where, { commandTimeoutMs: LOCK_COMMAND_TIMEOUT_MS, require: false }),
    ),
  );

  const nodeId = randomUUID();
  const keys = createKeys(config.REDIS_KEY_PREFIX);
  const own = await describeDurability(dataClient, logger);
  const durability = config.DURABILITY === 'replica' ? config.DURABILITY : own;
  let replicated: ReplicatedCommits | undefined;
  if (durability === 'replica') {
    await requireReplicaWait(dataClient);
    const lines = Array.from({ length: REPLICATED_CONNECTIONS }, () => connect('commit', address));
    replicated = new ReplicatedCommits(await Promise.all(lines));
  }
  const store = new SessionStore(dataClient, keys, config.limits, nodeId, replicated?.run);
  await store.checkPartitions();
  const leases = new Leases({ store, keys, lockClients, metrics, logger, time });
  let hub!: SessionHub;
  const hears = (sessionId: string) => hub.hears(sessionId);
  const queue = new UpdateQueue({ store, leases, limits: config.limits, schema, metrics, logger, time, hears });
  const reads = new SessionReads(store);
  const bulk = new SessionStore(bulkClient, keys, config.limits, nodeId);
  const transfer = new Transfer({ store: bulk, schema, limits: config.limits, now });
  const presenceStore = new PresenceStore(presenceClient, keys);
  let signals!: Signals;
  const relay: Signals['send'] = (signal, bytes) => signals.send(signal, bytes);
  const calls = new Calls({ queue, reads, relay, limits: config.limits, now });

  const authenticate = createAuthenticate({
    secret: config.AUTH_SECRET,
    issuer: config.AUTH_ISSUER,
    audience: config.AUTH_AUDIENCE,
  });
  const originAllowed = createOriginCheck(config.CORS_ORIGINS, { loopbackOnly: config.AUTH_SECRET === undefined });
  const toWireError = createToWireError(logger, metrics);
  let draining = false;
  let feed!: CommitFeed;

  const streams = new EventStreams({ metrics });
  // Socket.IO takes its own path out of the requests that this listener would have had: it must be there first.
  let rest!: RequestListener;
  const calling = new RequestsUnderWay();
  const http = createServer((request, response) => {
    calling.began(response);
    rest(request, response);
  });
  const allowedOrigins = config.CORS_ORIGINS;
  const rateCallsPerS = config.RATE_CALLS_PER_S;
  const shared = { calls, authenticate, originAllowed, allowedOrigins, rateCallsPerS, toWireError, metrics, logger };
  const sockets = new SocketApi({ http, ...shared });
  const sinks = [sockets, streams];
  signals = new Signals({ store: presenceStore, sinks, metrics });
  const presence = new Presence({ store: presenceStore, sinks, nodeId, metrics, logger, time });
  hub = new SessionHub({
    store,
    feed: (onGap) => (feed = new CommitFeed({ client: feedClient, keys, logger, time, onGap })),
    sinks,
    presence,
    signals,
    nodeId,
    onWanted: (sessionId) => queue.giveUp(sessionId),
    metrics,
    logger,
    time,
  });
  sockets.attach(hub, presence);
  const readiness = async () => ({
    checks: { redis: await store.answers(READY_PING_MS), feed: feed.ready, draining },
    durability,
  });
  rest = createRest({ ...shared, hub, presence, reads, transfer, streams, schema, now, readiness });
  const idle = new IdleSessions({ store, queue, hub, ttlS: config.SESSION_IDLE_TTL_S, logger, time });

  await listen(http, config);
  const { port } = http.address() as AddressInfo;
  const host = config.HOST.includes(':') ? `[${config.HOST}]` : config.HOST;
  const url = `http://${host}:${port}`;
  logger.info({ url, redis: redisKind(address), durability, auth: config.AUTH_SECRET !== undefined }, 'listening');
  if (config.AUTH_SECRET === undefined) logger.warn('auth is off: whoever reaches this machine may do everything');

  let closing: Promise<void> | undefined;
  const close = () => {
    closing ??= (async () => {
      draining = true;
      idle.close();
      const finishMs = Math.max(config.DRAIN_TIMEOUT_MS - CLOSE_MS, 0);
      const finishBy = performance.now() + finishMs;
      http.close();
      await within(Promise.all([queue.drain(), sockets.sendAway(finishMs)]), finishMs);
      streams.close();
      // Before the sockets: closing those ends what is idle, and Node takes an answer that waits behind another for that.
      await within(calling.ended(), Math.max(finishBy - performance.now(), 0));
      await sockets.written(WRITE_MS);
      // The sockets are gone when this returns: then nobody of this node is there any more.
      const closed = sockets.close();
      await within(Promise.all([closed, presence.close()]), CLOSE_MS - WRITE_MS);
      http.closeAllConnections();
      await hub.close();
      await stop();
    })();
    return closing;
  };
  return { url, close };
}

async function redisAddress(
  config: Config,
  logger: Logger,
  undo: (() => Promise<void> | void)[],
): Promise<RedisAddress> {
  if (config.REDIS_URL !== undefined) return { url: config.REDIS_URL };
  const managed = await startManagedRedis({ dataDir: config.DATA_DIR, logger });
  undo.push(() => managed.close());
  return { socketPath: managed.socketPath };
}

function listen(http: HttpServer, config: Config): Promise<void> {
  // An import may take long to send; rest.ts bounds all other bodies.
  http.requestTimeout = 0;
  http.headersTimeout = 10_000;
  return new Promise((resolve, reject) => {
    http.once('error', (error: NodeJS.ErrnoException) => {
      const why = error.code === 'EADDRINUSE' ? 'the port is taken' : error.message;
      reject(new Error(`cannot listen on ${config.HOST}:${config.PORT}: ${why}`, { cause: error }));
    });
    http.listen({ port: config.PORT, host: config.HOST, backlog: LISTEN_BACKLOG }, () => resolve());
  });
}

/** Waits for `work`, but not longer than `ms`. */
async function within(work: Promise<unknown>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  await Promise.race([work, new Promise((resolve) => (timer = setTimeout(resolve, ms)))]);
  clearTimeout(timer);
}
