// Bundles the page of server/demo with Vite into dist/server/demo/page: index.html, and assets named by their content, each
// with a gzipped copy beside it. Does nothing where no source is newer than the last bundle. Checks no types: the compiler does.
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

/** What the bundle is made from; folders are looked through. */
const sources = ['server/demo', 'client-sdk', 'package-lock.json', 'scripts/build-page.mjs'];
/** Made by the builds themselves. */
const made = /(^|\/)(node_modules|dist)(\/|$)|\.tsbuildinfo$/;
/** Smaller files gain nothing. */
const gzipFromBytes = 1024;

/** Bundles the page where it is out of date. `root` is the project's folder. */
export async function buildPage(root) {
  const outDir = join(root, 'dist/server/demo/page');
  if (changedAt(join(outDir, 'index.html')) > Math.max(...sources.map((source) => newestIn(join(root, source)))))
    return;
  const [{ build }, { default: react }] = await Promise.all([import('vite'), import('@vitejs/plugin-react')]);
  await build({
    configFile: false,
    root: join(root, 'server/demo'),
    base: '/',
    logLevel: 'warn',
    plugins: [react()],
    build: {
      outDir,
      emptyOutDir: true,
      target: 'es2022',
      // The server's content security policy lets no data: address through.
      assetsInlineLimit: 0,
      modulePreload: { polyfill: false },
      reportCompressedSize: false,
    },
  });
  for (const name of readdirSync(join(outDir, 'assets'))) {
    const bytes = readFileSync(join(outDir, 'assets', name));
    if (bytes.length >= gzipFromBytes)
      writeFileSync(join(outDir, 'assets', `${name}.gz`), gzipSync(bytes, { level: 9 }));
  }
}

/** When a file, or the newest below a folder, was changed. Folders count: their time tells of files that are gone. */
function newestIn(path) {
  const own = changedAt(path);
  if (made.test(path) || !statSync(path).isDirectory()) return own;
  const below = readdirSync(path)
    .filter((name) => !made.test(name))
    .map((name) => newestIn(join(path, name)));
  return Math.max(own, ...below);
}

function changedAt(path) {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await buildPage(fileURLToPath(new URL('..', import.meta.url)));
