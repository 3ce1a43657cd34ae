// Where a message is written. It is sent under an id of its own, so that the bot answers it once.
import { useRef, useState, type KeyboardEvent, type ReactNode } from 'react';
import { useConnectionStatus, useSession } from '../../../client-sdk/react/index.js';
import { Icon } from '../icons.js';
import { measured } from '../latency.js';
import { usePage } from '../page-context.js';
import { randomName } from '../session-address.js';
import type { DemoBot } from './demo-bot.js';

const suggestions = ['Which settings do you use?', 'What does the temperature change?', 'Tell me about this session.'];

export function Composer({ bot, isFirst }: { readonly bot: DemoBot; readonly isFirst: boolean }): ReactNode {
  const { sessionId, notify, me } = usePage();
  const session = useSession(sessionId);
  const isConnected = useConnectionStatus() === 'connected';
  const [text, setText] = useState('');
  const input = useRef<HTMLTextAreaElement>(null);

  const send = (content: string) => {
    if (content.trim() === '') return;
    setText('');
    input.current?.focus();
    const id = `m-${randomName(12)}`;
    const message = { id, role: 'user' as const, content: content.trim(), metadata: { ...me } };
    const added = measured(isConnected, () => session.addMessage(message, { updateId: `add:${id}` }));
    added.then(
      () => bot.answer(message).catch(() => notify('The demo bot could not answer.')),
      (error: Error) => notify(`The message was not sent: ${error.message}.`),
    );
  };
  const keys = (event: KeyboardEvent<HTMLTextAreaElement>) => {
    if (event.key !== 'Enter' || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    send(text);
  };
  return (
    <form
      className="composer"
      aria-label="New message"
      onSubmit={(event) => {
        event.preventDefault();
        send(text);
      }}
    >
      {isFirst && (
        <div className="suggestions" role="group" aria-label="Suggestions">
          {suggestions.map((words) => (
            <button key={words} type="button" className="chip" onClick={() => send(words)}>
              {words}
            </button>
          ))}
        </div>
      )}
      <div className="composer-row">
        <textarea
          ref={input}
          className="input"
          aria-label="Message"
          placeholder={isConnected ? 'Write a message' : 'Write a message: it is sent when you are online'}
          rows={1}
          value={text}
          onChange={(event) => setText(event.target.value)}
          onKeyDown={keys}
        />
        <button type="submit" className="primary" disabled={text.trim() === ''}>
          <Icon name="send" />
          <span className="wide-only">Send</span>
        </button>
      </div>
    </form>
  );
}
