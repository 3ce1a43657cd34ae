// The feed: what Redis publishes of the sessions with local readers. One subscription per session; it may lose
// messages, so it promises nothing but their order per publisher: the hub compares revisions.
import type { Logger } from 'pino';
import type { Commit, Participant, SignalEvent } from '../../client-sdk/protocol/messages.js';
import type { RedisClient } from './connection.js';
import { RedisFailure } from './connection.js';
import type { Keys } from './keys.js';
import type { Time, Timer } from '../time.js';

/** How often the subscriber is asked whether it is alive, milliseconds. */
const HEARTBEAT_MS = 1000;
/** Channels subscribed to again by one command after a reconnection. */
const RESUBSCRIBE_CHANNELS = 500;

/** A participant, and the node whose socket it is. */
export interface Shown {
  node: string;
  participant: Participant;
}

/** What changed of who is shown, between two versions that follow each other; 0: nobody is shown. */
export interface PresenceChange {
  before: number;
  version: number;
  joined: Shown[];
  updated: Shown[];
  left: string[];
}

/** A signal on its way, and the socket that it came from, if one. */
export interface RelayedSignal {
  body: SignalEvent;
  socketId?: string;
}

/** One publication: the commits of one batch in order; or one of the others. */
export interface FeedMessage {
  epoch: string;
  commits?: Commit[];
  /** The session was replaced. */
  replaced?: true;
  presence?: PresenceChange;
  signal?: RelayedSignal;
  /** The node that wants the session's lease. */
  wanted?: string;
  /** Size of the publication, characters. */
  size: number;
}

export class CommitFeed {
  private readonly client: RedisClient;
  private readonly keys: Keys;
  private readonly logger: Logger;
  private readonly time: Time;
  private readonly listeners = new Map<string, (message: FeedMessage) => void>();
  private readonly heartbeat: Timer;
  private alive = true;
  private closed = false;

  /** `onGap` is called after each reconnection, when all subscriptions are back: what came between was missed. */
  constructor(options: { client: RedisClient; keys: Keys; logger: Logger; time: Time; onGap: () => void }) {
    this.client = options.client;
    this.keys = options.keys;
    this.logger = options.logger;
    this.time = options.time;
    this.client.on('smessage', (channel: string, text: string) => this.receive(channel, text));
    this.client.on('ready', () => {
      this.alive = true;
      this.resubscribe()
        .then(options.onGap)
        .catch((error: unknown) => {
          this.logger.debug({ err: error }, 'the feed is not back yet');
          // A connection without its subscriptions would look alive.
          if (!this.closed && this.client.status === 'ready') this.client.disconnect(true);
        });
    });
    this.heartbeat = this.time.setInterval(() => void this.beat(), HEARTBEAT_MS);
    this.heartbeat.unref();
  }

  /** True while the subscriber answers. */
  get ready(): boolean {
    return this.alive && this.client.status === 'ready';
  }

  /** Resolves when everything published from now on will be heard. One listener per session. Throws RedisFailure. */
  async subscribe(sessionId: string, listener: (message: FeedMessage) => void): Promise<void> {
    const { channel } = this.keys.session(sessionId);
    this.listeners.set(channel, listener);
    if (this.client.status !== 'ready') throw new RedisFailure('not-sent', 'the feed is away');
    try {
      await this.client.ssubscribe(channel);
    } catch (error) {
      throw new RedisFailure('no-answer', 'the feed does not answer', error);
    }
  }

  /** Stops listening at once; `listener` must be the one given, so that a newer one is left alone. */
  unsubscribe(sessionId: string, listener: (message: FeedMessage) => void): void {
    const { channel } = this.keys.session(sessionId);
    if (this.listeners.get(channel) !== listener) return;
    this.listeners.delete(channel);
    if (this.client.status === 'ready') this.client.sunsubscribe(channel).catch(() => undefined);
  }

  async close(): Promise<void> {
    this.closed = true;
    this.time.clearInterval(this.heartbeat);
    this.listeners.clear();
    await Promise.resolve();
  }

  private receive(channel: string, text: string): void {
    const listener = this.listeners.get(channel);
    if (!listener) return;
    try {
      const message = JSON.parse(text) as FeedMessage;
      message.size = text.length;
      listener(message);
    } catch (error) {
      this.logger.error({ err: error }, 'a publication could not be handed on; the check of revisions will mend it');
    }
  }

  private async resubscribe(): Promise<void> {
    const channels = [...this.listeners.keys()];
    for (let i = 0; i < channels.length && !this.closed; i += RESUBSCRIBE_CHANNELS) {
      // On a cluster channels of one command must share a slot.
      const some = channels.slice(i, i + RESUBSCRIBE_CHANNELS);
      await Promise.all(some.map((channel) => this.client.ssubscribe(channel)));
    }
  }

  private async beat(): Promise<void> {
    if (this.client.status !== 'ready') return;
    try {
      await this.client.ping();
      this.alive = true;
    } catch {
      this.alive = false;
      if (!this.closed && this.client.status === 'ready') this.client.disconnect(true);
    }
  }
}
