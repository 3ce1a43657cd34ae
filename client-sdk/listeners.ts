// Who listens to what: the typed events of a client or a session.

/** Calls a listener; one that throws does not keep others from hearing. */
function call<A extends unknown[]>(listener: (...args: A) => void, ...args: A): void {
  try {
    listener(...args);
  } catch (error) {
    // Reported as any error that nobody catches, and not to whoever happened to cause the event.
    queueMicrotask(() => {
      throw error;
    });
  }
}

/** Listeners by the name of an event. */
export class Listeners<Events extends Record<keyof Events, unknown>> {
  private readonly all = new Map<keyof Events, Set<(body: never) => void>>();

  /** Adds a listener; the result takes it away again. */
  add<E extends keyof Events>(event: E, listener: (body: Events[E]) => void): () => void {
    // A function of its own, so that the same listener may be added twice.
    const entry = (body: Events[E]) => listener(body);
    const those = this.all.get(event) ?? new Set();
    this.all.set(event, those.add(entry));
    return () => void those.delete(entry);
  }

  /** Tells all who listen now. */
  tell<E extends keyof Events>(event: E, body: Events[E]): void {
    for (const listener of this.all.get(event) ?? []) call(listener as (body: Events[E]) => void, body);
  }

  /** How many listen to any of them. */
  get size(): number {
    let size = 0;
    for (const those of this.all.values()) size += those.size;
    return size;
  }
}
