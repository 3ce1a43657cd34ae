// A client's line in a group of tabs that share one connection. The tabs elect a leader: whoever holds the group's Web Lock.
// It opens nothing again by itself: to its client, a change of leader is a line that closed.
import { clientErrorOf, type ClientError } from './client-error.js';
import { randomId } from './random-id.js';
import type { Line, Lines } from './shared-lines.js';
import type { Link, LinkEvents, Reply, Transport } from './socket-link.js';
import { createTabLeader, type TabLeader } from './tab-leader.js';
import type { GroupMessage, LeaderMessage, OpenChannel, TabMessage } from './tab-messages.js';

/** Pause between two signs of life that a tab asks of its leader, milliseconds. A hidden tab's browser makes it longer. */
const ASK_EVERY_MS = 300;
/** Signs of life that stay out before the leader counts as frozen. Counted, not timed: a tab that slept blames nobody. */
const MISSED_MAX = 3;
/** How long a tab without a line stays in the group, milliseconds: longer than its client's pause between two attempts. */
const LINGER_MS = 11_000;

/** What a line in a group is given. */
export interface TabSetting {
  /** Name of the lock, and first part of the channels' names. */
  name: string;
  locks: Pick<LockManager, 'request' | 'query'>;
  openChannel: OpenChannel;
  setInterval: (work: () => void, ms: number) => ReturnType<typeof setInterval>;
  /** The connection that a leader shares. */
  openLines: () => Lines;
  /** What is used where tabs cannot share. */
  ownLink: Transport;
}

/** A line, and how to end it when its page is left. */
export interface TabLink extends Link {
  /** The page is left, or about to be stopped: closes the line and leaves the group at once. `open` enters it again. */
  suspend: () => void;
}

/** One try to hold the lock: waiting for it, or holding it. */
interface Candidacy {
  readonly waiting: AbortController;
  release?: () => void;
}

/** While in the group: its channel, the tab's own, and what asks for signs of life. */
interface Membership {
  readonly group: BroadcastChannel;
  readonly inbox: BroadcastChannel;
  readonly ticking: ReturnType<typeof setInterval>;
}

/** A line that is shared where it can be. */
export function createTabLink(url: string, events: LinkEvents, setting: TabSetting): TabLink {
  const { name, locks, openChannel } = setting;
  const id = randomId();
  let member: Membership | null = null;
  let candidacy: Candidacy | null = null;
  /** Set while this tab leads. */
  let leader: TabLeader | null = null;
  /** The newest leadership that is known, and whether its leader knows this tab. */
  let term = 0;
  let isBound = false;
  let missed = 0;
  let lingering: ReturnType<typeof setTimeout> | undefined;
  /** Locks or channels are forbidden here. */
  let isAlone = false;
  let isWanted = false;
  /** The line without a detour: the leader's, or that of a tab that does not share. */
  let own: Line | null = null;
  /** The line by way of the leader. */
  let line = 0;
  let isDialed = false;
  let isOpen = false;
  let asked = 0;
  let asks = new Map<number, (reply: Reply | null) => void>();

  const say = (message: GroupMessage) => member?.group.postMessage(message);
  const seek = () => say({ type: 'seek', from: id });
  const tell = (message: Sent) => {
    if (isBound) member?.inbox.postMessage({ ...message, to: term });
  };

  // The line.

  const answer = (ask: number, reply: Reply | null) => {
    const answered = asks.get(ask);
    asks.delete(ask);
    answered?.(reply);
  };

  /** Gives up the line. What waits for answers hears of it last: it is to find that nothing is open. */
  const hangUp = (announce?: () => void) => {
    const before = { own, asks };
    own = null;
    asks = new Map();
    isWanted = false;
    if (isDialed) tell({ type: 'close' });
    line += 1;
    isDialed = isOpen = false;
    clearTimeout(lingering);
    if (member) lingering = setTimeout(leave, LINGER_MS);
    announce?.();
    before.own?.close();
    for (const answered of before.asks.values()) answered(null);
  };

  /** The line closed by itself. */
  const end = (refusal: ClientError | null) => {
    if (isWanted) hangUp(() => events.closed(refusal));
  };

  const ownEvents = (): LinkEvents => ({
    ...events,
    closed(refusal) {
      own = null;
      end(refusal);
    },
  });

  /** This time, a socket of its own. */
  const goAlone = () => {
    leave();
    if (!isWanted || own) return;
    const link = setting.ownLink(url, ownEvents());
    own = link;
    link.open();
  };

  const dial = () => {
    if (!isWanted || isDialed || own) return;
    if (isAlone) return goAlone();
    if (leader) {
      own = leader.lines.open(ownEvents());
      if (!own) goAlone();
    } else if (isBound) {
      isDialed = true;
      const mine = (line += 1);
      events.auth().then(
        (auth) => mine === line && tell({ type: 'open', line, auth }),
        (error: unknown) => mine === line && end((error as ClientError).code ? (error as ClientError) : null),
      );
    }
  };

  /** Another leader: its client opens a line that was open again; one that was not is opened over the new one. */
  const dialAnew = () => {
    if (isOpen) return end(null);
    isDialed = false;
    dial();
  };

  // The group.

  /** The page's last words come before it is frozen or left: the next leader need not wait until it is missed. */
  const suspend = () => {
    end(null);
    leave();
  };

  const enter = () => {
    if (member) return;
    try {
      const group = openChannel(name);
      const inbox = openChannel(`${name}:${id}`);
      group.onmessage = ({ data }: MessageEvent<GroupMessage>) => heardInGroup(data);
      inbox.onmessage = ({ data }: MessageEvent<LeaderMessage>) => heard(data);
      member = { group, inbox, ticking: setting.setInterval(tick, ASK_EVERY_MS) };
    } catch {
      return forbidden();
    }
    globalThis.addEventListener?.('pagehide', suspend);
    globalThis.document?.addEventListener('freeze', suspend);
    stand();
    seek();
  };

  /** Leaves the group; where this tab led, the next one does. */
  const leave = () => {
    if (!member) return;
    const { group, inbox, ticking } = member;
    const before = candidacy;
    clearInterval(ticking);
    clearTimeout(lingering);
    globalThis.removeEventListener?.('pagehide', suspend);
    globalThis.document?.removeEventListener('freeze', suspend);
    tell({ type: 'leave' });
    member = candidacy = null;
    isBound = false;
    stepDown();
    before?.waiting.abort();
    before?.release?.();
    group.close();
    inbox.close();
  };

  const forbidden = () => {
    isAlone = true;
    goAlone();
  };

  // Who leads.

  const stand = (steal?: boolean) => {
    const mine: Candidacy = { waiting: new AbortController() };
    candidacy = mine;
    const hold = () =>
      new Promise<void>((release) => {
        mine.release = release;
        if (candidacy !== mine) return release();
        // A tab that was frozen while the lock was given to it, and taken again, has heard of both once this is answered.
        return void locks.query().then(() => candidacy === mine && lead());
      });
    locks.request(name, steal ? { steal } : { signal: mine.waiting.signal }, hold).catch((error: unknown) => {
      if (candidacy !== mine) return;
      if ((error as Error).name === 'AbortError') deposed();
      else forbidden();
    });
  };

  const lead = () => {
    isBound = false;
    missed = 0;
    // Greater than any before on this machine, and nobody else's.
    term = Math.max(Date.now(), term + 1) + Math.random();
    leader = createTabLeader(term, setting.openLines(), name, openChannel);
    say({ type: 'lead', term });
    dialAnew();
  };

  /** Another tab took the lock: this one was not heard of for too long. */
  const deposed = () => {
    end(null);
    stepDown();
    stand();
    seek();
  };

  const stepDown = () => {
    const before = leader;
    leader = null;
    before?.close();
  };

  const tick = () => {
    if (leader) return leader.look();
    missed += 1;
    if (missed > MISSED_MAX && isWanted) {
      missed = 0;
      candidacy?.waiting.abort();
      return stand(true);
    }
    tell({ type: 'ping' });
    // It may have forgotten this tab.
    if (!isBound || missed > 1) seek();
  };

  // What is heard.

  const heardInGroup = (message: GroupMessage) => {
    if (message.type === 'seek') return leader?.sought(message.from);
    if (leader || message.term <= term) return;
    missed = 0;
    seek();
  };

  const heard = (message: LeaderMessage) => {
    // Of a leader that was replaced and does not know it yet.
    if (leader || message.by < term) return;
    if (message.type === 'welcome') {
      // It knows nothing of a line of this tab.
      term = message.by;
      isBound = true;
      missed = 0;
      return dialAnew();
    }
    if (!isBound || message.by !== term) return;
    missed = 0;
    if (message.type === 'ping') tell({ type: 'pong' });
    else if (message.type === 'left') {
      isBound = false;
      dialAnew();
    } else if ('line' in message && message.line === line) heardOfLine(message);
  };

  const heardOfLine = (message: Extract<LeaderMessage, { line: number }>) => {
    switch (message.type) {
      case 'opened':
        isOpen = true;
        return events.opened();
      case 'full':
        isDialed = false;
        return goAlone();
      case 'closed':
        return end(message.refusal && clientErrorOf(message.refusal));
      case 'received':
        return events.received(message.event, JSON.parse(message.json) as object);
      case 'answered':
        return answer(message.ask, JSON.parse(message.json) as Reply | null);
    }
  };

  return {
    open() {
      clearTimeout(lingering);
      isWanted = true;
      if (!isAlone) enter();
      dial();
    },
    close: () => hangUp(),
    request(event, body, timeoutMs, answered) {
      if (own) return own.request(event, body, timeoutMs, answered);
      if (!isOpen) return answered(null);
      const ask = (asked += 1);
      const timer = setTimeout(() => answer(ask, null), timeoutMs);
      asks.set(ask, (reply) => {
        clearTimeout(timer);
        answered(reply);
      });
      tell({ type: 'ask', line, ask, event, json: JSON.stringify(body), timeoutMs });
    },
    suspend,
  };
}

type Sent = TabMessage extends infer M ? (M extends { to: number } ? Omit<M, 'to'> : never) : never;
