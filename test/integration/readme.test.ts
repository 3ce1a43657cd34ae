// Every block of code in the README, run as it stands against a server that a test started. Only the address differs.
import { expect } from 'chai';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { projectDir, startAttune, type Attune } from '../support/attune.js';
import { endWithTests, isRunning } from '../support/child.js';
import { until } from '../support/until.js';

const ADDRESS = 'http://127.0.0.1:4100';
const RUN_DEADLINE_MS = 15_000;
/** How blocks are run, by their language. */
const programs: Record<string, { ending: string; command: readonly string[] }> = {
  sh: { ending: '.sh', command: ['bash', '-e', '-o', 'pipefail'] },
  js: { ending: '.mjs', command: [process.execPath] },
  python: { ending: '.py', command: ['python3'] },
};

interface Block {
  language: string;
  code: string;
  /** Why it is not run. */
  noTest: string | undefined;
  /** What the output must hold when it has ended well. */
  expect: string | undefined;
  /** It runs on until it is stopped: here once it has said this. */
  until: string | undefined;
  line: number;
}

function blocksOf(markdown: string): Block[] {
  return [...markdown.matchAll(/^```([^\n]*)\n([\s\S]*?)^```$/gm)].map((match) => {
    const [language = '', ...words] = match[1]!.split(' ');
    const flag = (name: string) => words.find((word) => word.startsWith(`${name}=`))?.slice(name.length + 1);
    return {
      language,
      code: match[2]!,
      noTest: words[0] === 'no-test' ? words.slice(1).join(' ') : undefined,
      expect: flag('expect'),
      until: flag('until'),
      line: markdown.slice(0, match.index).split('\n').length,
    };
  });
}

const hasProgram = (name: string) => spawnSync(name, ['--version'], { stdio: 'ignore' }).error === undefined;

describe('the README', function () {
  this.timeout(30_000);
  const markdown = readFileSync(join(projectDir, 'README.md'), 'utf8');
  const blocks = blocksOf(markdown);
  const run = blocks.filter(({ noTest }) => noTest === undefined);
  let attune: Attune;
  let folder: string;

  before(async () => {
    attune = await startAttune();
    // Blocks share a folder, as they would share the project's: one exports what the next imports.
    folder = mkdtempSync(join(realpathSync(tmpdir()), 'attune-readme-'));
    for (const name of ['node_modules', 'dist']) symlinkSync(join(projectDir, name), join(folder, name));
  });
  after(async () => {
    await attune?.destroy();
    if (folder) rmSync(folder, { recursive: true, force: true });
  });

  it('[Y3] has blocks that are run, and of each other one the reason why it is not', () => {
    expect(markdown.match(/^```/gm)?.length, 'every block is read').to.equal(2 * blocks.length);
    expect(run.map(({ language }) => language)).to.include.members(['js', 'sh', 'python']);
    expect(run).to.have.length(9);
    const reasons = blocks.flatMap(({ noTest }) => (noTest === undefined ? [] : [noTest]));
    expect(reasons).to.have.length(5);
    for (const reason of reasons) expect(reason.length).to.be.above(10);
    for (const { expect: ends, until: says, line } of run) {
      expect(
        [ends, says].filter((flag) => flag !== undefined && flag.length > 2),
        `line ${line}`,
      ).to.have.length(1);
    }
  });

  it('[Y3] has a client of at most ten lines for each of JavaScript, curl and Python', () => {
    const section = markdown.slice(
      markdown.indexOf('## A client in ten lines'),
      markdown.indexOf('## What can be called'),
    );
    const clients = blocksOf(section);
    expect(clients.map(({ language }) => language)).to.deep.equal(['js', 'js', 'sh', 'sh', 'python']);
    for (const { code } of clients) expect(code.trim().split('\n').length).to.be.at.most(10);
    expect(clients[4]!.code).to.not.match(/\bimport (?!json, urllib\.request$)/m);
  });

  for (const block of run) {
    const { command } = programs[block.language] ?? { command: [] };
    const wanted = block.language === 'sh' && block.code.includes('curl') ? ['bash', 'curl'] : command.slice(0, 1);
    const missing = wanted.filter((name) => !hasProgram(name));
    if (missing.length > 0) {
      console.warn(`README.md line ${block.line} is not tested: ${missing.join(', ')} is not on this machine`);
      continue;
    }
    it(`[Y4] the ${block.language} block at line ${block.line} does what it says`, async () => {
      const ended = await runBlock(block, attune.url, folder);
      expect(ended.output).to.include(block.expect ?? block.until);
      // What runs on is ended by us; what ends must end well.
      if (block.until === undefined) expect(ended.status, ended.output).to.equal(0);
      else expect(ended.stopped, ended.output).to.equal(true);
      expect(ended.output).to.not.match(/"code":"[A-Z_]+"|Traceback|SyntaxError/);
    });
  }
});

/** Runs a block to its end; or, where it says `until`, up to that and ends it. */
async function runBlock(block: Block, url: string, cwd: string) {
  const { ending, command } = programs[block.language]!;
  const file = join(cwd, `line-${block.line}${ending}`);
  writeFileSync(file, block.code.replaceAll(ADDRESS, url));
  const env = { PATH: process.env['PATH'], HOME: process.env['HOME'], ATTUNE_URL: url };
  const child = spawn(command[0]!, [...command.slice(1), file], {
    cwd,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  // A group of its own, so that what the shell started ends with it.
  const end = () => {
    if (isRunning(child)) process.kill(-child.pid!, 'SIGKILL');
  };
  const forget = endWithTests(end);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  }
  let closed = false;
  child.once('close', () => (closed = true));
  try {
    await until(() => closed || (block.until !== undefined && output.includes(block.until)), {
      deadlineMs: RUN_DEADLINE_MS,
      what: `line ${block.line} of the README (it said: ${output})`,
    });
    return { status: child.exitCode, output, stopped: !closed };
  } finally {
    end();
    forget();
  }
}
