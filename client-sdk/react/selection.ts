// Reads a part of a store's snapshot so that a component renders again only when that part changed. It knows nothing of
// sessions, and never reads or subscribes anything but the store that it is given.
import { useEffect, useMemo, useRef, useSyncExternalStore } from 'react';

/** What React can follow: `getSnapshot` gives the same reference until something changed. */
export interface Store<A> {
  readonly subscribe: (listener: () => void) => () => void;
  readonly getSnapshot: () => A;
}

/**
 * Whether two values hold the same: plain objects and arrays by their members, anything else by `Object.is`. Settings come
 * as new objects after a reconnection, or while an own update waits, with nothing in them changed.
 */
export function holdsSame(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (!isPlain(a) || !isPlain(b) || Array.isArray(a) !== Array.isArray(b)) return false;
  const keys = Object.keys(a);
  return (
    keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && holdsSame(a[key], b[key]))
  );
}

function isPlain(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === Array.prototype;
}

/**
 * `selector` of the `part` of the store's snapshot; undefined while there is no such part, which the selector is not asked
 * about. While a new value equals (by `isEqual`) the one shown, the one shown is given back and nothing renders again.
 *
 * `initial` stands for the snapshot on a server and while hydrating: those two must show the same. `part` is a constant
 * function; selector and isEqual may be new ones in each render, which costs one call of the selector and no subscription.
 */
export function useSelection<A, P, T>(
  store: Store<A>,
  initial: A,
  part: (snapshot: A) => P | undefined,
  selector: (part: P) => T,
  isEqual: (a: T, b: T) => boolean = holdsSame,
): T | undefined {
  /** What the last commit showed: a selector that is new in this render is compared with it. */
  const shown = useRef<T | undefined>(undefined);
  const [read, readInitial] = useMemo(() => {
    let from: P | undefined;
    let selected = shown.current;
    const select = (snapshot: A): T | undefined => {
      const next = part(snapshot);
      if (next === undefined) return undefined;
      if (next !== from) {
        const value = selector(next);
        from = next;
        if (selected === undefined || value === undefined || !isEqual(selected, value)) selected = value;
      }
      return selected;
    };
    return [() => select(store.getSnapshot()), () => select(initial)];
  }, [store, initial, part, selector, isEqual]);

  const value = useSyncExternalStore(store.subscribe, read, readInitial);
  useEffect(() => {
    shown.current = value;
  }, [value]);
  return value;
}
