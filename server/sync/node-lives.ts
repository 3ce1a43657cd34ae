// Which nodes live: this one says so again and again, and looks which of those it knows of do. It decides nothing about
// their participants.
import type { Logger } from 'pino';
import type { PresenceStore } from '../redis/presence-store.js';

/** A node that has not said for so long that it lives is gone, milliseconds. */
const NODE_TTL_MS = 5000;
/** How often it says so, and looks for the others, milliseconds. */
const LOOK_EVERY_MS = 1000;
/** As before, while Redis does not answer: whoever is back first must not take the others for gone. */
const RETRY_MS = 250;

export interface NodeLivesOptions {
  store: PresenceStore;
  nodeId: string;
  /** The nodes to look for. */
  others: () => Iterable<string>;
  /** This node had been taken for gone, or Redis has lost what it knew. */
  onLapsed: () => void;
  /** These nodes were missing at two looks. */
  onGone: (nodeIds: string[]) => void;
  /** After each look. */
  onLook: () => void;
  logger: Logger;
}

export class NodeLives {
  private readonly options: NodeLivesOptions;
  private timer: NodeJS.Timeout | undefined;
  private missing = new Set<string>();
  private stopped = false;

  constructor(options: NodeLivesOptions) {
    this.options = options;
    void this.look();
  }

  stop(): void {
    this.stopped = true;
    clearTimeout(this.timer);
  }

  /** Says that this node is gone, so that nobody has to wait for it. */
  async leave(): Promise<void> {
    // Whoever does not hear it waits for NODE_TTL_MS.
    await this.options.store.forget(this.options.nodeId).catch(() => undefined);
  }

  private async look(): Promise<void> {
    let pause = LOOK_EVERY_MS;
    try {
      await this.lookOnce();
    } catch (error) {
      pause = RETRY_MS;
      this.options.logger.debug({ err: error }, 'which nodes live is not known');
    }
    if (!this.stopped) this.timer = setTimeout(() => void this.look(), pause).unref();
  }

  private async lookOnce(): Promise<void> {
    const { store, nodeId, others, onLapsed, onGone, onLook } = this.options;
    if (!(await store.keepAlive(nodeId, NODE_TTL_MS))) onLapsed();
    const missing = await store.missing([...others()]);
    // Twice, for after an outage of Redis the others need a moment to say that they live.
    const gone = missing.filter((id) => this.missing.has(id));
    this.missing = new Set(missing);
    if (gone.length > 0) onGone(gone);
    onLook();
  }
}
