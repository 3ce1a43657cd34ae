// The history checker against histories that are right, and against each way to make one wrong.
import { expect } from 'chai';
import fc from 'fast-check';
import { playRun, seeded, type Run } from '../support/history-model.js';
import { mutations } from '../support/history-mutations.js';
import { checkHistory, describeVerdict, type Verdict } from '../support/history.js';

const seed = fc.integer({ min: 0, max: 2 ** 31 });
/** Steps of a run of the model: enough for something of everything. */
const STEPS = 400;
const RUNS = 10;
/** Runs, of those above, in which there has to be something to be made wrong. */
const APPLIED_MIN = 3;

const check = ({ history, truth }: Run): Verdict => checkHistory(history, truth, { okAtEachEnd: 5 });

describe('the history checker', () => {
  it('[HC1] finds nothing in a history that is right, whatever was lost, retried, cut off and resumed in it', () => {
    fc.assert(
      fc.property(seed, (from) => {
        const random = seeded(from);
        const verdict = check(playRun(random, STEPS));
        expect(verdict.verdict, describeVerdict(verdict)).to.equal('holds');
      }),
      { numRuns: RUNS },
    );
  });

  for (const { name, finds, mutate } of mutations) {
    it(`[HC2] ${finds} finds: ${name}`, () => {
      let applied = 0;
      fc.assert(
        fc.property(seed, (from) => {
          const random = seeded(from);
          const run = playRun(random, STEPS);
          if (!mutate(run, random)) return;
          applied += 1;
          const verdict = check(run);
          const found = verdict.violations.filter(({ invariant }) => invariant === finds);
          expect(found, `${finds} says nothing: ${describeVerdict(verdict)}`).to.not.deep.equal([]);
          expect(verdict.verdict).to.equal(finds === 'I15' ? 'invalid' : 'violated');
        }),
        { numRuns: RUNS },
      );
      expect(applied, 'runs that had something to be made wrong').to.be.at.least(APPLIED_MIN);
    });
  }
});
