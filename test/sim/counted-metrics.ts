// The server's metrics for a simulation: they only count, for all nodes together.
import type { Metrics } from '../../server/metrics.js';

export interface CountedMetrics {
  readonly metrics: Metrics;
  /** Name, with its labels' values behind it -> how often it was counted up. */
  readonly counts: ReadonlyMap<string, number>;
}

export function countMetrics(): CountedMetrics {
  const counts = new Map<string, number>();
  const instruments = new Map<string, object>();
  const instrument = (name: string) => ({
    inc: (labels?: Record<string, string> | number) => {
      const key = typeof labels === 'object' ? `${name} ${Object.values(labels).join(' ')}` : name;
      counts.set(key, (counts.get(key) ?? 0) + (typeof labels === 'number' ? labels : 1));
    },
    set: () => undefined,
    observe: () => undefined,
  });
  const metrics = new Proxy({} as Metrics, {
    get: (_target, name: string) => {
      let one = instruments.get(name);
      if (!one) instruments.set(name, (one = instrument(name)));
      return one;
    },
  });
  return { metrics, counts };
}
