// Main's handle of one client process: typed calls over IPC. A process that ends early fails every call under way.
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { Part, PartName } from './load/parts.js';
import { siblingModule } from './siblings.js';

const stopTimeoutMs = 5_000;

export interface CallMessage {
  id: number;
  method: string;
  args: unknown[];
}

export interface ReplyMessage {
  id: number;
  result?: unknown;
  /** Share of the call's time in which the client's event loop was busy, 0..1. */
  busy?: number;
  error?: string;
}

type Method<N extends PartName, M extends keyof Part<N>> = Part<N>[M] extends (...args: infer A) => Promise<infer R>
  ? { args: A; result: R }
  : never;

interface Waiting {
  resolve: (reply: ReplyMessage) => void;
  reject: (error: Error) => void;
}

export class ClientProcess<N extends PartName> {
  /** How busy the event loop of the process was in the last call that ended, 0..1. */
  busy = 0;
  private readonly child: ChildProcess;
  private readonly waiting = new Map<number, Waiting>();
  private nextId = 0;

  constructor(part: N) {
    this.child = fork(siblingModule('client'), [part], { serialization: 'advanced' });
    this.child.on('message', (reply: ReplyMessage) => {
      this.waiting.get(reply.id)?.resolve(reply);
      this.waiting.delete(reply.id);
    });
    this.child.on('exit', (code, signal) => {
      const error = new Error(`client process ${part} ended early (${signal ?? `status ${code}`})`);
      for (const { reject } of this.waiting.values()) reject(error);
      this.waiting.clear();
    });
  }

  /** Calls a method of the part in the process. Rejects with the error thrown there, or when the process ends. */
  async call<M extends keyof Part<N> & string>(
    method: M,
    ...args: Method<N, M>['args']
  ): Promise<Method<N, M>['result']> {
    const id = this.nextId++;
    const reply = await new Promise<ReplyMessage>((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.child.send({ id, method, args } satisfies CallMessage, (error) => {
        if (error) reject(error);
      });
    });
    if (reply.error !== undefined) throw new Error(reply.error);
    this.busy = reply.busy ?? 0;
    return reply.result as Method<N, M>['result'];
  }

  /** Ends the process and resolves when it is gone. */
  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const gone = once(this.child, 'exit');
    if (this.child.connected) this.child.disconnect();
    const timer = setTimeout(() => this.child.kill('SIGKILL'), stopTimeoutMs);
    await gone;
    clearTimeout(timer);
  }
}
