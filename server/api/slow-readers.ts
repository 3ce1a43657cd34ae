// Cuts connections whose peer does not read: what one of them leaves unread is bounded, and costs nobody else anything.
import type { Logger } from 'pino';
import type { Server } from 'socket.io';
import type { Metrics } from '../metrics.js';
import { onConnection, type EngineConnection } from './engine-connection.js';

/** How often the backlog of each connection is looked at, milliseconds. */
const BACKLOG_CHECK_MS = 500;
/** Bytes that a connection may leave unread; one that has more at two looks is cut. */
const BACKLOG_BYTES_MAX = 1024 * 1024;

/** Pause between two looks at what is still to be written, milliseconds. */
const WRITTEN_POLL_MS = 5;

export class SlowReaders {
  private readonly metrics: Metrics;
  private readonly logger: Logger;
  /** Every connection, and whether it had too much unread when it was last looked at. */
  private readonly isBehind = new Map<EngineConnection, boolean>();
  private readonly timer: NodeJS.Timeout;

  constructor(io: Server, options: { metrics: Metrics; logger: Logger }) {
    this.metrics = options.metrics;
    this.logger = options.logger;
    onConnection(io, (connection) => {
      this.isBehind.set(connection, false);
      connection.on('close', () => this.isBehind.delete(connection));
    });
    this.timer = setInterval(() => this.look(), BACKLOG_CHECK_MS);
    this.timer.unref();
  }

  /** Resolves when what was sent has been written, or after `ms`: a connection that is closed forgets the rest. */
  async written(ms: number): Promise<void> {
    const endsAt = performance.now() + ms;
    const isWaiting = () => [...this.isBehind.keys()].some(({ writeBuffer }) => writeBuffer.length > 0);
    while (isWaiting() && performance.now() < endsAt)
      await new Promise((resolve) => setTimeout(resolve, WRITTEN_POLL_MS));
  }

  close(): void {
    clearInterval(this.timer);
  }

  private look(): void {
    for (const [connection, wasBehind] of this.isBehind) {
      const isBehind = backlogOf(connection) > BACKLOG_BYTES_MAX;
      this.isBehind.set(connection, isBehind);
      // A burst of ours may be on its way to a reader that takes it: one that still has it unread does not.
      if (!isBehind || !wasBehind) continue;
      this.metrics.cut.inc();
      this.logger.info({ connection: connection.id }, 'a connection that is not read is cut');
      connection.close(true);
    }
  }
}

/** Bytes written for a connection that its peer has not taken. */
function backlogOf({ writeBuffer, transport }: EngineConnection): number {
  let bytes = transport.socket?.bufferedAmount ?? 0;
  for (const packet of writeBuffer) bytes += packet.data?.length ?? 0;
  return bytes;
}
