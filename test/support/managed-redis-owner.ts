// A process that owns a data directory until it is killed: prints what it runs as one line of JSON and then only waits.
import { pino } from 'pino';
import { startManagedRedis } from '../../server/redis/managed-redis.js';

const [dataDir = ''] = process.argv.slice(2);
const redis = await startManagedRedis({ dataDir, logger: pino({ level: 'silent' }) });
process.stdout.write(JSON.stringify({ pid: process.pid, runId: redis.runId, socketPath: redis.socketPath }) + '\n');
setInterval(() => undefined, 60_000);
