// `npm run topology -- cluster --nodes 3 --locks 3`: one kind of Redis with nodes and lock servers on this machine, until
// Ctrl-C. Everything it starts is its own and in a temporary directory; nothing is left of it.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { startTopology, topologyKinds, type Topology, type TopologyKind } from '../support/topology.js';

const USAGE = `usage: npm run topology -- <${topologyKinds.join('|')}> [--nodes 1..4] [--locks 0|1|3|5] [--port <first>]`;

function parse() {
  const options = { nodes: { type: 'string' }, locks: { type: 'string' }, port: { type: 'string' } } as const;
  const { positionals, values } = parseArgs({ options, allowPositionals: true });
  const [kind] = positionals as [TopologyKind | undefined];
  const [nodes, locks, port] = [values.nodes ?? 1, values.locks ?? 0, values.port ?? 0].map(Number) as [
    number,
    number,
    number,
  ];
  const fits = nodes >= 1 && nodes <= 4 && [0, 1, 3, 5].includes(locks) && port >= 0 && port < 65_536;
  if (!kind || !topologyKinds.includes(kind) || !fits) throw new Error('that cannot be started');
  const ports = Array.from({ length: nodes }, (_, n) => (port === 0 ? 0 : port + n));
  return { kind, nodes, locks, ports };
}

function describe({ kind, redisUrl, nodes, locks }: Topology): string {
  return [
    `${kind}: ready, Ctrl-C ends it`,
    ...nodes.map(({ url }) => `  node   ${url}`),
    `  redis  ${redisUrl ?? 'managed by the node'}`,
    ...locks.map(({ url }) => `  lock   ${url}`),
  ].join('\n');
}

/** Serves until SIGTERM, or until whoever started it is gone. */
async function run(): Promise<void> {
  const ended = new Promise<void>((resolve) => {
    process.once('SIGTERM', resolve);
    process.once('disconnect', resolve);
  });
  const { kind, ...options } = parse();
  const topology = await startTopology(kind, options);
  console.log(describe(topology));
  await ended;
  console.log('ending');
  await topology.stop();
}

/**
 * Ctrl-C goes to all processes of a terminal's group at once: what is to end in order, nodes before their Redis, runs in a
 * group of its own and is told by this one.
 */
function runApart(): void {
  const child = spawn(
    process.execPath,
    ['--enable-source-maps', fileURLToPath(import.meta.url), ...process.argv.slice(2)],
    {
      detached: true,
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    },
  );
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill('SIGTERM'));
  child.once('exit', (status) => (process.exitCode = status ?? 1));
}

try {
  parse();
  if (process.send) await run();
  else runApart();
} catch (error) {
  console.error(`${(error as Error).message}\n${USAGE}`);
  process.exitCode = 2;
}
process.channel?.unref();
