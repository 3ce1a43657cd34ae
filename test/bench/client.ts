// A client process: plays one part of the load (argv[2]) as main tells it over IPC, one call at a time or several.
// Holds no knowledge of any workload.
import { performance } from 'node:perf_hooks';
import { parts, type PartName } from './load/parts.js';
import type { CallMessage, ReplyMessage } from './client-process.js';

type Methods = Record<string, (...args: unknown[]) => Promise<unknown>>;

const part = new parts[process.argv[2] as PartName]() as unknown as Methods;

async function perform({ id, method, args }: CallMessage): Promise<void> {
  const before = performance.eventLoopUtilization();
  const result = await part[method]!(...args);
  const busy = performance.eventLoopUtilization(before).utilization;
  process.send?.({ id, result, busy } satisfies ReplyMessage);
}

process.on('message', (call: CallMessage) => {
  perform(call).catch((error: unknown) => {
    const reason = error instanceof Error ? (error.stack ?? error.message) : String(error);
    process.send?.({ id: call.id, error: reason } satisfies ReplyMessage);
  });
});
// Main decides when this process ends; Ctrl-C reaches the whole process group.
process.on('SIGINT', () => undefined);
process.on('disconnect', () => process.exit(0));
