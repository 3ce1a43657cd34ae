// The facts about the machine that a figure is worthless without.
import { spawnSync } from 'node:child_process';
import { cpus, loadavg, release, totalmem, type } from 'node:os';
import { findRedisServer } from './redis-child.js';
import { measureFsync } from './fsync.js';
import type { LatencySummary } from './samples.js';
import { projectRoot } from './siblings.js';

const fsyncCount = 500;

export interface Machine {
  date: string;
  cores: number;
  processor: string;
  memoryGiB: number;
  system: string;
  node: string;
  redis: string;
  /** Kind of file system under the servers' data. */
  fileSystem: string;
  /** What it takes there to append a few hundred bytes durably, as Redis does for each acknowledged write. */
  fsync: LatencySummary;
  /** Load of the last minute before the bench began; others on the machine spoil the figures. */
  loadBefore: number;
  commit: string;
}

/** Asks the machine, with the servers' data below `dataBase`; what cannot be found out is `unknown`. */
export function describeMachine(dataBase: string): Machine {
  const processors = cpus();
  return {
    date: new Date().toISOString(),
    cores: processors.length,
    processor: processors[0]?.model.trim() ?? 'unknown',
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${type()} ${release()}`,
    node: process.version,
    redis: findRedisServer().version,
    fileSystem: firstLine('findmnt', ['--noheadings', '--output', 'FSTYPE', '--target', dataBase]),
    fsync: measureFsync(dataBase, fsyncCount),
    loadBefore: Math.round(loadavg()[0]! * 100) / 100,
    commit: firstLine('git', ['-C', projectRoot, 'describe', '--always', '--dirty']),
  };
}

function firstLine(command: string, args: string[]): string {
  const run = spawnSync(command, args, { encoding: 'utf8' });
  const line = run.status === 0 ? run.stdout.split('\n')[0]?.trim() : undefined;
  return line || 'unknown';
}
