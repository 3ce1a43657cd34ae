// The baseline: the design taken by the letter. For each update: lock (redlock, its defaults), GET, change, SET,
// unlock, emit. A process of its own with its own Redis (append-only file, fsync always). Never part of the product.
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Redis } from 'ioredis';
import Redlock from 'redlock';
import { Server, type Socket } from 'socket.io';
import { applyMergePatch, type JsonObject } from './settings.js';
import { startRedis } from './redis-child.js';

/** As in redlock's own examples; far longer than one update takes. */
const lockDurationMs = 5_000;

interface StoredSession {
  id: string;
  revision: number;
  settings: JsonObject;
  updatedAt: string;
}

interface UpdateRequest {
  sessionId: string;
  updateId?: string;
  replace?: JsonObject;
  merge?: JsonObject;
}

interface OpenRequest {
  sessionId: string;
  settings?: JsonObject;
}

type Reply = (body: object) => void;

const directory = process.env['DATA_DIR'];
if (!directory) throw new Error('literal: DATA_DIR must name a directory of its own');

const redisChild = await startRedis(directory);
const redis = new Redis({ path: redisChild.socketPath });
const redlock = new Redlock([redis]);
const http = createServer();
const io = new Server(http, { transports: ['websocket'], serveClient: false });

const documentKey = (sessionId: string): string => `literal:session:${sessionId}`;
const lockKey = (sessionId: string): string => `literal:lock:${sessionId}`;

async function read(sessionId: string): Promise<StoredSession> {
  const text = await redis.get(documentKey(sessionId));
  if (text === null) throw new Error(`no session ${sessionId}`);
  return JSON.parse(text) as StoredSession;
}

async function open(request: OpenRequest): Promise<object> {
  const { sessionId: id, settings = {} } = request;
  const fresh: StoredSession = { id, revision: 1, settings, updatedAt: new Date().toISOString() };
  const created = await redis.set(documentKey(id), JSON.stringify(fresh), 'NX');
  return { session: created ? fresh : await read(id), created: created !== null };
}

async function update(request: UpdateRequest): Promise<object> {
  const { sessionId, updateId, replace, merge } = request;
  const lock = await redlock.acquire([lockKey(sessionId)], lockDurationMs);
  let session: StoredSession;
  try {
    session = await read(sessionId);
    session.settings = replace ?? applyMergePatch(session.settings, merge ?? {});
    session.revision += 1;
    session.updatedAt = new Date().toISOString();
    await redis.set(documentKey(sessionId), JSON.stringify(session));
  } finally {
    await lock.release();
  }
  const { settings, revision, updatedAt } = session;
  io.to(sessionId).emit('settings:updated', { sessionId, revision, updatedAt, updateId, settings });
  return { revision, updatedAt, settings };
}

/** Answers `{ ok: true, … }` with what the work gives, or `{ ok: false, error }`. */
function answer(work: Promise<object>, reply: Reply): void {
  work.then(
    (body) => reply({ ok: true, ...body }),
    (error: unknown) => {
      const { name, message } = error instanceof Error ? error : new Error(String(error));
      reply({ ok: false, error: { code: name === 'ExecutionError' ? 'LOCK_NOT_ACQUIRED' : 'INTERNAL', message } });
    },
  );
}

io.on('connection', (socket: Socket) => {
  socket.on('session:open', (request: OpenRequest, reply: Reply) => answer(open(request), reply));
  socket.on('session:get', (request: OpenRequest, reply: Reply) =>
    answer(
      read(request.sessionId).then((session) => ({ session })),
      reply,
    ),
  );
  socket.on('session:join', (request: OpenRequest, reply: Reply) => {
    const join = async (): Promise<object> => {
      const { session } = (await open(request)) as { session: StoredSession };
      await socket.join(request.sessionId);
      return { session, participants: [] };
    };
    answer(join(), reply);
  });
  socket.on('settings:update', (request: UpdateRequest, reply: Reply) => answer(update(request), reply));
});

let stopping = false;
function stop(): void {
  if (stopping) return;
  stopping = true;
  redis.disconnect();
  void io.close();
  void redisChild.stop().then(() => process.exit(0));
}
process.on('SIGTERM', stop);
process.on('SIGINT', stop);
// Updates still waiting for their lock when the connection goes are of no interest.
process.on('unhandledRejection', (error) => {
  if (!stopping) throw error;
});

http.listen(0, '127.0.0.1', () => {
  console.log(`ready http://127.0.0.1:${(http.address() as AddressInfo).port}`);
});
