// The API reference of the SDK, made from its doc comments, and that the step that makes it sees what lacks one.
import { expect } from 'chai';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { projectDir } from '../support/attune.js';
import { script } from '../support/script.js';

describe('the API reference', function () {
  this.timeout(60_000);
  let makeReference: (out: string, root?: string) => Promise<string[]>;
  let folder = '';

  before(async () => {
    ({ makeReference } = await script<{ makeReference: typeof makeReference }>('reference.mjs'));
  });
  beforeEach(() => {
    folder = mkdtempSync(join(realpathSync(tmpdir()), 'attune-reference-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it('[PK10] it is made without a complaint, has a page for each entry point, and loads nothing from another host', async () => {
    const out = join(folder, 'reference');
    const problems = await makeReference(out);
    expect(problems, problems.join('\n')).to.deep.equal([]);
    const modules = readFileSync(join(out, 'index.html'), 'utf8');
    const { entryPoints } = await script<{ entryPoints: () => { name: string }[] }>('entry-points.mjs');
    for (const { name } of entryPoints())
      expect(modules).to.contain(`modules/${name.replace('.', '_attune_client').replace('/', '_')}.html`);
    const pages = readdirSync(out, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.html'));
    expect(pages.length).to.be.above(50);
    for (const page of pages) {
      expect(readFileSync(join(out, page), 'utf8'), page).to.not.match(
        /<(?:script|link|img|iframe)[^>]+="(?:https?:)?\/\//,
      );
    }
  });

  it('[PK10] an export without a comment, and a link that leads nowhere, are errors, and then nothing is written', async () => {
    mkdirSync(join(folder, 'client-sdk'));
    symlinkSync(join(projectDir, 'node_modules'), join(folder, 'node_modules'));
    copyFileSync(join(projectDir, 'tsconfig.base.json'), join(folder, 'tsconfig.base.json'));
    copyFileSync(join(projectDir, 'client-sdk/tsconfig.json'), join(folder, 'client-sdk/tsconfig.json'));
    const exports = { '.': { types: './dist/index.d.ts', default: './dist/index.js' } };
    writeFileSync(join(folder, 'client-sdk/package.json'), JSON.stringify({ name: 'small', type: 'module', exports }));
    const source = '/** Like {@link bare}, not {@link nowhere}. */\nexport const told = 1;\nexport const bare = 2;\n';
    writeFileSync(join(folder, 'client-sdk/index.ts'), source);
    const problems = await makeReference(join(folder, 'reference'), folder);
    expect(problems, problems.join('\n')).to.have.length(2);
    expect(problems.join('\n')).to.match(/bare \(Variable\).* does not have any documentation/);
    expect(problems.join('\n')).to.match(/nowhere/);
    expect(existsSync(join(folder, 'reference'))).to.equal(false);
  });
});
