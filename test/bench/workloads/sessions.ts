// Many sessions at once, open loop: how much can be offered until events come late?
import { addErrors } from '../error-counts.js';
import type { ClientProcess } from '../client-process.js';
import { summarize, type LatencySummary } from '../samples.js';
import { busiest, clientBusyMeasure, timesLiteral, warmupMs, type RunContext, type Workload } from './workload.js';

const sessions = 500;
const tabsPerSession = 3;
const clientProcesses = 2;
const firstRate = 1_000;
const lastRate = 64_000;
/** How long the whole path is exercised before the first counted rate. */
const coldMs = 2_000;
const deliveryP99MaxMs = 50;
const achievedMin = 0.95;

interface Step {
  offeredPerSecond: number;
  ackedPerSecond: number;
  delivery: LatencySummary;
  /** How much later than due the load generator sent. */
  generatorLag: LatencySummary;
  undelivered: number;
  clientBusyPercent: number;
  errors: Record<string, number>;
  passed: boolean;
}

export const manySessions: Workload = {
  name: 'sessions',
  about:
    `${sessions} sessions with ${tabsPerSession} tabs each, open loop, rates doubled from ${firstRate}/s ` +
    `while p99 of delivery ≤ ${deliveryP99MaxMs} ms and ≥ ${achievedMin * 100} % are achieved`,
  measures: [
    {
      key: 'highestRate',
      label: 'highest rate, updates/s',
      combine: 'median',
      digits: 0,
      wanted: timesLiteral(2),
    },
    { key: 'p50Ms', label: 'delivery p50 at that rate, ms', combine: 'median', digits: 2 },
    { key: 'p99Ms', label: 'delivery p99 at that rate, ms', combine: 'median', digits: 2 },
    { key: 'firstP99Ms', label: `delivery p99 at ${firstRate}/s, ms`, combine: 'median', digits: 2 },
    { key: 'nextP99Ms', label: 'delivery p99 at the rate that failed, ms', combine: 'median', digits: 1 },
    clientBusyMeasure,
  ],
  run: runSessions,
};

async function runSessions({ url, windowMs, client }: RunContext): ReturnType<Workload['run']> {
  const clients = Array.from({ length: clientProcesses }, () => client('sessions'));
  const each = sessions / clientProcesses;
  await Promise.all(
    clients.map((process, index) =>
      process.call('open', { url, firstSession: index * each, sessions: each, tabs: tabsPerSession }),
    ),
  );
  // Uncounted: fresh code is slow, and the first rate should not pay for it.
  await runStep(clients, firstRate, coldMs);
  const steps: Step[] = [];
  for (let rate = firstRate; rate <= lastRate; rate *= 2) {
    const step = await runStep(clients, rate, windowMs);
    steps.push(step);
    if (!step.passed) break;
  }
  await Promise.all(clients.map((process) => process.call('close')));

  const best = steps.findLast((step) => step.passed);
  const failed = steps.find((step) => !step.passed);
  return {
    values: {
      highestRate: best?.offeredPerSecond ?? 0,
      p50Ms: best?.delivery.p50Ms ?? Number.NaN,
      p99Ms: best?.delivery.p99Ms ?? Number.NaN,
      firstP99Ms: steps[0]?.delivery.p99Ms ?? Number.NaN,
      nextP99Ms: failed?.delivery.p99Ms ?? Number.NaN,
      clientBusyPercent: Math.max(...steps.map((step) => step.clientBusyPercent)),
    },
    errors: addErrors(steps.map((step) => step.errors)),
    details: steps,
  };
}

async function runStep(clients: ClientProcess<'sessions'>[], rate: number, windowMs: number): Promise<Step> {
  const share = { rate: rate / clients.length, warmupMs, windowMs };
  const results = await Promise.all(clients.map((process) => process.call('run', share)));
  const sum = (numbers: number[]): number => numbers.reduce((total, number) => total + number, 0);
  const ackedPerSecond = (sum(results.map((result) => result.acked)) / windowMs) * 1000;
  const delivery = summarize(results.map((result) => result.deliveries));
  return {
    offeredPerSecond: rate,
    ackedPerSecond,
    delivery,
    generatorLag: summarize(results.map((result) => result.lags)),
    undelivered: sum(results.map((result) => result.undelivered)),
    clientBusyPercent: busiest(...clients),
    errors: addErrors(results.map((result) => result.errors)),
    passed: delivery.p99Ms <= deliveryP99MaxMs && ackedPerSecond >= achievedMin * rate,
  };
}
