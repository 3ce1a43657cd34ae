// The parts that a client process can play, by name. One more workload adds its parts here.
import { ContentionSubscribers, ContentionWriters } from './contention.js';
import { Drag } from './drag.js';
import { SessionsLoad } from './sessions.js';

export const parts = {
  'contention-writers': ContentionWriters,
  'contention-subscribers': ContentionSubscribers,
  drag: Drag,
  sessions: SessionsLoad,
};

export type PartName = keyof typeof parts;
export type Part<N extends PartName> = InstanceType<(typeof parts)[N]>;
