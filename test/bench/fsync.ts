// What a durable append costs here and now, as Redis does one for the acknowledged writes of each turn.
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { Samples, summarize, type LatencySummary } from './samples.js';

const fsyncBytes = 500;

/** Times `count` appends below `dataBase`. Takes from under 1 ms to some seconds, by the disk. */
export function measureFsync(dataBase: string, count: number): LatencySummary {
  const directory = mkdtempSync(join(dataBase, 'bench-fsync-'));
  const file = openSync(join(directory, 'append'), 'a');
  const record = Buffer.alloc(fsyncBytes, 'x');
  const samples = new Samples();
  for (let done = 0; done < count; done += 1) {
    const begin = performance.now();
    writeSync(file, record);
    fdatasyncSync(file);
    samples.pushMs(performance.now() - begin);
  }
  closeSync(file);
  rmSync(directory, { recursive: true });
  return summarize([samples.toArray()]);
}
