// That what docs/scaling.md says of many tabs follows from the costs that it names.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { needsTable, readCosts } from '../bench/scaling-model.js';
import { projectDir } from '../support/attune.js';

describe('docs/scaling.md', () => {
  it('[Y5] reckons what many tabs need from the costs that it names', () => {
    const text = readFileSync(join(projectDir, 'docs/scaling.md'), 'utf8');
    const section = (name: string) => text.split(`<!-- ${name} -->`)[1]!.split(`<!-- /${name} -->`)[0]!;
    const cells = (lines: readonly string[]) =>
      lines.filter((line) => line.startsWith('|')).map((line) => line.split('|').map((cell) => cell.trim()));
    const isRule = (row: string[]) => row.every((cell) => /^:?-*:?$/.test(cell));
    const said = cells(section('needs').split('\n')).filter((row) => !isRule(row));
    const reckoned = cells(needsTable(readCosts(section('costs')))).filter((row) => !isRule(row));
    expect(said).to.deep.equal(reckoned);
  });
});
