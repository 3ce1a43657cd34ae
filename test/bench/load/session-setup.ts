// Puts a session into the state that every design starts from. Does not measure.
import { sampleSettings } from '../settings.js';
import type { Tab } from '../tab.js';

/** Creates the session and gives it exactly the sample settings, whatever defaults the server has. */
export async function createSession(tab: Tab, sessionId: string): Promise<void> {
  await tab.request('session:open', { sessionId });
  await tab.request('settings:update', { sessionId, updateId: 'setup', replace: sampleSettings });
}

export async function joinSession(tab: Tab, sessionId: string): Promise<void> {
  await tab.request('session:join', { sessionId });
}

/** Runs `task` for 0..count-1, `width` at a time, and resolves with the results in order. */
export async function inParallel<T>(count: number, width: number, task: (index: number) => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < count) {
      const index = next++;
      results[index] = await task(index);
    }
  };
  await Promise.all(Array.from({ length: Math.min(width, count) }, lane));
  return results;
}
