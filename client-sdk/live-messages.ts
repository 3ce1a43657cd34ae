// The messages of a session as a live list: the newest page, older ones on demand, kept current by the room's commits; the
// own ones that are not confirmed come last. It reads nothing before somebody subscribes.
import { ClientError } from './client-error.js';
import { Listeners } from './listeners.js';
import type { Message, MessageReply } from './protocol/messages.js';
import type { MessageCommit } from './replica.js';
import type { Session } from './session.js';

/** Messages of a page where nothing else is asked for. */
const PAGE = 50;
/** Most that one call may ask for; a list that was longer begins again with so many. */
const PAGE_MAX = 500;

/** A message of the list; `pending`: an own one that the server has not answered. */
export type ListedMessage = Message & { readonly pending?: true };

/** The list at one moment; the same reference until something changed. */
export interface MessagesSnapshot {
  /** Oldest first. */
  readonly messages: readonly ListedMessage[];
  /** Whether there may be older ones. */
  readonly hasOlder: boolean;
  readonly loading: boolean;
  /** Why the newest read failed. */
  readonly error: ClientError | null;
}

const lists = new WeakMap<object, MessageList>();

/** The live list of a session's messages: the same one for everybody who asks with this handle. */
export function liveMessages(session: Session<never> | Session): MessageList {
  const known = lists.get(session);
  if (known) return known;
  const list = new MessageList(session as Session);
  lists.set(session, list);
  return list;
}

/** See {@link liveMessages}. */
export class MessageList {
  private readonly session: Session;
  private readonly listeners = new Listeners<{ change: undefined }>();
  private stops: (() => void)[] = [];
  /** Oldest first; null until read. */
  private messages: Message[] | null = null;
  private older: number | undefined;
  private reading: Promise<void> | null = null;
  /** What commits did while a read was under way, for its answer may be older: the message, or null where it was removed. */
  private readonly meanwhile = new Map<string, Message | null>();
  /** Everything that was there before was removed meanwhile. */
  private wasCleared = false;
  /** Own ones that were acknowledged, before their commits arrive. */
  private unseen: Message[] = [];
  private error: ClientError | null = null;
  private unsentIds = '';
  private snapshot: MessagesSnapshot | undefined;

  /** Made by {@link liveMessages}. */
  constructor(session: Session) {
    this.session = session;
  }

  /** Calls the listener after each change, until the result is called. The first subscription reads the newest page. */
  subscribe(listener: () => void): () => void {
    if (this.listeners.size === 0) this.start();
    const stop = this.listeners.add('change', listener);
    return () => {
      stop();
      if (this.listeners.size === 0) this.stop();
    };
  }

  /** The list now. Does nothing else, so it may be called while rendering. */
  getSnapshot(): MessagesSnapshot {
    return (this.snapshot ??= {
      messages: [...(this.messages ?? []), ...this.unseen, ...this.pending()],
      hasOlder: this.older !== undefined,
      loading: this.reading !== null,
      error: this.error,
    });
  }

  /** Reads the page before the oldest message of the list; the newest one where nothing was read yet. */
  async loadOlder(limit = PAGE): Promise<void> {
    await this.reading?.catch(() => undefined);
    if (!this.messages) return this.loadNewest(limit);
    if (this.older !== undefined) await this.load({ before: this.older, limit }, false);
  }

  private start(): void {
    const { session } = this;
    this.stops = [
      session.on('message', (commit) => this.follow(commit)),
      session.on('snapshot', () => this.reload()),
      session.on('acknowledged', ({ event, reply }) => {
        if (event === 'message:add') this.acknowledged((reply as MessageReply).message!);
      }),
      session.subscribe(() => this.unsentChanged()),
    ];
    // What was missed since the last subscription is not known.
    if (!this.reading) void this.loadNewest(this.lengthNow()).catch(() => undefined);
  }

  private stop(): void {
    for (const stop of this.stops) stop();
    this.stops = [];
  }

  private follow(commit: MessageCommit): void {
    if (commit.event === 'session:cleared') {
      this.wasCleared = true;
      this.meanwhile.clear();
      this.older = undefined;
      this.messages &&= [];
    } else if (commit.event === 'message:deleted') {
      this.meanwhile.set(commit.messageId, null);
      this.messages &&= this.messages.filter(({ id }) => id !== commit.messageId);
    } else {
      const { message, event } = commit;
      this.meanwhile.set(message.id, message);
      this.unseen = this.unseen.filter(({ id }) => id !== message.id);
      const isListed = this.messages?.some(({ id }) => id === message.id);
      if (isListed) this.messages = this.messages!.map((old) => (old.id === message.id ? message : old));
      else if (event === 'message:added') this.messages = this.messages && [...this.messages, message];
    }
    if (!this.reading) this.meanwhile.clear();
    this.touch();
  }

  /** An own message was acknowledged; it is shown until its commit arrives. */
  private acknowledged(message: Message): void {
    const isListed = this.messages?.some(({ id }) => id === message.id) ?? true;
    if (!isListed) this.unseen.push(message);
    this.touch();
  }

  /** What was missed is not known: the list is read again, and kept until it is there. */
  private reload(): void {
    const again = () => this.loadNewest(this.lengthNow()).catch(() => undefined);
    void (this.reading ? this.reading.then(again, again) : again());
  }

  private lengthNow(): number {
    return Math.min(Math.max(this.messages?.length ?? 0, PAGE), PAGE_MAX);
  }

  private unsentChanged(): void {
    const ids = this.pending()
      .map(({ id }) => id)
      .join();
    if (ids === this.unsentIds) return;
    this.unsentIds = ids;
    this.touch();
  }

  private loadNewest(limit: number): Promise<void> {
    return this.load({ limit }, true);
  }

  private load(page: { before?: number; limit: number }, isNewest: boolean): Promise<void> {
    this.meanwhile.clear();
    this.wasCleared = false;
    const done = this.session.messages(page).then(
      (reply) => this.take(reply, isNewest),
      (error: unknown) => {
        this.error =
          error instanceof ClientError ? error : new ClientError('UNAVAILABLE', 'no answer', { retry: 'after-delay' });
        throw this.error;
      },
    );
    this.reading = done.finally(() => {
      this.reading = null;
      this.touch();
    });
    this.touch();
    return this.reading;
  }

  private take({ messages, next }: { messages: Message[]; next?: number }, isNewest: boolean): void {
    const page = this.wasCleared ? [] : messages.toReversed();
    const ids = new Set(page.map(({ id }) => id));
    const read = page.flatMap((message) => {
      const newer = this.meanwhile.get(message.id);
      return newer === undefined ? [message] : (newer ?? []);
    });
    const listed = (this.messages ?? []).filter(({ id }) => !ids.has(id));
    // Beside the newest page stays only what came while it was read: anything else is older, or is gone.
    const added = [...this.meanwhile.values()].filter((message) => message && !ids.has(message.id)) as Message[];
    const isAdded = (message: Message) => added.some(({ id }) => id === message.id);
    this.messages = [...read, ...(isNewest ? (this.messages ? listed.filter(isAdded) : added) : listed)];
    this.unseen = this.unseen.filter(({ id }) => !ids.has(id));
    this.older = this.wasCleared ? undefined : next;
    this.error = null;
  }

  private pending(): ListedMessage[] {
    const added = this.session.unsent.filter(({ event }) => event === 'message:add');
    const known = new Set(added.length > 0 ? [...(this.messages ?? []), ...this.unseen].map(({ id }) => id) : []);
    return added.flatMap(({ request }) => {
      const { message } = request as { message: Pick<Message, 'id' | 'role' | 'content'> & Partial<Message> };
      if (known.has(message.id)) return [];
      return [{ ...unconfirmed, ...message, pending: true as const }];
    });
  }

  private touch(): void {
    this.snapshot = undefined;
    this.listeners.tell('change', undefined);
  }
}

/** What only the server knows of a message. */
const unconfirmed = {
  revision: 0,
  settingsRevision: 0,
  timestamp: '',
  status: 'complete',
  author: { userId: '', clientId: '', kind: 'tab' },
} as const;
