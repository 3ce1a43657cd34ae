// Every key and channel of ours in Redis. Nothing else spells one.
import { crc32 } from 'node:zlib';

/** Partitions that sessions are spread over. Kept in Redis and compared at start: changing it would lose every key. */
export const PARTITIONS = 1024;

/** The tenant of every session until tokens carry one. */
const TENANT = 'default';

/** The keys of one session; all share one slot of a cluster. */
export interface SessionKeys {
  /** Hash: the document's fields, the fencing token, sizes. */
  readonly doc: string;
  /** Stream `<revision>-0`: the recent commits. */
  readonly log: string;
  /** Hash: update id -> what it was answered with (newest generation). */
  readonly ids: string;
  /** Hash: the generation before. */
  readonly idsBefore: string;
  /** Hash: message id -> message. */
  readonly messages: string;
  /** Sorted set: message id by the revision that created it. */
  readonly created: string;
  /** Sorted set: message id by the revision that changed it last. */
  readonly changed: string;
  /** Stream `<revision>-0`: versions of the settings. */
  readonly history: string;
  /** Sorted set (all scores 0): the ids of the partition's sessions. */
  readonly index: string;
  /** String with a TTL: another node waits for the lease. */
  readonly wanted: string;
  /** String with a TTL: written behind a commit that a replica is to have. */
  readonly replicated: string;
  /** Hash with a TTL: `<node>:<participant>` -> what it shows; `v`, its version; `b`, its bytes. */
  readonly presence: string;
  /** Sharded channel of the session's commits. */
  readonly channel: string;
  /** Redlock's key, on the lock servers. */
  readonly lock: string;
}

/** Spells the keys of one deployment. */
export interface Keys {
  session(id: string): SessionKeys;
  /** The index of sessions of one partition, 0 .. PARTITIONS-1. */
  index(partition: number): string;
  partitionOf(id: string): number;
  /** String with a TTL: that node lives. Those of all nodes share one slot, so that they are kept and lost together. */
  node(nodeId: string): string;
  /** String: the number of partitions the data was written with. */
  readonly partitions: string;
}

export function createKeys(prefix: string): Keys {
  const partitionOf = (id: string) => crc32(`${TENANT}:${id}`) % PARTITIONS;
  const base = (partition: number) => `${prefix}:${TENANT}:{p${String(partition).padStart(4, '0')}}`;
  const index = (partition: number) => `${base(partition)}:index`;
  return {
    partitionOf,
    index,
    partitions: `${prefix}:partitions`,
    node: (nodeId) => `${prefix}:{nodes}:${nodeId}`,
    session(id) {
      const partition = partitionOf(id);
      const own = `${base(partition)}:${id}:`;
      return {
        doc: `${own}doc`,
        log: `${own}log`,
        ids: `${own}ids`,
        idsBefore: `${own}ids-before`,
        messages: `${own}messages`,
        created: `${own}created`,
        changed: `${own}changed`,
        history: `${own}history`,
        index: index(partition),
        wanted: `${own}wanted`,
        replicated: `${own}replicated`,
        presence: `${own}presence`,
        channel: `${own}feed`,
        lock: `${own}lock`,
      };
    },
  };
}
