// The messages of the session, the newest in sight while the reader is at the end, and the composer below them.
import { useEffect, useLayoutEffect, useRef, type ReactNode } from 'react';
import { useMessages } from '../../../client-sdk/react/index.js';
import { usePage } from '../page-context.js';
import { Announcer } from '../announcer.js';
import { Composer } from './composer.js';
import type { DemoBot } from './demo-bot.js';
import { MessageItem, textOf, type ListedMessage } from './message-item.js';
import { useLiveText } from './use-live-text.js';

/** So near to its end a list counts as read to the end, pixels. */
const AT_END_PX = 80;

export function Conversation({ bot }: { readonly bot: DemoBot }): ReactNode {
  const { sessionId, notify } = usePage();
  const list = useMessages(sessionId);
  const { messages, hasOlder, loading } = list;
  const live = useLiveText(sessionId, messages);
  const scrolled = useRef<HTMLDivElement>(null);
  useStayAtEnd(scrolled, messages, live);
  const isEmpty = messages.length === 0 && !loading;
  const older = () => {
    list.loadOlder().catch(() => notify('Older messages could not be loaded.'));
  };
  return (
    <>
      <div className="messages" ref={scrolled} tabIndex={0} role="group" aria-label="Messages">
        {hasOlder && (
          <button type="button" className="quiet older" disabled={loading} onClick={older}>
            Load older messages
          </button>
        )}
        {isEmpty && <EmptyConversation />}
        <ol aria-label="Messages" className="message-list">
          {messages.map((message) => (
            <MessageItem key={message.id} message={message} live={live.get(message.id)} />
          ))}
        </ol>
      </div>
      <NewMessages messages={messages} />
      <Composer bot={bot} isFirst={isEmpty} />
    </>
  );
}

function EmptyConversation(): ReactNode {
  return (
    <div className="empty">
      <p className="empty-title">Nothing said yet</p>
      <p>
        Write a message: the demo bot in your tab answers by the settings of this session. Open a second tab, or send
        the link to somebody, and watch every change arrive.
      </p>
    </div>
  );
}

/** Reads complete messages of others to screen readers, once each. Streamed text is read when it is whole. */
function NewMessages({ messages }: { readonly messages: readonly ListedMessage[] }): ReactNode {
  const { personOf, people } = usePage();
  const read = useRef<Set<string>>(undefined);
  const complete = messages.filter(({ status, pending }) => status !== 'streaming' && !pending);
  const known = read.current;
  const own = people.find(({ isSelf }) => isSelf)?.clientId;
  const fresh = known ? complete.filter(({ id, author }) => !known.has(id) && author.clientId !== own) : [];
  useEffect(() => {
    if (read.current || messages.length > 0) read.current = new Set(complete.map(({ id }) => id));
  });
  return <Announcer text={fresh.map((message) => `${personOf(message.author).name}: ${textOf(message)}`).join('. ')} />;
}

function useStayAtEnd(list: React.RefObject<HTMLDivElement | null>, ...changes: readonly unknown[]): void {
  const isAtEnd = useRef(true);
  useEffect(() => {
    const element = list.current;
    if (!element) return;
    const look = () => {
      isAtEnd.current = element.scrollHeight - element.scrollTop - element.clientHeight < AT_END_PX;
    };
    element.addEventListener('scroll', look, { passive: true });
    return () => element.removeEventListener('scroll', look);
  }, [list]);
  useLayoutEffect(() => {
    if (isAtEnd.current) list.current?.scrollTo({ top: list.current.scrollHeight });
    // Whatever changed what is shown.
  }, [list, ...changes]);
}
