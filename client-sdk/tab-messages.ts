// What tabs tell each other. Any change here needs another `TABS_VERSION`: tabs of two versions share no connection.
import type { WireError } from './protocol/errors.js';

/** Part of the names of lock and channels. */
export const TABS_VERSION = 1;

/** On the channel of the group, which all tabs hear. `term` names a leadership; a later one is greater. */
export type GroupMessage = { type: 'seek'; from: string } | { type: 'lead'; term: number };

/** On a tab's own channel, to the leader of that term. `line` counts the tab's lines, `ask` its requests. */
export type TabMessage = { to: number } & (
  | { type: 'open'; line: number; auth: object }
  | { type: 'ask'; line: number; ask: number; event: string; json: string; timeoutMs: number }
  | { type: 'close' | 'ping' | 'pong' | 'leave' }
);

/** On a tab's own channel, from the leader of that term. `welcome`: it did not know the tab, and has no line of it.
 * `left`: it leads no longer. */
export type LeaderMessage = { by: number } & (
  | { type: 'welcome' | 'ping' | 'pong' | 'left' }
  | { type: 'opened' | 'full'; line: number }
  | { type: 'closed'; line: number; refusal: WireError | null }
  | { type: 'received'; line: number; event: string; json: string }
  | { type: 'answered'; line: number; ask: number; json: string }
);

/** How a channel is opened: the browser's `BroadcastChannel`. */
export type OpenChannel = (name: string) => BroadcastChannel;
