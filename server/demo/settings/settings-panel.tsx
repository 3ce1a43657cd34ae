// The panel of all settings, in groups. Settings that nobody set wait behind a button; one that was shown once stays.
import { useMemo, useState, type ReactNode } from 'react';
import type { JsonObject } from '../../../client-sdk/index.js';
import { useSettings } from '../../../client-sdk/react/index.js';
import { Icon } from '../icons.js';
import { usePage } from '../page-context.js';
import { FieldRow } from './field-row.js';
import { unknownFields, valueAt, type Field, type FieldGroup } from './form-model.js';

/** Unset settings of a group that is shown without a button. */
const UNSET_SHOWN_MAX = 1;

export function SettingsPanel(): ReactNode {
  const { sessionId, groups } = usePage();
  const settings = useSettings<JsonObject>(sessionId);
  const unknown = useMemo(() => (settings ? unknownFields(groups, settings) : []), [groups, settings]);
  if (!settings) return <SettingsSkeleton />;
  return (
    <div className="settings">
      {groups.map((group) => (
        <Group key={group.name} group={group} settings={settings} />
      ))}
      {unknown.length > 0 && (
        <Group group={{ name: 'unknown', title: 'Other settings', fields: unknown }} settings={settings} />
      )}
    </div>
  );
}

function Group({ group, settings }: { readonly group: FieldGroup; readonly settings: JsonObject }): ReactNode {
  const { people } = usePage();
  const [isOpen, setOpen] = useState(false);
  const [shown, setShown] = useState<ReadonlySet<string>>(new Set());
  const isSet = ({ path, keys }: Field) =>
    valueAt(settings, keys) !== undefined || shown.has(path) || people.some(({ editing }) => editing === path);
  const set = group.fields.filter(isSet);
  const hidden = group.fields.length - set.length;
  const isFew = hidden <= UNSET_SHOWN_MAX;
  // A setting that is unset in sight must not vanish from under the user's hands.
  if (set.some(({ path }) => !shown.has(path))) setShown(new Set([...shown, ...set.map(({ path }) => path)]));
  const fields = isOpen || isFew ? group.fields : set;
  const listId = `group-${group.name}`;
  return (
    <section className="group">
      <h3>{group.title}</h3>
      <div id={listId} className="group-fields">
        {fields.map((field) => (
          <FieldRow key={field.path} field={field} />
        ))}
      </div>
      {!isFew && (
        <button
          type="button"
          className="quiet more"
          aria-expanded={isOpen}
          aria-controls={listId}
          onClick={() => setOpen(!isOpen)}
        >
          <Icon name="chevron" />
          {isOpen ? 'Show fewer' : `${hidden} ${set.length > 0 ? 'more ' : ''}not set`}
          <span className="visually-hidden"> in {group.title}</span>
        </button>
      )}
    </section>
  );
}

function SettingsSkeleton(): ReactNode {
  return (
    <div className="settings is-loading" aria-hidden="true">
      {[3, 2, 4].map((rows) => (
        <div key={rows} className="group">
          {Array.from({ length: rows }, (_, row) => (
            <div key={row} className="bone" />
          ))}
        </div>
      ))}
    </div>
  );
}
