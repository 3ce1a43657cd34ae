// The history checker against histories that are right, and against each way to make one wrong.
import { expect } from 'chai';
import fc from 'fast-check';
import { playRun, seeded, type Run } from '../support/history-model.js';
import { mutations } from '../support/history-mutations.js';
import { checkHistory, describeVerdict, type Verdict } from '../support/history.js';

const seed = fc.integer({ min: 0, max: 2 ** 31 });
/** Steps of a run of the model: enough for something of everything. */
const STEPS = 400;
const RUNS = 30;
/** Runs that are made wrong in each way. */
const RUNS_MADE_WRONG = 5;

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
      fc.assert(
        fc.property(seed, (from) => {
          const random = seeded(from);
          const run = playRun(random, STEPS);
          // Not each run has something to be made wrong so: another one is played in its place.
          fc.pre(mutate(run, random));
          const verdict = check(run);
          const found = verdict.violations.filter(({ invariant }) => invariant === finds);
          expect(found, `${finds} says nothing: ${describeVerdict(verdict)}`).to.not.deep.equal([]);
          expect(verdict.verdict, describeVerdict(verdict)).to.equal(finds === 'I15' ? 'invalid' : 'violated');
        }),
        { numRuns: RUNS_MADE_WRONG },
      );
    });
  }
});
