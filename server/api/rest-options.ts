// What the HTTP routes are made with. Shapes only.
import type { IncomingMessage } from 'node:http';
import type { Request } from 'express';
import type { Logger } from 'pino';
import type { Metrics } from '../metrics.js';
import type { SettingsSchema } from '../session/settings-schema.js';
import type { Presence } from '../sync/presence.js';
import type { SessionReads } from '../sync/reads.js';
import type { SessionHub } from '../sync/session-hub.js';
import type { Transfer } from '../sync/transfer.js';
import type { Authenticate } from './auth.js';
import type { Caller, Calls } from './calls.js';
import type { EventStreams } from './events.js';
import type { ToWireError } from './reply.js';

export interface RestOptions {
  calls: Calls;
  authenticate: Authenticate;
  originAllowed: (request: IncomingMessage) => boolean;
  allowedOrigins: readonly string[];
  rateCallsPerS: number;
  toWireError: ToWireError;
  metrics: Metrics;
  logger: Logger;
  hub: SessionHub;
  presence: Presence;
  reads: SessionReads;
  transfer: Transfer;
  streams: EventStreams;
  schema: SettingsSchema;
  now: () => number;
  readiness: () => Promise<{ checks: { redis: boolean; feed: boolean; draining: boolean }; durability: string }>;
}

/** Says who calls, and counts the call against its address's rate. */
export type CallerOf = (request: Request) => Promise<Caller>;
