// The history checker finds seeded mistakes of real servers: each mutant is run under load and named by an invariant, and the
// server that is right is not, under the same fault.
import { expect } from 'chai';
import { runFault, type Fault, type RunReport, type Size } from '../support/fault-run.js';
import { buildMutant, type Change } from '../support/mutants.js';
import { mutants } from './mutants/all.js';

/** Those of `npm test`: one each of the scripts, the queue, the hub and the sockets. `npm run test:mutants` runs all. */
const FEW = ['no updateId check', 'an unknown outcome reported as certain', 'a refill off by one', 'epoch ignored'];
const isAll = process.env['ATTUNE_MUTANTS'] === 'all';
const chosen = mutants.filter(({ name }) => isAll || FEW.includes(name));
/** Runs at the same time: most of a run is waiting. */
const AT_ONCE = 3;
const SIZE: Size = { nodes: 2, writers: 4, observers: 12, sessions: 3, pauseMs: 2, isShort: true };
/** How long an observer of a mutant may be behind: a room that nobody mends is behind for ever. The right server has longer. */
const CONVERGE_MS = 4_000;
const SEED = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);

/** A run under way, one for all that are the same. */
const runs = new Map<string, Promise<RunReport>>();
const waiting: (() => void)[] = [];
let running = 0;

function start(fault: Fault, changes: readonly Change[], convergeMs?: number): Promise<RunReport> {
  const key = JSON.stringify([fault.id, changes]);
  const found = runs.get(key) ?? inTurn(() => run(fault, changes, convergeMs));
  runs.set(key, found);
  return found;
}

async function inTurn<T>(work: () => Promise<T>): Promise<T> {
  if (running === AT_ONCE) await new Promise<void>((resolve) => waiting.push(resolve));
  else running += 1;
  try {
    return await work();
  } finally {
    const next = waiting.shift();
    if (next) next();
    else running -= 1;
  }
}

async function run(fault: Fault, changes: readonly Change[], convergeMs?: number): Promise<RunReport> {
  const build = changes.length > 0 ? buildMutant(changes) : undefined;
  const needs = typeof fault.needs === 'function' ? fault.needs() : fault.needs;
  try {
    const other = { ...fault, needs: { ...needs, ...(build && { main: build.main }) } };
    const within = convergeMs === undefined ? {} : { convergeMs };
    return await runFault(other, { seed: SEED, size: SIZE, isKept: convergeMs === undefined, ...within });
  } finally {
    build?.remove();
  }
}

describe('mutants of the server', function () {
  this.timeout(120_000);
  const table: { mutant: string; fault: string; expected: string; found: string }[] = [];
  before(() => {
    for (const { fault, changes, rightChanges = [] } of chosen) {
      void start(fault, rightChanges).catch(() => undefined);
      void start(fault, changes, CONVERGE_MS).catch(() => undefined);
    }
  });
  after(() => {
    console.log(`      seed ${SEED}`);
    for (const { mutant, fault, expected, found } of table) {
      console.log(`      ${mutant.padEnd(44)} ${fault.padEnd(18)} ${expected.padEnd(4)} ${found}`);
    }
  });

  for (const { name, changes, rightChanges = [], fault, finds } of chosen) {
    it(`[MU1] ${finds} finds: ${name}; the server that is right gets over the same`, async () => {
      const right = await start(fault, rightChanges);
      const { violations, text } = await start(fault, changes, CONVERGE_MS);
      const found = Object.entries(violations).map(([what, count]) => `${what} × ${count}`);
      table.push({ mutant: name, fault: fault.id.slice(3), expected: finds, found: found.join(', ') || 'nothing' });
      expect(right.result, right.text).to.equal('holds');
      expect(violations, text).to.include.keys(finds);
    });
  }

  it('[MU2] a change that no longer fits the server, or fits it twice, is an error', () => {
    const change = (find: string) => [{ file: 'main.js', find, replace: '' }];
    expect(() => buildMutant(change('this is nowhere'))).to.throw('no longer fits: main.js has 0 times');
    expect(() => buildMutant(change('import'))).to.throw(/no longer fits: main.js has \d+ times/);
  });
});
