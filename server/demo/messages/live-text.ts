// The text of a message while it is streamed: what is committed, and what came by signals since. Pure; only the commit lasts.
import { isJsonObject, type Json } from '../../../client-sdk/protocol/json.js';

/** Type of the signal that carries streamed text: what the example bots send, and any bot may. */
export const TOKEN_SIGNAL = 'token';

/** Text that continues a message at a position in it (in UTF-16 units). */
export interface Tokens {
  readonly messageId: string;
  readonly at: number;
  readonly text: string;
}

/** A signal's data as tokens, or undefined where it is something else: anyone may send anything. */
export function tokensOf(data: Json): Tokens | undefined {
  if (!isJsonObject(data)) return undefined;
  const { messageId, at, text } = data;
  if (typeof messageId !== 'string' || typeof text !== 'string') return undefined;
  return typeof at === 'number' && Number.isInteger(at) && at >= 0 ? { messageId, at, text } : undefined;
}

/**
 * The live text after some tokens. `live` is what is shown so far. Tokens that begin beyond it are dropped (some before them were missed): the text goes on with
 * the next commit. Tokens that were seen already change nothing.
 */
export function withTokens(live: string, { at, text }: Tokens): string {
  if (at > live.length || at + text.length <= live.length) return live;
  return live.slice(0, at) + text;
}

/** What to show of a message that is streamed: the longer of committed and live text, where one continues the other. */
export function shownText(committed: string, live: string | undefined): string {
  return live !== undefined && live.length > committed.length && live.startsWith(committed) ? live : committed;
}
