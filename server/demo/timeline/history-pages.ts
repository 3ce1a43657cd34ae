// The pages of a history that have been read, newest first, as one list without a gap. Pure.
import type { SettingsVersion } from '../../../client-sdk/protocol/messages.js';

/** What was read of the history: `next` is the `before` of the page that follows; undefined where there are no older ones. */
export interface HistoryPages {
  readonly versions: readonly SettingsVersion[];
  readonly next: number | undefined;
}

type Page = { versions: readonly SettingsVersion[]; next?: number };

/**
 * The newest page, and of what is known that which is older. Where the two do not meet (more came meanwhile than a page
 * holds) what is known is left out: the page before the newest is read when it is asked for.
 */
export function withNewest(known: HistoryPages | undefined, { versions, next }: Page): HistoryPages {
  const page = { versions, next };
  const oldest = versions.at(-1)?.revision;
  if (!known || oldest === undefined || next === undefined) return page;
  // A version that goes on has another revision each time: the newest one known may not be among the page's.
  const meets = known.versions.some(({ revision }) => revision >= oldest);
  const older = known.versions.filter(({ revision }) => revision < oldest);
  return meets && older.length > 0 ? { versions: [...versions, ...older], next: known.next } : page;
}

/** The page that follows what is known, behind it. A page that was asked for before what is known began anew is left out. */
export function withOlder(known: HistoryPages, before: number, page: Page): HistoryPages {
  return known.next === before ? { versions: [...known.versions, ...page.versions], next: page.next } : known;
}
