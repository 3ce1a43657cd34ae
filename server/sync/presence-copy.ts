// What this node has of a session's presence in Redis: all who are shown, at a version. Pure: it is told, it never asks.
import type { Participant } from '../../client-sdk/protocol/messages.js';
import type { PresenceChange, Shown, WholePresence } from '../redis/presence-store.js';

/** The version of a copy that was not read yet: no change follows it. */
export const UNREAD = -1;

/** What readers are told. */
export interface Difference {
  joined: Participant[];
  left: string[];
  updated: Participant[];
}

export class PresenceCopy {
  version = UNREAD;
  private shown = new Map<string, Shown>();

  /** Takes a change over. `null`: it is not the next one, and something between is missing. */
  apply(change: PresenceChange): Difference | null {
    // 0 comes again and again: only from other versions can be told that a change is an old one.
    const isOld = change.version !== 0 && change.version <= this.version;
    if (isOld) return { joined: [], left: [], updated: [] };
    if (change.before !== this.version) return null;
    this.version = change.version;
    for (const one of [...change.joined, ...change.updated]) this.shown.set(one.participant.participantId, one);
    for (const id of change.left) this.shown.delete(id);
    return {
      joined: change.joined.map(({ participant }) => participant),
      left: change.left,
      updated: change.updated.map(({ participant }) => participant),
    };
  }

  /** Takes the whole over, whatever was before. */
  replace({ version, shown }: WholePresence): Difference {
    const before = this.shown;
    this.version = version;
    this.shown = new Map(shown.map((one) => [one.participant.participantId, one]));
    const difference: Difference = { joined: [], left: [], updated: [] };
    for (const [id, { participant }] of this.shown) {
      const known = before.get(id);
      if (!known) difference.joined.push(participant);
      else if (JSON.stringify(known.participant) !== JSON.stringify(participant)) difference.updated.push(participant);
    }
    for (const id of before.keys()) if (!this.shown.has(id)) difference.left.push(id);
    return difference;
  }

  participants(): Participant[] {
    return [...this.shown.values()].map(({ participant }) => participant);
  }

  /** Adds the nodes whose participants are shown. */
  addNodes(nodes: Set<string>): void {
    for (const { node } of this.shown.values()) nodes.add(node);
  }

  /** The participants whose sockets are of a node. */
  of(node: string): Shown[] {
    return [...this.shown.values()].filter((one) => one.node === node);
  }
}
