// What the set-up script promises, run on a small project of its own, with stand-ins for npm and the package manager.
import { spawn } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';

const lock = {
  packages: {
    '': {},
    'node_modules/a': { version: '1.0.0' },
    'node_modules/b': { version: '1.0.0', optional: true, os: ['none'] },
  },
};

describe('set-up', function () {
  this.timeout(20_000);
  let root = '';
  let bin = '';

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'attune-test-setup-'));
    bin = join(root, 'bin');
    for (const dir of ['bin', 'scripts', 'node_modules/a']) mkdirSync(join(root, dir), { recursive: true });
    copyFileSync(join(projectRoot(), 'scripts/setup.mjs'), join(root, 'scripts/setup.mjs'));
    writeFileSync(join(root, 'package-lock.json'), JSON.stringify(lock));
    writeFileSync(join(root, 'node_modules/a/package.json'), '{"version":"v1.0.0"}');
  });

  afterEach(() => rmSync(root, { recursive: true, force: true }));

  function setUp(
    env: Record<string, string> = {},
    nodeOptions: string[] = [],
    args: string[] = [],
  ): Promise<{ status: number; out: string; err: string }> {
    const child = spawn(process.execPath, [...nodeOptions, join(root, 'scripts/setup.mjs'), ...args], {
      env: { PATH: bin, TMPDIR: root, ...env },
    });
    let [out, err] = ['', ''];
    child.stdout.on('data', (data: Buffer) => (out += data.toString()));
    child.stderr.on('data', (data: Buffer) => (err += data.toString()));
    return new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code) => resolve({ status: code ?? -1, out, err }));
    });
  }

  function program(name: string, text: string): void {
    writeFileSync(join(bin, name), `#!/bin/sh\n${text}\n`);
    chmodSync(join(bin, name), 0o755);
  }

  /** Stands in for npm: writes down how it was called, then puts the missing package there. */
  function npm(): { npm_execpath: string } {
    const path = join(root, 'npm-cli.mjs');
    writeFileSync(
      path,
      `import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
       appendFileSync('calls', process.argv.slice(2).join(' ') + '\\n');
       await new Promise((resolve) => setTimeout(resolve, 300));
       mkdirSync('node_modules/a', { recursive: true });
       writeFileSync('node_modules/a/package.json', '{"version":"1.0.0"}');`,
    );
    return { npm_execpath: path };
  }

  /** Stands in for apt-get: writes down how it was called, and puts the programs of the named packages on PATH. */
  function aptGet(refused = 'nothing'): void {
    program(
      'apt-get',
      `echo "$DEBIAN_FRONTEND: $*" >> ${root}/calls
       [ "$1" = install ] || exit 0
       case " $* " in *" ${refused} "*) exit 100;; esac
       for name in redis-server chromium; do
         case " $* " in *" $name "*)
           printf '#!/bin/sh\\necho v=7.0.15' > ${bin}/$name; /bin/chmod +x ${bin}/$name;;
         esac
       done`,
    );
  }

  const calls = () => readFileSync(join(root, 'calls'), 'utf8').trim().split('\n');

  it('[M20] says and does nothing when packages and Redis are there', async () => {
    program('valkey-server', 'exit 1');
    expect(await setUp()).to.deep.equal({ status: 0, out: '', err: '' });
    rmSync(join(bin, 'valkey-server'));
    expect(await setUp({ REDIS_URL: 'redis://elsewhere' })).to.deep.equal({ status: 0, out: '', err: '' });
  });

  it('[M21] installs the packages of the lock file when one is missing or of another version, and only then', async () => {
    program('redis-server', 'exit 1');
    rmSync(join(root, 'node_modules/a/package.json'));
    const missing = await setUp(npm());
    expect(missing.status, missing.err).to.equal(0);
    expect(missing.out).to.equal('');
    expect(missing.err).to.match(/npm ci/);
    expect(await setUp(npm())).to.deep.equal({ status: 0, out: '', err: '' });
    writeFileSync(
      join(root, 'package-lock.json'),
      JSON.stringify({ packages: { 'node_modules/a': { version: '2.0.0' } } }),
    );
    await setUp(npm());
    expect(calls()).to.deep.equal(Array.from({ length: 2 }, () => 'ci --include=dev --no-audit --no-fund'));
  });

  it('[M22] two set-ups at once install once, and both succeed', async () => {
    program('redis-server', 'exit 1');
    rmSync(join(root, 'node_modules/a/package.json'));
    const both = await Promise.all([setUp(npm()), setUp(npm())]);
    expect(both.map(({ status }) => status)).to.deep.equal([0, 0]);
    expect(calls()).to.have.length(1);
  });

  it('[M23] installs Redis through the package manager that is there, asking nothing', async () => {
    aptGet();
    const { status, err } = await setUp({}, asUser(0));
    expect(status, err).to.equal(0);
    expect(calls()).to.deep.equal([
      'noninteractive: update -q',
      'noninteractive: install -y -q --no-install-recommends redis-server',
    ]);
    expect(err).to.match(/installing Redis with apt-get/);
  });

  it('[M24] where it may not install, it prints the exact command, changes nothing and ends with 1', async () => {
    program('apt-get', `touch ${root}/calls`);
    program('sudo', 'exit 1');
    const { status, err } = await setUp({}, asUser(1000));
    expect(status).to.equal(1);
    expect(err).to.contain('sudo apt-get update -q && sudo apt-get install -y -q --no-install-recommends redis-server');
    expect(existsSync(join(root, 'calls'))).to.equal(false);
    rmSync(join(bin, 'apt-get'));
    expect((await setUp()).err).to.contain('no package manager');
  });

  it('[BR1] asks for no browser unless it is told to, and is content with any Chromium that is there', async () => {
    program('redis-server', 'exit 1');
    expect(await setUp()).to.deep.equal({ status: 0, out: '', err: '' });
    for (const name of ['chromium', 'chromium-browser', 'google-chrome']) {
      program(name, 'exit 1');
      expect(await setUp({}, [], ['--browser'])).to.deep.equal({ status: 0, out: '', err: '' });
      rmSync(join(bin, name));
    }
    expect((await setUp({}, [], ['--browser'])).status).to.equal(1);
  });

  it('[BR2] installs a Chromium as it does Redis, and both with one update and one install', async () => {
    aptGet();
    const { status, err } = await setUp({}, asUser(0), ['--browser']);
    expect(status, err).to.equal(0);
    expect(calls()).to.deep.equal([
      'noninteractive: update -q',
      'noninteractive: install -y -q --no-install-recommends redis-server chromium',
    ]);
    expect(await setUp({}, asUser(0), ['--browser'])).to.deep.equal({ status: 0, out: '', err: '' });
    rmSync(join(bin, 'chromium'));
    await setUp({}, asUser(0), ['--browser']);
    expect(calls().slice(2)).to.deep.equal([
      'noninteractive: update -q',
      'noninteractive: install -y -q --no-install-recommends chromium',
    ]);
  });

  it('[BR2] a Chromium that cannot be had does not keep Redis from being installed', async () => {
    aptGet('chromium');
    const { status, err } = await setUp({}, asUser(0), ['--browser']);
    expect(status).to.equal(1);
    expect(existsSync(join(bin, 'redis-server'))).to.equal(true);
    expect(err).to.contain('a Chromium could not be installed');
    expect(err.trimEnd()).to.match(/apt-get install -y -q --no-install-recommends chromium$/);
  });

  it('[BR3] where it may not install them, one command for all that is missing is printed', async () => {
    program('apt-get', `touch ${root}/calls`);
    const { status, err } = await setUp({}, asUser(1000), ['--browser']);
    expect(status).to.equal(1);
    expect(err).to.contain(
      'sudo apt-get update -q && sudo apt-get install -y -q --no-install-recommends redis-server chromium',
    );
    const alone = await setUp({ REDIS_URL: 'redis://elsewhere' }, asUser(1000), ['--browser']);
    expect(alone.err.trimEnd()).to.match(/--no-install-recommends chromium$/);
    expect(existsSync(join(root, 'calls'))).to.equal(false);
    rmSync(join(bin, 'apt-get'));
    expect((await setUp({}, [], ['--browser'])).err).to.contain(
      'Install Redis or Valkey 7.0 or newer, or set REDIS_URL',
    );
  });

  it('[BR4] the tests ask for a browser; the server and the short check do not', () => {
    const { scripts } = JSON.parse(readFileSync(join(projectRoot(), 'package.json'), 'utf8')) as {
      scripts: Record<string, string>;
    };
    const asking = Object.keys(scripts).filter((name) => scripts[name]?.includes('--browser'));
    expect(asking).to.deep.equal(['pretest', 'test:browser', 'bench:tabs']);
    expect(scripts['check']).to.contain('setup.mjs').and.not.contain('/browser/');
  });

  it('[BT13] installs with --bots what the example bots run on, together with the rest', async () => {
    aptGet();
    program('python3', `[ -e ${root}/modules ]`);
    program('jq', 'exit 1');
    const { status, err } = await setUp({}, asUser(0), ['--bots']);
    expect(status, 'the modules are missing still').to.equal(1);
    expect(calls()[1]).to.equal(
      'noninteractive: install -y -q --no-install-recommends redis-server curl python3-socketio python3-aiohttp',
    );
    expect(err).to.contain('no python3 on PATH has socketio, aiohttp');
    expect(err).to.contain('curl and python-socketio and aiohttp could not be installed');
    writeFileSync(join(root, 'modules'), '');
    program('curl', 'exit 1');
    expect(await setUp({}, asUser(0), ['--bots'])).to.deep.equal({ status: 0, out: '', err: '' });
  });

  it('[BT13] finds the modules in any Python on PATH, and names what to install where no package is known', async () => {
    for (const name of ['redis-server', 'curl', 'jq', 'python3']) program(name, 'exit 1');
    program('brew', 'exit 1');
    const { status, err } = await setUp({}, [], ['--bots']);
    expect(status).to.equal(1);
    expect(err.trimEnd()).to.match(/\n {2}install Python with .*pip install python-socketio aiohttp\)$/);
    mkdirSync(join(root, 'bin/other'));
    program('other/python3', 'exit 0');
    const PATH = `${bin}:${join(bin, 'other')}`;
    expect(await setUp({ PATH }, [], ['--bots'])).to.deep.equal({ status: 0, out: '', err: '' });
  });

  it('[M25] a Node that is too old is named, with the version that is needed', async () => {
    const old = `Object.defineProperty(process.versions, 'node', { value: '20.18.3' })`;
    const { status, err } = await setUp({}, ['--import', `data:text/javascript,${encodeURIComponent(old)}`]);
    expect(status).to.equal(1);
    expect(err).to.match(/Node 20\.19 or newer is needed.*20\.18\.3/);
  });
});

/** Node's options that make the script believe to be run by this user. */
function asUser(uid: number): string[] {
  return ['--import', `data:text/javascript,process.getuid=()=>${uid}`];
}

function projectRoot(): string {
  let dir = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(dir, 'package.json'))) dir = dirname(dir);
  return dir;
}
