// The README's table of variables, made from the code that reads them. With WRITE_README=1 it writes the table.
import { expect } from 'chai';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import prettier from 'prettier';
import { tunableLimits } from '../../client-sdk/protocol/limits.js';
import { variables } from '../../server/config.js';
import { projectDir } from '../support/attune.js';

const path = join(projectDir, 'README.md');
const between = /(<!-- variables -->\n)([\s\S]*?)(<!-- \/variables -->)/;

/** The table of every variable and of every limit that has one, in the order of the code. */
function variablesTable(): string {
  const rows = Object.entries(variables).map(([name, variable]) => {
    const shown = 'shown' in variable ? variable.shown : `\`${String(variable.default)}\``;
    return [name, shown, variable.description];
  });
  const limits = Object.entries(tunableLimits).map(([name, { value, unit, reason }]) => [
    name,
    `\`${value}\``,
    `Limit, ${unit}: ${reason}`,
  ]);
  const lines = [...rows, ...limits].map(([name, shown, text]) => `| \`${name}\` | ${shown} | ${text} |`);
  return ['| variable | default | meaning |', '| --- | --- | --- |', ...lines].join('\n');
}

describe('README.md', () => {
  it('[Y1] has the table of variables that the code reads', async () => {
    const made = `${variablesTable()}\n`;
    const options = { parser: 'markdown', ...(await prettier.resolveConfig(path)) };
    const formatted = await prettier.format(`\n${made}`, options);
    const readme = readFileSync(path, 'utf8');
    expect(between.test(readme), 'the two marks').to.equal(true);
    if (process.env['WRITE_README'] === '1') {
      writeFileSync(
        path,
        readme.replace(between, (_all, open: string, _old, end: string) => `${open}\n${formatted}\n${end}`),
      );
    }
    const stands = between.exec(readFileSync(path, 'utf8'))![2]!;
    expect(stands.trim(), 'make it anew with: WRITE_README=1 npm run test:unit').to.equal(formatted.trim());
  });

  it('[Y2] names only files of the project that are there', () => {
    const readme = readFileSync(path, 'utf8');
    const linked = [...readme.matchAll(/\]\(([^)#]+)\)/g)]
      .map((match) => match[1]!)
      .filter((to) => !/^https?:/.test(to));
    expect(linked.length).to.be.above(3);
    for (const file of linked) expect(existsSync(join(projectDir, file)), file).to.equal(true);
  });
});
