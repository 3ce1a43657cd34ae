// How the tool ends: its exit statuses, the errors that carry one, and what must be undone when a signal ends it.

/** All that was asked was done. */
export const EXIT_DONE = 0;
/** Something was refused, or the server or a file failed. */
export const EXIT_FAILED = 1;
/** The command line makes no sense; nothing was done. */
export const EXIT_USAGE = 2;
/** The reader of stdout went away: what a shell shows for SIGPIPE. */
export const EXIT_PIPE = 141;

/** For the end of every command's --help. */
export const exitStatusHelp = `
Exit status:
  0  all done, nothing was refused
  1  something was refused, or the server or a file could not be reached, read or written
  2  the command line is wrong; nothing was done
`;

/** A failure with a text for the user and the exit status that it means. */
export class CliFailure extends Error {
  readonly exitCode: number;

  constructor(message: string, exitCode: number = EXIT_FAILED, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.exitCode = exitCode;
  }
}

/** A mistake in the command line. */
export function usageError(message: string): CliFailure {
  return new CliFailure(message, EXIT_USAGE);
}

const undoAtSignal = new Set<() => void>();

/**
 * Has `undo` called when a signal ends the process; it must be synchronous. Returns a function that withdraws it.
 */
export function onSignal(undo: () => void): () => void {
  undoAtSignal.add(undo);
  return () => undoAtSignal.delete(undo);
}

/** Installs the handlers: undo all, then end by the same signal, so that a shell sees what happened. */
export function endCleanlyOnSignals(): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      for (const undo of undoAtSignal) undo();
      process.kill(process.pid, signal);
    });
  }
}

/** Text of an error for a line of output: its message, with the code where Node gives only that. */
export function errorText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof AggregateError && error.message === '') return error.errors.map(errorText).join('; ');
  return error.message || (error as NodeJS.ErrnoException).code || error.name;
}

/** Whether an error came from the file system (or another call of the operating system). */
export function isFileError(error: unknown): boolean {
  return error instanceof Error && typeof (error as NodeJS.ErrnoException).syscall === 'string';
}
