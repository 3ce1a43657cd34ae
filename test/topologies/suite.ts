// `npm run test:topologies -- [sentinel|cluster|standalone]…`: the contract's integration tests on each kind of Redis, and
// what is tested of the topologies themselves. What cannot run somewhere is counted and said, with the reason.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { projectDir } from '../support/attune.js';
import { suiteKinds, type SuiteKind } from '../support/data-redis.js';
import { exceptions } from './exceptions.js';

/** The integration tests that hold whatever Redis is. */
const SUITE = [
  'socket-history',
  'socket-messages',
  'socket-room',
  'socket-session',
  'socket-settings',
  'http',
  'contract-http',
  'events-stream',
  'feed',
  'lost-data',
  'two-nodes',
  'transfers',
  'presence',
  'signals',
  'limits',
  'lease',
];

/** The exit status of mocha over these files. */
function mocha(files: readonly string[], kind: SuiteKind, more: readonly string[]): Promise<number> {
  const config = join(projectDir, '.mocharc.json');
  const hooks = join(projectDir, 'dist/test/support/data-redis.js');
  const bin = join(projectDir, 'node_modules/mocha/bin/mocha.js');
  const args = [bin, '--config', config, '--require', hooks, ...more, ...files];
  const child = spawn(process.execPath, args, {
    stdio: 'inherit',
    cwd: projectDir,
    env: { ...process.env, ATTUNE_TEST_TOPOLOGY: kind },
  });
  return new Promise((resolve) => child.once('exit', (status) => resolve(status ?? 1)));
}

async function runSuite(kind: SuiteKind, only: readonly string[]): Promise<number> {
  const left = exceptions.filter(({ on }) => on.includes(kind));
  const ids = left.flatMap((one) => one.ids);
  console.log(`\n${kind}: the suite, without ${ids.length} tests that cannot run there`);
  for (const { why, ids: some } of left) console.log(`  not run: ${some.join(', ')}: ${why}`);
  const files = (only.length > 0 ? only : SUITE).map((name) => `dist/test/integration/${name}.test.js`);
  const without = ids.length > 0 ? ['--grep', `^.*\\[(${ids.join('|')})\\] `, '--invert'] : [];
  return mocha(files, kind, without);
}

const asked = process.argv.slice(2);
const kinds = suiteKinds.filter((kind) => asked.includes(kind));
const names = asked.filter((name) => SUITE.includes(name));
if (kinds.length + names.length < asked.length) {
  console.error(`usage: npm run test:topologies -- [${suiteKinds.join('|')}]… [${SUITE.join('|')}]…`);
  process.exit(2);
}
let failed = 0;
for (const kind of kinds.length > 0 ? kinds : (['sentinel', 'cluster'] as const)) {
  if ((await runSuite(kind, names)) !== 0) failed += 1;
}
if (asked.length === 0 && (await mocha(['dist/test/topologies/*.test.js'], 'standalone', [])) !== 0) failed += 1;
process.exitCode = failed === 0 ? 0 : 1;
