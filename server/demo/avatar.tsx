// A person as a disc with initials. Decoration: the name stands beside it, or is given to it as `label`.
import type { CSSProperties, ReactNode } from 'react';
import { Icon } from './icons.js';
import { initials, inkOn, type Person } from './person.js';

interface AvatarProps {
  readonly person: Person;
  readonly size?: 'small' | 'normal';
  readonly isBot?: boolean;
  readonly label?: string;
}

export function Avatar({ person, size = 'normal', isBot = false, label }: AvatarProps): ReactNode {
  const named = label === undefined ? { 'aria-hidden': true } : { role: 'img', 'aria-label': label, title: label };
  return (
    <span
      {...named}
      className={`avatar is-${size}`}
      style={{ '--color': person.color, '--on-color': inkOn(person.color) } as CSSProperties}
    >
      {isBot ? <Icon name="bot" /> : initials(person.name)}
    </span>
  );
}
