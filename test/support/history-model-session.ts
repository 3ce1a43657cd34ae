// One session of the model of the server: what its requests do, and what they are answered. It makes histories that are right.
import { applyCommit } from '../../server/session/state.js';
import type { LoggedCommit } from './session-log.js';
import type { Wire } from './shapes.js';

const by = { userId: 'anonymous', clientId: 'x', kind: 'tab' };

/** A session at one moment; nothing in it is changed in place. */
interface Moment {
  document: Wire;
  messages: ReadonlyMap<string, Wire>;
  settings: Wire;
  /** First revision that clears and removed messages left in the stream. */
  keptFrom: number;
}

export class ModelSession {
  readonly id: string;
  /** All commits of its life, with those that were taken out of the stream since. */
  readonly log: LoggedCommit[] = [];
  private now: Moment = { document: {}, messages: new Map(), settings: {}, keptFrom: 1 };
  /** After each revision, from 0 on. */
  private readonly moments: Moment[] = [this.now];
  /** First answers by update id. */
  private readonly remembered = new Map<string, Wire>();

  constructor(id: string) {
    this.id = id;
  }

  get document(): Wire {
    return this.now.document;
  }

  /** Ids of its messages. */
  get messageIds(): string[] {
    return [...this.now.messages.keys()];
  }

  get keptFrom(): number {
    return this.now.keptFrom;
  }

  /** The log as the stream has it. */
  stream(): LoggedCommit[] {
    return this.log.filter(({ revision }) => revision >= this.keptFrom);
  }

  /** Redis begins another life, without the commits after `revision`. Returns the ids of the updates that are lost. */
  beginLife(life: string, revision: number): string[] {
    const lost = this.log.splice(revision).map(({ body }): string => body.updateId);
    for (const updateId of lost) this.remembered.delete(updateId);
    this.moments.length = revision + 1;
    const moment = this.moments[revision]!;
    this.now = { ...moment, document: { ...moment.document, epoch: this.epochOf(life) } };
    return lost;
  }

  /** Carries a request out: the answer, and the commit where it made one. */
  carryOut(event: string, request: Wire, under: { at: string; life: string; fence: number }) {
    const first = this.remembered.get(request.updateId);
    if (first) return { answer: this.again(first), body: undefined };
    const { document } = this.now;
    const { epoch, revision, settingsRevision } = document;
    if (request.ifRevision < settingsRevision || request.ifRevision > revision) {
      const details = { epoch, revision, settingsRevision };
      return { answer: refusal('REVISION_CONFLICT', details), body: undefined };
    }
    const change = this.change(event, request, under.at);
    if (change === 'unknown') return { answer: refusal('MESSAGE_NOT_FOUND'), body: undefined };
    const base = { sessionId: this.id, epoch: this.epochOf(under.life), at: under.at, by };
    const body: Wire = { ...base, revision: revision + 1 || 1, updateId: request.updateId, ...change };
    const answer = this.unchanged(event, change) ?? this.committed(event, body);
    if (answer.revision !== revision)
      this.log.push({ revision: body.revision, event: body.event, fence: under.fence, body });
    this.remembered.set(request.updateId, answer);
    return { answer, body: answer.revision === revision ? undefined : body };
  }

  private epochOf(life: string): string {
    return `birth-${this.id}-${life}`;
  }

  /** What was removed from the log since is not told again. */
  private again(first: Wire): Wire {
    const { message, ...rest } = first;
    const isKept = first.revision >= this.keptFrom;
    return { ...rest, ...(message !== undefined && isKept ? { message } : {}), duplicate: true };
  }

  /** What a request makes of the session: the event and its own part of the body. */
  private change(event: string, request: Wire, at: string): Wire {
    const { document, messages } = this.now;
    const { messageId, merge, message, append } = request;
    if (messageId !== undefined && !messages.has(messageId)) return 'unknown';
    const [revision, settingsRevision] = [document.revision + 1, document.settingsRevision];
    switch (event) {
      case 'session:open':
        return { event: 'session:created', settings: request.settings };
      case 'message:add': {
        const made = { revision, settingsRevision, timestamp: at, status: 'complete', author: by };
        return { event: 'message:added', message: { ...message, ...made } };
      }
      case 'message:update': {
        const before = messages.get(messageId);
        return { event: 'message:updated', message: { ...before, revision, content: before.content + append } };
      }
      case 'message:delete':
        return { event: 'message:deleted', messageId };
      case 'session:clear':
        return { event: 'session:cleared', removed: messages.size };
      case 'session:describe': {
        const { title, metadata } = { ...document, ...request };
        return { event: 'session:described', ...(title && { title }), ...(metadata && { metadata }) };
      }
      default: {
        const restored = this.moments[request.toRevision]?.settings;
        const settings = restored ?? { ...document.settings, ...merge };
        const asked = restored ? { restore: request.toRevision } : { merge };
        return { event: 'settings:updated', settings, settingsRevision: revision, request: asked, changedPaths: ['/'] };
      }
    }
  }

  /** The answer to what changes nothing. */
  private unchanged(event: string, change: Wire): Wire {
    const { document } = this.now;
    const { epoch, revision, settings, settingsRevision, updatedAt } = document;
    const base = { ok: true, epoch, revision, duplicate: false };
    if (event === 'session:clear' && change.removed === 0) return { ...base, removed: 0 };
    const isSame = event === 'settings:restore' && JSON.stringify(settings) === JSON.stringify(change.settings);
    return isSame ? { ...base, settings, settingsRevision, updatedAt, changedPaths: [] } : undefined;
  }

  private committed(event: string, body: Wire): Wire {
    const { epoch, revision, at, settings, message, messageId, title, metadata, removed } = body;
    const messages = new Map(this.now.messages);
    let { keptFrom } = this.now;
    if (message) messages.set(message.id, message);
    if (messageId) {
      keptFrom = Math.max(keptFrom, messages.get(messageId).revision + 1);
      messages.delete(messageId);
    }
    if (removed !== undefined) {
      keptFrom = revision;
      messages.clear();
    }
    const document = event === 'session:open' ? this.created(body) : applyCommit(this.document as never, body);
    this.now = { document, messages, settings: document.settings, keptFrom };
    this.moments.push(this.now);
    const base = { ok: true, epoch, revision, duplicate: false };
    if (event === 'session:open') return { ...base, created: true, session: document };
    if (settings) {
      return { ...base, settings, settingsRevision: revision, updatedAt: at, changedPaths: body.changedPaths };
    }
    const told = { message, title, metadata, removed };
    return { ...base, ...Object.fromEntries(Object.entries(told).filter(([, value]) => value !== undefined)) };
  }

  private created({ epoch, revision, settings, at }: Wire): Wire {
    const revisions = { revision, settingsRevision: 1, messagesRevision: 0, messageCount: 0 };
    return { id: this.id, epoch, ...revisions, settings, createdAt: at, updatedAt: at, updatedBy: by };
  }
}

function refusal(code: string, details?: Wire): Wire {
  return { ok: false, error: { code, outcome: 'not-committed', ...(details && { details }) } };
}
