// Which entry points the SDK's package has: read from its package.json, so that nobody can forget one.
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The project's folder. */
export const projectRoot = join(dirname(fileURLToPath(import.meta.url)), '..');

/**
 * The entry points: name in `exports`, source, declarations; paths from the project's folder. One that is named and not yet
 * written is left out: the package's own test knows of it.
 */
export function entryPoints(root = projectRoot) {
  const { exports } = JSON.parse(readFileSync(join(root, 'client-sdk/package.json'), 'utf8'));
  return Object.entries(exports).flatMap(([name, { types, default: file }]) => {
    const stem = join('client-sdk', file.replace(/^\.\/dist\//, '').replace(/\.js$/, ''));
    const source = [`${stem}.ts`, `${stem}.tsx`].find((path) => existsSync(join(root, path)));
    return source === undefined ? [] : [{ name, source, declarations: types && join('client-sdk', types) }];
  });
}
