// What the contract says of the shapes on the wire, as checks. It knows nothing of the server's own types.
import { expect } from 'chai';

/** Something that came over the wire: its shape is what the tests check, so the compiler is told nothing. */
// oxlint-disable-next-line typescript/no-explicit-any
export type Wire = any;

/** The contract's table of errors. */
const ERRORS = {
  INVALID_REQUEST: { status: [400], retry: 'never', outcome: 'not-committed' },
  INVALID_SETTINGS: { status: [422], retry: 'never', outcome: 'not-committed' },
  TOO_LARGE: { status: [413], retry: 'never', outcome: 'not-committed' },
  PROTOCOL_UNSUPPORTED: { status: [426], retry: 'never', outcome: 'not-committed' },
  UNAUTHENTICATED: { status: [401], retry: 'reauthenticate', outcome: 'not-committed' },
  FORBIDDEN: { status: [403], retry: 'never', outcome: 'not-committed' },
  SESSION_NOT_FOUND: { status: [404], retry: 'never', outcome: 'not-committed' },
  MESSAGE_NOT_FOUND: { status: [404], retry: 'never', outcome: 'not-committed' },
  REVISION_CONFLICT: { status: [409, 412], retry: 'after-refresh', outcome: 'not-committed' },
  RATE_LIMITED: { status: [429], retry: 'after-delay', outcome: 'not-committed' },
  OVERLOADED: { status: [503], retry: 'after-delay', outcome: 'not-committed' },
  UNAVAILABLE: { status: [503], retry: 'after-delay', outcome: 'not-committed' },
  OUTCOME_UNKNOWN: { status: [504], retry: 'same-id', outcome: 'unknown' },
  INTERNAL: { status: [500], retry: 'same-id', outcome: 'unknown' },
} as const;

export type ErrorCode = keyof typeof ERRORS;

/** The HTTP statuses that an error of this code may have. */
export function statusesOf(code: ErrorCode): readonly number[] {
  return ERRORS[code].status;
}

/** Checks an error object against the contract's table, and its code where one (or several allowed ones) is given. */
export function expectError(error: Wire, codes?: ErrorCode | readonly ErrorCode[]): Wire {
  expect(error, 'error').to.be.an('object');
  expect(Object.keys(ERRORS), `error code ${error.code}`).to.include(error.code);
  const row = ERRORS[error.code as ErrorCode];
  expect(error.retry, `retry of ${error.code}`).to.equal(row.retry);
  expect(error.outcome, `outcome of ${error.code}`).to.equal(row.outcome);
  expect(error.requestId, 'requestId').to.be.a('string').with.length.above(0);
  if (error.retryAfterMs !== undefined) expect(error.retryAfterMs).to.be.a('number').that.is.at.least(0);
  if (error.code === 'INVALID_SETTINGS') expectIssues(error.details?.issues);
  if (error.code === 'REVISION_CONFLICT') expectConflict(error.details);
  if (codes !== undefined) expect([codes].flat(), JSON.stringify(error)).to.include(error.code);
  return error;
}

function expectIssues(issues: Wire): void {
  expect(issues, 'details.issues').to.be.an('array').with.length.above(0);
  for (const issue of issues) {
    expect(issue.path, 'issue path').to.be.a('string');
    expect(issue.message, 'issue message').to.be.a('string').with.length.above(0);
  }
}

function expectConflict(details: Wire): void {
  expect(details, 'details of a conflict').to.include.keys(
    'epoch',
    'revision',
    'settingsRevision',
    'settings',
    'changedPaths',
  );
  expectRevision(details.revision);
  expectRevision(details.settingsRevision);
  expect(details.settings).to.be.an('object');
  expect(details.changedPaths).to.be.an('array');
}

/** ISO 8601, UTC, milliseconds. */
export function expectTime(text: Wire): void {
  expect(text)
    .to.be.a('string')
    .that.matches(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
}

export function expectRevision(revision: Wire, least = 1): void {
  expect(Number.isSafeInteger(revision), `revision ${revision}`).to.equal(true);
  expect(revision).to.be.at.least(least);
}

export function expectAuthor(author: Wire, wanted: Record<string, unknown> = {}): void {
  expect(author, 'author').to.be.an('object');
  expect(author.userId).to.be.a('string').with.length.above(0);
  expect(author.clientId).to.be.a('string').with.length.above(0);
  expect(author.kind).to.be.oneOf(['tab', 'bot', 'service']);
  if ('name' in author) expect(author.name).to.be.a('string');
  expect(author).to.include(wanted);
}

/** The session document, and where it says so its id. */
export function expectSession(session: Wire, id?: string): Wire {
  expect(session, 'session').to.be.an('object');
  expect(session.id).to.match(/^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/);
  if (id !== undefined) expect(session.id).to.equal(id);
  expect(session.epoch).to.be.a('string').with.length.above(0);
  expectRevision(session.revision);
  expectRevision(session.settingsRevision);
  expectRevision(session.messagesRevision, 0);
  expect(session.settingsRevision).to.be.at.most(session.revision);
  expect(session.messagesRevision).to.be.at.most(session.revision);
  expect(session.settings).to.be.an('object');
  expectRevision(session.messageCount, 0);
  expectTime(session.createdAt);
  expectTime(session.updatedAt);
  expectAuthor(session.updatedBy);
  return session;
}

/** A message as lists, acknowledgements and events show it. */
export function expectMessage(message: Wire, wanted: Record<string, unknown> = {}): Wire {
  expect(message, 'message').to.be.an('object');
  expect(message.id).to.be.a('string').with.length.above(0);
  expectRevision(message.revision);
  expectRevision(message.settingsRevision);
  expect(message.role).to.be.oneOf(['user', 'assistant', 'system', 'tool']);
  expect(typeof message.content === 'string' || Array.isArray(message.content), 'content').to.equal(true);
  expect(Number.isNaN(Date.parse(message.timestamp)), `timestamp ${message.timestamp}`).to.equal(false);
  expect(message.status).to.be.oneOf(['complete', 'streaming', 'error']);
  expectAuthor(message.author);
  expect(message).to.deep.include(wanted);
  return message;
}

/** The commit base of a server event. */
export function expectBase(body: Wire, wanted: Record<string, unknown> = {}): Wire {
  expect(body, 'event body').to.be.an('object');
  expect(body.sessionId).to.be.a('string').with.length.above(0);
  expect(body.epoch).to.be.a('string').with.length.above(0);
  expectRevision(body.revision);
  expectTime(body.at);
  expectAuthor(body.by);
  expect(body).to.deep.include(wanted);
  return body;
}

/** What every acknowledgement of a write has. */
export function expectWrite(ack: Wire, wanted: Record<string, unknown> = {}): Wire {
  expect(ack.epoch).to.be.a('string').with.length.above(0);
  expectRevision(ack.revision);
  expect(ack.duplicate).to.be.a('boolean');
  expect(ack).to.deep.include(wanted);
  return ack;
}

let made = 0;
const run = Math.random().toString(36).slice(2, 8);

/** A session id that no other test uses. */
export function freshId(label = 's'): string {
  made += 1;
  return `${label}-${run}-${made}`;
}
