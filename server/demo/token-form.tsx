// Asks for a token where the server wants one. The token stays in this tab.
import { useState, type ReactNode } from 'react';
import { keepToken } from './kept.js';

export function TokenForm(): ReactNode {
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
