// The leader's side of a group of tabs: holds the lines of the others and passes on what is said over them. It decides
// nothing about who leads, and keeps nothing for a tab that is not heard of.
import type { ClientError } from './client-error.js';
import type { WireError } from './protocol/errors.js';
import type { Line, Lines } from './shared-lines.js';
import type { Reply } from './socket-link.js';
import type { LeaderMessage, OpenChannel, TabMessage } from './tab-messages.js';

/** Pause between two looks after the tabs, milliseconds. A hidden leader's timers may rest: what it hears makes it look, too. */
const LOOK_EVERY_MS = 2000;
/** Looks without a sign of life, after each of which one is asked for, before a tab is given up. */
const LOOKS_MAX = 3;
/** What is sent to a tab before it is asked for a sign of life, characters. */
const UNHEARD_CHARS = 256 * 1024;
/** What a tab may leave unheard before it is given up, characters: it waits in the browser's memory. */
const UNHEARD_CHARS_MAX = 8 * 1024 * 1024;

interface Tab {
  readonly id: string;
  readonly channel: BroadcastChannel;
  line: Line | null;
  looks: number;
  unheardChars: number;
}

/** See {@link createTabLeader}. */
export interface TabLeader {
  readonly lines: Lines;
  /** A tab looks for its leader. */
  sought: (id: string) => void;
  /** Every few seconds: asks each tab for a sign of life and gives up those that showed none. To be called more often. */
  look: () => void;
  /** Leads no longer. */
  close: () => void;
}

/** Leads the group `name` from now on, in a term of its own. */
export function createTabLeader(term: number, lines: Lines, name: string, openChannel: OpenChannel): TabLeader {
  const tabs = new Map<string, Tab>();
  let lookedAt = Date.now();

  const tell = (tab: Tab, message: Sent) => {
    if (tabs.get(tab.id) === tab) tab.channel.postMessage({ ...message, by: term });
  };

  const hangUp = (tab: Tab) => {
    const { line } = tab;
    tab.line = null;
    line?.close();
  };

  /** From now on the tab is as one that was never heard of; it will find that out when it seeks its leader. */
  const forget = (tab: Tab) => {
    tabs.delete(tab.id);
    hangUp(tab);
    tab.channel.close();
  };

  /** Tells a tab something of any size; one that does not listen is given up. */
  const pass = (tab: Tab, message: Sent & { json: string }) => {
    const before = tab.unheardChars;
    if (tabs.get(tab.id) !== tab) return;
    if (before > UNHEARD_CHARS_MAX) return forget(tab);
    tab.unheardChars += message.json.length;
    tell(tab, message);
    if (before < UNHEARD_CHARS && tab.unheardChars >= UNHEARD_CHARS) tell(tab, { type: 'ping' });
  };

  const open = (tab: Tab, line: number, auth: object) => {
    hangUp(tab);
    tab.line = lines.open({
      auth: () => Promise.resolve(auth),
      opened: () => tell(tab, { type: 'opened', line }),
      closed: (refusal) => {
        tab.line = null;
        tell(tab, { type: 'closed', line, refusal: refusal && wireErrorOf(refusal) });
      },
      received: (event, body) => pass(tab, { type: 'received', line, event, json: JSON.stringify(body) }),
    });
    if (!tab.line) tell(tab, { type: 'full', line });
  };

  const look = () => {
    if (Date.now() - lookedAt < LOOK_EVERY_MS) return;
    lookedAt = Date.now();
    for (const tab of tabs.values()) {
      tab.looks += 1;
      if (tab.looks > LOOKS_MAX) forget(tab);
      else tell(tab, { type: 'ping' });
    }
  };

  const heard = (tab: Tab, message: TabMessage) => {
    if (message.to !== term) return;
    tab.looks = tab.unheardChars = 0;
    switch (message.type) {
      case 'ping':
        tell(tab, { type: 'pong' });
        return look();
      case 'open':
        return open(tab, message.line, message.auth);
      case 'close':
        return hangUp(tab);
      case 'leave':
        return forget(tab);
      case 'ask': {
        const { line, ask, event, json, timeoutMs } = message;
        tab.line?.request(event, JSON.parse(json) as object, timeoutMs, (reply: Reply | null) =>
          pass(tab, { type: 'answered', line, ask, json: JSON.stringify(reply) }),
        );
      }
    }
  };

  return {
    lines,
    look,
    sought(id) {
      const known = tabs.get(id);
      if (known) return tell(known, { type: 'pong' });
      const tab: Tab = { id, channel: openChannel(`${name}:${id}`), line: null, looks: 0, unheardChars: 0 };
      tabs.set(id, tab);
      tab.channel.onmessage = ({ data }: MessageEvent<TabMessage>) => heard(tab, data);
      tell(tab, { type: 'welcome' });
    },
    close() {
      for (const tab of tabs.values()) {
        tell(tab, { type: 'left' });
        forget(tab);
      }
      lines.close();
    },
  };
}

type Sent = LeaderMessage extends infer M ? (M extends { by: number } ? Omit<M, 'by'> : never) : never;

/** What of an error goes through a channel: its message would not. */
const wireErrorOf = (error: ClientError): WireError =>
  Object.assign({ message: error.message }, error) as unknown as WireError;
