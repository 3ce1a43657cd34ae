// What sockets and HTTP routes are both made with. A shape only.
import type { IncomingMessage } from 'node:http';
import type { Logger } from 'pino';
import type { Metrics } from '../metrics.js';
import type { Authenticate } from './auth.js';
import type { Calls } from './calls.js';
import type { ToWireError } from './reply.js';

export interface ApiOptions {
  calls: Calls;
  authenticate: Authenticate;
  originAllowed: (request: IncomingMessage) => boolean;
  allowedOrigins: readonly string[];
  rateCallsPerS: number;
  toWireError: ToWireError;
  metrics: Metrics;
  logger: Logger;
}
