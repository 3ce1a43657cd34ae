// Compiles TypeScript into dist/, puts the files beside it that are read at run time (Lua scripts, the page), and the SDK's
// compiled files where its package has them (client-sdk/dist).
// Plain Node: it runs before anything of ours is compiled.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildPage } from './build-page.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const tsc = spawnSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-b', root], {
  stdio: 'inherit',
});
if (tsc.status !== 0) process.exit(tsc.status ?? 1);

/** Files that the compiler does not carry over, by ending, below server/. */
const carried = /\.lua$/;
for (const file of readdirSync(join(root, 'server'), { recursive: true })) {
  const from = join(root, 'server', String(file));
  if (!carried.test(from) || !statSync(from).isFile()) continue;
  const to = join(root, 'dist/server', String(file));
  mkdirSync(dirname(to), { recursive: true });
  cpSync(from, to);
}

const [compiled, sdk] = [join(root, 'dist/client-sdk'), join(root, 'client-sdk/dist')];
rmSync(sdk, { recursive: true, force: true });
cpSync(compiled, sdk, { recursive: true, filter: (file) => statSync(file).isDirectory() || hasSource(file) });

await buildPage(root);

/** The compiler leaves what it made of sources that are gone, which must not be published; nor its own notes. */
function hasSource(file) {
  const stem = relative(compiled, file).replace(/\.(d\.ts|js|js\.map)$/, '');
  return ['.ts', '.tsx'].some((ending) => existsSync(join(root, 'client-sdk', stem + ending)));
}
