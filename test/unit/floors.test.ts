// The floors of the architecture as a table, held against the imports of every source file; and what else a file may not
// do where it stands. It reads text, it runs nothing of the project.
import { expect } from 'chai';
import { readFileSync, readdirSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { basename, dirname, join, normalize } from 'node:path';
import { projectDir } from '../support/attune.js';

interface Room {
  /** Name of the rule that an import out of order breaks. */
  readonly rule: string;
  /** The files of this room: the first room that fits a file is its room. */
  readonly files: RegExp;
  /** Project files that it may import, beside those of its own room. */
  readonly imports: RegExp;
  /** Packages that it may import; undefined: any but those that `reserved` gives to others. */
  readonly packages?: readonly string[];
  /** Whether it may import modules of Node. */
  readonly node: boolean;
}

const protocol = /^client-sdk\/protocol\//;
const leaves = 'server/(config|logger|metrics|time)\\.ts$';
const below = (...rooms: string[]) => new RegExp(`^(${[...rooms, 'client-sdk/protocol/'].join('|')})`);

/** From the narrowest room to the widest. */
const rooms: readonly Room[] = [
  { rule: 'protocol imports nothing', files: protocol, imports: protocol, packages: ['zod'], node: false },
  {
    rule: 'react imports client-sdk and react',
    files: /^client-sdk\/react\//,
    imports: /^client-sdk\//,
    packages: ['react'],
    node: false,
  },
  {
    rule: 'client-sdk never imports the server',
    files: /^client-sdk\//,
    imports: /^client-sdk\/(?!react\/)/,
    packages: ['socket.io-client', '@cfworker/json-schema'],
    node: false,
  },
  {
    rule: 'leaves import the protocol alone',
    files: new RegExp(`^${leaves}`),
    imports: protocol,
    node: true,
  },
  {
    rule: 'session imports the protocol alone',
    files: /^server\/session\//,
    imports: below(),
    packages: ['ajv', 'ajv-formats', 'fast-json-patch'],
    node: false,
  },
  {
    rule: 'redis imports session and protocol',
    files: /^server\/redis\//,
    imports: below('server/session/', leaves),
    node: true,
  },
  {
    rule: 'sync imports redis, session and protocol',
    files: /^server\/sync\//,
    imports: below('server/redis/', 'server/session/', leaves),
    node: true,
  },
  {
    rule: 'api imports sync, session and protocol, never redis',
    files: /^server\/api\//,
    imports: below('server/sync/', 'server/session/', leaves),
    node: true,
  },
  {
    rule: 'cli imports client-sdk and config',
    files: /^server\/cli\/(?!(serve|doctor)(-command)?\.ts$)/,
    imports: /^(client-sdk\/|server\/config\.ts$)/,
    node: true,
  },
  {
    rule: 'serve and doctor import floors 5 and 2 beside',
    files: /^server\/cli\//,
    imports: /^(client-sdk\/|server\/(config|server|main)\.ts$|server\/redis\/)/,
    node: true,
  },
  {
    rule: 'the demo imports client-sdk and react',
    files: /^server\/demo\//,
    imports: /^client-sdk\//,
    packages: ['react', 'react-dom', 'qrcode-generator'],
    node: false,
  },
  {
    rule: 'of client-sdk the server imports the protocol alone',
    files: /^server\/(main|server)\.ts$/,
    imports: below('server/(api|sync|redis|session)/', leaves),
    node: true,
  },
];

/** Packages that only one room may import, whatever the table above leaves open. */
const reserved: Record<string, RegExp> = {
  ioredis: /^server\/redis\//,
  redlock: /^server\/redis\//,
};

/** What the text of a file may not hold, where, and where it may all the same. */
const forbidden: readonly { rule: string; text: RegExp; in: RegExp; but?: RegExp }[] = [
  {
    rule: 'only the configuration reads the environment',
    text: /\bprocess\s*\.\s*env\b|\bprocess\s*\[|=\s*process\s*;/,
    in: /./,
    but: /^server\/(main|config|cli\/environment)\.ts$/,
  },
  {
    rule: 'session has no clock',
    text: /\bDate\s*\.\s*now\b|\bnew Date\(\s*\)|\bDate\(\s*\)|\bperformance\b|\bhrtime\b/,
    in: /^server\/session\//,
  },
  { rule: 'session has no random', text: /\bMath\s*\.\s*random\b|\bcrypto\b/, in: /^server\/session\// },
  {
    rule: 'session has no timers',
    text: /\bset(Timeout|Interval|Immediate)\b|\bqueueMicrotask\b|\bnextTick\b/,
    in: /^server\/session\//,
  },
  { rule: 'session is not async', text: /\basync\b|\bawait\b|\bPromise\b|\.then\(/, in: /^server\/session\// },
  { rule: 'protocol runs anywhere', text: /\b(Buffer|process|window|document\.(body|cookie))\b/, in: protocol },
  {
    rule: 'only keys.ts spells a key',
    text: /\{p\$\{|:\$\{[^}]*\}:(doc|log|ids|messages|history|lock)\b/,
    in: /^server\//,
    but: /^server\/redis\/keys\.ts$/,
  },
  {
    rule: 'sync, lease and feed take time and chance from outside',
    text: /(?<![.\w])(set|clear)(Timeout|Interval|Immediate)\(|\bperformance\s*\.|\bMath\s*\.\s*random\b|\bDate\s*\.\s*now\b/,
    in: /^server\/(sync\/|redis\/(lease|commit-feed)\.ts$)/,
  },
  { rule: 'interfaces have no I before their name', text: /\b(interface|class|type) I[A-Z][a-z]/, in: /./ },
];

const refusedNames = /^(utils?|helpers?|common|core|managers?|services?|types)\.ts$/;
const refusedFolders = /(^|\/)(utils?|helpers?|common|core|managers?|services?|types|classes)\//;

/** What a source file brings in: import and export … from (types too), import x = require, import('…'). */
function importsOf(source: string): string[] {
  const code = withoutComments(source);
  const forms = [
    /^\s*(?:import|export)\b[^'"`;]*?\bfrom\s*['"]([^'"]+)['"]/gm,
    /^\s*import\s*['"]([^'"]+)['"]/gm,
    /(?<![.\w])import\s*\(\s*['"`]([^'"`]+)['"`]/g,
    /(?<![.\w])require\s*\(\s*['"`]([^'"`]+)['"`]/g,
    /^\s*declare module ['"]([^'"]+)['"]/gm,
  ];
  const found = forms.flatMap((form) => [...code.matchAll(form)].map((match) => match[1]!));
  // A target that is computed cannot be checked: it counts as one that nobody may import.
  for (const match of code.matchAll(/(?:\bawait|\breturn|[=(,:?])\s*import\s*\(\s*([^'"`\s)][^)]*)\)/g)) {
    if (!/^\w+\s*:/.test(match[1]!)) found.push(`computed ${match[1]!}`);
  }
  return found;
}

/** The source without comments that stand on lines of their own: code may be quoted in them. */
function withoutComments(source: string): string {
  return source.replaceAll(/\/\*\*?[\s\S]*?\*\//g, '').replaceAll(/^\s*\/\/.*$/gm, '');
}

const isNode = (name: string) => name.startsWith('node:') || builtinModules.includes(name.split('/')[0]!);
const packageOf = (name: string) =>
  name
    .split('/')
    .slice(0, name.startsWith('@') ? 2 : 1)
    .join('/');

/** The rules that the file breaks, each with what breaks it. */
function broken(file: string, source: string): string[] {
  const room = rooms.find(({ files }) => files.test(file));
  if (!room) return [`every file has a room: ${file}`];
  const found: string[] = [];
  const say = (rule: string, what: string) => found.push(`${rule}: ${file} has ${what}`);
  for (const name of importsOf(source)) {
    if (name.startsWith('.')) {
      const target = normalize(join(dirname(file), name)).replace(/\.js$/, '.ts');
      if (!room.files.test(target) && !room.imports.test(target)) say(room.rule, target);
    } else if (isNode(name)) {
      if (!room.node) say(`${room.rule}, no module of Node`, name);
    } else {
      const owner = reserved[packageOf(name)];
      if (owner && !owner.test(file)) say(`only server/redis imports ${packageOf(name)}`, name);
      else if (name.startsWith('computed ')) say('imports name their target', name);
      else if (room.packages && !room.packages.includes(packageOf(name))) say(`${room.rule}, no other package`, name);
    }
  }
  const code = withoutComments(source);
  for (const { rule, text, in: where, but } of forbidden) {
    const match = where.test(file) && !but?.test(file) ? text.exec(code) : null;
    if (match) say(rule, match[0]);
  }
  if (refusedNames.test(basename(file)) || refusedFolders.test(file)) say('files are named by what they do', file);
  if (!headOf(source)) say('every file begins with what it owns', source.slice(0, 40));
  return found;
}

/** The comment that a file begins with, one to three lines, after a possible first line for the system. */
function headOf(source: string): string | undefined {
  const head = /^(?:#!.*\n)?((?:\/\/ .+\n)+)/.exec(source)?.[1];
  return head !== undefined && head.length > 24 ? head : undefined;
}

function filesBelow(folder: string, ending: RegExp): string[] {
  return readdirSync(join(projectDir, folder), { recursive: true, encoding: 'utf8' })
    .map((name) => join(folder, name).replaceAll('\\', '/'))
    .filter((name) => ending.test(name) && !/\/(fixtures|dist|node_modules)\//.test(name))
    .toSorted();
}

const read = (file: string) => readFileSync(join(projectDir, file), 'utf8');

describe('floors', () => {
  const files = [...filesBelow('client-sdk', /\.tsx?$/), ...filesBelow('server', /\.tsx?$/)];

  it('[Z1] no source file imports, reads or is called what its room may not', () => {
    expect(files.length).to.be.above(50);
    const found = files.flatMap((file) => broken(file, read(file)));
    expect(found, found.join('\n')).to.deep.equal([]);
  });

  it('[Z1] every room of the tree that has files is in the table, and no two files import each other in a circle', () => {
    const used = new Set(files.map((file) => rooms.find((room) => room.files.test(file))?.rule));
    for (const rule of ['protocol imports nothing', 'session imports the protocol alone'])
      expect(used).to.include(rule);
    const imports = new Map(
      files.map((file) => [
        file,
        importsOf(read(file))
          .filter((name) => name.startsWith('.'))
          .map((name) => normalize(join(dirname(file), name)).replace(/\.js$/, '.ts'))
          .map((target) => (files.includes(target) ? target : `${target}x`)),
      ]),
    );
    const circle = findCircle(imports);
    expect(circle, circle?.join(' -> ')).to.equal(undefined);
  });

  const mutants: Record<string, [file: string, source: string]> = {
    'protocol imports nothing': ['client-sdk/protocol/x.ts', "import type { A } from '../../server/session/plan.js';"],
    'protocol imports nothing, no module of Node': ['client-sdk/protocol/x.ts', "import 'node:fs';"],
    'protocol imports nothing, no other package': ['client-sdk/protocol/x.ts', "export * from 'ajv/dist/2020.js';"],
    'protocol runs anywhere': ['client-sdk/protocol/x.ts', 'export const n = Buffer.byteLength("x");'],
    'react imports client-sdk and react': ['client-sdk/react/x.ts', "import '../../server/config.js';"],
    'client-sdk never imports the server': ['client-sdk/x.ts', "const a = await import('../server/config.js');"],
    'leaves import the protocol alone': ['server/metrics.ts', "import { plan } from './session/plan.js';"],
    'session imports the protocol alone': ['server/session/x.ts', "import a = require('../config.js');"],
    'session imports the protocol alone, no module of Node': ['server/session/x.ts', "import { join } from 'path';"],
    'session has no clock': ['server/session/x.ts', 'const at = new Date();'],
    'session has no random': ['server/session/x.ts', 'const n = Math.random();'],
    'session has no timers': ['server/session/x.ts', 'setTimeout(work, 5);'],
    'sync, lease and feed take time and chance from outside': ['server/sync/x.ts', 'setTimeout(work, 5);'],
    'session is not async': ['server/session/x.ts', 'export async function work() {}'],
    'redis imports session and protocol': ['server/redis/x.ts', "import {\n  a,\n  b,\n} from '../sync/lane.js';"],
    'sync imports redis, session and protocol': ['server/sync/x.ts', "export { a } from '../api/auth.js';"],
    'only server/redis imports ioredis': ['server/sync/x.ts', "import type { Redis } from 'ioredis';"],
    'only server/redis imports redlock': ['server/redlock.d.ts', "declare module 'redlock' {}"],
    'api imports sync, session and protocol, never redis': [
      'server/api/x.ts',
      "let a: import('../redis/keys.js').Keys;",
    ],
    'cli imports client-sdk and config': ['server/cli/x.ts', "import { startServer } from '../server.js';"],
    'serve and doctor import floors 5 and 2 beside': ['server/cli/doctor.ts', "import '../sync/lane.js';"],
    'the demo imports client-sdk and react': ['server/demo/x.tsx', "import '../config.js';"],
    'the demo imports client-sdk and react, no other package': [
      'server/demo/x.tsx',
      "import { io } from 'socket.io-client';",
    ],
    'of client-sdk the server imports the protocol alone': ['server/server.ts', "import '../client-sdk/client.js';"],
    'only the configuration reads the environment': ['server/api/x.ts', 'const { env } = process;'],
    'only keys.ts spells a key': ['server/sync/x.ts', 'const key = `attune:${session}:doc`;'],
    'interfaces have no I before their name': ['server/sync/x.ts', 'export interface IStore {}'],
    'imports name their target': ['server/api/x.ts', 'const a = await import(name);'],
    'files are named by what they do': ['server/api/utils.ts', ''],
    'every file begins with what it owns': ['server/api/x.ts', 'no head'],
    'every file has a room': ['server/loose.ts', ''],
  };
  for (const [rule, [file, source]] of Object.entries(mutants)) {
    it(`[Z2] the check finds a file that breaks "${rule}"`, () => {
      const head = source === 'no head' ? '' : '// What this file owns, and what it never does, in a line.\n';
      const found = broken(file === 'server/redlock.d.ts' ? 'server/api/redlock.d.ts' : file, `${head}${source}\n`);
      expect(
        found.some((text) => text.startsWith(`${rule}:`)),
        found.join('\n') || 'nothing',
      ).to.equal(true);
      const harmless = 'server/redis/good.ts';
      const good = `${head || '// What this file owns, and what it never does, in a line.\n'}import { Redis } from 'ioredis';\n`;
      expect(broken(harmless, good)).to.deep.equal([]);
    });
  }

  it('[Z3] every test, script and Lua file begins with what it owns, too', () => {
    const others = [...filesBelow('test', /\.ts$/), ...filesBelow('scripts', /\.mjs$/)];
    const without = others.filter((file) => headOf(read(file)) === undefined);
    const lua = filesBelow('server', /\.lua$/).filter((file) => !/^(#!lua.*\n)?-- .{20}/.test(read(file)));
    expect([...without, ...lua]).to.deep.equal([]);
  });
});

/** Files that import each other in a circle, or undefined where there are none. */
function findCircle(imports: ReadonlyMap<string, readonly string[]>): string[] | undefined {
  const done = new Set<string>();
  const visit = (file: string, path: readonly string[]): string[] | undefined => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
    if (done.has(file)) return undefined;
    for (const next of imports.get(file) ?? []) {
      const circle = visit(next, [...path, file]);
      if (circle) return circle;
    }
    done.add(file);
    return undefined;
  };
  for (const file of imports.keys()) {
    const circle = visit(file, []);
    if (circle) return circle;
  }
  return undefined;
}
