// `npm run check`, after set-up and build: lint and format beside the unit tests, for these wait more than they compute.
// Each one's output comes whole, one after the other; the status is not 0 when any of them failed.
import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const programs = join(root, 'node_modules/.bin');
const lines = [
  [
    ['oxlint', '--type-aware', '--deny-warnings'],
    ['prettier', '--check', '--log-level', 'warn', '.'],
  ],
  [['mocha', '--config', '.mocharc.json', 'dist/test/unit/**/*.test.js']],
];

const statuses = await Promise.all(
  lines.map(async (line) => {
    let worst = 0;
    for (const command of line) worst = Math.max(worst, await run(command));
    return worst;
  }),
);
process.exitCode = Math.max(...statuses);

/** Runs one program of the packages; resolves with its exit status, after what it said was printed. */
function run([program, ...args]) {
  return new Promise((resolve, reject) => {
    const child = spawn(join(programs, program), args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    const said = [];
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => said.push(chunk));
    child.once('error', reject);
    child.once('close', (status) => {
      process.stdout.write(Buffer.concat(said));
      // Ended by a signal is failed too.
      resolve(status ?? 1);
    });
  });
}
