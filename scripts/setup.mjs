// Puts on the machine what the package scripts need: the packages of the lock file, a Redis where none is named or found,
// and for the tests (the server needs neither) with --browser a Chromium, with --bots what the example bots run on.
// Plain Node without packages, for it runs before there are any. Silent when nothing is to do; says on stderr what it does.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { accessSync, constants, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const oldestNode = [20, 19];
const oldestRedisMajor = 7;
/** How long a second set-up waits for the one that is under way. */
const lockWaitMs = 15 * 60 * 1000;
const lockPollMs = 200;
/** Written into node_modules after an install, so that the next look need only see that nothing is missing. */
const stampPath = join(root, 'node_modules/.attune-setup');
const lockFilePath = join(root, 'package-lock.json');

/**
 * What a package manager may have to install: found when one of `programs` can be run, or a Python has the `modules`. Of
 * `packages` the first that can be installed is enough; one may be several, separated by a space.
 */
const redis = {
  name: 'Redis',
  programs: ['redis-server', 'valkey-server'],
  packages: {
    'apt-get': ['redis-server'],
    dnf: ['valkey', 'redis'],
    apk: ['redis', 'valkey'],
    brew: ['redis'],
  },
  byHand: `Redis or Valkey ${oldestRedisMajor}.0 or newer`,
  instead: 'set REDIS_URL to a Redis that runs',
};
const browser = {
  name: 'a Chromium',
  programs: ['chromium', 'chromium-browser', 'google-chrome'],
  /** Where the installers of macOS put it: never on PATH. */
  places: ['/Applications/Google Chrome.app/Contents/MacOS/Google Chrome'],
  packages: { 'apt-get': ['chromium'], dnf: ['chromium'], apk: ['chromium'], brew: ['google-chrome'] },
  byHand: 'Chromium or Chrome',
};
const everywhere = (name) => ({ 'apt-get': [name], dnf: [name], apk: [name], brew: [name] });
const bots = [
  { name: 'curl', programs: ['curl'], packages: everywhere('curl'), byHand: 'curl' },
  { name: 'jq', programs: ['jq'], packages: everywhere('jq'), byHand: 'jq' },
  {
    name: 'python-socketio and aiohttp',
    modules: ['socketio', 'aiohttp'],
    packages: {
      'apt-get': ['python3-socketio python3-aiohttp'],
      dnf: ['python3-socketio python3-aiohttp'],
    },
    byHand: 'Python with python-socketio and aiohttp (python3 -m pip install python-socketio aiohttp)',
  },
];
const packageManagers = [
  {
    program: 'apt-get',
    before: ['apt-get', 'update', '-q'],
    install: ['apt-get', 'install', '-y', '-q', '--no-install-recommends'],
  },
  { program: 'dnf', install: ['dnf', 'install', '-y'] },
  { program: 'apk', install: ['apk', 'add', '--no-cache'] },
  { program: 'brew', install: ['brew', 'install'], withoutRoot: true },
];
/** Debian's packages ask nothing with these. */
const quietEnvironment = { DEBIAN_FRONTEND: 'noninteractive', NEEDRESTART_MODE: 'l' };

const wanted = [
  ...(process.env.REDIS_URL ? [] : [redis]),
  ...(process.argv.includes('--browser') ? [browser] : []),
  ...(process.argv.includes('--bots') ? bots : []),
];

requireNode();
if (needsPackages() || missing().length > 0) alone(install);

function install() {
  // A set-up that was under way while this one waited may have done it all.
  if (needsPackages()) installPackages();
  if (missing().length > 0) installPrograms(missing());
}

function requireNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major > oldestNode[0] || (major === oldestNode[0] && minor >= oldestNode[1])) return;
  fail(`Node ${oldestNode.join('.')} or newer is needed (22 or 24 is better), this is ${process.versions.node}`);
}

/** Whether any package of the lock file is missing from node_modules or there in another version. */
function needsPackages() {
  const text = readFileSync(lockFilePath, 'utf8');
  const stamped = readText(stampPath) === stampOf(text);
  return Object.entries(JSON.parse(text).packages).some(([path, entry]) => {
    if (path === '' || entry.link) return false;
    const found = readText(join(root, path, 'package.json'));
    // What an install of this very lock file put there is right, however the package itself spells its version.
    if (found !== null) return !stamped && versionIn(found) !== entry.version;
    return !(entry.optional && (stamped || !isForThisMachine(entry)));
  });
}

function versionIn(packageJson) {
  try {
    // Some packages say v1.2.3 of what the lock file knows as 1.2.3.
    return String(JSON.parse(packageJson).version).replace(/^v/, '');
  } catch {
    return null;
  }
}

function isForThisMachine(entry) {
  // Which libc this is takes too long to find out here; the stamp settles those packages.
  return listed(entry.os, process.platform) && listed(entry.cpu, process.arch) && entry.libc === undefined;
}

function listed(allowed, mine) {
  if (allowed === undefined || allowed.includes('any')) return true;
  return allowed.includes(mine) || (!allowed.includes(`!${mine}`) && allowed.every((name) => name.startsWith('!')));
}

function installPackages() {
  say('installing the packages of package-lock.json: npm ci');
  const npmScript = process.env.npm_execpath ?? '';
  const [program, ...first] = /npm-cli\.[cm]?js$/.test(npmScript)
    ? [process.execPath, npmScript]
    : [process.platform === 'win32' ? 'npm.cmd' : 'npm'];
  // The compiler and the tests are development packages: they are needed under NODE_ENV=production, too.
  const status = run([program, ...first, 'ci', '--include=dev', '--no-audit', '--no-fund']);
  if (status !== 0) fail('npm ci failed: its message is above');
  writeFileSync(stampPath, stampOf(readFileSync(lockFilePath, 'utf8')));
}

function stampOf(lockText) {
  const machine = `${process.platform} ${process.arch} ${process.versions.modules}`;
  return createHash('sha256').update(lockText).update(machine).digest('hex');
}

function missing() {
  return wanted.filter((need) => !isThere(need));
}

function isThere({ programs = [], places = [], modules }) {
  return programs.some(onPath) || places.some(canRun) || (modules !== undefined && canImport(modules));
}

/** Whether a Python on PATH, not only the first one, has these modules: the system's packages are for the system's own. */
function canImport(modules) {
  const look = 'import importlib.util as u, sys; sys.exit(any(u.find_spec(name) is None for name in sys.argv[1:]))';
  return pathsOf('python3').some(
    (python) => spawnSync(python, ['-c', look, ...modules], { stdio: 'ignore' }).status === 0,
  );
}

function installPrograms(needs) {
  const manager = packageManagers.find(({ program }) => onPath(program));
  if (manager === undefined) {
    const known = packageManagers.map(({ program }) => program).join(', ');
    const asked = needs.map(({ byHand, instead }) => (instead ? `${byHand}, or ${instead}` : byHand));
    fail(
      `${absence(needs)}, and no package manager that this script knows (${known}). Install ${asked.join('; and ')}`,
    );
  }
  const prefix = privilege(manager, needs);
  say(`installing ${names(needs)} with ${manager.program}, for ${absence(needs)}`);
  if (manager.before && run([...prefix, ...manager.before]) !== 0) {
    // Lists that cannot be fetched may still be good enough for the install.
    say(`${manager.before.join(' ')} failed; going on`);
  }
  for (const packages of attempts(manager, needs)) {
    const still = packages.filter(({ need }) => !isThere(need)).map(({ name }) => name);
    if (still.length > 0) run([...prefix, ...manager.install, ...still.flatMap((name) => name.split(' '))]);
  }
  const failed = needs.filter((need) => !isThere(need));
  if (failed.length > 0) {
    fail(`${names(failed)} could not be installed. Do it by hand, then try again:\n  ${commands(manager, failed)}`);
  }
  if (needs.includes(redis)) requireRedisVersion();
}

/** What to install together, in turn: first all at once; where that did not do, each package of each need by itself. */
function attempts({ program }, needs) {
  const of = (need) => (need.packages[program] ?? []).map((name) => ({ need, name }));
  const alternatives = needs.flatMap(of).map((one) => [one]);
  return needs.length > 1 ? [needs.flatMap((need) => of(need).slice(0, 1)), ...alternatives] : alternatives;
}

/** What stands before each command: nothing for root, sudo for others where it works without a password. */
function privilege(manager, needs) {
  if (manager.withoutRoot || process.getuid?.() === 0) return [];
  const sudo = onPath('sudo') && spawnSync('sudo', ['-n', 'true'], { stdio: 'ignore' }).status === 0;
  const settings = Object.entries(quietEnvironment).map(([name, value]) => `${name}=${value}`);
  if (sudo) return ['sudo', '-n', 'env', ...settings];
  const instead = needs.flatMap((need) => need.instead ?? []).map((way) => ` (or ${way})`);
  fail(
    `needed: ${names(needs)}. ${absence(needs)}, and installing takes root. ` +
      `Run this, then try again${instead.join('')}:\n  ${commands(manager, needs)}`,
  );
}

/** What to type to install these by hand. */
function commands(manager, needs) {
  const sudo = manager.withoutRoot || process.getuid?.() === 0 ? '' : 'sudo ';
  const packages = needs.flatMap((need) => need.packages[manager.program]?.[0] ?? []);
  const lines =
    packages.length > 0 ? [...(manager.before ? [manager.before] : []), [...manager.install, ...packages]] : [];
  const unknown = needs.filter((need) => need.packages[manager.program] === undefined);
  return [
    ...(lines.length > 0 ? [lines.map((command) => sudo + command.join(' ')).join(' && ')] : []),
    ...unknown.map(({ byHand }) => `install ${byHand}`),
  ].join('\n  ');
}

function names(needs) {
  return needs.map(({ name }) => name).join(' and ');
}

function absence(needs) {
  const programs = needs.flatMap((need) => need.programs ?? []);
  const modules = needs.flatMap((need) => need.modules ?? []);
  return [
    ...(programs.length > 0 ? [`none of ${programs.join(', ')} is on PATH`] : []),
    ...(modules.length > 0 ? [`no python3 on PATH has ${modules.join(', ')}`] : []),
  ].join(', and ');
}

function requireRedisVersion() {
  const version = spawnSync(redis.programs.find(onPath), ['--version'], { encoding: 'utf8' }).stdout ?? '';
  const major = Number(/\bv=(\d+)/.exec(version)?.[1]);
  if (major < oldestRedisMajor) {
    fail(`the package manager's Redis is too old (${version.trim()}): ${oldestRedisMajor}.0 or newer is needed`);
  }
  say(
    'Redis is installed. Attune runs one of its own on a unix socket and leaves alone any service that the package started',
  );
}

function onPath(program) {
  return pathsOf(program).length > 0;
}

/** Where on PATH a program is, first to last. */
function pathsOf(program) {
  return (process.env.PATH ?? '')
    .split(delimiter)
    .map((dir) => join(dir, program))
    .filter(canRun);
}

function canRun(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Runs `work` while no other set-up of this directory does: two installs at once would destroy each other's packages. */
function alone(work) {
  const lock = join(tmpdir(), `attune-setup-${createHash('sha256').update(root).digest('hex').slice(0, 16)}.lock`);
  takeLock(lock);
  // Also when fail() ends the process.
  process.on('exit', () => rmSync(lock, { force: true }));
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));
  work();
}

function takeLock(lock) {
  const deadline = Date.now() + lockWaitMs;
  for (let told = false; ;) {
    try {
      writeFileSync(lock, String(process.pid), { flag: 'wx' });
      return;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    const holder = Number(readText(lock));
    if (!isAlive(holder)) {
      rmSync(lock, { force: true });
      continue;
    }
    if (Date.now() > deadline)
      fail(`another set-up (pid ${holder}) has been at work for too long; if it hangs, end it`);
    if (!told) say(`waiting for the set-up that is under way (pid ${holder})`);
    told = true;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, lockPollMs);
  }
}

function isAlive(pid) {
  // A lock without a number was made this instant, or by somebody whose files we may not read.
  if (!Number.isInteger(pid) || pid <= 0) return true;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

/** The exit status; all that the command prints goes to stderr. */
function run([program, ...args]) {
  const done = spawnSync(program, args, {
    cwd: root,
    stdio: ['ignore', 2, 2],
    env: { ...process.env, ...quietEnvironment },
    shell: program.endsWith('.cmd'),
  });
  if (done.error) say(`${program}: ${done.error.message}`);
  return done.status ?? 1;
}

function readText(path) {
  return existsSync(path) ? readFileSync(path, 'utf8') : null;
}

function say(text) {
  process.stderr.write(`setup: ${text}\n`);
}

function fail(text) {
  say(text);
  process.exit(1);
}
