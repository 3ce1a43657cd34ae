// What may happen to a replica as values, so that tests can list, shuffle and repeat it.
import {
  acknowledged,
  committed,
  refreshed,
  refused,
  updated,
  type Confirmed,
  type PendingUpdate,
  type Replica,
  type SeenCommit,
} from '../../client-sdk/replica.js';
import type { Cursor } from '../../client-sdk/protocol/messages.js';

export type ReplicaEvent =
  | { type: 'updated'; update: PendingUpdate }
  | { type: 'acknowledged'; updateId: string; at: Cursor & { duplicate?: boolean } }
  | { type: 'refused'; updateId: string }
  | { type: 'commit'; commit: SeenCommit }
  | { type: 'snapshot'; session: Confirmed };

/** The state after an event; null where it cannot follow. */
export function reduce(replica: Replica, event: ReplicaEvent): Replica | null {
  switch (event.type) {
    case 'updated':
      return updated(replica, event.update);
    case 'acknowledged':
      return acknowledged(replica, event.updateId, event.at);
    case 'refused':
      return refused(replica, event.updateId);
    case 'commit':
      return committed(replica, event.commit);
    case 'snapshot':
      return refreshed(replica, event.session);
  }
}
