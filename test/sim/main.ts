// npm run sim -- [--seeds N] [--seed S] [--trace]: plays so many seeds from S on, on all cores, and says what is wrong with which.
import { parseArgs } from 'node:util';
import { playSeeds } from './pool.js';
import { playSeed, type RunResult } from './run.js';

/** Failing seeds that are shown in full. */
const SHOWN_MAX = 5;
const PROGRESS_MS = 10_000;
/** Of the nodes' metrics what tells whether rare ways were gone. */
const TOLD = /^(leaseBypasses|repairs|snapshots|commitReplies|releaseFailures)/;

async function main(): Promise<void> {
  const options = { seeds: { type: 'string' }, seed: { type: 'string' }, trace: { type: 'boolean' } } as const;
  const { values } = parseArgs({ options });
  const first = Number(values.seed ?? 1);
  const count = Number(values.seeds ?? (values.seed === undefined ? 1000 : 1));
  if (!Number.isSafeInteger(first) || !Number.isSafeInteger(count) || count < 1) {
    throw new Error('--seed and --seeds take whole numbers');
  }
  const began = performance.now();
  const total = new Total();
  if (count === 1) total.add(await playSeed(first, values.trace ? { onTrace: (line) => console.log(line) } : {}));
  else {
    const say = () => console.log(`${total.seeds} of ${count} seeds, ${total.failed.length} failed`);
    const progress = setInterval(say, PROGRESS_MS);
    await playSeeds(first, count, (result) => total.add(result));
    clearInterval(progress);
  }
  total.print(performance.now() - began);
  process.exitCode = total.failed.length > 0 ? 1 : 0;
}

/** What all seeds were together. */
class Total {
  readonly failed: number[] = [];
  seeds = 0;
  private ok = 0;
  private happenings = 0;
  private virtualMs = 0;
  private readonly counts = new Map<string, number>();

  add(result: RunResult): void {
    const { seed, wrong, ok, happenings, virtualMs, faults, metrics } = result;
    this.seeds += 1;
    this.ok += ok;
    this.happenings += happenings;
    this.virtualMs += virtualMs;
    for (const [name, count] of [...faults, ...[...metrics].filter(([one]) => TOLD.test(one))]) {
      this.counts.set(name, (this.counts.get(name) ?? 0) + count);
    }
    if (wrong === '') return;
    this.failed.push(seed);
    if (this.failed.length <= SHOWN_MAX) console.log(`seed ${seed}\n${wrong}\n`);
  }

  print(tookMs: number): void {
    const { seeds, failed, ok, happenings, virtualMs, counts } = this;
    for (const [name, count] of [...counts].toSorted(([a], [b]) => (a < b ? -1 : 1)))
      console.log(`${String(count).padStart(10)} ${name}`);
    const perMinute = Math.round((seeds / tookMs) * 60_000);
    const hours = (virtualMs / 3_600_000).toFixed(1);
    console.log(`${seeds} seeds, ${perMinute} a minute: ${hours} h played, ${happenings} events, ${ok} ok`);
    console.log(failed.length === 0 ? 'nothing is wrong' : `wrong in ${failed.length}: seeds ${failed.join(', ')}`);
  }
}

await main();
