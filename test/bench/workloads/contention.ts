// One hot session: closed-loop writers against each other, and a room that watches.
import { summarize } from '../samples.js';
import {
  busiest,
  clientBusyMeasure,
  wantedZero,
  warmupMs,
  type Measure,
  type RunContext,
  type Wanted,
  type Workload,
} from './workload.js';

const subscribers = 50;

/** What the project asks at this number of writers. */
interface Floors {
  ackedPerSecond: Wanted;
  ackP99Ms: Wanted;
}

/** One session with `writers` closed-loop writers outside of the room and 50 subscribers in it. */
export function contention(name: string, writers: number, floors?: Floors): Workload {
  return {
    name,
    about: `one session, ${writers} closed-loop writers, ${subscribers} subscribers`,
    measures: measures(floors),
    run: (context) => runContention(context, writers),
  };
}

function measures(floors: Floors | undefined): Measure[] {
  const rate: Measure = { key: 'ackedPerSecond', label: 'acknowledged updates/s', combine: 'median', digits: 0 };
  const p99: Measure = { key: 'ackP99Ms', label: 'acknowledgement p99, ms', combine: 'median', digits: 2 };
  return [
    floors ? { ...rate, wanted: floors.ackedPerSecond } : rate,
    { key: 'ackP50Ms', label: 'acknowledgement p50, ms', combine: 'median', digits: 2 },
    floors ? { ...p99, wanted: floors.ackP99Ms } : p99,
    { key: 'deliveriesPerSecond', label: 'deliveries/s', combine: 'median', digits: 0 },
    { key: 'missingDeliveries', label: 'missing deliveries', combine: 'sum', digits: 0, wanted: wantedZero },
    { key: 'unanswered', label: 'unanswered updates', combine: 'sum', digits: 0, wanted: wantedZero },
    clientBusyMeasure,
  ];
}

async function runContention({ url, windowMs, client }: RunContext, writers: number): ReturnType<Workload['run']> {
  const sessionId = 'contention';
  const writing = client('contention-writers');
  const reading = client('contention-subscribers');
  await writing.call('open', { url, sessionId, writers });
  await reading.call('open', { url, sessionId, subscribers });

  const window = { warmupMs, windowMs };
  const [written, read] = await Promise.all([writing.call('run', window), reading.call('measure', window)]);
  const clientBusyPercent = busiest(writing, reading);
  const expected = written.committed * subscribers;
  const delivered = await reading.call('settle', expected);
  await Promise.all([writing.call('close'), reading.call('close')]);

  const latency = summarize([written.latencies]);
  return {
    values: {
      ackedPerSecond: (written.acked / written.elapsedMs) * 1000,
      ackP50Ms: latency.p50Ms,
      ackP99Ms: latency.p99Ms,
      deliveriesPerSecond: (read.delivered / read.elapsedMs) * 1000,
      missingDeliveries: Math.max(0, expected - delivered),
      unanswered: written.unanswered,
      clientBusyPercent,
    },
    errors: written.errors,
  };
}
