// A Redis of the simulation: it runs commands on the model, publishes, and dies, hangs and comes back as told.
import { createHash } from 'node:crypto';
import { ReplyError } from '../support/redis-keyspace.js';
import type { Publication, RedisModel } from '../support/redis-model.js';
import { Pipe, type Network } from './network.js';

/** Runs on the server, and gives the reply. */
export type Execute = (server: SimRedis, connection: Connection) => unknown;

/** What the client's end of a connection is told. */
export interface ClientEnd {
  readonly name: string;
  /** The connection is gone. */
  closed(): void;
  hear(channel: string, text: string): void;
}

/** One connection, with an end at the client and one at the server. */
export class Connection {
  readonly up: Pipe;
  readonly down: Pipe;
  readonly client: ClientEnd;
  readonly channels = new Set<string>();
  /** The server's end is open. */
  isServed = true;
  private readonly server: SimRedis;

  constructor(client: ClientEnd, server: SimRedis) {
    this.client = client;
    this.server = server;
    this.up = new Pipe(server.network, client.name, server.name, () => this.reset());
    this.down = new Pipe(server.network, server.name, client.name, () => this.reset());
  }

  /** The server's end is gone: what is under way to it is lost, and the client learns it behind what is under way there. */
  reset(): void {
    if (!this.isServed) return;
    this.release();
    this.up.close();
    this.up.drop();
    this.down.end('closed', () => this.client.closed());
  }

  /** The server lets it go. */
  release(): void {
    this.isServed = false;
    this.server.connections.delete(this);
  }
}

/** What may happen to publications, each with its probability. */
export interface FeedFaults {
  dropped: number;
  doubled: number;
  late: number;
}
/** A late publication is so late at most, milliseconds. */
const LATE_MS = 200;

export class SimRedis {
  readonly name: string;
  readonly network: Network;
  readonly connections = new Set<Connection>();
  readonly feedFaults: FeedFaults = { dropped: 0, doubled: 0, late: 0 };
  model: RedisModel;
  state: 'up' | 'hung' | 'down' = 'up';
  private readonly waiting: (() => void)[] = [];
  /** Hashes of the scripts that it was sent since it was started. */
  private readonly scripts = new Map<string, string>();
  private saved: () => void = () => undefined;

  constructor(name: string, network: Network, model: RedisModel) {
    this.name = name;
    this.network = network;
    this.model = model;
  }

  /** A command has arrived. */
  receive(connection: Connection, execute: Execute, answer: (reply: unknown) => void, what: string): void {
    if (this.state === 'down' || !connection.isServed) return;
    const run = () => {
      if (!connection.isServed) return;
      const reply = this.execute(connection, execute);
      const tag = Array.isArray(reply) ? ` ${String(reply[0])}` : reply instanceof Error ? ` ${reply.message}` : '';
      connection.down.send(`${what}${tag}`, () => answer(reply));
    };
    if (this.state === 'hung') this.waiting.push(run);
    else run();
  }

  /** The client closed a connection: what it sent before is executed first. */
  leave(connection: Connection): void {
    if (this.state === 'hung') this.waiting.push(() => connection.release());
    else connection.release();
  }

  publish({ channel, text }: Publication): void {
    const { scheduler } = this.network;
    const { dropped, doubled, late } = this.feedFaults;
    for (const connection of this.connections) {
      if (!connection.channels.has(channel)) continue;
      if (dropped > 0 && scheduler.chance(dropped)) {
        this.network.count('publications dropped');
        continue;
      }
      const deliver = () => connection.down.send('publication', () => connection.client.hear(channel, text));
      if (late > 0 && scheduler.chance(late)) {
        this.network.count('publications late');
        scheduler.after(scheduler.between(0, LATE_MS), '', deliver);
      } else deliver();
      if (doubled > 0 && scheduler.chance(doubled)) {
        this.network.count('publications doubled');
        scheduler.after(scheduler.between(0, LATE_MS), '', deliver);
      }
    }
  }

  /** kill -9: what was not executed is lost; of what was, a reply may be lost or on its way. */
  crash(): void {
    this.state = 'down';
    this.waiting.length = 0;
    this.scripts.clear();
    for (const connection of this.connections) {
      if (this.network.scheduler.chance(0.5)) connection.down.drop();
      connection.reset();
    }
  }

  /** Starts again, as another life. */
  start(life: string): void {
    this.state = 'up';
    this.model.life = life;
  }

  hang(): void {
    if (this.state === 'up') this.state = 'hung';
  }

  /** Goes on, with what came in meanwhile. */
  wake(): void {
    if (this.state !== 'hung') return;
    this.state = 'up';
    for (const run of this.waiting.splice(0)) run();
  }

  /** Keeps what there is now, for `forget`. */
  save(): void {
    this.saved = this.model.save();
  }

  /** Loses what came since it was kept. */
  forget(): void {
    this.saved();
  }

  // ---- Commands ------------------------------------------------------------------------------------------------------

  runScript(name: string, keys: readonly string[], args: readonly (string | number)[]): unknown {
    const ran = this.model.run(name, keys, args);
    if (!ran) throw new Error(`the model has no ${name}`);
    for (const publication of ran.published) this.publish(publication);
    return ran.reply;
  }

  /** Redlock's scripts, told apart by what they do. */
  runLockScript(hash: string | undefined, script: string | undefined, keys: readonly string[], args: string[]): number {
    if (script !== undefined) this.scripts.set(createHash('sha1').update(script).digest('hex'), script);
    const known = script ?? this.scripts.get(hash!);
    if (known === undefined) throw new ReplyError('NOSCRIPT No matching script. Please use EVAL.');
    const { keyspace } = this.model;
    const [value = '', ms = ''] = args;
    if (known.includes('"exists"')) {
      if (keys.some((key) => keyspace.get(key) !== null)) return 0;
      for (const key of keys) keyspace.set(key, value, Number(ms));
      return keys.length;
    }
    if (!known.includes('"del"')) throw new Error('a script of Redlock that the model does not know');
    const own = keys.filter((key) => keyspace.get(key) === value);
    keyspace.unlink(...own);
    return own.length;
  }

  private execute(connection: Connection, execute: Execute): unknown {
    this.model.keyspace.now = this.network.scheduler.now;
    try {
      return execute(this, connection);
    } catch (error) {
      if (error instanceof ReplyError) return error;
      throw error;
    }
  }
}
