// Who listens to what: the typed events of a client, a session, a list.

/** Listeners by the name of an event. */
export interface Listeners<Events> {
  /** Adds a listener, also one that is there already; the result takes it away again, and says whether it was there. */
  add: <E extends keyof Events>(event: E, listener: (body: Events[E]) => void) => () => boolean;
  /** Tells all who listen. One that throws keeps no other from hearing: its error is reported as one that nobody caught. */
  tell: <E extends keyof Events>(event: E, body?: Events[E]) => void;
}

/** Without any listener yet. */
export function createListeners<Events>(): Listeners<Events> {
  const all: { [E in keyof Events]?: Set<(body: Events[E]) => void> } = {};
  return {
    add(event, listener) {
      const entry = (body: Events[typeof event]) => listener(body);
      const those = (all[event] ??= new Set());
      those.add(entry);
      return () => those.delete(entry);
    },
    tell(event, body) {
      for (const listener of all[event] ?? []) {
        try {
          listener(body!);
        } catch (error) {
          void Promise.reject(error as Error);
        }
      }
    },
  };
}
