// The simulation: that a seed is one run, that it finds what is built in, and some hundreds of seeds of the real thing.
import { expect } from 'chai';
import { faults } from '../sim/faults.js';
import { plants } from '../sim/plants.js';
import { playSeeds } from '../sim/pool.js';
import { playSeed } from '../sim/run.js';

/** Seeds of one `npm test`. */
const SEEDS = 200;
/** Seeds in which a planted bug has to show once. */
const SEEDS_PER_PLANT = 60;

describe('the simulation', function () {
  this.timeout(120_000);

  it('[SI2] the same seed is the same run, and another is another', async () => {
    const lines: string[][] = [[], []];
    const first = await playSeed(7, { onTrace: (line) => lines[0]!.push(line) });
    const again = await playSeed(7, { onTrace: (line) => lines[1]!.push(line) });
    const differs = lines[0]!.findIndex((line, at) => line !== lines[1]![at]);
    expect(differs, `${lines[0]![differs]} | ${lines[1]![differs]}`).to.equal(-1);
    expect(lines[0]).to.have.length.above(1000);
    expect(again).to.deep.equal(first);
    const other = await playSeed(8);
    expect(other.traceHash).to.not.equal(first.traceHash);
  });

  for (const [name, { plant, finds }] of Object.entries(plants)) {
    it(`[SI4] ${name}: that is found`, async () => {
      const others: string[] = [];
      for (let seed = 1; seed <= SEEDS_PER_PLANT; seed += 1) {
        const { wrong } = await playSeed(seed, { plant });
        if (finds.test(wrong)) return;
        if (wrong !== '') others.push(wrong);
      }
      expect.fail(`not found in ${SEEDS_PER_PLANT} seeds; found was ${others[0] ?? 'nothing'}`);
    });
  }

  it(`[SI3] ${SEEDS} seeds: nothing is lost, doubled, out of order or left over, and everybody is current`, async () => {
    const first = 1 + (Date.now() % 2 ** 31);
    const wrong: string[] = [];
    const seen = new Set<string>();
    let ok = 0;
    await playSeeds(first, SEEDS, (result) => {
      if (result.wrong !== '') wrong.push(`npm run sim -- --seed ${result.seed} --trace\n${result.wrong}`);
      for (const name of result.faults.keys()) seen.add(name);
      ok += result.ok;
    });
    console.log(`      seeds ${first} to ${first + SEEDS - 1}: ${ok} ok`);
    expect(wrong, wrong.join('\n')).to.deep.equal([]);
    expect(ok).to.be.above(SEEDS * 50);
    expect([...seen]).to.include.members(Object.keys(faults));
  });
});
