// How large the SDK is for a page, what its bundles hold, and that the check sees what it is to refuse.
import { expect } from 'chai';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { projectDir } from '../support/attune.js';
import { script } from '../support/script.js';

interface Row {
  name: string;
  what: string;
  minBytes: number;
  gzipBytes: number;
  limit?: number;
}

interface EntryPoint {
  name: string;
  source: string;
}

/** What scripts/sizes.mjs exports. */
interface Sizes {
  gzipBytesMax: Record<string, number | undefined>;
  given: string[];
  everythingOf(source: string): string;
  bundle(
    code: string,
    leaveOut?: string[],
    root?: string,
  ): Promise<{ text: string; files: string[]; imports: string[] }>;
  measure(root?: string): Promise<Row[]>;
  tooLarge(rows: Row[]): Row[];
  tableOf(rows: Row[]): string[];
}

/** The packages that an entry point may bring into a page, beside those that whoever uses it has already. */
const packagesOf: Record<string, readonly string[]> = {
  '.': [],
  './messages': [],
  './react': [],
  './storage': [],
  './tabs': [],
  './schema': ['@cfworker/json-schema'],
  './protocol': ['zod'],
};

describe('the size of the SDK', () => {
  let sizes: Sizes;
  let entries: EntryPoint[];
  let folder = '';

  before(async () => {
    sizes = await script<Sizes>('sizes.mjs');
    entries = (await script<{ entryPoints(): EntryPoint[] }>('entry-points.mjs')).entryPoints();
  });
  beforeEach(() => {
    folder = mkdtempSync(join(realpathSync(tmpdir()), 'attune-sizes-'));
    symlinkSync(join(projectDir, 'node_modules'), join(folder, 'node_modules'));
    project({ 'client-sdk/index.ts': 'export const core = 1;' });
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  /** Writes files of a small SDK, with an entry point for each file that stands right in client-sdk. */
  function project(files: Record<string, string>): void {
    const exports: Record<string, object> = {};
    for (const [path, text] of Object.entries({ 'client-sdk/index.ts': 'export const core = 1;', ...files })) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), text);
      const [, name] = /^client-sdk\/(\w+)\.ts$/.exec(path) ?? [];
      if (name) exports[name === 'index' ? '.' : `./${name}`] = { default: `./dist/${name}.js` };
    }
    writeFileSync(join(folder, 'client-sdk/package.json'), JSON.stringify({ sideEffects: false, exports }));
  }

  const refusalOf = (work: Promise<unknown>) =>
    work.then(
      () => 'nothing',
      (error: Error) => error.message,
    );

  it('[PK1] no entry point adds more to a page than its limit, and each has a row in the table', async () => {
    const rows = await sizes.measure();
    const table = sizes.tableOf(rows).join('\n');
    expect(sizes.tooLarge(rows), table).to.deep.equal([]);
    for (const { name } of entries) {
      expect(sizes.gzipBytesMax, `a limit for ${name}`).to.have.property(name);
      expect(rows.map((row) => row.name)).to.include(name.replace('.', '@attune/client'));
    }
    expect(sizes.gzipBytesMax).to.include({ '.': 5_120, './react': 1_536 });
  });

  it('[PK2] an entry point over its limit is named; what the core holds is not counted again', async () => {
    const noise = Array.from({ length: 2_000 }, (_, i) => `${(i * 2_654_435_761) % 2 ** 32}`).join();
    const core = {
      'client-sdk/index.ts': "export { noise } from './noise/noise.js'; export { io } from 'socket.io-client';",
      'client-sdk/noise/noise.ts': `export const noise = '${noise}';`,
    };
    project(core);
    expect(sizes.tooLarge(await sizes.measure(folder)).map(({ what }) => what)).to.deep.equal([
      'less socket.io-client alone',
    ]);
    const storage = { 'client-sdk/storage.ts': "export { noise } from './noise/noise.js';" };
    project({ ...core, ...storage });
    const shared = (await sizes.measure(folder)).find(({ name }) => name === '@attune/client/storage');
    expect(shared?.gzipBytes).to.be.below(200);
    project({ ...core, ...storage, 'client-sdk/index.ts': 'export const core = 1;' });
    expect(sizes.tooLarge(await sizes.measure(folder)).map(({ name }) => name)).to.deep.equal([
      '@attune/client/storage',
    ]);
  });

  it('[PK3] an entry point brings into a page its own files and the packages it is known to need, no schema library', async () => {
    for (const { name, source } of entries) {
      const { files, imports } = await sizes.bundle(sizes.everythingOf(source), sizes.given);
      const packages = new Set(files.map((file) => /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(file)?.[1] ?? 'ours'));
      expect([...packages].toSorted(), name).to.deep.equal(['ours', ...(packagesOf[name] ?? [])].toSorted());
      expect(
        imports.filter((path) => !/^(socket\.io-client|react)(\/|$)/.test(path)),
        name,
      ).to.deep.equal([]);
    }
  });

  it('[PK3] a module of Node, or a package that is not there, in an entry point is refused', async () => {
    project({ 'client-sdk/index.ts': "export { readFileSync } from 'node:fs';" });
    expect(await refusalOf(sizes.measure(folder))).to.contain('node:fs');
    project({ 'client-sdk/index.ts': "export { x } from 'not-there';" });
    expect(await refusalOf(sizes.measure(folder))).to.contain('not-there');
  });

  it('[PK4] what a page does not use of the SDK is not in its bundle', async () => {
    for (const { name, source } of entries) {
      const { text } = await sizes.bundle(`import './${source}';`, sizes.given);
      expect(text.replaceAll(/import"[^"]+";/g, '').trim(), name).to.equal('');
    }
    const { text } = await sizes.bundle("export { PROTOCOL_VERSION } from './client-sdk/protocol/index.js'");
    expect(text.length).to.be.below(100);
    writeFileSync(join(folder, 'client-sdk/package.json'), '{}');
    writeFileSync(join(folder, 'client-sdk/index.ts'), 'globalThis.touched = true;');
    expect((await sizes.bundle("import './client-sdk/index.ts'", [], folder)).text).to.contain('touched');
  });
});
