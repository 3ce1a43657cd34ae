// A voice for screen readers: says each new text once, politely. Invisible.
import { useEffect, useState, type ReactNode } from 'react';

export function Announcer({ text }: { readonly text: string }): ReactNode {
  const [said, setSaid] = useState('');
  useEffect(() => {
    if (text !== '') setSaid(text);
  }, [text]);
  return (
    <div className="visually-hidden" aria-live="polite" data-testid="announcer">
      {said}
    </div>
  );
}
