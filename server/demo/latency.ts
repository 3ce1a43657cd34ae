// How long the newest update took, from the user's action to the acknowledgement. Updates that waited for a connection do
// not count.
import { useSyncExternalStore } from 'react';

let latestMs: number | undefined;
const listeners = new Set<() => void>();

/** Measures a write that begins now, where there is a connection to send it over. Gives back the same promise. */
export function measured<T>(isConnected: boolean, write: () => Promise<T>): Promise<T> {
  const startMs = performance.now();
  const outcome = write();
  if (isConnected) {
    outcome.then(
      () => {
        latestMs = performance.now() - startMs;
        for (const listener of listeners) listener();
      },
      () => undefined,
    );
  }
  return outcome;
}

/** Milliseconds that the newest update took; undefined before the first. */
export function useLatency(): number | undefined {
  return useSyncExternalStore(subscribe, () => latestMs);
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
