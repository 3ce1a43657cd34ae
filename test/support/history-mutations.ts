// All ways to make a right history wrong.
import { LATER_NS, drop, ofKind, type Mutation } from './history-mutation.js';
import { mutationsOfLog } from './history-mutations-log.js';
import { mutationsOfReaders } from './history-mutations-readers.js';
import { mutationsOfWrites } from './history-mutations-writes.js';

/** Of a run as a whole: it proves nothing, or the fault was not got over. */
const mutationsOfRuns: readonly Mutation[] = [
  {
    name: 'no write is answered for long after the fault was healed',
    finds: 'I14',
    mutate(run) {
      const heal = ofKind(run, 'mark').find(({ what }) => what === 'heal')!;
      const later = run.history.filter(({ at }) => at > heal.at);
      for (const entry of later) entry.at += LATER_NS;
      return later.length > 0;
    },
  },
  {
    name: 'too few answers before the fault',
    finds: 'I15',
    mutate(run) {
      const fault = ofKind(run, 'mark').find(({ what }) => what === 'fault')!;
      fault.at = run.history[0]!.at;
      return true;
    },
  },
  {
    name: 'too few answers after the fault',
    finds: 'I15',
    mutate(run) {
      const heal = ofKind(run, 'mark').find(({ what }) => what === 'heal')!;
      heal.at = run.history.at(-1)!.at;
      return true;
    },
  },
  {
    name: 'no effect of the fault',
    finds: 'I15',
    mutate: (run) =>
      drop(
        run,
        ofKind(run, 'mark').find(({ what }) => what === 'effect')!,
      ),
  },
];

export const mutations: readonly Mutation[] = [
  ...mutationsOfLog,
  ...mutationsOfWrites,
  ...mutationsOfReaders,
  ...mutationsOfRuns,
];
