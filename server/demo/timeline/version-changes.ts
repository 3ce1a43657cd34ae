// What changed from one version of the settings to the next, place by place, and how long ago. Pure.
import { equalJson, isJsonObject, type Json, type JsonObject } from '../../../client-sdk/protocol/json.js';
import type { SettingsVersion } from '../../../client-sdk/protocol/messages.js';
import { pointerOf } from '../settings/form-model.js';

/** One place that differs. `before` or `after` is undefined where there was or is nothing. */
export interface Change {
  readonly path: string;
  readonly keys: readonly string[];
  readonly before: Json | undefined;
  readonly after: Json | undefined;
}

/** One line of the timeline. */
export interface TimelineEntry {
  readonly version: SettingsVersion;
  /** Undefined where the version before is not known: it is older than what is kept or was loaded. */
  readonly changes: readonly Change[] | undefined;
  readonly isFirst: boolean;
}

/** Characters of a value in the timeline. */
const SHOWN_CHARS_MAX = 60;

/** The places where two settings differ, objects taken apart, lists as a whole, in the order of the newer settings. */
export function changesBetween(before: JsonObject, after: JsonObject): Change[] {
  const found: Change[] = [];
  const compare = (older: JsonObject, newer: JsonObject, keys: readonly string[]) => {
    for (const key of new Set([...Object.keys(newer), ...Object.keys(older)])) {
      const [a, b] = [member(older, key), member(newer, key)];
      const at = [...keys, key];
      if (isJsonObject(a) && isJsonObject(b)) compare(a, b, at);
      else if (a === undefined || b === undefined ? a !== b : !equalJson(a, b)) {
        found.push({ path: pointerOf(at), keys: at, before: a, after: b });
      }
    }
  };
  compare(before, after, []);
  return found;
}

/**
 * Versions, newest first, as entries that say what each changed against the one before it. `hasOlder` tells that versions
 * older than the last one exist; a first version of all is the settings that the session began with.
 */
export function timelineOf(versions: readonly SettingsVersion[], hasOlder: boolean): TimelineEntry[] {
  return versions.map((version, index) => {
    const older = versions[index + 1];
    return {
      version,
      changes: older && changesBetween(older.settings, version.settings),
      isFirst: older === undefined && !hasOlder && version.revision === 1,
    };
  });
}

/** A value in few words: texts in quotes, lists and objects as JSON, long ones cut. */
export function shownValue(value: Json | undefined): string {
  if (value === undefined || value === null) return 'not set';
  const text = typeof value === 'string' ? `“${value}”` : JSON.stringify(value);
  return text.length > SHOWN_CHARS_MAX ? `${text.slice(0, SHOWN_CHARS_MAX)}…` : text;
}

/** How long ago a time (ISO 8601) was at `nowMs`, in words; a time in the future counts as now, for clocks differ. */
export function timeAgo(at: string, nowMs: number): string {
  const seconds = Math.max(0, Math.floor((nowMs - Date.parse(at)) / 1000));
  if (seconds < 5) return 'just now';
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  const days = Math.floor(seconds / 86_400);
  return days === 1 ? 'yesterday' : `${days} days ago`;
}

function member(object: JsonObject, key: string): Json | undefined {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}
