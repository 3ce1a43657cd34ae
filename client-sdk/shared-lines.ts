// Several lines over one connection, each a socket in a namespace of its own. It opens none again by itself, and never lends
// a namespace to two lines at once.
import { managerOf, socketLink, type Link, type LinkEvents } from './socket-link.js';

/** Lines of one connection: namespace `/`, and `/~1` to `/~31`. */
export const LINES_MAX = 32;
/** How long a namespace rests before it is lent again, milliseconds: the server must have seen the last one leave. */
const REST_MS = 1000;
/** The connection is given up where it said nothing for so long while a line was to be opened, milliseconds. */
const SILENT_MS = 9000;

/** A line that is open or being opened; used once. */
export type Line = Pick<Link, 'request' | 'close'>;

/** The lines of one connection. */
export interface Lines {
  /** Opens a line: `opened` or `closed` follows, unless it is closed before. Null where all are lent. */
  open: (user: LinkEvents) => Line | null;
  /** Ends the connection; whoever has a line hears `closed`. The next line opens it anew. */
  close: () => void;
}

/** A namespace, and who uses it. One that was given up while it was opened has no user until the server has answered. */
interface Place {
  readonly link: Link;
  user: LinkEvents | null;
  isOpen: boolean;
}

/** Lines over a connection to `url`, which is opened with the first of them. */
export function sharedLines(url: string): Lines {
  const manager = managerOf(url);
  const places: Place[] = [];
  /** Namespaces that may be lent; the one that rested longest first. */
  const free = Array.from({ length: LINES_MAX }, (_, number) => number);
  let heardAt = 0;
  let leaving: ReturnType<typeof setTimeout> | undefined;
  const close = () => manager._close();

  for (const event of ['open', 'ping', 'packet'] as const) manager.on(event, () => (heardAt = Date.now()));
  manager.on('close', () => {
    clearTimeout(leaving);
    leaving = undefined;
  });

  const giveBack = (number: number, place: Place) => {
    place.user = null;
    place.isOpen = false;
    place.link.close();
    setTimeout(() => free.push(number), REST_MS);
  };

  const makePlace = (number: number): Place => {
    const events: LinkEvents = {
      auth: () => place.user?.auth() ?? Promise.reject(new Error('nobody waits for it')),
      opened: () => {
        place.isOpen = true;
        if (place.user) place.user.opened();
        else giveBack(number, place);
      },
      closed: (refusal) => {
        const { user } = place;
        giveBack(number, place);
        user?.closed(refusal);
      },
      received: (event, body) => {
        // The node leaves, and all lines with it: they move together, or the first would come back to the same node.
        if (event === 'server:draining')
          leaving ??= setTimeout(close, (body as { reconnectAfterMs?: number }).reconnectAfterMs);
        else place.user?.received(event, body);
      },
    };
    const link = socketLink(url, events, manager.socket(number ? `/~${number}` : '/'));
    const place: Place = { link, user: null, isOpen: false };
    return place;
  };

  const open = (user: LinkEvents): Line | null => {
    const number = free.shift();
    if (number === undefined) return null;
    const place = (places[number] ??= makePlace(number));
    const openedAt = Date.now();
    place.user = user;
    place.link.open();
    return {
      request: (event, body, timeoutMs, answered) => {
        if (place.user !== user || !place.isOpen) return answered(null);
        const sentAt = Date.now();
        place.link.request(event, body, timeoutMs, (reply) => {
          answered(reply);
          // No answer, and the line was not closed: the connection is dead where nobody else heard anything either.
          if (!reply && place.isOpen && heardAt < sentAt) close();
        });
      },
      close: () => {
        if (place.user !== user) return;
        place.user = null;
        if (place.isOpen) giveBack(number, place);
        else if (Date.now() - Math.max(openedAt, heardAt) > SILENT_MS) close();
      },
    };
  };

  return { open, close };
}
