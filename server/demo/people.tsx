// Who is in the session, as a row of avatars, and the dialog in which users say who they are.
import { useState, type CSSProperties, type ReactNode } from 'react';
import { Announcer } from './announcer.js';
import { Avatar } from './avatar.js';
import { Modal } from './modal.js';
import { usePage, type Someone } from './page-context.js';
import { colors, NAME_CHARS_MAX } from './person.js';

/** Avatars in the row; the others are counted. */
const SHOWN_MAX = 4;

export function People(): ReactNode {
  const { people, me, titleOf } = usePage();
  const [isEditing, setEditing] = useState(false);
  const others = people.filter(({ isSelf }) => !isSelf);
  const doing = ({ name, editing, kind }: Someone) => {
    if (kind === 'bot') return `${name} (bot)`;
    return editing === undefined ? name : `${name}, editing ${titleOf(editing, editing.split('/').slice(-1))}`;
  };
  return (
    <section className="people" aria-label="People in this session">
      <ul>
        {others.slice(0, SHOWN_MAX).map((someone) => (
          <li key={someone.participantId}>
            <Avatar person={someone} label={doing(someone)} isBot={someone.kind === 'bot'} />
          </li>
        ))}
        {others.length > SHOWN_MAX && (
          <li className="avatar is-more">
            <span className="visually-hidden">and </span>+{others.length - SHOWN_MAX}
          </li>
        )}
      </ul>
      <button type="button" className="me" title="Change your name and colour" onClick={() => setEditing(true)}>
        <Avatar person={me} />
        <span className="me-name">
          <span className="visually-hidden">You are </span>
          {me.name}
        </span>
      </button>
      <Announcer text={alsoHere(others)} />
      {isEditing && <MeDialog close={() => setEditing(false)} />}
    </section>
  );
}

function alsoHere(others: readonly Someone[]): string {
  if (others.length === 0) return '';
  const names = others.slice(0, SHOWN_MAX).map(({ name }) => name);
  const more = others.length > SHOWN_MAX ? ` and ${others.length - SHOWN_MAX} more` : '';
  return `Also here: ${names.join(', ')}${more}`;
}

function MeDialog({ close }: { readonly close: () => void }): ReactNode {
  const { me, setMe } = usePage();
  const [name, setName] = useState(me.name);
  const [color, setColor] = useState(me.color);
  return (
    <Modal title="You in this session" close={close}>
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          setMe({ name: name.trim() || me.name, color });
          close();
        }}
      >
        <label className="stack tight">
          Your name
          <input
            className="input"
            required
            maxLength={NAME_CHARS_MAX}
            autoComplete="nickname"
            value={name}
            onChange={(event) => setName(event.target.value)}
          />
        </label>
        <fieldset className="swatches">
          <legend>Your colour</legend>
          {colors.map((choice) => (
            <label key={choice.value} style={{ '--color': choice.value } as CSSProperties}>
              <input
                type="radio"
                name="color"
                value={choice.value}
                checked={color === choice.value}
                onChange={() => setColor(choice.value)}
              />
              <span className="visually-hidden">{choice.name}</span>
            </label>
          ))}
        </fieldset>
        <button type="submit" className="primary">
          Save
        </button>
      </form>
    </Modal>
  );
}
