// How large each entry point of the SDK is in a browser: bundled and minified by esbuild, then compressed by zlib's gzip.
// `npm run sizes` prints the table and fails over a limit; a unit test asks the same. It writes no file.
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { entryPoints, projectRoot } from './entry-points.mjs';

/**
 * What each entry point may add, in bytes of min+gzip: the core to socket.io-client, the others to the core. Those without a
 * limit are not for pages: the protocol holds the schemas that the server checks with.
 */
export const gzipBytesMax = {
  '.': 5 * 1024,
  './messages': 2 * 1024,
  './react': 1_536,
  './storage': 1_280,
  './tabs': 3 * 1024,
  './schema': 8 * 1024,
  './protocol': undefined,
};

/** Entry points that have a row of their own and are brought in by one function of another: who does not use that function
 * does not ship them, for bundlers leave them out. They are not counted again. */
const broughtIn = { './react': ['./messages'] };

/** Packages that are never counted: who uses the entry point has them. */
export const given = ['socket.io-client', 'react', 'react-dom'];

/**
 * Bundles what `code` brings in for a browser, as ES modules. `leaveOut` are packages, and files by their path from the
 * project's folder, that stay imports. Rejects where something cannot be resolved there, a module of Node for one.
 * Resolves with the text, the files in it, how many of its bytes each gave, and what it still imports.
 */
export async function bundle(code, leaveOut = [], root = projectRoot) {
  const result = await build({
    stdin: { contents: code, resolveDir: root, sourcefile: 'entry.js' },
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    legalComments: 'none',
    write: false,
    metafile: true,
    logLevel: 'silent',
    absWorkingDir: root,
    plugins: [leavesOut(leaveOut, root)],
  });
  const [file] = result.outputFiles;
  const [output] = Object.values(result.metafile.outputs);
  return {
    text: file.text,
    files: Object.keys(output.inputs).filter((path) => path !== 'entry.js'),
    bytesOf: Object.fromEntries(
      Object.entries(output.inputs).map(([path, { bytesInOutput }]) => [path, bytesInOutput]),
    ),
    imports: output.imports.map(({ path }) => path),
  };
}

/** Keeps packages and files out of a bundle, whatever path they are imported by. */
function leavesOut(names, root) {
  const isGiven = (path) => names.some((name) => path === name || path.startsWith(`${name}/`));
  return {
    name: 'leave out',
    setup({ onResolve, resolve }) {
      onResolve({ filter: /./ }, async ({ path, pluginData, ...from }) => {
        if (pluginData === 'asked already' || names.length === 0) return undefined;
        if (isGiven(path)) return { path, external: true };
        if (!path.startsWith('.')) return undefined;
        const found = await resolve(path, { ...from, pluginData: 'asked already' });
        const isOut = found.errors.length === 0 && names.includes(relative(root, found.path));
        return isOut ? { path, external: true } : undefined;
      });
    },
  };
}

function sourceOfCore(root = projectRoot) {
  return entryPoints(root).find(({ name }) => name === '.').source;
}

/** Code that has all that a source file of the SDK exports. */
export const everythingOf = (source) => `export * from './${source}'`;

/** Bytes of the bundle, minified, and of what gzip at its best makes of it. */
function sizeOf({ text }) {
  return { minBytes: Buffer.byteLength(text), gzipBytes: gzipSync(text, { level: 9 }).length };
}

/**
 * The table: one row per entry point, `{ name, what, minBytes, gzipBytes, limit }`, after socket.io-client alone. The core has
 * two rows for what it adds: all of it less socket.io-client alone, which is what a page pays and has the limit, and by
 * itself, which compresses worse for want of company.
 */
export async function measure(root = projectRoot) {
  const core = sourceOfCore(root);
  const [socketIo, whole, own] = await Promise.all([
    bundle(`export { Manager, io } from 'socket.io-client'`, [], root),
    bundle(everythingOf(core), [], root),
    bundle(everythingOf(core), given, root),
  ]);
  const [alone, all] = [sizeOf(socketIo), sizeOf(whole)];
  const limit = gzipBytesMax['.'];
  const rows = [
    { name: 'socket.io-client', what: 'alone', ...alone },
    { name: '@attune/client', what: 'with socket.io-client', ...all },
    { name: '@attune/client', what: 'less socket.io-client alone', ...difference(all, alone), limit },
    { name: '@attune/client', what: 'socket.io-client left out', ...sizeOf(own) },
  ];
  const entries = entryPoints(root);
  for (const { name, source } of entries) {
    if (name === '.') continue;
    const others = entries.filter((entry) => broughtIn[name]?.includes(entry.name));
    const leaveOut = [...given, ...own.files, ...others.map((entry) => entry.source)];
    const added = await bundle(everythingOf(source), leaveOut, root);
    const what = ['beside the core', ...others.map((entry) => entry.name)].join(' and ');
    rows.push({ name: name.replace('.', '@attune/client'), what, ...sizeOf(added), limit: gzipBytesMax[name] });
  }
  return rows;
}

function difference(one, other) {
  return { minBytes: one.minBytes - other.minBytes, gzipBytes: one.gzipBytes - other.gzipBytes };
}

/** The rows that are over their limit. */
export function tooLarge(rows) {
  return rows.filter(({ gzipBytes, limit }) => limit !== undefined && gzipBytes > limit);
}

/** The rows as lines of text, columns in line. */
export function tableOf(rows) {
  const cells = rows.map(({ name, what, minBytes, gzipBytes, limit }) => [
    name,
    what,
    ...[minBytes, gzipBytes, limit].map((bytes) => bytes?.toLocaleString('en') ?? ''),
  ]);
  const all = [['entry point', 'what', 'min, bytes', 'min+gzip, bytes', 'limit'], ...cells];
  const widths = all[0].map((_, column) => Math.max(...all.map((row) => row[column].length)));
  return all.map((row) =>
    row.map((cell, column) => (column < 2 ? cell.padEnd(widths[column]) : cell.padStart(widths[column]))).join('  '),
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const rows = await measure();
  console.log(tableOf(rows).join('\n'));
  const { bytesOf } = await bundle(everythingOf(sourceOfCore()), given);
  const parts = Object.entries(bytesOf)
    .filter(([, bytes]) => bytes > 0)
    .toSorted(([, one], [, other]) => other - one);
  console.log(`\nthe core, minified: ${parts.map(([path, bytes]) => `${path} ${bytes}`).join(', ')}`);
  for (const { name, what } of tooLarge(rows)) console.error(`${name} (${what}) is over its limit`);
  process.exitCode = tooLarge(rows).length > 0 ? 1 : 0;
}
