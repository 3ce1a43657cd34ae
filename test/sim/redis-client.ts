// A connection to a Redis of the simulation that behaves as ioredis does with the options of server/redis/connection.ts:
// nothing is sent twice, nothing waits while it is away, an answer has a deadline.
import { EventEmitter } from 'node:events';
import { COMMAND_TIMEOUT_MS, type RedisClient } from '../../server/redis/connection.js';
import type { Timer } from '../../server/time.js';
import type { SimProcess } from './process.js';
import { Connection, type Execute, type SimRedis } from './redis-server.js';

const CONNECT_TIMEOUT_MS = 1000;
const retryMs = (attempt: number) => Math.min(20 * 2 ** Math.min(attempt, 5), 500);
/** How often what is sent before the connection is closed is executed all the same. */
const EXECUTED_AFTER_CLOSE = 0.5;

interface Command {
  readonly resolve: (reply: unknown) => void;
  readonly reject: (error: Error) => void;
  timer: Timer;
}
type Value = string | number;

export class SimClient extends EventEmitter {
  status: 'connecting' | 'ready' | 'reconnecting' = 'connecting';
  private readonly process: SimProcess;
  private readonly server: SimRedis;
  private readonly end: string;
  private readonly commandTimeoutMs: number;
  private readonly pending = new Set<Command>();
  private connection: Connection | undefined;
  private attempts = 0;

  /** `end` names this end of the way for the weather. Connects at once. */
  constructor(process: SimProcess, server: SimRedis, end: string, commandTimeoutMs = COMMAND_TIMEOUT_MS) {
    super();
    this.process = process;
    this.server = server;
    this.end = end;
    this.commandTimeoutMs = commandTimeoutMs;
    this.connect();
  }

  /** What the server's code takes it for. */
  get asRedis(): RedisClient {
    return this as unknown as RedisClient;
  }

  defineCommand(name: string, { numberOfKeys }: { numberOfKeys: number }): void {
    const script = name.replace('attune_', '');
    const command = (...args: Value[]) => {
      const keys = args.slice(0, numberOfKeys).map(String);
      const rest = args.slice(numberOfKeys);
      return this.send(`${script} ${this.sessionOf(keys[0]!)}`, (server) => server.runScript(script, keys, rest));
    };
    Object.assign(this, { [name]: command });
  }

  ping(): Promise<unknown> {
    return this.send('ping', () => 'PONG');
  }

  set(key: string, value: string, _px: 'PX', ms: number): Promise<unknown> {
    return this.send(`set ${this.sessionOf(key)}`, ({ model }) => {
      model.keyspace.set(key, value, ms);
      return 'OK';
    });
  }

  spublish(channel: string, text: string): Promise<unknown> {
    return this.send(`spublish ${this.sessionOf(channel)}`, (server) => {
      server.publish({ channel, text });
      return 1;
    });
  }

  ssubscribe(...channels: string[]): Promise<unknown> {
    return this.send('ssubscribe', (_server, connection) => {
      for (const channel of channels) connection.channels.add(channel);
      return channels.length;
    });
  }

  sunsubscribe(channel: string): Promise<unknown> {
    return this.send('sunsubscribe', (_server, connection) => {
      connection.channels.delete(channel);
      return 1;
    });
  }

  evalsha(hash: string, count: number, args: string[]): Promise<unknown> {
    return this.lockScript(hash, undefined, args.slice(0, count), args.slice(count));
  }

  eval(script: string, count: number, args: string[]): Promise<unknown> {
    return this.lockScript(undefined, script, args.slice(0, count), args.slice(count));
  }

  /** Closes the connection, and opens another. What is under way may still be executed. */
  disconnect(_reconnect: true): void {
    const { connection } = this;
    if (!connection) return;
    const { scheduler } = this.process;
    if (!scheduler.chance(EXECUTED_AFTER_CLOSE)) connection.up.drop();
    connection.up.end('close', () => this.server.leave(connection));
    this.lost(connection);
  }

  /** Its process is gone. */
  destroy(): void {
    const { connection } = this;
    if (!connection) return;
    connection.up.end('close', () => this.server.leave(connection));
    connection.down.close();
    connection.down.drop();
  }

  private lockScript(hash: string | undefined, script: string | undefined, keys: string[], args: string[]) {
    const what = script?.includes('"exists"') ? 'lock' : 'lock script';
    return this.send(`${what} ${this.sessionOf(keys[0]!)}`, (server) =>
      server.runLockScript(hash, script, keys, args.map(String)),
    );
  }

  private sessionOf(key: string): string {
    return key.split(':')[3] ?? key;
  }

  private send(what: string, execute: Execute): Promise<unknown> {
    const { connection } = this;
    if (!connection || this.status !== 'ready') {
      return Promise.reject(new Error("Stream isn't writeable and enableOfflineQueue options is false"));
    }
    return new Promise((resolve, reject) => {
      const command: Command = { resolve, reject, timer: { unref: () => undefined } };
      command.timer = this.process.time.setTimeout(() => {
        this.process.scheduler.note(`${this.end} timed out: ${what}`);
        this.settle(command, new Error('Command timed out'));
      }, this.commandTimeoutMs);
      this.pending.add(command);
      const answer = (reply: unknown) => this.process.receive(() => this.settle(command, reply));
      connection.up.send(what, () => this.server.receive(connection, execute, answer, what));
    });
  }

  private settle(command: Command, reply: unknown): void {
    if (!this.pending.delete(command)) return;
    this.process.time.clearTimeout(command.timer);
    if (reply instanceof Error) command.reject(reply);
    else command.resolve(reply);
  }

  private connect(): void {
    this.status = 'connecting';
    const here = (run: () => void) => this.process.receive(() => this.connection === connection && run());
    const connection: Connection = new Connection(
      {
        name: this.end,
        closed: () => here(() => this.lost(connection)),
        hear: (channel, text) => here(() => this.emit('smessage', channel, text)),
      },
      this.server,
    );
    this.connection = connection;
    const timeout = this.process.time.setTimeout(() => {
      connection.up.drop();
      connection.up.end('close', () => this.server.leave(connection));
      this.lost(connection);
    }, CONNECT_TIMEOUT_MS);
    const ready = () =>
      here(() => {
        this.process.time.clearTimeout(timeout);
        this.attempts = 0;
        this.status = 'ready';
        this.emit('ready');
      });
    connection.up.send('connect', () => {
      if (this.server.state === 'down') connection.reset();
      else {
        this.server.connections.add(connection);
        this.server.receive(connection, () => 'OK', ready, 'connect');
      }
    });
  }

  private lost(connection: Connection): void {
    if (this.connection !== connection) return;
    this.connection = undefined;
    this.status = 'reconnecting';
    connection.down.close();
    connection.down.drop();
    this.emit('close');
    for (const command of this.pending) this.settle(command, new Error('Connection is closed.'));
    this.attempts += 1;
    this.process.time.setTimeout(() => this.connect(), retryMs(this.attempts));
  }
}
