// Starts the example bots as processes of their own, as their users do. It never imports their code.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { delimiter, join } from 'node:path';
import { projectDir } from './attune.js';
import { endWithTests, exited, isRunning } from './child.js';
import { until } from './until.js';

const READY_DEADLINE_MS = 15_000;
const EXIT_DEADLINE_MS = 15_000;
const modules = 'import socketio, aiohttp';

/** Command lines of the bots, without arguments. */
const commands = {
  'bot.ts': () => [process.execPath, '--enable-source-maps', join(projectDir, 'dist/examples/bot.js')],
  'bot.py': () => [pythonWithModules(), join(projectDir, 'examples/bot.py')],
  'bot.sh': () => ['bash', join(projectDir, 'examples/bot.sh')],
};
export type BotName = keyof typeof commands;
export const botNames = Object.keys(commands) as BotName[];

let python: string | undefined;

/** The Python on PATH that has what bot.py imports: the system's packages are for the system's own one. Throws an error
 * that names what to do. It is looked for once. */
export function pythonWithModules(): string {
  return (python ??= findPython());
}

function findPython(): string {
  const pythons = (process.env['PATH'] ?? '').split(delimiter).map((dir) => join(dir, 'python3'));
  const found = pythons.find((program) => spawnSync(program, ['-c', modules], { stdio: 'ignore' }).status === 0);
  if (found) return found;
  throw new Error(`no Python has the modules of bot.py (${modules}): run \`node scripts/setup.mjs --bots\``);
}

export interface Bot {
  readonly process: ChildProcess;
  /** The name that it goes by; undefined for one that has none. */
  readonly clientId: string | undefined;
  /** stdout and stderr together. */
  output: () => string;
  /** Sends a signal and resolves with the exit status. */
  end(signal?: NodeJS.Signals): Promise<number | null>;
}

const running = new Set<Bot>();

/** Ends every bot that startBot() started: for afterEach. */
export async function endBots(): Promise<void> {
  await Promise.all([...running].map((bot) => bot.end('SIGKILL')));
}

/** Starts a bot in one session, and resolves once it has said that it is there. */
export async function startBot(name: BotName, url: string, sessionId: string, args: string[] = []): Promise<Bot> {
  const [program, ...rest] = commands[name]() as [string, ...string[]];
  return startCommand([program, ...rest, sessionId, ...args], { ATTUNE_URL: url });
}

/** The same of any command line: the first thing it says on stdout must be that it answers. */
export async function startCommand(command: readonly string[], env: Record<string, string>): Promise<Bot> {
  const { child, output, end } = spawnBot(command, env);
  try {
    const what = `the bot (${command.join(' ')}) to answer`;
    const said = await until(() => /^answering in \S+(?: as (\S+))?\n/m.exec(output()) ?? ended(child, output()), {
      deadlineMs: READY_DEADLINE_MS,
      what,
    });
    if (typeof said === 'string') throw new Error(said);
    const bot: Bot = { process: child, clientId: said[1], output, end };
    running.add(bot);
    child.once('exit', () => running.delete(bot));
    return bot;
  } catch (error) {
    await end('SIGKILL');
    throw error;
  }
}

/** Runs a bot that is expected to end by itself; resolves with how. */
export async function runBot(name: BotName, url: string, sessionId: string, env: Record<string, string>) {
  const [program, ...rest] = commands[name]() as [string, ...string[]];
  const { child, output, end } = spawnBot([program, ...rest, sessionId], { ATTUNE_URL: url, ...env });
  try {
    return { status: await exited(child, EXIT_DEADLINE_MS), output: output() };
  } finally {
    await end('SIGKILL');
  }
}

function ended(child: ChildProcess, output: string): string | undefined {
  return isRunning(child) ? undefined : `the bot ended with ${child.exitCode ?? child.signalCode}: ${output}`;
}

function spawnBot([program = '', ...args]: readonly string[], env: Record<string, string>) {
  const { PATH = '', HOME = '' } = process.env;
  const child = spawn(program, args, {
    env: { PATH, HOME, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    cwd: projectDir,
    // A group of its own, so that what a shell started ends with it.
    detached: true,
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (part: string) => (text += part));
  const killGroup = () => {
    try {
      process.kill(-child.pid!, 'SIGKILL');
    } catch {
      // nobody of it is left
    }
  };
  const forget = endWithTests(killGroup);
  const end = async (signal: NodeJS.Signals = 'SIGTERM') => {
    if (isRunning(child)) child.kill(signal);
    const status = await exited(child, EXIT_DEADLINE_MS);
    killGroup();
    forget();
    return status;
  };
  return { child, output: () => text, end };
}
