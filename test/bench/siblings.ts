// Where the bench's own modules and the project are, compiled or not. Knows paths only.
import { existsSync } from 'node:fs';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ownFile = fileURLToPath(import.meta.url);

/** Path of another module of this directory, with the ending this one has (`.js` compiled, `.ts` through tsx). */
export function siblingModule(name: string): string {
  return join(dirname(ownFile), `${name}${extname(ownFile)}`);
}

/** The directory that holds package.json. */
export const projectRoot = findRoot(dirname(ownFile));

function findRoot(directory: string): string {
  return existsSync(join(directory, 'package.json')) ? directory : findRoot(dirname(directory));
}
