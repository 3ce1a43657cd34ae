// The Lua scripts' headers against their code and against how scripts.ts calls them. No Redis runs here.
import { expect } from 'chai';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { RedisClient } from '../../server/redis/connection.js';
import { createKeys, type SessionKeys } from '../../server/redis/keys.js';
import { scriptNames, Scripts, scriptSource } from '../../server/redis/scripts.js';
import { projectDir } from '../support/attune.js';

const folder = join(projectDir, 'server/redis/scripts');
const read = (file: string) => readFileSync(join(folder, file), 'utf8');
const all = readdirSync(folder).toSorted();
const parts = all.filter((file) => file.endsWith('.part.lua'));
const scripts = all.filter((file) => !parts.includes(file));

/** A script's parts: its header's sections as text, and the code below. */
function parse(file: string) {
  const lines = read(file).split('\n');
  const end = lines.findIndex((line, at) => at > 0 && !line.startsWith('--'));
  const header = lines.slice(1, end);
  const sections: Record<string, string> = {};
  let current = 'about';
  for (const line of header) {
    const began = /^-- (KEYS|ARGV|REPLY|include:)\s?(.*)$/.exec(line);
    if (began) current = began[1]!;
    const text = began ? began[2]! : line.replace(/^--\s?/, '');
    sections[current] = `${sections[current] === undefined ? '' : `${sections[current]}\n`}${text}`;
  }
  const code = lines
    .slice(end)
    .map((line) => line.replace(/^\s*--.*$/, ''))
    .join('\n');
  return { first: lines[0]!, sections, code };
}

/** Names of the KEYS, in order, as the header numbers them. */
function keyNames(section: string): string[] {
  const numbered = [...section.matchAll(/(?:^|\s)(\d+) ([A-Za-z]+)/g)];
  expect(
    numbered.map((match) => Number(match[1])),
    section,
  ).to.deep.equal(numbered.map((_, i) => i + 1));
  return numbered.map((match) => match[2]!);
}

/** The tags of replies: the word that a table begins with, or one of two. */
const tags = (text: string) =>
  new Set(
    [...text.matchAll(/\{ (?:\w+ and )?'([A-Z_]+)'(?: or '([A-Z_]+)')?/g)].flatMap((m) => [m[1]!, m[2] ?? []].flat()),
  );

/** What scripts.ts defines and how it calls, seen by a client that only listens. */
function listening() {
  const defined = new Map<string, { lua: string; numberOfKeys: number }>();
  const calls: (string | number)[][] = [];
  const client: Record<string, unknown> = { status: 'ready' };
  client['defineCommand'] = (name: string, definition: { lua: string; numberOfKeys: number }) => {
    defined.set(name.replace(/^attune_/, ''), definition);
    client[name] = (...args: (string | number)[]) => {
      calls.push(args);
      return Promise.resolve(['HEARD']);
    };
  };
  return { defined, calls, caller: new Scripts(client as unknown as RedisClient) };
}

describe('Lua scripts', () => {
  it('[R1] the files are those that scripts.ts loads, and parts that one of them includes', () => {
    expect(scripts).to.deep.equal(scriptNames.map((name) => `${name}.lua`).toSorted());
    const included = new Set(
      scripts.flatMap((file) => [...read(file).matchAll(/^-- include: (\S+)$/gm)].map((m) => m[1]!)),
    );
    expect([...included].toSorted()).to.deep.equal(parts);
  });

  for (const file of scripts) {
    const name = file.replace('.lua', '') as (typeof scriptNames)[number];
    const { first, sections, code } = parse(file);

    it(`[R2] ${file} begins with #!lua and says what it is`, () => {
      expect(first).to.match(/^#!lua( flags=(no-writes|allow-oom))?$/);
      expect(sections['about']).to.match(new RegExp(`^${name}: \\S.{20}`));
      expect(scriptSource(name))
        .to.match(/^#!lua/)
        .and.not.include('-- include:');
    });

    it(`[R3] ${file} has its keys in the header, in the order and number in which it is called`, async () => {
      const { defined, calls, caller } = listening();
      const named = keyNames(sections['KEYS'] ?? '');
      expect(defined.get(name)!.numberOfKeys).to.equal(named.length);
      const keys = createKeys('x').session('some-session');
      await caller.run(name, keys, ['argument']);
      expect(calls).to.deep.equal([[...named.map((key) => keys[key as keyof SessionKeys]), 'argument']]);
      const used = new Set([...code.matchAll(/KEYS\[(\d+)\]/g)].map((match) => Number(match[1])));
      for (const index of used) expect(index, 'KEYS in the code').to.be.at.most(named.length);
      expect(code, 'keys are never spelled').to.not.match(/KEYS\[[^\]\d]*\.\./);
    });

    it(`[R4] ${file} describes its arguments where it reads any`, () => {
      if (/\bARGV\b/.test(code)) expect(sections['ARGV']).to.match(/\S/);
      else expect(sections).to.not.have.property('ARGV');
    });

    it(`[R5] ${file} answers with the tags of its header and no other`, () => {
      const promised = tags(sections['REPLY'] ?? '');
      expect(promised.size).to.be.above(0);
      expect([...tags(code)].toSorted()).to.deep.equal([...promised].toSorted());
    });

    it(`[R6] ${file} passes JSON through as text and calls no command that looks at every key`, () => {
      expect(scriptSource(name)).to.not.match(/\bcjson\b|\bcmsgpack\b/);
      expect(scriptSource(name)).to.not.match(/'(KEYS|SCAN|FLUSHALL|FLUSHDB|EVAL)'/);
      if (first.includes('no-writes')) expect(code).to.not.match(/'(H?SET|XADD|ZADD|DEL|UNLINK|HINCRBY|SPUBLISH)'/);
    });
  }

  it('[R7] the commit that makes room is the same script, allowed to run when memory is full', () => {
    const { defined } = listening();
    const freeing = defined.get('commitFreeing')!;
    expect(freeing.lua.split('\n')[0]).to.equal('#!lua flags=allow-oom');
    expect(freeing.lua.split('\n').slice(1)).to.deep.equal(scriptSource('commit').split('\n').slice(1));
    expect(freeing.numberOfKeys).to.equal(defined.get('commit')!.numberOfKeys);
  });

  it('[R8] all keys and the channel of a session are in one slot, and no two sessions share one', () => {
    const keys = createKeys('p');
    const tag = (key: string) => /\{(p\d{4})\}/.exec(key)?.[1];
    const spelled = new Map<string, string>();
    for (const id of ['a', 'a:b', 'a:doc', 'a-b', 'b', 'A']) {
      const { index, ...own } = keys.session(id);
      expect(new Set([index, ...Object.values(own)].map(tag)).size, id).to.equal(1);
      for (const key of Object.values(own)) {
        expect(spelled.get(key), `${key} of ${id}`).to.equal(undefined);
        spelled.set(key, id);
      }
      expect(index).to.equal(keys.index(keys.partitionOf(id)));
      expect(index.startsWith('p:default:{')).to.equal(true);
    }
  });
});
