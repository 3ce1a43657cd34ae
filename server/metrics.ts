// The process's metrics, by Prometheus' conventions. No session, user or token is ever a label.
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';

/** Seconds; from a local round trip to the longest that an update may wait. */
const latencyBuckets = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];

export type Metrics = ReturnType<typeof createMetrics>;

/** A registry of its own per server, so that two servers in one process do not mix. */
export function createMetrics() {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const counter = <L extends string>(name: string, help: string, labelNames: L[] = []) =>
    new Counter({ name: `attune_${name}`, help, labelNames, registers });
  const gauge = (name: string, help: string) => new Gauge({ name: `attune_${name}`, help, registers });
  const histogram = (name: string, help: string, buckets: number[]) =>
    new Histogram({ name: `attune_${name}`, help, buckets, registers });
  return {
    registry,
    commits: counter('commits_total', 'Commits that Redis confirmed'),
    batchSize: histogram('batch_updates', 'Updates decided by one commit call', [1, 2, 4, 8, 16, 32, 64, 128, 256]),
    commitSeconds: histogram('commit_seconds', 'Round trip of one commit call', latencyBuckets),
    queueSeconds: histogram('update_seconds', 'From the arrival of an update to its answer', latencyBuckets),
    commitReplies: counter('commit_replies_total', 'Commit calls by what Redis answered', ['reply']),
    refusals: counter('refusals_total', 'Requests refused, by error code', ['code']),
    leasesTaken: counter('leases_taken_total', 'Leases taken over the lock servers'),
    leaseBypasses: counter('lease_bypasses_total', 'Batches that went on without the lock', ['reason']),
    releaseFailures: counter('lease_release_failures_total', 'Lock releases that failed'),
    queuedUpdates: gauge('queued_updates', 'Updates waiting for a decision'),
    delivered: counter('deliveries_total', 'Commits given to a room'),
    repairs: counter('feed_repairs_total', 'Reads that mended a gap in the feed', ['cause']),
    snapshots: counter('snapshots_total', 'Snapshots sent to rooms', ['reason']),
    epochsChanged: counter('epochs_changed_total', 'Sessions whose readers were told of another epoch, by how', [
      'told',
    ]),
    rooms: gauge('rooms', 'Sessions with a local reader'),
    sockets: gauge('sockets', 'Connected sockets'),
    participants: gauge('participants', 'Participants whose sockets are here'),
    signals: counter('signals_total', 'Signals relayed, by where they came from', ['way']),
    cut: counter('slow_readers_cut_total', 'Readers disconnected because they did not read'),
    ignoredEvents: counter('ignored_events_total', 'Events with an unknown name'),
    internalErrors: counter('internal_errors_total', 'Handlers that failed unexpectedly'),
  };
}
