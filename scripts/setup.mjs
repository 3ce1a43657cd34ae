// Puts on the machine what the package scripts need: the packages of the lock file, and a Redis where none is named or found.
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
const servers = ['redis-server', 'valkey-server'];

/** How each package manager installs a Redis; the first package that installs is enough. */
const packageManagers = [
  {
    program: 'apt-get',
    before: [['apt-get', 'update', '-q']],
    installs: [['apt-get', 'install', '-y', '-q', '--no-install-recommends', 'redis-server']],
  },
  { program: 'dnf', before: [], installs: ['valkey', 'redis'].map((name) => ['dnf', 'install', '-y', name]) },
  { program: 'apk', before: [], installs: ['redis', 'valkey'].map((name) => ['apk', 'add', '--no-cache', name]) },
  { program: 'brew', before: [], installs: [['brew', 'install', 'redis']], withoutRoot: true },
];
/** Debian's packages ask nothing with these. */
const quietEnvironment = { DEBIAN_FRONTEND: 'noninteractive', NEEDRESTART_MODE: 'l' };

requireNode();
if (needsPackages() || needsRedis()) alone(install);

function install() {
  // A set-up that was under way while this one waited may have done it all.
  if (needsPackages()) installPackages();
  if (needsRedis()) installRedis();
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

function needsRedis() {
  return !process.env.REDIS_URL && !servers.some(onPath);
}

function installRedis() {
  const manager = packageManagers.find(({ program }) => onPath(program));
  if (manager === undefined) {
    fail(
      `neither ${servers.join(' nor ')} is on PATH, and no package manager that this script knows ` +
        `(${packageManagers.map(({ program }) => program).join(', ')}). ` +
        `Install Redis or Valkey ${oldestRedisMajor}.0 or newer, or set REDIS_URL to one that runs`,
    );
  }
  const prefix = privilege(manager);
  say(`installing Redis with ${manager.program}, for neither ${servers.join(' nor ')} is on PATH`);
  for (const command of manager.before) {
    // Lists that cannot be fetched may still be good enough for the install.
    if (run([...prefix, ...command]) !== 0) say(`${command.join(' ')} failed; going on`);
  }
  const installed = manager.installs.some((command) => run([...prefix, ...command]) === 0 && servers.some(onPath));
  if (!installed) fail(`Redis could not be installed. Do it by hand, then try again:\n  ${byHand(manager)}`);
  requireRedisVersion();
  say(
    'Redis is installed. Attune runs one of its own on a unix socket and leaves alone any service that the package started',
  );
}

/** What stands before each command: nothing for root, sudo for others where it works without a password. */
function privilege(manager) {
  if (manager.withoutRoot || process.getuid?.() === 0) return [];
  const sudo = onPath('sudo') && spawnSync('sudo', ['-n', 'true'], { stdio: 'ignore' }).status === 0;
  const settings = Object.entries(quietEnvironment).map(([name, value]) => `${name}=${value}`);
  if (sudo) return ['sudo', '-n', 'env', ...settings];
  fail(
    `Redis is needed: neither ${servers.join(' nor ')} is on PATH, and installing it takes root. Run this, then try again ` +
      `(or set REDIS_URL to a Redis that runs):\n  ${byHand(manager)}`,
  );
}

function byHand(manager) {
  const sudo = manager.withoutRoot || process.getuid?.() === 0 ? '' : 'sudo ';
  return [...manager.before, manager.installs[0]].map((command) => sudo + command.join(' ')).join(' && ');
}

function requireRedisVersion() {
  const version = spawnSync(servers.find(onPath), ['--version'], { encoding: 'utf8' }).stdout ?? '';
  const major = Number(/\bv=(\d+)/.exec(version)?.[1]);
  if (major < oldestRedisMajor) {
    fail(`the package manager's Redis is too old (${version.trim()}): ${oldestRedisMajor}.0 or newer is needed`);
  }
}

function onPath(program) {
  return (process.env.PATH ?? '').split(delimiter).some((dir) => {
    try {
      accessSync(join(dir, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
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
