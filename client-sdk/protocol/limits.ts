// Every limit that both sides know, with its unit and the reason for it. Those of `tunableLimits` have an environment
// variable of the same name; the others are part of the contract and fixed.

const KiB = 1024;
const MiB = 1024 * KiB;

/** Limits that a deployment may change; each is read from the variable of the same name. */
export const tunableLimits = {
  SETTINGS_BYTES_MAX: { value: 64 * KiB, unit: 'bytes', reason: 'the settings of one session as JSON in UTF-8' },
  SESSION_MESSAGES_MAX: { value: 10_000, unit: 'messages', reason: 'messages kept by one session' },
  LOG_COMMITS_MAX: {
    value: 1000,
    unit: 'commits',
    reason: 'newest commits of a session that a reader can resume from',
  },
  LOG_BYTES_MAX: { value: 4 * MiB, unit: 'bytes', reason: 'size of those commits' },
  HISTORY_VERSIONS_MAX: { value: 1000, unit: 'versions', reason: 'newest versions of the settings kept for history' },
} as const;

/** Name of a limit that a deployment may change. */
export type TunableLimit = keyof typeof tunableLimits;
/** The limits in force. */
export type Limits = Readonly<Record<TunableLimit, number>>;

/** The limits where nothing else was configured. */
export const defaultLimits: Limits = Object.fromEntries(
  Object.entries(tunableLimits).map(([name, limit]) => [name, limit.value]),
) as Record<TunableLimit, number>;

/** Levels of nesting in settings, metadata, references and content parts; `{}` is one level. */
export const JSON_DEPTH_MAX = 32;
/** Levels of nesting of a whole request: the deepest value it can hold, and the members around it. */
export const REQUEST_DEPTH_MAX = JSON_DEPTH_MAX + 8;
/** One request or packet, bytes. A full settings document or message fits several times. */
export const REQUEST_BYTES_MAX = 1 * MiB;
/** Characters of a session's title. */
export const TITLE_CHARS_MAX = 200;
/** A session's `metadata`, bytes of JSON. */
export const METADATA_BYTES_MAX = 8 * KiB;
/** A message's `content`, bytes (of text, or of the parts as JSON). */
export const CONTENT_BYTES_MAX = 256 * KiB;
/** A message's `metadata`, bytes of JSON. */
export const MESSAGE_METADATA_BYTES_MAX = 64 * KiB;
/** A message's `references`, bytes of JSON. */
export const REFERENCES_BYTES_MAX = 256 * KiB;
/** Characters of a session id, an update id or a message id. */
export const ID_CHARS_MAX = 128;
/** Entries of a list when the caller names no limit. */
export const LIST_DEFAULT = 50;
/** Entries of a list at most. */
export const LIST_MAX = 500;
/** Commits sent in answer to a cursor, bytes; a longer tail is replaced by a snapshot. */
export const RESUME_BYTES_MAX = 512 * KiB;
/** One line of an import or export, bytes. */
export const IMPORT_LINE_BYTES_MAX = 16 * MiB;
/** Refusals that an import report lists. */
export const IMPORT_REFUSALS_MAX = 1000;
/** How long an update's id is remembered at least, milliseconds (and see IDS_REMEMBERED_MAX). */
export const IDS_REMEMBERED_MS = 10 * 60 * 1000;
/** The newest ids of a session that are remembered at least. */
export const IDS_REMEMBERED_MAX = 100_000;
/** Commits of one author to the same paths closer together than this are one version in the history, milliseconds. */
export const HISTORY_MERGE_MS = 2000;
/** Participants of a session that are shown. */
export const PARTICIPANTS_MAX = 1000;
/** All of them together, bytes of JSON: every joiner is sent it. */
export const PRESENCE_SESSION_BYTES_MAX = 512 * KiB;
/** Presence state of a participant, bytes of JSON. */
export const PRESENCE_BYTES_MAX = 4 * KiB;
/** A signal's data, bytes of JSON. */
export const SIGNAL_BYTES_MAX = 16 * KiB;
/** Signals per second of one socket or address; twice as many at once. Streamed tokens come at 50 to 100. */
export const SIGNALS_PER_S = 200;
/** Namespaces `/~1` to `/~31` beside `/`: so many more tabs may share a connection. */
export const SHARED_TABS_MAX = 31;
