// Compiles TypeScript into dist/ and puts the files beside it that are read at run time (Lua scripts, pages).
// Plain Node: it runs before anything of ours is compiled.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const tsc = spawnSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', root], {
  stdio: 'inherit',
});
if (tsc.status !== 0) process.exit(tsc.status ?? 1);

/** Files that the compiler does not carry over, by ending, below server/. */
const carried = /\.(lua|html|css|svg)$/;
for (const file of readdirSync(join(root, 'server'), { recursive: true })) {
  const from = join(root, 'server', String(file));
  if (!carried.test(from) || !statSync(from).isFile()) continue;
  const to = join(root, 'dist/server', String(file));
  mkdirSync(dirname(to), { recursive: true });
  cpSync(from, to);
}
