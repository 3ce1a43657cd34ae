// The environment as the command line tool sees it, read once. No other file of the tool reads process.env.

/** What the tool takes from its environment. */
export interface CliEnvironment {
  /** Address of the server; ATTUNE_URL. */
  readonly url: string;
  /** Token sent as Bearer, or undefined; ATTUNE_TOKEN. Never printed. */
  readonly token: string | undefined;
}

const DEFAULT_URL = 'http://127.0.0.1:4100';

/** Reads ATTUNE_URL and ATTUNE_TOKEN; an empty variable counts as unset. */
export function readCliEnvironment(): CliEnvironment {
  return { url: process.env['ATTUNE_URL'] || DEFAULT_URL, token: process.env['ATTUNE_TOKEN'] || undefined };
}
