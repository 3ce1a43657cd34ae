// A server that answers a real client without a socket, at once or when the test lets it: for tests that count renders
// and requests. It keeps settings, presence and messages as simply as can be, and knows no rule.
import type { Link, LinkEvents, Reply, Transport } from '../../client-sdk/index.js';
import type { JsonObject } from '../../client-sdk/protocol/json.js';
import type { Author, Message, SessionDocument } from '../../client-sdk/protocol/messages.js';

export interface Asked {
  event: string;
  body: { sessionId: string } & Record<string, unknown>;
}

const author: Author = { userId: 'u', clientId: 'other', kind: 'tab' };
const at = '2026-11-22T10:00:00.000Z';

export class ScriptedServer {
  /** Every request, in order. */
  readonly asked: Asked[] = [];
  /** How often a line was opened. */
  lines = 0;
  /** The error that the next settings update is refused with. */
  refusal: string | undefined;
  private readonly sessions = new Map<string, { document: SessionDocument; messages: Message[] }>();
  private readonly heldBack: (() => void)[] = [];
  private holds = false;
  private line: LinkEvents | undefined;

  /** For `createClient({ transport })`. */
  readonly transport: Transport = (_url, line): Link => ({
    open: () => {
      this.lines += 1;
      this.line = line;
      queueMicrotask(() => line.opened());
    },
    close: () => {
      this.line = undefined;
    },
    request: (event, body, _timeoutMs, answered) => {
      const asked = { event, body } as Asked;
      this.asked.push(asked);
      const answer = () => queueMicrotask(() => this.line === line && answered(this.answer(asked)));
      if (this.holds) this.heldBack.push(answer);
      else answer();
    },
  });

  /** How often an event was asked for, of one session or of any. */
  count(event: string, sessionId?: string): number {
    return this.asked.filter((one) => one.event === event && (sessionId ?? one.body.sessionId) === one.body.sessionId)
      .length;
  }

  /** Makes a session. */
  create(id: string, settings: JsonObject): void {
    const revisions = { revision: 1, settingsRevision: 1, messagesRevision: 0, messageCount: 0 };
    const document = { id, epoch: 'e', ...revisions, settings, createdAt: at, updatedAt: at, updatedBy: author };
    this.sessions.set(id, { document, messages: [] });
  }

  /** From now on answers wait until `release`. */
  hold(): void {
    this.holds = true;
  }

  release(): void {
    this.holds = false;
    for (const answer of this.heldBack.splice(0)) answer();
  }

  /** Somebody puts other settings in place; the room is told at once. */
  change(id: string, settings: JsonObject, updateId?: string): void {
    const { document } = this.session(id);
    const revision = document.revision + 1;
    Object.assign(document, { settings, revision, settingsRevision: revision });
    this.tell('settings:updated', id, { ...(updateId && { updateId }), settings, settingsRevision: revision });
  }

  /** Somebody adds a message. */
  say(id: string, content: string): void {
    const { document, messages } = this.session(id);
    const revision = document.revision + 1;
    Object.assign(document, { revision, messagesRevision: revision });
    const { settingsRevision } = document;
    const about = { id: `m${revision}`, revision, settingsRevision, timestamp: at, author };
    const message: Message = { ...about, role: 'user', content, status: 'complete' };
    messages.push(message);
    this.tell('message:added', id, { message });
  }

  /** Somebody enters. */
  enter(id: string, clientId: string): void {
    const participant = { participantId: clientId, userId: 'u', clientId, kind: 'tab', state: {}, joinedAt: at };
    this.tell('presence:updated', id, { joined: [participant], left: [], updated: [] });
  }

  /** Somebody deletes it; the room is told. */
  remove(id: string, updateId: string): void {
    this.session(id).document.revision += 1;
    this.tell('session:deleted', id, { updateId, reason: 'deleted' });
    this.sessions.delete(id);
  }

  private session(id: string) {
    const session = this.sessions.get(id);
    if (!session) throw new Error(`there is no session ${id}`);
    return session;
  }

  private tell(event: string, id: string, body: object): void {
    const { epoch, revision } = this.session(id).document;
    this.line?.received(event, { sessionId: id, epoch, revision, at, by: author, changedPaths: [], ...body });
  }

  private answer({ event, body }: Asked): Reply {
    const session = this.sessions.get(body.sessionId);
    if (!session) return refused('SESSION_NOT_FOUND');
    const { document, messages } = session;
    if (event === 'session:join') return ok({ session: { ...document }, participants: [] });
    if (event === 'message:list') return page(messages, body as { before?: number; limit?: number });
    if (event !== 'settings:update') return ok({});
    if (this.refusal !== undefined) return refused(this.refusal);
    this.change(body.sessionId, { ...document.settings, ...(body['merge'] as JsonObject) }, body['updateId'] as string);
    const { epoch, revision, settingsRevision } = document;
    return ok({ epoch, revision, settingsRevision, duplicate: false, updatedAt: at, changedPaths: [] });
  }
}

function page(
  messages: readonly Message[],
  { before = Infinity, limit = 50 }: { before?: number; limit?: number },
): Reply {
  const older = messages.filter(({ revision }) => revision < before);
  const listed = older.toReversed().slice(0, limit);
  return ok({ messages: listed, ...(older.length > limit && { next: listed.at(-1)!.revision }) });
}

const ok = (body: object): Reply => ({ ok: true, ...body });
const refused = (code: string): Reply =>
  ({ ok: false, error: { code, message: code, retry: 'never', outcome: 'not-committed', requestId: 'r' } }) as Reply;
