// Event streams: Server-Sent Events for readers that want nothing but HTTP. A sink of the hub like the sockets.
import type { Response } from 'express';
import type { Cursor, Participant } from '../../client-sdk/protocol/messages.js';
import type { Metrics } from '../metrics.js';
import type { Audience, Sink } from '../sync/room.js';
import type { Entry, SessionHub } from '../sync/session-hub.js';
import { watchExpiry } from './token-expiry.js';

/** A comment is sent so often, milliseconds: it keeps proxies from closing a quiet stream. */
const COMMENT_EVERY_MS = 15_000;
/** Bytes that a reader may leave unread before its stream is cut. */
const BACKLOG_BYTES_MAX = 1024 * 1024;
/** What an ended stream still has for its reader must be taken within, milliseconds. */
const FINISH_MS = 2000;
/** All streams are readers of every commit, whole. */
const AUDIENCE: Audience = 'every-full';

export interface StreamOptions {
  cursor: Cursor | null;
  /** When the reader's token ends, milliseconds since 1970. */
  expiresAt: number;
  /** Who is in the session now; `null`: the reader wants neither presence nor signals. */
  participants: (() => Participant[]) | null;
}

export class EventStreams implements Sink {
  private readonly metrics: Metrics;
  /** Streams of each session, and whether they take presence and signals too. */
  private readonly streams = new Map<string, Map<Response, { signals: boolean }>>();
  private readonly comments: NodeJS.Timeout;

  constructor(options: { metrics: Metrics }) {
    this.metrics = options.metrics;
    this.comments = setInterval(() => this.comment(), COMMENT_EVERY_MS);
    this.comments.unref();
  }

  emit(sessionId: string, audience: Audience, event: string, body: object): void {
    const streams = audience === AUDIENCE ? this.streams.get(sessionId) : undefined;
    if (!streams) return;
    const text = encode(event, body, positionOf(body));
    for (const stream of streams.keys()) this.write(stream, text);
  }

  tell(sessionId: string, event: string, body: object): void {
    let text: string | undefined;
    for (const [stream, { signals }] of this.streams.get(sessionId) ?? []) {
      if (signals) this.write(stream, (text ??= encode(event, body, undefined)));
    }
  }

  end(sessionId: string): void {
    const streams = this.streams.get(sessionId);
    this.streams.delete(sessionId);
    for (const stream of streams?.keys() ?? []) finish(stream);
  }

  /** Ends every stream; its reader connects again, elsewhere. */
  close(): void {
    clearInterval(this.comments);
    for (const sessionId of this.streams.keys()) this.end(sessionId);
  }

  /** Answers with a stream of the session's commits after `cursor`, or from a snapshot on, until the caller's token runs
   * out; with `participants`, who is there, and all presence and signals after that. Rejects before answering. */
  async open(
    response: Response,
    hub: SessionHub,
    sessionId: string,
    { cursor, expiresAt, participants }: StreamOptions,
  ): Promise<void> {
    response.on('error', () => undefined);
    await hub.join(sessionId, AUDIENCE, cursor, (entry) => {
      response.writeHead(200, {
        'Content-Type': 'text/event-stream; charset=utf-8',
        'Cache-Control': 'no-store',
        'X-Accel-Buffering': 'no',
      });
      this.write(response, opening(sessionId, entry));
      if (participants) this.write(response, everybody(sessionId, participants()));
      const streams = this.streams.get(sessionId) ?? new Map<Response, { signals: boolean }>();
      this.streams.set(sessionId, streams.set(response, { signals: participants !== null }));
    });
    const leave = () => {
      unwatch();
      const streams = this.streams.get(sessionId);
      if (!streams?.delete(response)) return;
      if (streams.size === 0) this.streams.delete(sessionId);
      hub.leave(sessionId, AUDIENCE);
    };
    const unwatch = watchExpiry(expiresAt, () => {
      leave();
      finish(response);
    });
    if (response.closed) leave();
    else response.on('close', leave);
  }

  private write(stream: Response, text: string): void {
    stream.write(text);
    if (stream.writableLength <= BACKLOG_BYTES_MAX) return;
    this.metrics.cut.inc();
    stream.destroy();
  }

  private comment(): void {
    for (const streams of this.streams.values()) {
      for (const stream of streams.keys()) this.write(stream, ': still here\n\n');
    }
  }
}

/** Ends a stream; one whose reader does not take the rest is closed soon. */
function finish(stream: Response): void {
  stream.end();
  const timer = setTimeout(() => stream.destroy(), FINISH_MS).unref();
  stream.on('close', () => clearTimeout(timer));
}

/** The cursor of `Last-Event-ID`; `null` where it is none of ours, which a snapshot answers. */
export function parsePosition(text: string | undefined): Cursor | null {
  const parts = /^(.{1,128}):(\d{1,15})$/.exec(text ?? '');
  return parts ? { epoch: parts[1]!, revision: Number(parts[2]) } : null;
}

function opening(sessionId: string, { document, resumed }: Entry): string {
  if (!resumed) {
    return encode('session:snapshot', { sessionId, session: document, reason: 'initial' }, document);
  }
  return resumed.map(({ event, ...body }) => encode(event, body, body)).join('') || ': resumed\n\n';
}

function everybody(sessionId: string, joined: Participant[]): string {
  return encode('presence:updated', { sessionId, joined, left: [], updated: [] }, undefined);
}

function positionOf(body: object): Cursor | undefined {
  if ('session' in body) return body.session as Cursor;
  return 'revision' in body ? (body as Cursor) : undefined;
}

function encode(event: string, body: object, at: Cursor | undefined): string {
  const id = at ? `id: ${at.epoch}:${at.revision}\n` : '';
  // A commit on the stream is its body plus the event's name, as in every list of commits.
  return `event: ${event}\n${id}data: ${JSON.stringify({ event, ...body })}\n\n`;
}
