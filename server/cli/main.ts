#!/usr/bin/env node
// The command line tool: puts the commands together and turns every end into an exit status. A user of the server
// like any other: it speaks HTTP and knows nothing of the server's inside.
import { Command, CommanderError } from 'commander';
import { readCliEnvironment } from './environment.js';
import { CliFailure, EXIT_DONE, EXIT_FAILED, EXIT_PIPE, EXIT_USAGE, endCleanlyOnSignals, errorText } from './exit.js';
import { addExportCommand } from './export-command.js';
import { addImportCommand } from './import-command.js';
import { printable } from './report.js';

endCleanlyOnSignals();
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // Who read our output has enough (`| head`): no reason to complain.
  process.exit(error.code === 'EPIPE' ? EXIT_PIPE : EXIT_FAILED);
});

const environment = readCliEnvironment();
const setStatus = (status: number): void => {
  process.exitCode = status;
};

const program = new Command('attune')
  .description('Moves sessions between an Attune server and files.')
  .showHelpAfterError('(add --help for what there is)')
  // Before the commands are added: they inherit it.
  .exitOverride();
addImportCommand(program, environment, setStatus);
addExportCommand(program, environment, setStatus);

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = statusOf(error);
}

function statusOf(error: unknown): number {
  // Commander has printed its own words; asking for help is no mistake.
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_DONE : EXIT_USAGE;
  const text = error instanceof CliFailure ? error.message : `unexpected: ${errorText(error)}`;
  for (const line of text.split('\n')) process.stderr.write(`attune: ${printable(line)}\n`);
  return error instanceof CliFailure ? error.exitCode : EXIT_FAILED;
}
