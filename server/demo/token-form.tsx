// Asks for a token where the server wants one, and says why the page cannot go on otherwise. The token stays in this tab.
import { useState, type ReactNode } from 'react';
import type { ClientError } from '../../client-sdk/index.js';
import { keepToken } from './kept.js';

/** In the session's place when it cannot be shown. */
export function CannotGoOn({ error }: { readonly error: ClientError }): ReactNode {
  const wantsToken = error.code === 'UNAUTHENTICATED' || error.code === 'FORBIDDEN';
  return (
    <section className="cannot" role="alert" aria-label="The session cannot be shown">
      <h2>{wantsToken ? 'This server asks who you are' : 'This session cannot be shown'}</h2>
      <p>
        It says <code>{error.code}</code>: {error.message}.
      </p>
      {wantsToken ? (
        <TokenForm />
      ) : (
        <a className="button" href="/">
          Begin a new session
        </a>
      )}
    </section>
  );
}

function TokenForm(): ReactNode {
  const [token, setToken] = useState('');
  return (
    <form
      className="stack"
      onSubmit={(event) => {
        event.preventDefault();
        keepToken(token.trim());
        location.reload();
      }}
    >
      <label className="stack tight">
        Token (a JWT)
        <input
          className="input code"
          type="password"
          required
          autoComplete="off"
          value={token}
          onChange={(event) => setToken(event.target.value)}
        />
      </label>
      <button type="submit" className="primary">
        Continue
      </button>
    </form>
  );
}
