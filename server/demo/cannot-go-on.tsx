// What stands in the session's place where it cannot be shown: what happened, and the way on.
import type { ReactNode } from 'react';
import { usePage } from './page-context.js';
import { TokenForm } from './token-form.js';
import type { Deletion, End } from './use-end.js';

/** Characters of an address that are shown. */
const SHOWN_CHARS_MAX = 60;

export function CannotGoOn({ error, deletion }: End): ReactNode {
  const { sessionId } = usePage();
  const reason = (
    <p className="note">
      The server says: {error.message} (<code>{error.code}</code>).
    </p>
  );
  if (error.code === 'SESSION_NOT_FOUND') return <Deleted deletion={deletion} />;
  if (error.code === 'UNAUTHENTICATED' || error.retry === 'reauthenticate') {
    return (
      <Cannot title="This server asks who you are">
        <p>Enter the token that you were given. It stays in this tab.</p>
        {reason}
        <TokenForm />
      </Cannot>
    );
  }
  if (error.code === 'FORBIDDEN') {
    return (
      <Cannot title="You have no access to this session">
        <p>
          Your token does not let you open <SessionName name={sessionId} />. Ask who shared it, or enter another token.
        </p>
        {reason}
        <TokenForm />
      </Cannot>
    );
  }
  return (
    <Cannot title="This session cannot be shown">
      {reason}
      <NewSession />
    </Cannot>
  );
}

function Deleted({ deletion }: { readonly deletion: Deletion | undefined }): ReactNode {
  const { personOf } = usePage();
  if (deletion?.reason === 'lost') {
    return (
      <Cannot title="This session is gone">
        <p>The server’s store no longer has it, with its settings and messages.</p>
        <NewSession />
      </Cannot>
    );
  }
  return (
    <Cannot title="This session was deleted">
      <p>
        {deletion ? <strong>{personOf(deletion.by).name}</strong> : 'Somebody'} deleted it, with its settings and
        messages, for everybody.
      </p>
      <NewSession />
    </Cannot>
  );
}

/** In place of the whole page: its address names a session that cannot be one. */
export function NoSuchSession({ name }: { readonly name: string }): ReactNode {
  return (
    <Cannot title="This link leads to no session">
      <p>
        <SessionName name={name} /> cannot be the name of a session: that is up to 128 letters, digits and{' '}
        <code>. _ : -</code>, the first a letter or digit. Perhaps the link was cut or changed on its way.
      </p>
      <NewSession />
    </Cannot>
  );
}

function Cannot({ title, children }: { readonly title: string; readonly children: ReactNode }): ReactNode {
  return (
    <section className="cannot" role="alert" aria-label={title}>
      <h2>{title}</h2>
      {children}
    </section>
  );
}

function NewSession(): ReactNode {
  return (
    <a className="primary" href="/">
      Start a new session
    </a>
  );
}

function SessionName({ name }: { readonly name: string }): ReactNode {
  return <q>{name.length > SHOWN_CHARS_MAX ? `${name.slice(0, SHOWN_CHARS_MAX)}…` : name}</q>;
}
