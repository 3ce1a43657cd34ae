// SPEC.md against the tests: every rule is cited by a test, and every test cites a rule. It reads both as text.
import { expect } from 'chai';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { projectDir } from '../support/attune.js';

/** A rule is a list item that begins with its id: `- [C1] what is promised`. */
const ruleLine = /^\s*[-*] \[([A-Z]{1,2}\d+)\] (\S.*)$/gm;
/** How a test is made, and its title as far as it is text. */
const testCall = /\bit(?:\.\w+)?\(\s*(?:(['"`])((?:\\.|(?!\1)[^\\])*)\1|(\w+))/g;

function rulesIn(spec: string): { id: string; text: string }[] {
  return [...spec.matchAll(ruleLine)].map((match) => ({ id: match[1]!, text: match[2]! }));
}

function titlesIn(source: string): string[] {
  return [...source.matchAll(testCall)].flatMap((match) => match[2] ?? titlesNamed(match[3]!, source));
}

/** Titles that stand in a constant: all texts of its definition. */
function titlesNamed(name: string, source: string): string[] {
  const defined = new RegExp(`\\bconst ${name}\\b([^]*?);\\n`).exec(source)?.[1] ?? '';
  const texts = [...defined.matchAll(/'(\[(?:\\.|[^'\\])*)'/g)].map((match) => match[1]!);
  return texts.length > 0 ? texts : [name];
}

const idOf = (title: string) => /^\[([A-Z]{1,2}\d+)\] /.exec(title)?.[1];

interface Test {
  file: string;
  title: string;
}

/** What is wrong between rules and tests, one line each. */
function differences(rules: readonly { id: string }[], tests: readonly Test[]): string[] {
  const ids = rules.map(({ id }) => id);
  const cited = new Set(tests.map(({ title }) => idOf(title)));
  return [
    ...ids.filter((id, i) => ids.indexOf(id) !== i).map((id) => `SPEC.md has the rule [${id}] twice`),
    ...ids.filter((id) => !cited.has(id)).map((id) => `no test cites the rule [${id}]`),
    ...tests.flatMap(({ file, title }) => {
      const id = idOf(title);
      if (id === undefined) return `${file}: the title cites no rule: ${title}`;
      return ids.includes(id) ? [] : `${file}: there is no rule [${id}], of: ${title}`;
    }),
  ];
}

describe('SPEC.md', () => {
  const spec = readFileSync(join(projectDir, 'SPEC.md'), 'utf8');
  const tests = readdirSync(join(projectDir, 'test'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.test.ts'))
    .flatMap((file) =>
      titlesIn(readFileSync(join(projectDir, 'test', file), 'utf8')).map((title) => ({ file, title })),
    );

  it('[Z10] every rule has a test that cites it, and every test cites a rule that is there', () => {
    expect(tests.length).to.be.above(200);
    const found = differences(rulesIn(spec), tests);
    expect(found, found.join('\n')).to.deep.equal([]);
  });

  it('[Z10] the check sees a rule without a test, a test without a rule, and a rule that is there twice', () => {
    const rules = rulesIn('# x\n- [A1] one\n  - [A2] two\n* [A1] again\n- [a3] no\ntext [A4] no\n');
    expect(rules.map(({ id }) => id)).to.deep.equal(['A1', 'A2', 'A1']);
    const source = [
      "IT('[A1] says', () => {});",
      'IT(`[A9] of ${name}`, x);',
      'IT(\n  "none", x);',
      'IT(title, x); wait(1);',
    ];
    const made = titlesIn(source.join('\n').replaceAll('IT', 'it')).map((title) => ({ file: 'f', title }));
    expect(differences(rules, made)).to.deep.equal([
      'SPEC.md has the rule [A1] twice',
      'no test cites the rule [A2]',
      'f: there is no rule [A9], of: [A9] of ${name}',
      'f: the title cites no rule: none',
      'f: the title cites no rule: title',
    ]);
  });

  it('[Z10] every rule is a sentence', () => {
    for (const { id, text } of rulesIn(spec)) {
      expect(text.length, `[${id}]`).to.be.above(20);
    }
  });
});
