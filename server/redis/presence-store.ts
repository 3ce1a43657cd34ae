// Presence and signals in Redis, on a connection of their own: no commit waits behind them, and none fails with them.
// It knows keys and scripts; who is shown, when and for how long is decided in sync/.
import { PARTICIPANTS_MAX, PRESENCE_SESSION_BYTES_MAX } from '../../client-sdk/protocol/limits.js';
import type { Participant } from '../../client-sdk/protocol/messages.js';
import type { PresenceChange, RelayedSignal, Shown } from './commit-feed.js';
import { RedisFailure, send, type RedisClient } from './connection.js';
import type { Keys } from './keys.js';
import { Scripts } from './scripts.js';

export type { PresenceChange, RelayedSignal, Shown };

/** A session's presence stays so long without being touched, milliseconds: only what nobody removed is left then. */
export const PRESENCE_KEPT_MS = 60 * 60 * 1000;

/** Who is to be shown; `null`: no longer. */
export interface Showing {
  readonly node: string;
  readonly participantId: string;
  readonly participant: Participant | null;
}

/** All who are shown in a session at one version. */
export interface WholePresence {
  readonly version: number;
  readonly shown: readonly Shown[];
}

/** Every call throws RedisFailure. */
export class PresenceStore {
  private readonly client: RedisClient;
  private readonly keys: Keys;
  private readonly scripts: Scripts;

  constructor(client: RedisClient, keys: Keys) {
    this.client = client;
    this.keys = keys;
    this.scripts = new Scripts(client);
  }

  async read(sessionId: string): Promise<WholePresence> {
    const { presence } = this.keys.session(sessionId);
    const fields = await send(this.client, (client) => client.hgetall(presence));
    const shown = Object.entries(fields).flatMap(([field, json]): Shown[] => {
      const node = field.split(':', 2)[0]!;
      return node === field ? [] : [{ node, participant: JSON.parse(json) as Participant }];
    });
    return { version: Number(fields['v'] ?? 0), shown };
  }

  /**
   * Carries changes out in order, all in one call, and publishes what they changed; without any it keeps the presence from
   * ending. Idempotent. Gives the places of the changes that found no room: PARTICIPANTS_MAX, PRESENCE_SESSION_BYTES_MAX.
   */
  async change(sessionId: string, changes: readonly Showing[]): Promise<number[]> {
    const args: (string | number)[] = [PARTICIPANTS_MAX, PRESENCE_SESSION_BYTES_MAX, PRESENCE_KEPT_MS];
    for (const { node, participantId, participant } of changes) {
      args.push(node, participantId, participant ? JSON.stringify(participant) : '');
    }
    const reply = await this.scripts.run('presence', this.keys.session(sessionId), args);
    if (reply[0] === 'BROKEN') throw new RedisFailure('refused', 'the key of the presence holds something foreign');
    return reply[0] === 'SHOWN' ? (reply.slice(1) as number[]) : [];
  }

  /** Gives a signal to everybody who hears the session; false where there is no such session. */
  async signal(sessionId: string, signal: RelayedSignal): Promise<boolean> {
    const reply = await this.scripts.run('signal', this.keys.session(sessionId), [JSON.stringify({ signal })]);
    return reply[0] === 'SENT';
  }

  /** Says that a node lives for `ttlMs` more; false where Redis had taken it for gone. */
  async keepAlive(nodeId: string, ttlMs: number): Promise<boolean> {
    const before = await send(this.client, (client) => client.set(this.keys.node(nodeId), '1', 'PX', ttlMs, 'GET'));
    return before !== null;
  }

  /** Those of the nodes that do not live. */
  async missing(nodeIds: readonly string[]): Promise<string[]> {
    if (nodeIds.length === 0) return [];
    const found = await send(this.client, (client) => client.mget(nodeIds.map((id) => this.keys.node(id))));
    return nodeIds.filter((_, i) => found[i] === null);
  }

  /** The node has left. */
  async forget(nodeId: string): Promise<void> {
    await send(this.client, (client) => client.del(this.keys.node(nodeId)));
  }
}
