// What every part of the page shares: the session's id, who the user is, the form's fields, and a voice for screen readers
// and notices. State of the session itself is read through the SDK's hooks, never from here.
import { createContext, useCallback, useContext, useEffect, useMemo, useRef, useState, type ReactNode } from 'react';
import type { Author } from '../../client-sdk/index.js';
import { useClient, usePresence } from '../../client-sdk/react/index.js';
import { keepPerson } from './kept.js';
import { personOf, presenceOf, type Person, type PresenceState } from './person.js';
import type { FieldGroup } from './settings/form-model.js';

/** How long a field counts as edited after it lost the focus: the next one may get it. */
const EDITING_LINGER_MS = 200;
/** How long a notice is shown. */
const NOTICE_MS = 6000;

/** A participant as the page shows it. */
export interface Someone extends Omit<Author, 'name'>, PresenceState {
  readonly participantId: string;
  readonly isSelf: boolean;
}

interface Page {
  readonly sessionId: string;
  readonly groups: readonly FieldGroup[];
  readonly me: Person;
  readonly setMe: (person: Person) => void;
  /** Tells the others which setting (a JSON Pointer) is being edited here; undefined: none. */
  readonly setEditing: (path: string | undefined) => void;
  readonly people: readonly Someone[];
  /** How an author is shown, also one that has left. */
  readonly personOf: (author: Author) => Person;
  /** What a setting is called. */
  readonly titleOf: (path: string, keys: readonly string[]) => string;
  /** Says something that went wrong or was done, in sight and to screen readers. */
  readonly notify: (text: string) => void;
  readonly notice: string;
}

const PageContext = createContext<Page | undefined>(undefined);

export function usePage(): Page {
  const page = useContext(PageContext);
  if (!page) throw new Error('no PageProvider above');
  return page;
}

interface PageProviderProps {
  readonly sessionId: string;
  readonly groups: readonly FieldGroup[];
  readonly firstMe: Person;
  readonly children: ReactNode;
}

export function PageProvider({ sessionId, groups, firstMe, children }: PageProviderProps): ReactNode {
  const { me, setMe, setEditing, people } = usePeople(sessionId, firstMe);
  const [notice, notify] = useNotice();
  const titles = useMemo(() => new Map(groups.flatMap(({ fields }) => fields.map((f) => [f.path, f.title]))), [groups]);
  const page = useMemo<Page>(() => {
    const byClient = new Map(people.map((someone) => [someone.clientId, someone]));
    return {
      sessionId,
      groups,
      me,
      setMe,
      setEditing,
      people,
      personOf: (author) => byClient.get(author.clientId) ?? personOf(author),
      titleOf: (path, keys) => titles.get(path) ?? keys.join(' › '),
      notify,
      notice,
    };
  }, [sessionId, groups, titles, me, setMe, setEditing, people, notify, notice]);
  return <PageContext value={page}>{children}</PageContext>;
}

function usePeople(sessionId: string, firstMe: Person) {
  const { clientId } = useClient();
  const [participants, setPresence] = usePresence(sessionId);
  const [me, setPerson] = useState(firstMe);
  const shown = useRef<PresenceState>(firstMe);
  const lingering = useRef<ReturnType<typeof setTimeout>>(undefined);

  const setEditing = useCallback(
    (path: string | undefined) => {
      clearTimeout(lingering.current);
      const show = () => {
        const { name, color, editing } = shown.current;
        if (editing === path) return;
        shown.current = path === undefined ? { name, color } : { name, color, editing: path };
        setPresence({ ...shown.current });
      };
      if (path === undefined) lingering.current = setTimeout(show, EDITING_LINGER_MS);
      else show();
    },
    [setPresence],
  );
  const setMe = useCallback(
    (person: Person) => {
      keepPerson(person);
      setPerson(person);
      shown.current = { ...shown.current, ...person };
      setPresence({ ...shown.current });
    },
    [setPresence],
  );
  const people = useMemo<Someone[]>(
    () =>
      participants.map(({ participantId, userId, clientId: id, kind, name, state }) => {
        const author = { userId, clientId: id, kind: kind as Author['kind'], ...(name !== undefined && { name }) };
        return { ...author, ...presenceOf(author, state), participantId, isSelf: id === clientId };
      }),
    [participants, clientId],
  );
  return { me, setMe, setEditing, people };
}

function useNotice(): [string, (text: string) => void] {
  const [notice, setNotice] = useState('');
  useEffect(() => {
    if (notice === '') return;
    const timer = setTimeout(() => setNotice(''), NOTICE_MS);
    return () => clearTimeout(timer);
  }, [notice]);
  return [notice, setNotice];
}
