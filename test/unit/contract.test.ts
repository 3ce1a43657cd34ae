// The public contract's tables, literally, against those of the code: a value changed by accident is a broken promise.
import { expect } from 'chai';
import { errorTable } from '../../client-sdk/protocol/errors.js';
import * as limits from '../../client-sdk/protocol/limits.js';
import { requests, roles, statuses, kinds, sessionIdPattern } from '../../client-sdk/protocol/messages.js';
import { PROTOCOL_VERSION } from '../../client-sdk/protocol/version.js';
import { readConfig, variables } from '../../server/config.js';
import { statusesOf, type ErrorCode } from '../support/shapes.js';

const KIB = 1024;
const MIB = 1024 * KIB;

/** Code, HTTP status, retry, outcome. */
const ERRORS = [
  ['INVALID_REQUEST', 400, 'never', 'not-committed'],
  ['INVALID_SETTINGS', 422, 'never', 'not-committed'],
  ['TOO_LARGE', 413, 'never', 'not-committed'],
  ['PROTOCOL_UNSUPPORTED', 426, 'never', 'not-committed'],
  ['UNAUTHENTICATED', 401, 'reauthenticate', 'not-committed'],
  ['FORBIDDEN', 403, 'never', 'not-committed'],
  ['SESSION_NOT_FOUND', 404, 'never', 'not-committed'],
  ['MESSAGE_NOT_FOUND', 404, 'never', 'not-committed'],
  ['REVISION_CONFLICT', 409, 'after-refresh', 'not-committed'],
  ['RATE_LIMITED', 429, 'after-delay', 'not-committed'],
  ['OVERLOADED', 503, 'after-delay', 'not-committed'],
  ['UNAVAILABLE', 503, 'after-delay', 'not-committed'],
  ['OUTCOME_UNKNOWN', 504, 'same-id', 'unknown'],
  ['INTERNAL', 500, 'same-id', 'unknown'],
] as const;

/** What each variable is where nothing is configured; undefined: unset. */
const DEFAULTS = {
  HOST: '127.0.0.1',
  PORT: 4100,
  DATA_DIR: './data',
  REDIS_URL: undefined,
  REDIS_KEY_PREFIX: 'attune',
  LOCK_REDIS_URLS: [],
  AUTH_SECRET: undefined,
  AUTH_JWKS_URL: undefined,
  AUTH_ISSUER: undefined,
  AUTH_AUDIENCE: undefined,
  CORS_ORIGINS: [],
  SETTINGS_SCHEMA: undefined,
  SESSION_IDLE_TTL_S: 0,
  DRAIN_TIMEOUT_MS: 5000,
  LOG_LEVEL: 'info',
};

/** Limits that have a variable. */
const TUNABLE = {
  SETTINGS_BYTES_MAX: 64 * KIB,
  SESSION_MESSAGES_MAX: 10_000,
  LOG_COMMITS_MAX: 1000,
  LOG_BYTES_MAX: 4 * MIB,
  HISTORY_VERSIONS_MAX: 1000,
};

/** Limits that have none. */
const FIXED = {
  JSON_DEPTH_MAX: 32,
  TITLE_CHARS_MAX: 200,
  METADATA_BYTES_MAX: 8 * KIB,
  CONTENT_BYTES_MAX: 256 * KIB,
  ID_CHARS_MAX: 128,
  LIST_DEFAULT: 50,
  LIST_MAX: 500,
  RESUME_BYTES_MAX: 512 * KIB,
  IMPORT_LINE_BYTES_MAX: 16 * MIB,
  IMPORT_REFUSALS_MAX: 1000,
  IDS_REMEMBERED_MS: 600_000,
  IDS_REMEMBERED_MAX: 100_000,
  HISTORY_MERGE_MS: 2000,
  PRESENCE_BYTES_MAX: 4 * KIB,
  SIGNAL_BYTES_MAX: 16 * KIB,
};

const EVENTS = [
  'session:open',
  'session:join',
  'session:leave',
  'session:get',
  'session:describe',
  'session:clear',
  'session:delete',
  'settings:update',
  'settings:history',
  'settings:restore',
  'message:add',
  'message:update',
  'message:delete',
  'message:list',
  'presence:update',
  'signal',
];

describe('the contract’s tables', () => {
  it('[T4] errors have exactly these codes, statuses, retries and outcomes', () => {
    const rows = Object.entries(errorTable).map(([code, { http, retry, outcome }]) => [code, http, retry, outcome]);
    expect(rows).to.have.deep.members(ERRORS.map((row) => [...row]));
    for (const [code, http] of ERRORS) expect(statusesOf(code satisfies ErrorCode)[0], code).to.equal(http);
  });

  it('[T5] variables have exactly these defaults, limits with a variable among them', () => {
    const { RATE_CALLS_PER_S, DURABILITY, ...known } = variables;
    expect([RATE_CALLS_PER_S.default, DURABILITY.default], 'additions').to.deep.equal([10_000, undefined]);
    const defaults = Object.fromEntries(Object.entries(known).map(([name, variable]) => [name, variable.default]));
    expect(defaults).to.deep.equal(DEFAULTS);
    const { limits: tunable, settingsSchema, ...values } = readConfig({});
    expect(values).to.deep.include(DEFAULTS);
    expect(settingsSchema).to.equal(undefined);
    expect(tunable).to.deep.equal(TUNABLE);
    expect(readConfig({ LOG_COMMITS_MAX: '7' }).limits).to.deep.equal({ ...TUNABLE, LOG_COMMITS_MAX: 7 });
  });

  it('[T6] limits are exactly these, with a variable and without', () => {
    expect(limits.defaultLimits).to.deep.equal(TUNABLE);
    const tunable = Object.entries(limits.tunableLimits).map(([name, { value }]) => [name, value]);
    expect(Object.fromEntries(tunable)).to.deep.equal(TUNABLE);
    expect(limits).to.include(FIXED);
  });

  it('[T7] the protocol’s version, events, roles, statuses, kinds and ids are these', () => {
    expect(PROTOCOL_VERSION).to.equal(1);
    expect(Object.keys(requests)).to.have.members(EVENTS);
    expect([...roles]).to.deep.equal(['user', 'assistant', 'system', 'tool']);
    expect([...statuses]).to.deep.equal(['complete', 'streaming', 'error']);
    expect([...kinds]).to.deep.equal(['tab', 'bot', 'service']);
    expect(sessionIdPattern.source).to.equal('^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$');
    const join = requests['session:join'].parse({ sessionId: 's' });
    expect(join).to.deep.equal({ sessionId: 's', delivery: 'every', body: 'full' });
    expect(requests['message:list'].parse({ sessionId: 's' })).to.deep.equal({ sessionId: 's', limit: 50 });
    const added = requests['message:add'].parse({ sessionId: 's', message: { role: 'user', content: '' } });
    expect(added.message.status).to.equal('complete');
  });
});
