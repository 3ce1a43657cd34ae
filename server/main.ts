#!/usr/bin/env node
// The process: reads the configuration, starts the server, says that it is ready, and leaves well on a signal.
import closeWithGrace from 'close-with-grace';
import { destination, pino } from 'pino';
import { ConfigError, readConfig } from './config.js';
import { startServer } from './server.js';

/** Beyond DRAIN_TIMEOUT_MS, for the managed Redis to leave (it may need 10 s to be ended), milliseconds. */
const EXIT_GRACE_MS = 11_000;

async function main(): Promise<void> {
  const config = readConfig(process.env);
  const logger = pino({ level: config.LOG_LEVEL, base: null }, destination({ fd: 2, sync: true }));
  const server = await startServer(config, logger);
  closeWithGrace({ delay: config.DRAIN_TIMEOUT_MS + EXIT_GRACE_MS, logger: false }, async ({ err, signal }) => {
    if (err) logger.fatal({ err }, 'an error that nobody handled');
    else logger.info({ signal }, 'leaving');
    await server.close();
    logger.info('left');
  });
  process.stdout.write(`attune ready at ${server.url}\n`);
}

main().catch((error: Error) => {
  const detail = error instanceof ConfigError || error.name !== 'TypeError' ? error.message : error.stack;
  process.stderr.write(`attune could not start: ${detail}\n`);
  process.exit(1);
});
