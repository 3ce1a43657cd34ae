// What the browser tests themselves rest on: a page's complaints fail its test, and nothing is left behind.
import { expect } from 'chai';
import {
  existsSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { projectDir } from '../support/attune.js';
import { accessibilityViolations, browserOfSuite, launchChromium, type Visit } from '../support/browser.js';
import { chromiumNames, chromiumProgram } from '../support/chromium-program.js';
import { until } from '../support/until.js';

describe('the browser harness', () => {
  const browser = browserOfSuite();
  let server: Server;
  let address = '';

  before(async () => {
    server = createServer((request, response) => {
      const body = new URL(request.url ?? '/', 'http://x').searchParams.get('body');
      response.writeHead(body === null ? 404 : 200, { 'content-type': 'text/html' });
      response.end(`<!doctype html><html lang="en"><head><title>Page</title><link rel="icon" href="data:,"></head>
        <body><main><h1>Page</h1>${body ?? ''}</main></body></html>`);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  });
  after(() => {
    server.closeAllConnections();
    server.close();
  });

  const pageOf = (body: string) => `${address}?body=${encodeURIComponent(body)}`;
  const complaintOf = (work: (visit: Visit) => Promise<void>) =>
    browser.visit(work).then(
      () => 'nothing',
      (error: Error) => error.message,
    );

  const complaining: Record<string, [body: string, complaint: RegExp]> = {
    'an error in the console': ['<script>console.error("it hurts")</script>', /console: it hurts/],
    'an exception that nobody caught': ['<script>boom()</script>', /uncaught: .*boom is not defined/],
    'a promise that nobody caught': ['<script>Promise.reject(new Error("alone"))</script>', /uncaught: .*alone/],
    'a file that is not there': ['<img alt="" src="/missing.png">', /console: .*404.*missing\.png/],
    'a request to another host': [
      '<img alt="" src="http://other.invalid/a.png">',
      /another host: http:\/\/other\.invalid/,
    ],
  };
  for (const [what, [body, complaint]] of Object.entries(complaining)) {
    it(`[BR5] ${what} fails the test whose page has it`, async () => {
      const said = await complaintOf(async (visit) => {
        await visit.open(pageOf(body));
      });
      expect(said).to.match(complaint);
    });
  }

  it('[BR5] a page without complaints passes, and so do complaints that the test expects', async () => {
    await browser.visit(async (visit) => {
      await visit.open(pageOf('<p>calm</p><script>console.warn("only a warning")</script>'));
      visit.expectComplaints(/it hurts/);
      await visit.open(pageOf('<script>console.error("it hurts")</script>'));
    });
  });

  it('[BR6] pages of one profile share what they store; another profile, and the next visit, know nothing of it', async () => {
    const stored = 'localStorage.getItem("who")';
    await browser.visit(async (visit) => {
      const first = await visit.open(pageOf(''));
      await first.evaluate('localStorage.setItem("who", "Ada")');
      const second = await visit.open(pageOf(''));
      expect(await second.evaluate(stored)).to.equal('Ada');
      const other = await visit.open(pageOf(''), await visit.newProfile());
      expect(await other.evaluate(stored)).to.equal(null);
    });
    await browser.visit(async (visit) => {
      expect(await (await visit.open(pageOf(''))).evaluate(stored)).to.equal(null);
    });
  });

  it('[BR7] a test that fails leaves a screenshot of each page, and says where', async () => {
    const said = await complaintOf(async (visit) => {
      await visit.open(pageOf('<p>one</p>'));
      await visit.open(pageOf('<p>two</p>'));
      throw new Error('as it was meant to');
    });
    const paths = [...said.matchAll(/^ {2}(.+test-artifacts.+\.png)$/gm)].map((match) => match[1]!);
    expect(said).to.match(/^as it was meant to\n/);
    expect(paths).to.have.length(2);
    for (const path of paths) {
      expect(statSync(path).size).to.be.above(1_000);
      rmSync(path);
    }
  });

  it('[BR8] axe finds what is wrong with a page, and nothing where nothing is', async () => {
    await browser.visit(async (visit) => {
      const wrong = await visit.open(pageOf('<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">'));
      const found = await accessibilityViolations(wrong);
      expect(found.join('\n')).to.match(/^image-alt \(critical\)/);
      expect(await accessibilityViolations(await visit.open(pageOf('<p>calm</p>')))).to.deep.equal([]);
    });
  });

  it('[BR9] a browser that is closed leaves no process and no profile behind', async function () {
    if (!existsSync('/proc/self/stat')) return;
    const others = new Set(chromiumsOfThisProcess().map(({ pid }) => pid));
    const mine = await launchChromium();
    const [main, ...more] = chromiumsOfThisProcess().filter(({ pid }) => !others.has(pid));
    expect(more).to.deep.equal([]);
    expect(existsSync(main!.profile), main!.profile).to.equal(true);
    await (await mine.newPage()).goto(pageOf(''));
    await mine.close();
    await until(() => processesWith(main!.profile).length === 0 && !existsSync(main!.profile), {
      what: 'the end of the browser and its profile',
    });
  });

  it('[BR1] the tests take the browser that the set-up looks for, and say what to do where there is none', () => {
    const setup = readFileSync(join(projectDir, 'scripts/setup.mjs'), 'utf8');
    expect(setup).to.contain(`[${chromiumNames.map((name) => `'${name}'`).join(', ')}]`);
    const folder = mkdtempSync(join(realpathSync(tmpdir()), 'attune-chromium-'));
    try {
      expect(() => chromiumProgram(folder)).to.throw(/none of chromium,.*setup\.mjs --browser/);
      writeFileSync(join(folder, 'google-chrome'), '', { mode: 0o755 });
      expect(chromiumProgram(`/nowhere:${folder}`)).to.equal(join(folder, 'google-chrome'));
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

/** The browsers that this test process started: their main processes, with the folders of their profiles. */
function chromiumsOfThisProcess(): { pid: number; profile: string }[] {
  return processesWith('--user-data-dir=')
    .filter(({ parent }) => parent === process.pid)
    .map(({ pid, command }) => ({ pid, profile: /--user-data-dir=([^\0]+)/.exec(command)![1]! }));
}

function processesWith(text: string): { pid: number; parent: number; command: string }[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const command = readFileSync(`/proc/${name}/cmdline`, 'utf8');
        // After the program's name, which may hold anything, come the state and the parent.
        const parent = Number(/\) \S (\d+) [^)]*$/.exec(readFileSync(`/proc/${name}/stat`, 'utf8'))?.[1]);
        return command.includes(text) ? [{ pid: Number(name), parent, command }] : [];
      } catch {
        return []; // it ended while we looked
      }
    });
}
