// What a bot is at work on, each job once at a time, until it is told to stop. It knows nothing of sessions.
import { setTimeout as pause } from 'node:timers/promises';
import { ClientError } from '@attune/client';

/** Pause before what failed in passing is done again, milliseconds. */
const AGAIN_MS = 1000;
/** How long a stop waits for what is under way, milliseconds. */
const STOP_WITHIN_MS = 10_000;

export interface Jobs {
  /** Does a job, unless one of this name is under way or the bot is stopping. One that may be tried again is. */
  start(name: string, job: () => Promise<void>): void;
  /** Starts none from now on. Resolves when those under way are done, or have had their time. */
  stop(): Promise<void>;
}

export function createJobs(): Jobs {
  const running = new Map<string, Promise<void>>();
  let isStopping = false;

  async function run(name: string, job: () => Promise<void>): Promise<void> {
    do {
      try {
        return await job();
      } catch (error) {
        console.error(`${name}: ${(error as Error).message}`);
        if (error instanceof ClientError && error.retry === 'never') return;
      }
      // A read that the end of the connection left without an answer, for instance.
      await pause(AGAIN_MS);
    } while (!isStopping);
  }

  return {
    start(name, job) {
      if (isStopping || running.has(name)) return;
      running.set(
        name,
        run(name, job).finally(() => running.delete(name)),
      );
    },
    async stop() {
      isStopping = true;
      await Promise.race([Promise.all(running.values()), pause(STOP_WITHIN_MS, undefined, { ref: false })]);
    },
  };
}
