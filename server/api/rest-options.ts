// What the HTTP routes are made with. Shapes only.
import type { Request } from 'express';
import type { SettingsSchema } from '../session/settings-schema.js';
import type { Presence } from '../sync/presence.js';
import type { SessionReads } from '../sync/reads.js';
import type { SessionHub } from '../sync/session-hub.js';
import type { Transfer } from '../sync/transfer.js';
import type { ApiOptions } from './api-options.js';
import type { Caller } from './calls.js';
import type { EventStreams } from './events.js';

export interface RestOptions extends ApiOptions {
  hub: SessionHub;
  presence: Presence;
  reads: SessionReads;
  transfer: Transfer;
  streams: EventStreams;
  schema: SettingsSchema;
  now: () => number;
  readiness: () => Promise<{
    checks: { redis: boolean; feed: boolean; draining: boolean };
    durability: string;
  }>;
}

/** Says who calls, and counts the call against its address's rate. */
export type CallerOf = (request: Request) => Promise<Caller>;
