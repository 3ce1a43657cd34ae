// The progress bar: on stderr and only on a terminal, otherwise nothing.
import cliProgress from 'cli-progress';
import { onSignal } from './exit.js';

/** Shows how far a command is. */
export interface Progress {
  /** Sets the value; where the total is known only later it may come along. */
  update(value: number): void;
  /** Removes the bar. Idempotent. */
  stop(): void;
}

/**
 * A bar labelled `label` that counts `unit` up to `total`, or only counts where the total is unknown (undefined).
 */
export function startProgress(label: string, unit: string, total: number | undefined): Progress {
  if (!process.stderr.isTTY) return { update() {}, stop() {} };
  const counted = total === undefined ? `${label}  {value} ${unit}  {duration_formatted}` : barFormat(label, unit);
  const bar = new cliProgress.SingleBar({
    format: counted,
    stream: process.stderr,
    clearOnComplete: true,
    hideCursor: false,
    etaBuffer: 200,
    fps: 10,
  });
  bar.start(total ?? 0, 0);
  const withdraw = onSignal(() => bar.stop());
  return {
    update: (value) => bar.update(value),
    stop() {
      withdraw();
      bar.stop();
    },
  };
}

function barFormat(label: string, unit: string): string {
  return `${label}  [{bar}] {percentage} %  {value}/{total} ${unit}  {eta_formatted} left`;
}
