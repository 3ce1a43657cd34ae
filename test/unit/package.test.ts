// The SDK's package as it would be published: what its package.json promises, held against the files that the build made.
import { expect } from 'chai';
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { projectDir } from '../support/attune.js';
import { script } from '../support/script.js';

interface PackageFile {
  type: string;
  files: string[];
  exports: Record<string, Record<string, string>>;
}

/** Named in package.json and not written yet: whoever writes one takes its name out of here. */
const unwritten: string[] = [];

const run = promisify(execFile);
const read = (path: string) => readFileSync(join(projectDir, path), 'utf8');
const sdkDir = join(projectDir, 'client-sdk');
const packageFile = JSON.parse(readFileSync(join(sdkDir, 'package.json'), 'utf8')) as PackageFile;
const named = Object.entries(packageFile.exports);
const entries = named.filter(([name]) => !unwritten.includes(name));
const specifierOf = (entry: string) => entry.replace('.', '@attune/client');

describe('the SDK as a package', () => {
  it('[PK5] it is ESM, types come first for each entry point, and each file that it names is built and published', () => {
    expect(packageFile.type).to.equal('module');
    expect(named.map(([name]) => name)).to.include.members(['.', './react', './protocol', ...unwritten]);
    for (const [name, conditions] of entries) {
      expect(Object.keys(conditions), name).to.deep.equal(['types', 'default']);
      for (const file of Object.values(conditions)) {
        expect(existsSync(join(sdkDir, file)), `${file} of ${name}: run \`npm run build\``).to.equal(true);
        expect(
          packageFile.files.some((published) => file.startsWith(`./${published}/`)),
          file,
        ).to.equal(true);
      }
      const code = readFileSync(join(sdkDir, conditions['default']!), 'utf8');
      expect(code, name)
        .to.match(/^(export|import)\b/m)
        .and.not.match(/\brequire\(|\bmodule\.exports\b/);
    }
  });

  it('[PK5] no entry point is named that is not written, but those that are still to come', async () => {
    const { entryPoints } = await script<{ entryPoints: () => { name: string }[] }>('entry-points.mjs');
    const written = entryPoints().map(({ name }) => name);
    expect(named.map(([name]) => name).filter((name) => !written.includes(name))).to.deep.equal(unwritten);
  });

  for (const [name] of entries) {
    it(`[PK6] ${specifierOf(name)} can be imported in Node`, async () => {
      const exported = (await import(specifierOf(name))) as object;
      expect(Object.keys(exported)).to.not.deep.equal([]);
    });
  }

  it('[PK11] what is published is compiled files, maps with the sources in them, license and readme', async () => {
    const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';
    const { stdout } = await run(npm, ['pack', '--dry-run', '--json', '--ignore-scripts', '--offline'], {
      cwd: sdkDir,
    });
    // npm 12 gives an object by package name where older ones give a list.
    const [packed] = Object.values(JSON.parse(stdout) as Record<string, { files: { path: string }[] }>);
    const paths = packed!.files.map(({ path }) => path);
    const compiled = paths.filter((path) => /^dist\/.+(\.js|\.js\.map|\.d\.ts)$/.test(path));
    const others = paths.filter((path) => !compiled.includes(path));
    expect(others.toSorted()).to.deep.equal(['LICENSE', 'README.md', 'package.json']);
    expect(read('client-sdk/LICENSE')).to.equal(read('LICENSE'));
    const code = compiled.filter((path) => path.endsWith('.js'));
    expect(code.length).to.be.above(10);
    for (const path of code) {
      expect(read(`client-sdk/${path}`), path).to.match(/\n\/\/# sourceMappingURL=\S+\.js\.map\s*$/);
      const map = JSON.parse(read(`client-sdk/${path}.map`)) as { sources: string[]; sourcesContent?: string[] };
      expect(map.sources, path).to.have.length(1);
      const source = map.sources[0]!.replace(/^(\.\.\/)+/, '');
      expect(map.sourcesContent, path).to.deep.equal([read(source)]);
    }
  });

  describe('in the project of somebody else', () => {
    let folder = '';

    before(() => {
      folder = mkdtempSync(join(realpathSync(tmpdir()), 'attune-consumer-'));
      symlinkSync(join(projectDir, 'node_modules'), join(folder, 'node_modules'));
      writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
    });
    after(() => rmSync(folder, { recursive: true, force: true }));

    /** Compiles files there, by name, with strict options; what the compiler says, '' where it is content. */
    async function compile(files: Record<string, string>, moduleResolution: string): Promise<string> {
      for (const [name, code] of Object.entries(files)) writeFileSync(join(folder, name), code);
      const compilerOptions = {
        noEmit: true,
        strict: true,
        exactOptionalPropertyTypes: true,
        noUncheckedIndexedAccess: true,
        skipLibCheck: false,
        target: 'es2022',
        lib: ['es2023', 'dom', 'dom.iterable'],
        types: [],
        jsx: 'react-jsx',
        module: moduleResolution === 'bundler' ? 'esnext' : 'nodenext',
        moduleResolution,
        moduleDetection: 'force',
      };
      writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: Object.keys(files) }));
      const compiler = join(projectDir, 'node_modules/typescript/bin/tsc');
      return run(process.execPath, [compiler, '-p', folder], { cwd: folder }).then(
        () => '',
        ({ stdout }: { stdout: string }) => stdout || 'the compiler did not run',
      );
    }

    const imports = entries.map(([name], i) => `import * as entry${i} from '${specifierOf(name)}';`).join('\n');
    const uses = `export const all = [${entries.map((_, i) => `entry${i}`).join(', ')}];\n`;
    for (const resolution of ['bundler', 'nodenext']) {
      it(`[PK7] its types are complete for ${resolution} resolution, library check included`, async () => {
        expect(await compile({ 'app.ts': `${imports}\n${uses}` }, resolution)).to.equal('');
      });
    }

    it('[PK12] the code of its readme compiles, and the table there has each entry point', async () => {
      const readme = read('client-sdk/README.md');
      const blocks = [...readme.matchAll(/^```(\w*)\n([^]*?)^```$/gm)].filter(([, language]) => language !== '');
      expect(blocks).to.not.deep.equal([]);
      for (const [, language] of blocks) expect(language).to.be.oneOf(['ts', 'tsx']);
      const files = blocks.map(([, language, code], at) => [`block-${at + 1}.${language}`, code!]);
      expect(await compile(Object.fromEntries(files) as Record<string, string>, 'bundler')).to.equal('');
      const rows = [...readme.matchAll(/^\| `(@attune\/client[^`]*)`/gm)].map((row) => row[1]!);
      expect(rows.toSorted()).to.deep.equal(named.map(([name]) => specifierOf(name)).toSorted());
    });

    it('[PK7] a project that uses them wrongly is told so', async () => {
      const code =
        "import { PROTOCOL_VERSION } from '@attune/client/protocol';\nexport const no: null = PROTOCOL_VERSION;";
      expect(await compile({ 'app.ts': code }, 'bundler')).to.match(/^app\.ts\(2,14\): error TS2322/);
    });
  });
});
