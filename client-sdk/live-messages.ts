// The messages of a session as a live list: the newest page, older ones on demand, kept current by the room's commits; the
// own ones that are not confirmed come last. It reads nothing before somebody subscribes.
import { ClientError } from './client-error.js';
import { createListeners } from './listeners.js';
import type { Message, MessageReply } from './protocol/messages.js';
import type { MessageCommit } from './replica.js';
import type { Session } from './shapes.js';

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
  /** Whether a page is being read, or none was yet. */
  readonly loading: boolean;
  /** Why the newest read failed. */
  readonly error: ClientError | null;
}

/** See {@link liveMessages}. */
export interface MessageList {
  /** Calls the listener after each change, until the result is called. The first subscription reads the newest page. */
  subscribe(listener: () => void): () => void;
  /** The list now. Does nothing else, so it may be called while rendering. */
  getSnapshot(): MessagesSnapshot;
  /** Reads the page before the oldest message of the list; the newest one where nothing was read yet. */
  loadOlder(limit?: number): Promise<void>;
}

const lists = new WeakMap<object, MessageList>();

/** The live list of a session's messages: the same one for everybody who asks with this handle. */
export function liveMessages<S>(session: Session<S>): MessageList {
  const list = lists.get(session) ?? createList(session as unknown as Session);
  lists.set(session, list);
  return list;
}

function createList(session: Session): MessageList {
  const listeners = createListeners<{ change: void }>();
  let subscribers = 0;
  let stops: (() => void)[] = [];
  /** Oldest first; null until read. */
  let messages: Message[] | null = null;
  let older: number | undefined;
  let reading: Promise<void> | null = null;
  /** The newest page was not asked for since something was missed. */
  let isStale = false;
  /** What commits did while a read was under way, for its answer may be older: the message, or null where it was removed. */
  const meanwhile = new Map<string, Message | null>();
  /** Those of them that are new. */
  const arrived = new Set<string>();
  /** Everything that was there before was removed meanwhile. */
  let wasCleared = false;
  /** Own ones that were acknowledged, before their commits arrive. */
  let unseen: Message[] = [];
  let error: ClientError | null = null;
  let unsentIds = '';
  let snapshot: MessagesSnapshot | undefined;

  const touch = () => {
    snapshot = undefined;
    listeners.tell('change');
  };
  const isListed = (id: string) => messages?.some((message) => message.id === id) ?? false;

  const start = () => {
    stops = [
      session.on('message', follow),
      session.on('snapshot', reload),
      session.on('acknowledged', ({ write, reply }) => {
        const { message, revision } = reply as MessageReply;
        // It is shown until its commit arrives. Where it was removed meanwhile the answer is without it, or both commits
        // came before.
        const isUnseen = message && revision > session.getSnapshot().revision && !isListed(message.id);
        if (isUnseen && write.event === 'message:add') unseen = [...unseen, message];
        touch();
      }),
      session.subscribe(() => {
        const ids = pending()
          .map(({ id }) => id)
          .join();
        if (ids !== unsentIds) touch();
        unsentIds = ids;
      }),
    ];
    // What was missed since the last subscription is not known.
    reload();
  };

  const follow = (commit: MessageCommit) => {
    if (commit.event === 'session:cleared') {
      wasCleared = true;
      meanwhile.clear();
      older = undefined;
      messages &&= [];
      unseen = [];
    } else if (commit.event === 'message:deleted') {
      const { messageId } = commit;
      meanwhile.set(messageId, null);
      messages &&= messages.filter(({ id }) => id !== messageId);
      unseen = unseen.filter(({ id }) => id !== messageId);
    } else {
      const { message } = commit;
      meanwhile.set(message.id, message);
      if (commit.event === 'message:added') arrived.add(message.id);
      unseen = unseen.filter(({ id }) => id !== message.id);
      if (isListed(message.id)) messages = messages!.map((old) => (old.id === message.id ? message : old));
      else if (commit.event === 'message:added') messages &&= [...messages, message];
    }
    if (!reading) forgetMeanwhile();
    touch();
  };

  const forgetMeanwhile = () => {
    meanwhile.clear();
    arrived.clear();
    wasCleared = false;
  };

  /** What was missed is not known: the list is read again, once what is being read is there, and kept until then. */
  const reload = () => {
    isStale = true;
    if (reading) return;
    load({ limit: Math.min(Math.max(messages?.length ?? 0, PAGE), PAGE_MAX) }).catch(() => undefined);
  };

  const load = (page: { before?: number; limit: number }): Promise<void> => {
    const isNewest = page.before === undefined;
    reading = session
      .ready()
      .then(() => {
        // What was missed until now will be in the answer.
        if (isNewest) isStale = false;
        forgetMeanwhile();
        return session.messages(page);
      })
      .then(
        (reply) => take(reply, isNewest),
        (reason: unknown) => {
          if (isNewest) isStale = false;
          error = reason instanceof ClientError ? reason : new ClientError('UNAVAILABLE', { retry: 'after-delay' });
          throw error;
        },
      )
      .finally(() => {
        reading = null;
        if (isStale) reload();
        else touch();
      });
    touch();
    return reading;
  };

  const take = (reply: { messages: Message[]; next?: number }, isNewest: boolean) => {
    const page = wasCleared ? [] : reply.messages.toReversed();
    const ids = new Set(page.map(({ id }) => id));
    const read = page.flatMap((message) => {
      const newer = meanwhile.get(message.id);
      return newer === undefined ? [message] : (newer ?? []);
    });
    // Beside the newest page stays only what came while it was read: anything else is older, or is gone.
    const added = [...meanwhile.values()].filter((message) => message !== null && arrived.has(message.id)) as Message[];
    const rest = isNewest ? added : (messages ?? []);
    messages = [...read, ...rest.filter(({ id }) => !ids.has(id))];
    unseen = unseen.filter(({ id }) => !isListed(id));
    older = wasCleared ? undefined : reply.next;
    error = null;
  };

  const pending = (): ListedMessage[] =>
    session.unsent.flatMap(({ event, request }) => {
      if (event !== 'message:add') return [];
      const { message } = request as { message: Message };
      return isListed(message.id) ? [] : [{ ...unconfirmed, ...message, pending: true as const }];
    });

  return {
    subscribe(listener) {
      const stop = listeners.add('change', listener);
      if ((subscribers += 1) === 1) start();
      let isOn = true;
      return () => {
        stop();
        if (isOn && (subscribers -= 1) === 0) for (const end of stops) end();
        isOn = false;
      };
    },
    getSnapshot: () =>
      (snapshot ??= {
        messages: [...(messages ?? []), ...unseen, ...pending()],
        hasOlder: older !== undefined,
        // Before the first read, too: who shows the list subscribes a moment later, and must not say that there are none.
        loading: reading !== null || (!messages && !error),
        error,
      }),
    async loadOlder(limit = PAGE) {
      while (reading) await reading.catch(() => undefined);
      if (!messages) await load({ limit });
      else if (older !== undefined) await load({ before: older, limit });
    },
  };
}

/** What only the server knows of a message. */
const unconfirmed = {
  revision: 0,
  settingsRevision: 0,
  timestamp: '',
  status: 'complete',
  author: { userId: '', clientId: '', kind: 'tab' },
} as const;
