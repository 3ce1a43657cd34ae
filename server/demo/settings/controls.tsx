// The controls of the settings form, one for each kind of value. Each shows the value as it is and hands on what the user
// makes of it; none knows where values come from or go to.
import { useRef, useState, type CSSProperties, type KeyboardEvent, type ReactNode } from 'react';
import type { Json } from '../../../client-sdk/index.js';
import { equalJson } from '../../../client-sdk/protocol/json.js';
import { Icon } from '../icons.js';
import { readJson, readNumber } from './field-check.js';
import { controlFor, isTextList, plainText, stepOf, type Field } from './form-model.js';
import type { Setting } from './use-setting.js';

export interface ControlProps {
  readonly field: Field;
  readonly setting: Setting;
  /** What links a control to its label, its description and its problem. */
  readonly wiring: {
    readonly id: string;
    readonly 'aria-describedby': string;
    readonly 'aria-invalid': boolean;
  };
}

/** How long typing may pause before it is sent. */
const TYPING_MS = 600;

/** The control that fits the field and what it holds now. */
export function Control(props: ControlProps): ReactNode {
  switch (controlFor(props.field, props.setting.value)) {
    case 'choice':
      return <ChoiceControl {...props} />;
    case 'toggle':
      return <ToggleControl {...props} />;
    case 'slider':
      return <SliderControl {...props} />;
    case 'number':
      return <NumberControl {...props} />;
    case 'text':
      return <TextControl {...props} />;
    case 'textarea':
      return <TextControl {...props} isLong />;
    case 'tags':
      return <TagsControl {...props} />;
    case 'json':
      return <JsonControl {...props} />;
  }
}

/** Text while it is typed: it stands there until it was sent and the field left, whatever others do meanwhile. */
function useDraft(shown: string, send: (text: string) => void) {
  const [draft, setDraft] = useState<string>();
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  const isUnsent = useRef(false);
  const sendNow = (text: string) => {
    clearTimeout(timer.current);
    if (isUnsent.current) send(text);
    isUnsent.current = false;
  };
  return {
    text: draft ?? shown,
    change(text: string) {
      setDraft(text);
      isUnsent.current = true;
      clearTimeout(timer.current);
      timer.current = setTimeout(() => sendNow(text), TYPING_MS);
    },
    sendNow,
    /** Sends what was not sent. What cannot be sent stays, for its problem is shown beside it. */
    leave(isSendable: boolean) {
      if (draft !== undefined) sendNow(draft);
      if (isSendable) setDraft(undefined);
    },
    drop() {
      clearTimeout(timer.current);
      isUnsent.current = false;
      setDraft(undefined);
    },
  };
}

/** Enter sends, Escape gives up what was typed. */
function draftKeys(draft: ReturnType<typeof useDraft>, setting: Setting, isLong = false) {
  return (event: KeyboardEvent<HTMLInputElement | HTMLTextAreaElement>) => {
    if (event.key === 'Enter' && !isLong && !event.nativeEvent.isComposing) draft.sendNow(draft.text);
    if (event.key !== 'Escape') return;
    draft.drop();
    setting.setProblem(undefined);
  };
}

function NumberControl({ field, setting, wiring }: ControlProps): ReactNode {
  const { value } = setting;
  const draft = useDraft(typeof value === 'number' ? String(value) : '', (text) => {
    const read = readNumber(field, text);
    if (read.problem === undefined) setting.write(read.value);
    else setting.setProblem(read.problem);
  });
  return (
    <input
      {...wiring}
      className="input number"
      inputMode="decimal"
      autoComplete="off"
      placeholder="not set"
      value={draft.text}
      onChange={(event) => draft.change(event.target.value)}
      onBlur={() => draft.leave(readNumber(field, draft.text).problem === undefined)}
      onKeyDown={draftKeys(draft, setting)}
    />
  );
}

function SliderControl({ field, setting, wiring }: ControlProps): ReactNode {
  const { value } = setting;
  const { minimum = 0, maximum = 1 } = field;
  const [moved, setMoved] = useState<number>();
  const isSet = typeof value === 'number';
  // What is not set stands where nothing would be: at 0, or as near to it as there is.
  const at = moved ?? (isSet ? value : Math.min(maximum, Math.max(minimum, 0)));
  const share = Math.min(1, Math.max(0, (at - minimum) / (maximum - minimum)));
  const end = () => {
    if (moved !== undefined) setting.write(moved);
    setMoved(undefined);
  };
  return (
    <div className="slider-row">
      <input
        type="range"
        className={isSet ? 'slider' : 'slider is-unset'}
        style={{ '--share': `${share * 100}%` } as CSSProperties}
        aria-label={`${field.title} slider`}
        aria-describedby={wiring['aria-describedby']}
        aria-valuetext={isSet || moved !== undefined ? String(at) : 'not set'}
        min={minimum}
        max={maximum}
        step={stepOf(field)}
        value={at}
        onChange={(event) => {
          setMoved(event.target.valueAsNumber);
          setting.writeWhileMoving(event.target.valueAsNumber);
        }}
        onPointerUp={end}
        onKeyUp={end}
        onBlur={end}
      />
      <NumberControl field={field} setting={setting} wiring={wiring} />
    </div>
  );
}

function TextControl({ field, setting, wiring, isLong = false }: ControlProps & { isLong?: boolean }): ReactNode {
  const { value } = setting;
  const draft = useDraft(typeof value === 'string' ? value : '', (text) =>
    setting.write(text === '' && field.isOptional ? undefined : text),
  );
  const shared = {
    ...wiring,
    className: 'input',
    placeholder: 'not set',
    value: draft.text,
    onBlur: () => draft.leave(setting.problem === undefined),
    onKeyDown: draftKeys(draft, setting, isLong),
  };
  return isLong ? (
    <textarea {...shared} rows={3} onChange={(event) => draft.change(event.target.value)} />
  ) : (
    <input {...shared} autoComplete="off" onChange={(event) => draft.change(event.target.value)} />
  );
}

const OTHER = 'other';
const UNSET = 'unset';

function ChoiceControl({ field, setting, wiring }: ControlProps): ReactNode {
  const { choices = [] } = field;
  const { value } = setting;
  const [isOther, setOther] = useState(false);
  const known = choices.findIndex((choice) => value !== undefined && equalJson(choice.value, value));
  const isUnset = value === undefined || value === null;
  const takesText = field.isOpen && (field.types.length === 0 || field.types.includes('string'));
  const picked = (key: string) => {
    setOther(key === OTHER);
    if (key === UNSET) setting.write(undefined);
    else if (key !== OTHER) setting.write(choices[Number(key)]?.value);
  };
  const selected = isOther ? OTHER : isUnset ? UNSET : String(known);
  return (
    <div className="choice-row">
      <select {...wiring} className="input" value={selected} onChange={(event) => picked(event.target.value)}>
        {(field.isOptional || isUnset) && <option value={UNSET}>Not set</option>}
        {!isUnset && known < 0 && <option value="-1">{plainText(value)}</option>}
        {choices.map((choice, index) => (
          <option key={choice.title} value={index}>
            {choice.title}
          </option>
        ))}
        {takesText && <option value={OTHER}>Other…</option>}
      </select>
      {isOther && <OtherText field={field} setting={setting} done={() => setOther(false)} />}
    </div>
  );
}

/** A value that is not in the list, typed. */
function OtherText({
  field,
  setting,
  done,
}: Pick<ControlProps, 'field' | 'setting'> & { done: () => void }): ReactNode {
  const [text, setText] = useState('');
  const end = (send: boolean) => {
    if (send && text.trim() !== '') setting.write(text.trim());
    done();
  };
  return (
    <input
      className="input"
      aria-label={`${field.title}, other value`}
      autoComplete="off"
      // The user chose "Other…" a moment ago, to type it.
      ref={(input) => input?.focus()}
      value={text}
      onChange={(event) => setText(event.target.value)}
      onBlur={() => end(true)}
      onKeyDown={(event) => {
        if (event.key === 'Enter') end(true);
        if (event.key === 'Escape') end(false);
      }}
    />
  );
}

function ToggleControl({ setting, wiring }: ControlProps): ReactNode {
  const { value, write } = setting;
  const { 'aria-invalid': _invalid, ...linked } = wiring;
  return (
    <button
      {...linked}
      type="button"
      role="switch"
      aria-checked={value === true}
      className="switch"
      onClick={() => write(value !== true)}
    >
      <span className="switch-track" aria-hidden="true" />
      <span className="switch-word">{value === undefined || value === null ? 'not set' : value ? 'on' : 'off'}</span>
    </button>
  );
}

function TagsControl({ field, setting, wiring }: ControlProps): ReactNode {
  const { value, write } = setting;
  const [text, setText] = useState('');
  const tags = isTextList(value) ? value : typeof value === 'string' ? [value] : [];
  const add = () => {
    const added = text.split(',').map((part) => part.trim());
    const fresh = added.filter((part) => part !== '' && !tags.includes(part));
    if (fresh.length > 0) write([...tags, ...fresh]);
    setText('');
  };
  const remove = (tag: string) => {
    const left: Json[] = tags.filter((other) => other !== tag);
    write(left.length === 0 && field.isOptional ? undefined : left);
  };
  return (
    <div className="tags input">
      {tags.length > 0 && (
        <ul aria-label={field.title}>
          {tags.map((tag) => (
            <li key={tag} className="tag">
              {tag}
              <button type="button" className="tag-remove" aria-label={`Remove ${tag}`} onClick={() => remove(tag)}>
                <Icon name="close" />
              </button>
            </li>
          ))}
        </ul>
      )}
      <input
        {...wiring}
        autoComplete="off"
        placeholder={tags.length === 0 ? 'not set: type and press Enter' : 'add…'}
        value={text}
        onChange={(event) => setText(event.target.value)}
        onBlur={add}
        onKeyDown={(event) => {
          const last = tags.at(-1);
          if ((event.key === 'Enter' || event.key === ',') && !event.nativeEvent.isComposing) {
            event.preventDefault();
            add();
          } else if (event.key === 'Backspace' && text === '' && last !== undefined) remove(last);
        }}
      />
    </div>
  );
}

function JsonControl({ field, setting, wiring }: ControlProps): ReactNode {
  const { value } = setting;
  const send = (text: string) => {
    const read = readJson(field, text);
    if (read.problem === undefined) setting.write(read.value);
    else setting.setProblem(read.problem);
  };
  const draft = useDraft(value === undefined ? '' : JSON.stringify(value, null, 2), send);
  return (
    <textarea
      {...wiring}
      className="input code"
      spellCheck={false}
      placeholder="not set"
      rows={Math.min(8, draft.text.split('\n').length)}
      value={draft.text}
      onChange={(event) => draft.change(event.target.value)}
      onBlur={() => draft.leave(readJson(field, draft.text).problem === undefined)}
      onKeyDown={draftKeys(draft, setting, true)}
    />
  );
}
