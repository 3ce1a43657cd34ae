// One message: who said it, when, under which settings, and its text, also while it is streamed.
import type { ReactNode } from 'react';
import { isJsonObject } from '../../../client-sdk/protocol/json.js';
import type { useMessages } from '../../../client-sdk/react/index.js';
import { Avatar } from '../avatar.js';
import { usePage } from '../page-context.js';
import { plainText } from '../settings/form-model.js';
import { shownText } from './live-text.js';

/** A message as the hooks list it. */
export type ListedMessage = ReturnType<typeof useMessages>['messages'][number];

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });

interface MessageItemProps {
  readonly message: ListedMessage;
  /** Text that came by signals, further than what is committed. */
  readonly live: string | undefined;
}

export function MessageItem({ message, live }: MessageItemProps): ReactNode {
  const { personOf, people, me } = usePage();
  const { author, metadata, status } = message;
  const isBot = message.role === 'assistant' || author.kind === 'bot';
  const person = message.pending && !isBot ? me : personOf(author);
  const isStreaming = status === 'streaming';
  // Its author has left in the middle: nothing more will come.
  const isCutOff = isStreaming && people.length > 0 && !people.some(({ clientId }) => clientId === author.clientId);
  const time = clockOf(message.timestamp);
  const text = isStreaming ? shownText(textOf(message), live) : textOf(message);
  return (
    <li
      className={`message is-${message.role}${message.pending ? ' is-pending' : ''}`}
      aria-busy={isStreaming && !isCutOff}
    >
      <Avatar person={person} isBot={isBot} />
      <article aria-label={[person.name, time].filter(Boolean).join(', ')}>
        <header className="message-head">
          <span className="message-name">{person.name}</span>
          {isBot && <span className="badge">bot</span>}
          {time && <time dateTime={message.timestamp}>{time}</time>}
          {message.pending && <span className="message-state">waits to be sent</span>}
          {isCutOff && <span className="message-state">broken off</span>}
          {status === 'error' && <span className="message-state">failed</span>}
        </header>
        <p className="message-text">
          {text}
          {isStreaming && !isCutOff && <span className="caret" aria-hidden="true" />}
        </p>
        <UsedSettings metadata={metadata} />
      </article>
    </li>
  );
}

/** The time of day; undefined for a message that the server has not given one yet. */
function clockOf(timestamp: string | undefined): string | undefined {
  const date = new Date(timestamp ?? '');
  return Number.isNaN(date.getTime()) ? undefined : clock.format(date);
}

/** A message's content as text; of parts, those that are text. */
export function textOf({ content }: Pick<ListedMessage, 'content'>): string {
  if (typeof content === 'string') return content;
  const texts = content.map((part) => (isJsonObject(part) && typeof part['text'] === 'string' ? part['text'] : ''));
  return texts.filter((text) => text !== '').join('\n') || JSON.stringify(content);
}

/** The settings that an answer went by. */
function UsedSettings({ metadata }: { readonly metadata: ListedMessage['metadata'] }): ReactNode {
  if (metadata?.['demo'] !== true) return null;
  const { model, temperature, max_tokens: maxTokens, endedBy } = metadata;
  const parts = [
    model !== undefined && plainText(model),
    temperature !== undefined && `temperature ${plainText(temperature)}`,
    maxTokens !== undefined && `max ${plainText(maxTokens)} tokens`,
    endedBy === 'max_tokens' && 'cut at max tokens',
    endedBy === 'stop' && 'ended by a stop text',
  ].filter((part) => part !== false);
  return <p className="message-settings">{parts.join(' · ')}</p>;
}
