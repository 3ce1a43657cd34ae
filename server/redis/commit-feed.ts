// The feed: what Redis publishes of the sessions with local readers. One subscription per session; it may lose
// messages, so it promises nothing but their order per publisher: the hub compares revisions.
import { Cluster } from 'ioredis';
import type { Logger } from 'pino';
import type { Commit, Participant, SignalEvent } from '../../client-sdk/protocol/messages.js';
import { ClusterFeedLine } from './cluster-feed-line.js';
import type { RedisClient } from './connection.js';
import { SingleFeedLine, type FeedLine } from './feed-line.js';
import type { Keys } from './keys.js';
import type { Time } from '../time.js';

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
  private readonly line: FeedLine;
  private readonly keys: Keys;
  private readonly logger: Logger;
  /** By channel. */
  private readonly listeners = new Map<string, { sessionId: string; hear: (message: FeedMessage) => void }>();

  /** `onGap` is called with the sessions whose subscription is back after it was lost: what came between was missed. */
  constructor(options: {
    client: RedisClient;
    keys: Keys;
    logger: Logger;
    time: Time;
    onGap: (sessionIds: string[]) => void;
  }) {
    const { client, logger } = options;
    this.keys = options.keys;
    this.logger = logger;
    const lineOptions = {
      logger,
      time: options.time,
      onMessage: (channel: string, text: string) => this.receive(channel, text),
      onBack: (channels: string[]) =>
        options.onGap(channels.flatMap((channel) => this.listeners.get(channel)?.sessionId ?? [])),
    };
    this.line =
      client instanceof Cluster ? new ClusterFeedLine(client, lineOptions) : new SingleFeedLine(client, lineOptions);
  }

  /** True while the subscriber answers. */
  get ready(): boolean {
    return this.line.ready;
  }

  /** Resolves when everything published from now on will be heard. One listener per session. Throws RedisFailure. */
  async subscribe(sessionId: string, listener: (message: FeedMessage) => void): Promise<void> {
    const { channel } = this.keys.session(sessionId);
    this.listeners.set(channel, { sessionId, hear: listener });
    await this.line.subscribe(channel);
  }

  /** Stops listening at once; `listener` must be the one given, so that a newer one is left alone. */
  unsubscribe(sessionId: string, listener: (message: FeedMessage) => void): void {
    const { channel } = this.keys.session(sessionId);
    if (this.listeners.get(channel)?.hear !== listener) return;
    this.listeners.delete(channel);
    this.line.unsubscribe(channel);
  }

  async close(): Promise<void> {
    this.line.close();
    this.listeners.clear();
    await Promise.resolve();
  }

  private receive(channel: string, text: string): void {
    const listener = this.listeners.get(channel);
    if (!listener) return;
    try {
      const message = JSON.parse(text) as FeedMessage;
      message.size = text.length;
      listener.hear(message);
    } catch (error) {
      this.logger.error({ err: error }, 'a publication could not be handed on; the check of revisions will mend it');
    }
  }
}
