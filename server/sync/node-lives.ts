// Which nodes live: this one says so again and again, and looks which of those it knows of do. It decides nothing about
// their participants.
//
// A node whose key is missing is gone where this node has been steady: Redis answered its looks, and kept its key, for
// longer than a key lives. Else Redis may have been away, and the others need a moment to say that they live.
import type { Logger } from 'pino';
import type { PresenceStore } from '../redis/presence-store.js';
import type { Time, Timer } from '../time.js';

/** A node that has not said for so long that it lives is gone, milliseconds. */
const NODE_TTL_MS = 5000;
/** How often it says so, and looks for the others, milliseconds. */
const LOOK_EVERY_MS = 1000;
/** A look is good for so long, milliseconds: with LOOK_EVERY_MS less than a key lives, so that no outage since can have ended one. */
const LOOK_GOOD_MS = 2500;
/** How often it tries, milliseconds, while Redis does not answer: whoever is back first must not take the others for gone. */
const RETRY_MS = 250;

export interface NodeLivesOptions {
  store: PresenceStore;
  nodeId: string;
  /** The nodes to look for. */
  others: () => Iterable<string>;
  /** This node had been taken for gone, or Redis has lost what it knew. */
  onLapsed: () => void;
  /** These nodes are gone. */
  onGone: (nodeIds: string[]) => void;
  /** After each look. */
  onLook: () => void;
  logger: Logger;
  time: Time;
}

export class NodeLives {
  private readonly options: NodeLivesOptions;
  private timer: Timer | undefined;
  /** As of the last look. */
  private missing = new Set<string>();
  private living = new Set<string>();
  /** Monotonic milliseconds: Redis has answered, and kept this node's key, since; and the last look. */
  private steadySince = Infinity;
  private lookedAt = -Infinity;
  private stopped = false;

  constructor(options: NodeLivesOptions) {
    this.options = options;
    void this.look();
  }

  stop(): void {
    this.stopped = true;
    this.options.time.clearTimeout(this.timer);
  }

  /** Says that this node is gone, so that nobody has to wait for it. */
  async leave(): Promise<void> {
    // Whoever does not hear it waits for NODE_TTL_MS.
    await this.options.store.forget(this.options.nodeId).catch(() => undefined);
  }

  /** Those of the nodes that are certainly gone. Asks Redis only of nodes that the last look did not find. Never rejects. */
  async goneOf(nodeIds: Iterable<string>): Promise<Set<string>> {
    const unknown = [...nodeIds].filter((id) => id !== this.options.nodeId && !this.living.has(id));
    if (unknown.length === 0 || !this.isSteady()) return new Set();
    let missing: Set<string>;
    try {
      missing = new Set(await this.options.store.missing(unknown));
    } catch (error) {
      this.options.logger.debug({ err: error }, 'which nodes live is not known');
      return new Set();
    }
    for (const id of unknown) if (!missing.has(id)) this.living.add(id);
    // The answer of a Redis that was away meanwhile says nothing of nodes that could not say that they live.
    return this.isSteady() ? missing : new Set();
  }

  private async look(): Promise<void> {
    let pause = LOOK_EVERY_MS;
    try {
      await this.lookOnce();
    } catch (error) {
      pause = RETRY_MS;
      this.steadySince = Infinity;
      this.options.logger.debug({ err: error }, 'which nodes live is not known');
    }
    if (this.stopped) return;
    this.timer = this.options.time.setTimeout(() => void this.look(), pause);
    this.timer.unref();
  }

  private async lookOnce(): Promise<void> {
    const { store, nodeId, others, onLapsed, onGone, onLook, time } = this.options;
    const askedAt = time.monotonic();
    const wasAlive = await store.keepAlive(nodeId, NODE_TTL_MS);
    const now = time.monotonic();
    // An answer may be late, and says nothing of the time since it was asked for.
    this.lookedAt = askedAt;
    this.steadySince = wasAlive ? Math.min(this.steadySince, now) : now;
    if (!wasAlive) onLapsed();
    const looked = [...others()];
    const missing = new Set(await store.missing(looked));
    const gone = looked.filter((id) => missing.has(id) && (this.isSteady() || this.missing.has(id)));
    this.missing = missing;
    this.living = new Set(looked.filter((id) => !missing.has(id)));
    if (gone.length > 0) onGone(gone);
    onLook();
  }

  private isSteady(): boolean {
    const now = this.options.time.monotonic();
    return now - this.steadySince > NODE_TTL_MS && now - this.lookedAt < LOOK_GOOD_MS;
  }
}
