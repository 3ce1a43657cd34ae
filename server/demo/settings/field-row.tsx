// One setting in the panel: its name, its control, what is wrong with it, whether it is saved, and who is at it.
import { useEffect, useId, useState, type CSSProperties, type ReactNode } from 'react';
import type { Person } from '../person.js';
import { useSession } from '../../../client-sdk/react/index.js';
import { Avatar } from '../avatar.js';
import { Icon } from '../icons.js';
import { usePage } from '../page-context.js';
import { Control } from './controls.js';
import { controlFor, type Field } from './form-model.js';
import { useSetting, type Progress } from './use-setting.js';

/** How long a field shows that somebody else changed it. */
const CHANGED_MS = 2500;

export function FieldRow({ field }: { readonly field: Field }): ReactNode {
  const { people, setEditing } = usePage();
  const setting = useSetting(field);
  const changedBy = useChangedBy(field.path);
  const id = useId();
  const editors = people.filter(({ editing, isSelf }) => editing === field.path && !isSelf);
  const marker = editors[0] ?? changedBy;
  const { value, problem } = setting;
  const control = controlFor(field, value);
  const isUnsettable = field.isOptional && value !== undefined && control !== 'choice';
  return (
    <div
      className={`field is-${control}${marker ? ' is-marked' : ''}${problem === undefined ? '' : ' is-wrong'}`}
      style={marker && ({ '--marker': marker.color } as CSSProperties)}
      data-path={field.path}
      onFocus={() => setEditing(field.path)}
      onBlur={() => setEditing(undefined)}
    >
      <div className="field-head">
        <label htmlFor={id}>{field.title}</label>
        <ProgressMark progress={setting.progress} />
        {isUnsettable && (
          <button
            type="button"
            className="quiet unset"
            aria-label={`Unset ${field.title}`}
            title="Unset"
            onClick={() => setting.write(undefined)}
          >
            <Icon name="close" />
          </button>
        )}
      </div>
      <Control
        field={field}
        setting={setting}
        wiring={{ id, 'aria-describedby': `${id}-about ${id}-problem`, 'aria-invalid': problem !== undefined }}
      />
      <p id={`${id}-problem`} className="field-problem" aria-live="polite">
        {problem !== undefined && `${problem} ${stillIs(value)}`}
      </p>
      <div className="field-foot">
        {editors.length > 0 ? <Editors editors={editors} /> : changedBy && <ChangedBy by={changedBy} />}
        <p id={`${id}-about`} className="field-about">
          {field.description}
        </p>
      </div>
    </div>
  );
}

function stillIs(value: unknown): string {
  if (value === undefined || value === null) return 'It is still not set.';
  const text = JSON.stringify(value);
  return text.length > 40 ? 'The setting is as it was.' : `It is still ${text}.`;
}

const progressWords: Record<Progress, string> = {
  idle: '',
  saving: 'saving…',
  waiting: 'kept until online',
  saved: 'saved',
};

function ProgressMark({ progress }: { readonly progress: Progress }): ReactNode {
  return <span className={`progress is-${progress}`}>{progressWords[progress]}</span>;
}

function Editors({ editors }: { readonly editors: readonly (Person & { participantId: string })[] }): ReactNode {
  const [first, ...others] = editors;
  const names =
    others.length > 0 ? `${first?.name} and ${others.length} more are editing` : `${first?.name} is editing`;
  return (
    <span className="field-by">
      {editors.slice(0, 3).map((person) => (
        <Avatar key={person.participantId} person={person} size="small" />
      ))}
      {names}
    </span>
  );
}

function ChangedBy({ by }: { readonly by: Person }): ReactNode {
  return (
    <span className="field-by">
      <Avatar person={by} size="small" />
      {by.name} changed this
    </span>
  );
}

/** Who else changed a setting a moment ago. */
function useChangedBy(path: string): Person | undefined {
  const { sessionId, personOf, people } = usePage();
  const session = useSession(sessionId);
  const [by, setBy] = useState<Person>();
  const own = people.find(({ isSelf }) => isSelf)?.clientId;
  useEffect(
    () =>
      session.on('commit', (commit) => {
        if (commit.event !== 'settings:updated' || commit.by.clientId === own) return;
        const isHere = commit.changedPaths.some((changed) => changed === path || changed.startsWith(`${path}/`));
        if (isHere) setBy(personOf(commit.by));
      }),
    [session, path, own, personOf],
  );
  useEffect(() => {
    if (!by) return;
    const timer = setTimeout(() => setBy(undefined), CHANGED_MS);
    return () => clearTimeout(timer);
  }, [by]);
  return by;
}
