// One short run of a fault as a test: printed, and it must hold.
import { expect } from 'chai';
import { runFault, SHORT, type Fault, type Trial } from '../support/fault-run.js';

/** The seed of every run in this process; ATTUNE_FAULTS_SEED repeats one. */
const SEED = Number(process.env['ATTUNE_FAULTS_SEED'] ?? Date.now() % 2 ** 31);

/** Runs a fault once, short, and prints what came of it; rejects where it does not hold, or proved nothing. */
export async function holds(fault: Fault | Trial): Promise<void> {
  const report = await runFault(fault, { seed: SEED, size: SHORT });
  console.log(report.text.replaceAll(/^/gm, '      '));
  expect(report.result, report.text).to.be.oneOf(['holds', 'skipped']);
}
