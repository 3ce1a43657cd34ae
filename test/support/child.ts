// Child processes of tests: wait for their end, and let none outlive the test run. It never ends a process it was not given.
import type { ChildProcess } from 'node:child_process';
import { until } from './until.js';

const atExit = new Set<() => void>();

process.once('exit', () => {
  for (const end of atExit) {
    try {
      end();
    } catch {
      // it was gone already
    }
  }
});

/** Runs `end` (synchronous) when the test process itself ends. Returns how to take that back. */
export function endWithTests(end: () => void): () => void {
  atExit.add(end);
  return () => atExit.delete(end);
}

/** True while the child runs. */
export function isRunning(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null;
}

/** Resolves with the child's exit status (null after a signal). Rejects after `deadlineMs`. */
export function exited(child: ChildProcess, deadlineMs: number): Promise<number | null> {
  if (!isRunning(child)) return Promise.resolve(child.exitCode);
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error(`process ${child.pid} did not exit within ${deadlineMs} ms`)),
      deadlineMs,
    );
    child.once('exit', (status) => {
      clearTimeout(timer);
      resolve(status);
    });
  });
}

/** SIGKILL to one process id that need not be a child of ours; resolves when it is gone. */
export async function killPid(pid: number, isGone: () => boolean): Promise<void> {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
  await until(isGone, { what: `the end of process ${pid}` });
}
