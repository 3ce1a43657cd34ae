// HTTP for tests: one call, the problem+json check, and a reader of Server-Sent Events. It never retries.
import { expect } from 'chai';
import { expectError, statusesOf, type ErrorCode, type Wire } from './shapes.js';
import { until } from './until.js';

export interface Answer {
  status: number;
  headers: Headers;
  text: string;
  /** The parsed body where the content type is JSON, else undefined. */
  body: Wire;
}

export interface RequestOptions {
  headers?: Record<string, string>;
  /** An object is sent as JSON; a string as it is (application/json where no content type is given). */
  body?: unknown;
}

export async function request(method: string, url: string, options: RequestOptions = {}): Promise<Answer> {
  const { body } = options;
  const sent = body === undefined || typeof body === 'string' ? body : JSON.stringify(body);
  const headers = { ...(sent !== undefined && { 'content-type': 'application/json' }), ...options.headers };
  const response = await fetch(url, { method, headers, ...(sent !== undefined && { body: sent }), redirect: 'manual' });
  const text = await response.text();
  const isJson = /^application\/([\w.-]+\+)?json\b/.test(response.headers.get('content-type') ?? '');
  return { status: response.status, headers: response.headers, text, body: isJson ? JSON.parse(text) : undefined };
}

/** Checks that an answer is a problem+json of one of these codes with the status that belongs to it; gives its body. */
export function expectProblem(answer: Answer, codes: ErrorCode | readonly ErrorCode[], status?: number): Wire {
  const where = `${answer.status} ${answer.text.slice(0, 300)}`;
  expect(answer.headers.get('content-type'), where).to.match(/^application\/problem\+json\b/);
  const problem = expectError(answer.body, codes);
  if (status === undefined) expect(statusesOf(problem.code as ErrorCode), where).to.include(answer.status);
  else expect(answer.status, where).to.equal(status);
  if (problem.status !== undefined) expect(problem.status, 'status member').to.equal(answer.status);
  if (problem.retryAfterMs !== undefined) {
    // Whole seconds, rounded up: who waits for it does not come too early.
    const seconds = String(Math.ceil(problem.retryAfterMs / 1000));
    expect(answer.headers.get('retry-after'), `Retry-After ${where}`).to.equal(seconds);
  }
  return problem;
}

export interface StreamEvent {
  event: string;
  /** Undefined where this event carried no id of its own. */
  id: string | undefined;
  /** Parsed JSON. */
  data: Wire;
}

export interface EventStream {
  readonly status: number;
  readonly headers: Headers;
  readonly comments: string[];
  /** Every event read so far, in order. */
  readonly events: StreamEvent[];
  /** The next event in order, or null when the stream has ended. */
  next(deadlineMs?: number): Promise<StreamEvent | null>;
  close(): void;
}

const open = new Set<EventStream>();

/** Closes every stream that openEvents() opened: for afterEach. */
export function closeStreams(): void {
  for (const stream of open) stream.close();
}

/** Opens an event stream; the answer must be 200 and text/event-stream. */
export async function openEvents(url: string, headers: Record<string, string> = {}): Promise<EventStream> {
  const abort = new AbortController();
  const response = await fetch(url, { headers: { accept: 'text/event-stream', ...headers }, signal: abort.signal });
  if (response.status !== 200) throw new Error(`event stream answered ${response.status}: ${await response.text()}`);
  expect(response.headers.get('content-type')).to.match(/^text\/event-stream\b/);
  const events: StreamEvent[] = [];
  const comments: string[] = [];
  let read = 0;
  let ended = false;
  void readBlocks(response, events, comments)
    .catch(() => undefined) // an aborted stream is an ended one
    .finally(() => {
      ended = true;
    });
  const stream: EventStream = {
    status: response.status,
    headers: response.headers,
    comments,
    events,
    async next(deadlineMs = 5_000) {
      await until(() => events.length > read || ended, { deadlineMs, what: 'the next event of the stream' });
      const event = events[read];
      if (event === undefined) return null;
      read += 1;
      return event;
    },
    close() {
      open.delete(stream);
      abort.abort();
    },
  };
  open.add(stream);
  return stream;
}

/** The event stream format: lines end in LF, CRLF or CR, a blank line dispatches, nothing else splits. */
async function readBlocks(response: Response, events: StreamEvent[], comments: string[]): Promise<void> {
  const decoder = new TextDecoder();
  let pending = '';
  let block: { event?: string; id?: string; data: string[] } = { data: [] };
  for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
    pending += decoder.decode(chunk, { stream: true });
    // A CR at the very end may be the first half of a CRLF: it waits for what follows.
    const lines = pending.split(/\r\n|\n|\r(?!$)/);
    pending = lines.pop() as string;
    for (const line of lines) {
      const colon = line.indexOf(':');
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
      if (line === '') {
        if (block.data.length > 0) {
          events.push({ event: block.event ?? 'message', id: block.id, data: JSON.parse(block.data.join('\n')) });
        }
        block = { data: [] };
      } else if (colon === 0) comments.push(value);
      else if (field === 'data') block.data.push(value);
      else if (field === 'event') block.event = value;
      else if (field === 'id') block.id = value;
    }
  }
}
