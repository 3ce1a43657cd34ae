// A TCP proxy of a test's own before a Redis: it loses, doubles or swaps what Redis says on the connections of one name,
// holds back what is said, and cuts. It never changes a byte of what it lets through.
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

/** How a connection gives itself a name, as a command of its own or within another. */
const NAMING = /setname\r\n\$\d+\r\n(\S+)\r\n/i;
/** Bytes from its start in which a connection says its name. */
const NAMING_BYTES_MAX = 4096;

type Direction = 'toRedis' | 'fromRedis';

/** What becomes of one frame (a whole reply or push of RESP): itself, nothing, or several. */
export type FrameFate = (frame: Buffer) => readonly Buffer[];

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
  /** From now on each frame from Redis on connections of this name has this fate; undefined: passes. */
  frames(name: string, fate: FrameFate | undefined): void;
  /** Holds back what goes in this direction on connections of this name, those to come as well. */
  hold(name: string, direction: Direction): Hold;
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
  /** The beginning of a frame whose end has not come. */
  partial: Buffer;
}

/** Starts a proxy before the Redis on `port` of this machine. */
export async function startRedisProxy(port: number): Promise<RedisProxy> {
  const links = new Set<Link>();
  const fates = new Map<string, FrameFate>();
  const holds = new Map<string, Buffer[]>();

  const forward = (link: Link, direction: Direction, bytes: Buffer) => {
    const seen = holds.get(`${link.name} ${direction}`);
    seen?.push(bytes);
    if (seen) link.held[direction].push(bytes);
    else if (direction === 'toRedis') link.redis.write(bytes);
    else link.client.write(bytes);
  };

  const server = createServer({ noDelay: true, allowHalfOpen: true }, (client) => {
    const redis = connect({ port, host: '127.0.0.1', noDelay: true });
    const held = { toRedis: [], fromRedis: [] };
    const link: Link = { name: '', head: '', client, redis, held, partial: Buffer.alloc(0) };
    links.add(link);
    client.on('data', (bytes: Buffer) => {
      learnName(link, bytes);
      forward(link, 'toRedis', bytes);
    });
    redis.on('data', (bytes: Buffer) => {
      for (const frame of wholeFrames(link, bytes)) {
        for (const one of fates.get(link.name)?.(frame) ?? [frame]) forward(link, 'fromRedis', one);
      }
    });
    // What a client sent before it left is still delivered, however late; a Redis that left has nothing more to say.
    const clientLeft = () => {
      if (link.held.toRedis.length === 0) redis.end();
    };
    client.on('end', clientLeft);
    client.on('close', clientLeft);
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
    frames(name, fate) {
      if (fate) fates.set(name, fate);
      else fates.delete(name);
    },
    hold(name, direction) {
      const seen: Buffer[] = [];
      holds.set(`${name} ${direction}`, seen);
      return {
        bytes: () => Buffer.concat(seen).toString('latin1'),
        release() {
          holds.delete(`${name} ${direction}`);
          for (const link of named(name)) letGo(link, direction);
        },
      };
    },
    cut(name) {
      const cut = named(name);
      for (const { client, redis } of cut) {
        client.resetAndDestroy();
        redis.resetAndDestroy();
      }
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

function learnName(link: Link, bytes: Buffer): void {
  if (link.name !== '' || link.head.length > NAMING_BYTES_MAX) return;
  link.head += bytes.toString('latin1');
  link.name = NAMING.exec(link.head)?.[1] ?? '';
}

function letGo(link: Link, direction: Direction): void {
  const to = direction === 'toRedis' ? link.redis : link.client;
  for (const bytes of link.held[direction].splice(0)) to.write(bytes);
  if (link.client.destroyed || link.client.readableEnded) link.redis.end();
}

/** The frames that end in these bytes; what begins another is kept for the next call. */
function wholeFrames(link: Link, bytes: Buffer): Buffer[] {
  let rest = link.partial.length > 0 ? Buffer.concat([link.partial, bytes]) : bytes;
  const frames: Buffer[] = [];
  for (;;) {
    const end = frameEnd(rest, 0);
    if (end < 0) break;
    frames.push(rest.subarray(0, end));
    rest = rest.subarray(end);
  }
  link.partial = rest;
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
