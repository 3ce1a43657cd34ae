// Plays many seeds of the simulation, each in a worker thread, on all cores.
import { availableParallelism } from 'node:os';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import { playSeed, type RunResult } from './run.js';

/** Seeds that a worker is given at a time. */
const CHUNK_SEEDS = 10;

if (!isMainThread) parentPort?.on('message', (seeds: number[]) => void playAll(seeds));

async function playAll(seeds: readonly number[]): Promise<void> {
  const results: RunResult[] = [];
  for (const seed of seeds) results.push(await playSeed(seed));
  parentPort!.postMessage(results);
}

/** Plays `count` seeds from `first` on. Rejects where a worker fails. */
export async function playSeeds(first: number, count: number, onResult: (result: RunResult) => void): Promise<void> {
  let next = first;
  const take = () => {
    const seeds = Array.from({ length: Math.min(CHUNK_SEEDS, first + count - next) }, (_, i) => next + i);
    next += seeds.length;
    return seeds;
  };
  const workers = Math.min(availableParallelism(), Math.ceil(count / CHUNK_SEEDS));
  await Promise.all(Array.from({ length: workers }, () => work(take, onResult)));
}

function work(take: () => number[], onResult: (result: RunResult) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL(import.meta.url));
    const give = () => {
      const seeds = take();
      if (seeds.length > 0) return worker.postMessage(seeds);
      void worker.terminate().then(() => resolve());
    };
    worker.on('message', (results: RunResult[]) => {
      for (const result of results) onResult(result);
      give();
    });
    worker.on('error', reject);
    give();
  });
}
