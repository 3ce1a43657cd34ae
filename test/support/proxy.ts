// A TCP proxy of a test's own before a Redis: it loses, doubles, swaps or delays what is said on the connections of one
// name, holds it back, and cuts. It never changes a byte of what it lets through.
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

/** How a connection gives itself a name, as a command of its own or within another. */
const NAMING = /setname\r\n\$\d+\r\n(\S+)\r\n/i;
/** Bytes from its start in which a connection says its name. */
const NAMING_BYTES_MAX = 4096;

type Direction = 'toRedis' | 'fromRedis';

/**
 * What becomes of one frame (a whole request, reply or push of RESP): itself, nothing, or several; all that follows it on
 * its connection comes so much later, milliseconds; or it is lost and its connection is reset.
 */
export type FrameFate = (frame: Buffer) => readonly Buffer[] | { delayMs: number } | 'cut';

export interface Hold {
  /** All that this held back, let go since or not. */
  bytes(): string;
  /** Lets go on, what was held back first: also what a client sent that has left since. */
  release(): void;
}

export interface RedisProxy {
  readonly url: string;
  /** Open connections of a name. */
  count(name: string): number;
  /** From now on each frame from Redis (or to it) on connections of this name has this fate; undefined: passes. */
  frames(name: string, fate: FrameFate | undefined, direction?: Direction): void;
  /** Holds back what goes in this direction on connections of this name, those to come as well; or on open ones alone. */
  hold(name: string, direction: Direction, which?: 'all' | 'open'): Hold;
  /** Resets the connections of this name; the number of them. */
  cut(name: string): number;
  close(): Promise<void>;
}

interface Link {
  name: string;
  head: string;
  readonly client: Socket;
  readonly redis: Socket;
  readonly held: Record<Direction, Buffer[]>;
  /** What holds this connection back and no other. */
  readonly ownHold: Partial<Record<Direction, Buffer[]>>;
  /** The beginning of a frame whose end has not come. */
  readonly partial: Record<Direction, Buffer>;
  /** What was delayed and has not gone on. */
  readonly delayed: Record<Direction, Promise<void> | undefined>;
}

/** Starts a proxy before the Redis on `port` of this machine. */
export async function startRedisProxy(port: number): Promise<RedisProxy> {
  const links = new Set<Link>();
  const fates = new Map<string, FrameFate>();
  const holds = new Map<string, Buffer[]>();

  const forward = (link: Link, direction: Direction, bytes: Buffer) => {
    const seen = link.ownHold[direction] ?? holds.get(`${link.name} ${direction}`);
    seen?.push(bytes);
    if (seen) link.held[direction].push(bytes);
    else if (direction === 'toRedis') link.redis.write(bytes);
    else link.client.write(bytes);
  };
  const inTurn = (link: Link, direction: Direction, bytes: Buffer, delayMs: number) => {
    const before = link.delayed[direction];
    if (!before && delayMs === 0) return forward(link, direction, bytes);
    const after = Promise.all([before, delayMs && delay(delayMs)]).then(() => {
      forward(link, direction, bytes);
      if (link.delayed[direction] !== after) return;
      link.delayed[direction] = undefined;
      endIfLeft(link);
    });
    link.delayed[direction] = after;
  };
  const pass = (link: Link, direction: Direction, bytes: Buffer) => {
    const fate = fates.get(`${link.name} ${direction}`);
    // Requests are taken apart only where somebody asks: a frame from Redis always is.
    if (direction === 'toRedis' && !fate && link.partial.toRedis.length === 0) {
      return inTurn(link, direction, bytes, 0);
    }
    for (const frame of wholeFrames(link, direction, bytes)) {
      const becomes = fate?.(frame) ?? [frame];
      if (becomes === 'cut') return reset(link);
      if ('delayMs' in becomes) inTurn(link, direction, frame, becomes.delayMs);
      else for (const one of becomes) inTurn(link, direction, one, 0);
    }
  };

  const server = createServer({ noDelay: true, allowHalfOpen: true }, (client) => {
    const redis = connect({ port, host: '127.0.0.1', noDelay: true });
    const link: Link = {
      name: '',
      head: '',
      client,
      redis,
      held: { toRedis: [], fromRedis: [] },
      ownHold: {},
      partial: { toRedis: Buffer.alloc(0), fromRedis: Buffer.alloc(0) },
      delayed: { toRedis: undefined, fromRedis: undefined },
    };
    links.add(link);
    client.on('data', (bytes: Buffer) => {
      learnName(link, bytes);
      pass(link, 'toRedis', bytes);
    });
    redis.on('data', (bytes: Buffer) => pass(link, 'fromRedis', bytes));
    // What a client sent before it left is still delivered, however late; a Redis that left has nothing more to say.
    client.on('end', () => endIfLeft(link));
    client.on('close', () => endIfLeft(link));
    redis.on('close', () => {
      client.destroy();
      links.delete(link);
    });
    for (const socket of [client, redis]) socket.on('error', () => undefined);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const named = (name: string) => [...links].filter((link) => link.name === name);

  return {
    url: `redis://127.0.0.1:${(server.address() as AddressInfo).port}`,
    count: (name) => named(name).filter(({ client }) => !client.destroyed).length,
    frames(name, fate, direction = 'fromRedis') {
      if (fate) fates.set(`${name} ${direction}`, fate);
      else fates.delete(`${name} ${direction}`);
    },
    hold(name, direction, which = 'all') {
      const seen: Buffer[] = [];
      const open = named(name);
      if (which === 'all') holds.set(`${name} ${direction}`, seen);
      else for (const link of open) link.ownHold[direction] = seen;
      return {
        bytes: () => Buffer.concat(seen).toString('latin1'),
        release() {
          if (which === 'all') holds.delete(`${name} ${direction}`);
          else for (const link of open) delete link.ownHold[direction];
          for (const link of which === 'all' ? named(name) : open) letGo(link, direction);
        },
      };
    },
    cut(name) {
      const cut = named(name);
      for (const link of cut) reset(link);
      return cut.length;
    },
    async close() {
      for (const { client, redis } of links) {
        client.destroy();
        redis.destroy();
      }
      server.close();
      await once(server, 'close');
    },
  };
}

function reset({ client, redis }: Link): void {
  client.resetAndDestroy();
  redis.resetAndDestroy();
}

function learnName(link: Link, bytes: Buffer): void {
  if (link.name !== '' || link.head.length > NAMING_BYTES_MAX) return;
  link.head += bytes.toString('latin1');
  link.name = NAMING.exec(link.head)?.[1] ?? '';
}

function letGo(link: Link, direction: Direction): void {
  const to = direction === 'toRedis' ? link.redis : link.client;
  for (const bytes of link.held[direction].splice(0)) to.write(bytes);
  endIfLeft(link);
}

/** Redis hears that its client left once it was given all that the client had sent. */
function endIfLeft({ client, redis, held, delayed }: Link): void {
  const hasLeft = client.destroyed || client.readableEnded;
  if (hasLeft && held.toRedis.length === 0 && !delayed.toRedis) redis.end();
}

/** The frames that end in these bytes; what begins another is kept for the next call. */
function wholeFrames({ partial }: Link, direction: Direction, bytes: Buffer): Buffer[] {
  let rest = partial[direction].length > 0 ? Buffer.concat([partial[direction], bytes]) : bytes;
  const frames: Buffer[] = [];
  for (;;) {
    const end = frameEnd(rest, 0);
    if (end < 0) break;
    frames.push(rest.subarray(0, end));
    rest = rest.subarray(end);
  }
  partial[direction] = rest;
  return frames;
}

/** Where the RESP value that begins at `from` ends, -1 where it is not all there. */
function frameEnd(bytes: Buffer, from: number): number {
  const lineEnd = bytes.indexOf('\r\n', from);
  if (lineEnd < 0) return -1;
  const type = String.fromCharCode(bytes[from] as number);
  const size = Number(bytes.toString('latin1', from + 1, lineEnd));
  let end = lineEnd + 2;
  if ('$=!'.includes(type)) {
    if (size < 0) return end;
    end += size + 2;
    return end <= bytes.length ? end : -1;
  }
  if (!'*~>%|'.includes(type)) return end;
  const values = '%|'.includes(type) ? 2 * size : size;
  for (let i = 0; i < values && end >= 0; i += 1) end = frameEnd(bytes, end);
  return end;
}
