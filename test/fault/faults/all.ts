// Every fault that tests and the command line can run, in the order of the table.
import type { Fault } from '../../support/fault-run.js';
import { redisKilled } from './redis-lost.js';

export const faults: readonly Fault[] = [redisKilled];

/** The fault of this id. Throws where there is none. */
export function faultOf(id: string): Fault {
  const found = faults.find((fault) => fault.id === id);
  if (!found) throw new Error(`there is no fault ${id}; there are ${faults.map((fault) => fault.id).join(', ')}`);
  return found;
}
