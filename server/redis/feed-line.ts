// The line to Redis by which the feed hears: sharded channels of one Redis, whether by an address or behind Sentinel. A
// cluster's is cluster-feed-line.ts. It carries texts and knows nothing of what they say.
import type { Redis } from 'ioredis';
import type { Logger } from 'pino';
import type { Time, Timer } from '../time.js';
import { RedisFailure } from './connection.js';

/** How often a subscriber is asked whether it is alive, milliseconds. */
export const HEARTBEAT_MS = 1000;
/** Channels subscribed to again at the same time after a reconnection. */
const RESUBSCRIBE_CHANNELS = 500;

/** Where a line hands over what it hears. */
export interface FeedLineOptions {
  logger: Logger;
  time: Time;
  onMessage(channel: string, text: string): void;
  /** These channels are heard again after they were not: what was said meanwhile was missed. */
  onBack(channels: string[]): void;
}

/** Channels that are heard until they are given up, over every loss of a connection. */
export interface FeedLine {
  /** True while Redis answers. */
  readonly ready: boolean;
  /** Resolves when what is said from now on will be heard. Throws RedisFailure, and goes on trying all the same. */
  subscribe(channel: string): Promise<void>;
  unsubscribe(channel: string): void;
  close(): void;
}

export class SingleFeedLine implements FeedLine {
  private readonly client: Redis;
  private readonly time: Time;
  private readonly channels = new Set<string>();
  private readonly heartbeat: Timer;
  private alive = true;
  private closed = false;

  constructor(client: Redis, options: FeedLineOptions) {
    this.client = client;
    client.on('smessage', (channel: string, text: string) => options.onMessage(channel, text));
    client.on('ready', () => {
      this.alive = true;
      this.resubscribe()
        .then((channels) => options.onBack(channels))
        .catch((error: unknown) => {
          options.logger.debug({ err: error }, 'the feed is not back yet');
          // A connection without its subscriptions would look alive.
          this.reconnect();
        });
    });
    this.time = options.time;
    this.heartbeat = this.time.setInterval(() => void this.beat(), HEARTBEAT_MS);
    this.heartbeat.unref();
  }

  get ready(): boolean {
    return this.alive && this.client.status === 'ready';
  }

  async subscribe(channel: string): Promise<void> {
    this.channels.add(channel);
    if (this.client.status !== 'ready') throw new RedisFailure('not-sent', 'the feed is away');
    try {
      await this.client.ssubscribe(channel);
    } catch (error) {
      throw new RedisFailure('no-answer', 'the feed does not answer', error);
    }
  }

  unsubscribe(channel: string): void {
    this.channels.delete(channel);
    if (this.client.status === 'ready') this.client.sunsubscribe(channel).catch(() => undefined);
  }

  close(): void {
    this.closed = true;
    this.time.clearInterval(this.heartbeat);
    this.channels.clear();
  }

  private async resubscribe(): Promise<string[]> {
    const channels = [...this.channels];
    for (let i = 0; i < channels.length && !this.closed; i += RESUBSCRIBE_CHANNELS) {
      const some = channels.slice(i, i + RESUBSCRIBE_CHANNELS);
      await Promise.all(some.map((channel) => this.client.ssubscribe(channel)));
    }
    return channels;
  }

  private async beat(): Promise<void> {
    if (this.client.status !== 'ready') return;
    try {
      await this.client.ping();
      this.alive = true;
    } catch {
      this.alive = false;
      this.reconnect();
    }
  }

  private reconnect(): void {
    if (!this.closed && this.client.status === 'ready') this.client.disconnect(true);
  }
}
