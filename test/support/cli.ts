// Runs the compiled command line tool as a process of its own, and a proxy that lets a test stop the server's answer
// half way. It never imports the tool's code.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { projectDir } from './attune.js';
import { endWithTests, isRunning } from './child.js';

const cliMain = join(projectDir, 'dist/server/cli/main.js');
/** Prints, at the very end, the most memory that the process had. */
const tellMemory =
  'data:text/javascript,process.on("exit",()=>process.stderr.write(`maxRSS=${process.resourceUsage().maxRSS}\\n`))';

export interface CliEnd {
  /** Exit status, null after a signal. */
  status: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  /** Without the line about memory. */
  stderr: string;
  /** The most memory that the process had, bytes. */
  peakBytes: number;
}

export interface CliRun {
  readonly process: ChildProcess;
  readonly ended: Promise<CliEnd>;
}

/** Starts `attune …args` against a server; `env` is added to a bare environment. */
export function startCli(url: string, args: readonly string[], env: Record<string, string> = {}): CliRun {
  const child = spawn(process.execPath, ['--import', tellMemory, cliMain, ...args], {
    env: { PATH: process.env['PATH'] ?? '', ATTUNE_URL: url, ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const forget = endWithTests(() => {
    if (isRunning(child)) child.kill('SIGKILL');
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  // A tool that ends early does not read its stdin to the end.
  child.stdin.on('error', () => undefined);
  const ended = once(child, 'close').then(([status, signal]): CliEnd => {
    forget();
    const peak = /^maxRSS=(\d+)\n/m.exec(stderr);
    return {
      status: status as number | null,
      signal: signal as NodeJS.Signals | null,
      stdout,
      stderr: stderr.replace(/^maxRSS=\d+\n/m, ''),
      peakBytes: Number(peak?.[1] ?? Number.NaN) * 1024,
    };
  });
  return { process: child, ended };
}

/** Runs `attune …args` to its end; `input` becomes its stdin. */
export async function runCli(
  url: string,
  args: readonly string[],
  options: { env?: Record<string, string>; input?: string } = {},
): Promise<CliEnd> {
  const run = startCli(url, args, options.env);
  run.process.stdin?.end(options.input ?? '');
  return run.ended;
}

export interface StoppingProxy {
  readonly url: string;
  /** Resolves once `afterBytes` of answers went through; from then on the answer stands still. */
  readonly stopped: Promise<void>;
  /** Ends all connections. */
  close(): Promise<void>;
}

/** A proxy before `port` that forwards the first `afterBytes` of what the server sends, and then nothing. */
export async function startStoppingProxy(port: number, afterBytes: number): Promise<StoppingProxy> {
  const sockets = new Set<Socket>();
  let passed = 0;
  let stop: () => void = () => undefined;
  const stopped = new Promise<void>((resolve) => (stop = resolve));
  const server = createServer((client) => {
    const upstream = connect(port, '127.0.0.1');
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
    }
    client.pipe(upstream);
    upstream.on('data', (chunk: Buffer) => {
      if (passed >= afterBytes) return;
      passed += chunk.length;
      client.write(chunk);
      if (passed >= afterBytes) {
        upstream.pause();
        stop();
      }
    });
    upstream.on('end', () => client.end());
    upstream.on('close', () => client.destroy());
    client.on('close', () => upstream.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    stopped,
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
