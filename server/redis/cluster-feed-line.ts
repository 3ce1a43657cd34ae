// The feed's line to a Redis Cluster: one subscriber per primary that owns a channel. It follows the channels through
// failovers and moved slots by itself, and never takes a subscription for given that its owner has not confirmed.
import { Redis, type Cluster, type RedisOptions } from 'ioredis';
import { RedisFailure } from './connection.js';
import { HEARTBEAT_MS, type FeedLine, type FeedLineOptions } from './feed-line.js';
import { SLOTS, slotOf } from './slot.js';
import type { Timer } from '../time.js';

/** Pause before channels without a confirmed subscription are tried again, milliseconds. */
const MEND_MS = 200;
/** Channels subscribed to at the same time while mending. */
const MEND_CHANNELS = 500;

interface Wanted {
  readonly slot: number;
  /** Who confirmed the subscription and has not taken it back; null: nobody. */
  by: Redis | null;
  /** It was confirmed before: when it is again, something may have been missed. */
  wasHeard: boolean;
}

export class ClusterFeedLine implements FeedLine {
  /** Knows the nodes, and is asked who owns what. It subscribes to nothing itself. */
  private readonly cluster: Cluster;
  private readonly options: FeedLineOptions;
  private readonly wanted = new Map<string, Wanted>();
  /** By address. One that ended is replaced by the next that needs it. */
  private readonly subscribers = new Map<string, Redis>();
  /** The address of each slot's primary, as far as is known. */
  private readonly owners = Array.from<string | undefined>({ length: SLOTS });
  /** Subscribers that lost channels which nobody named: all of theirs are asked for again with the next heartbeat. */
  private readonly suspects = new Set<Redis>();
  private readonly heartbeat: Timer;
  private mending: Timer | 'running' | undefined;
  /** Something happened while it was mended. */
  private mendAgain = false;
  private closed = false;

  constructor(cluster: Cluster, options: FeedLineOptions) {
    this.cluster = cluster;
    this.options = options;
    cluster.on('ready', () => this.mendSoon(0));
    this.heartbeat = options.time.setInterval(() => this.beat(), HEARTBEAT_MS);
    this.heartbeat.unref();
  }

  get ready(): boolean {
    if (this.cluster.status !== 'ready') return false;
    const all = [...this.wanted.values()];
    // A shard that is away takes the others' readers from nobody.
    return all.length === 0 || all.some(({ by, wasHeard }) => by !== null || !wasHeard);
  }

  async subscribe(channel: string): Promise<void> {
    const one: Wanted = { slot: slotOf(channel), by: null, wasHeard: false };
    this.wanted.set(channel, one);
    if (this.cluster.status !== 'ready') throw new RedisFailure('not-sent', 'the feed is away');
    try {
      if (this.owners[one.slot] === undefined) await this.learnOwners();
      await this.ask(channel, one);
    } catch (error) {
      this.mendSoon();
      throw new RedisFailure('no-answer', 'the feed does not answer', error);
    }
  }

  unsubscribe(channel: string): void {
    const by = this.wanted.get(channel)?.by;
    this.wanted.delete(channel);
    if (by?.status === 'ready') by.sunsubscribe(channel).catch(() => undefined);
  }

  close(): void {
    this.closed = true;
    this.options.time.clearInterval(this.heartbeat);
    if (this.mending !== 'running') this.options.time.clearTimeout(this.mending);
    this.wanted.clear();
    for (const subscriber of this.subscribers.values()) subscriber.disconnect();
  }

  /** Subscribes at the slot's owner; where that names another, once more there. */
  private async ask(channel: string, one: Wanted): Promise<void> {
    for (let redirected = false; ; redirected = true) {
      const owner = this.owners[one.slot];
      if (owner === undefined) throw new Error('nobody is known to own the slot');
      const subscriber = this.subscriber(owner);
      try {
        await subscriber.ssubscribe(channel);
      } catch (error) {
        const moved = /^MOVED \d+ (\S+)$/.exec((error as Error).message)?.[1];
        if (moved === undefined || redirected) throw error;
        this.owners[one.slot] = moved;
        continue;
      }
      if (this.wanted.get(channel) !== one) {
        // Given up meanwhile, or asked for anew: then that one's own answer counts.
        if (!this.wanted.has(channel)) subscriber.sunsubscribe(channel).catch(() => undefined);
        return;
      }
      if (subscriber.status !== 'ready') throw new Error('the connection ended');
      one.by = subscriber;
      one.wasHeard = true;
      return;
    }
  }

  private subscriber(address: string): Redis {
    const known = this.subscribers.get(address);
    if (known && known.status !== 'end') return known;
    const at = address.lastIndexOf(':');
    const options = {
      ...(this.cluster.options.redisOptions as Omit<RedisOptions, 'replyMapping'>),
      host: address.slice(0, at),
      port: Number(address.slice(at + 1)),
      lazyConnect: false,
      enableOfflineQueue: true,
      // Whoever needs it makes another; by then the slots may have another owner.
      retryStrategy: null,
    };
    const subscriber = new Redis(options);
    subscriber.on('smessage', (channel: string, text: string) => this.options.onMessage(channel, text));
    subscriber.on('error', (error: Error) => this.options.logger.debug({ err: error, address }, 'feed of a shard'));
    // Redis took channels from us because it gave their slot away. It may have it back already.
    subscriber.on('moved', () => {
      this.suspects.add(subscriber);
      this.mendSoon(0);
    });
    subscriber.on('end', () => this.lost(subscriber));
    this.subscribers.set(address, subscriber);
    return subscriber;
  }

  private lost(subscriber: Redis): void {
    for (const [address, one] of this.subscribers) if (one === subscriber) this.subscribers.delete(address);
    this.suspects.delete(subscriber);
    this.forget(subscriber);
    this.mendSoon(0);
  }

  private forget(subscriber: Redis): void {
    for (const one of this.wanted.values()) if (one.by === subscriber) one.by = null;
  }

  private beat(): void {
    for (const subscriber of this.suspects) this.forget(subscriber);
    this.suspects.clear();
    for (const subscriber of this.subscribers.values()) {
      if (subscriber.status !== 'ready') continue;
      subscriber.ping().catch(() => {
        this.lost(subscriber);
        subscriber.disconnect();
      });
    }
    // Also what no event told: a channel whose slot was found elsewhere by others, one that failed the last time.
    this.mendSoon(0);
  }

  private mendSoon(afterMs = MEND_MS): void {
    if (this.closed) return;
    if (this.mending === 'running') this.mendAgain = true;
    if (this.mending !== undefined) return;
    this.mending = this.options.time.setTimeout(() => void this.mend(), afterMs);
    this.mending.unref();
  }

  /** Sees to it that every channel is heard by the owner of its slot. */
  private async mend(): Promise<void> {
    this.mending = 'running';
    this.mendAgain = false;
    let failed = false;
    try {
      if (this.wanted.size > 0 && this.cluster.status === 'ready') failed = !(await this.mendAll());
    } catch (error) {
      failed = true;
      this.options.logger.debug({ err: error }, 'the feed of the cluster is not whole yet');
    }
    this.mending = undefined;
    if (failed || this.mendAgain) this.mendSoon();
  }

  /** False where something is still amiss. */
  private async mendAll(): Promise<boolean> {
    await this.learnOwners();
    const amiss = [...this.wanted].filter(
      ([, { slot, by }]) => by === null || by !== this.subscribers.get(this.owners[slot] ?? ''),
    );
    const missed: string[] = [];
    let failures = 0;
    for (let i = 0; i < amiss.length && !this.closed; i += MEND_CHANNELS) {
      const some = amiss.slice(i, i + MEND_CHANNELS).map(async ([channel, one]) => {
        const { by: before, wasHeard } = one;
        one.by = null;
        await this.ask(channel, one);
        // Given up meanwhile, and perhaps asked for anew: the newer one may be at the subscriber that was left.
        if (this.wanted.get(channel) !== one) return;
        if (one.by !== before && before?.status === 'ready') before.sunsubscribe(channel).catch(() => undefined);
        if (wasHeard) missed.push(channel);
      });
      const results = await Promise.allSettled(some);
      failures += results.filter(({ status }) => status === 'rejected').length;
    }
    if (missed.length > 0 && !this.closed) this.options.onBack(missed);
    this.dropIdle();
    return failures === 0;
  }

  /** Ends the subscribers of addresses that own nothing any more. */
  private dropIdle(): void {
    const used = new Set(this.owners);
    for (const [address, subscriber] of this.subscribers) if (!used.has(address)) subscriber.disconnect();
  }

  private async learnOwners(): Promise<void> {
    for (const [first, last, primary] of await this.cluster.cluster('SLOTS')) {
      if (primary) this.owners.fill(`${primary[0]}:${primary[1]}`, first, last + 1);
    }
  }
}
