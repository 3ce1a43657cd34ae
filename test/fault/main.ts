// `npm run test:faults -- --runs N --seed S [--only L1,D2] [--short] [--strict]`: runs the faults and prints a line for each run and a
// table at the end. Exit status 1 where a run was violated or invalid.
import { parseArgs } from 'node:util';
import { FULL, runFault, SHORT, type RunReport } from '../support/fault-run.js';
import { faults } from './faults/all.js';

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '1' },
    seed: { type: 'string' },
    only: { type: 'string' },
    strict: { type: 'boolean', default: false },
    short: { type: 'boolean', default: false },
  },
});
const only = values.only?.split(',');
const chosen = faults.filter(
  ({ id }) => only === undefined || only.includes(id) || only.includes(id.split(' ', 1)[0]!),
);
if (chosen.length === 0) throw new Error(`--only names no fault; there are ${faults.map(({ id }) => id).join(', ')}`);
const firstSeed = Number(values.seed ?? Date.now() % 2 ** 31);
const reports: RunReport[] = [];
for (const fault of chosen) {
  for (let n = 0; n < Number(values.runs); n += 1) {
    const report = await runFault(fault, {
      seed: firstSeed + n,
      size: values.short ? SHORT : FULL,
      isStrict: values.strict,
    });
    reports.push(report);
    console.log(report.text);
    if (report.result === 'skipped') break;
  }
}
printTable();
process.exitCode = reports.some(({ result }) => result === 'violated' || result === 'invalid') ? 1 : 0;

/** Fault × what was violated, with the number of runs. */
function printTable(): void {
  const rows = chosen.map(({ id, title }) => {
    const own = reports.filter((report) => report.id === id);
    const ran = own.filter(({ result }) => result !== 'skipped');
    const counts: Record<string, number> = {};
    for (const { violations } of own) {
      for (const [what, count] of Object.entries(violations)) counts[what] = (counts[what] ?? 0) + count;
    }
    const violated = Object.entries(counts).map(([what, count]) => `${what} × ${count}`);
    const invalid = own.filter(({ result }) => result === 'invalid').length;
    return {
      id,
      runs: ran.length,
      violations: violated.join(', ') || (ran.length > 0 ? '0' : 'skipped'),
      invalid,
      title,
    };
  });
  console.log('\nfault      runs  invalid  violations            what it is');
  for (const { id, runs, invalid, violations, title } of rows) {
    const numbers = `${String(runs).padStart(4)}  ${String(invalid).padStart(7)}`;
    console.log(`${id.padEnd(9)}  ${numbers}  ${violations.padEnd(20)}  ${title}`);
  }
}
