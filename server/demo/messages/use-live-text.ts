// The streamed text of messages that are not complete, by message id, as it comes by signals. Forgets what is complete.
import { useEffect, useState } from 'react';
import { useSession } from '../../../client-sdk/react/index.js';
import type { ListedMessage } from './message-item.js';
import { TOKEN_SIGNAL, tokensOf, withTokens } from './live-text.js';

/** Messages that are streamed at once; of more, the oldest are shown as committed. */
const STREAMS_MAX = 20;

type Texts = ReadonlyMap<string, string>;

export function useLiveText(sessionId: string, messages: readonly ListedMessage[]): Texts {
  const session = useSession(sessionId);
  const [texts, setTexts] = useState<Texts>(new Map());
  useEffect(() => {
    const streaming = new Map(messages.filter(({ status }) => status === 'streaming').map((m) => [m.id, m.content]));
    setTexts((known) => (known.size === 0 ? known : new Map([...known].filter(([id]) => streaming.has(id)))));
    return session.on('signal', ({ type, data }) => {
      const tokens = type === TOKEN_SIGNAL ? tokensOf(data) : undefined;
      if (!tokens) return;
      const committed = streaming.get(tokens.messageId);
      if (typeof committed !== 'string') return;
      setTexts((known) => {
        const before = known.get(tokens.messageId) ?? '';
        const text = withTokens(before.length > committed.length ? before : committed, tokens);
        const rest = [...known].filter(([id]) => id !== tokens.messageId).slice(-STREAMS_MAX);
        return new Map([...rest, [tokens.messageId, text]]);
      });
    });
  }, [session, messages]);
  return texts;
}
