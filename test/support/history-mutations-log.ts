// Ways to make the log itself wrong, each with the invariant that has to find it.
import { pick } from './history-model.js';
import { inLog, type Changeable, type Mutation } from './history-mutation.js';

export const mutationsOfLog: readonly Mutation[] = [
  {
    name: 'a log entry is missing',
    finds: 'I1',
    mutate: (run, random) => inLog(run, random, (log, at) => log.splice(at, 1)),
  },
  {
    name: 'a log entry is there twice',
    finds: 'I1',
    mutate: (run, random) => inLog(run, random, (log, at) => log.splice(at, 0, log[at]!)),
  },
  {
    name: 'two log entries are swapped',
    finds: 'I1',
    mutate: (run, random) => inLog(run, random, (log, at) => log.splice(at, 2, log[at + 1]!, log[at]!)),
  },
  {
    name: 'the body of a log entry says another revision',
    finds: 'I1',
    mutate: (run, random) => inLog(run, random, (log, at) => (log[at]!.body.revision += 1)),
  },
  {
    name: 'the append-only file ends before the stream',
    finds: 'I1',
    mutate({ truth }, random) {
      const { stream, file } = pick(random, truth) as Changeable;
      file[0]!.pop();
      return stream.length > 1;
    },
  },
  {
    name: 'the stream lacks commits that nothing removed',
    finds: 'I1',
    mutate({ truth }, random) {
      const { stream } = pick(random, truth) as Changeable;
      stream.shift();
      return true;
    },
  },
  {
    name: 'the stream has commits that were removed',
    finds: 'I1',
    mutate({ truth }, random) {
      const { stream, file } = pick(random, truth) as Changeable;
      const before = file[0]![stream[0]!.revision - 2];
      if (before) stream.unshift(before);
      return before !== undefined;
    },
  },
  {
    name: 'the append-only file has another body than the stream',
    finds: 'I1',
    mutate({ truth }, random) {
      const { stream, file } = pick(random, truth) as Changeable;
      stream.at(-1)!.body = { ...file[0]!.at(-1)!.body, at: 'another' };
      return true;
    },
  },
  {
    name: 'a fencing token is smaller than the one before',
    finds: 'I13',
    mutate: (run, random) => inLog(run, random, (log, at) => (log[at]!.fence = log[at - 1]!.fence - 1)),
  },
];
