// The arithmetic of docs/scaling.md: from what each thing costs, and what people do, to how many processes that takes.
// Pure; the costs come from capacity.ts.

/** What capacity.ts measures, in the order in which it is printed. */
export const costs = {
  sessionBytes: ['memory of Redis for a session with 300 bytes of settings', 'bytes'],
  heardBytes: ['memory of Redis for a session that a node hears', 'bytes'],
  keptBytes: ['memory of Redis for an update that the log and the history keep', 'bytes'],
  connectionBytes: ['memory of a node for a connection', 'bytes'],
  roomBytes: ['memory of a node for a session it hears', 'bytes'],
  connectionUs: ['processor of a node for a connection, each second', 'µs'],
  roomUs: ['processor of a node for a session it hears, each second', 'µs'],
  heardUs: ['processor of Redis for a session that a node hears, each second', 'µs'],
  updateUs: ['processor of a node for an update', 'µs'],
  deliveryUs: ['processor of a node for a delivery', 'µs'],
  commitUs: ['processor of Redis for an update', 'µs'],
  lockUs: ['processor of each lock server for an update', 'µs'],
  eventBytes: ['length of an event', 'bytes'],
  fileBytes: ['append-only file for an update', 'bytes'],
} as const satisfies Record<string, [what: string, unit: string]>;

export type Cost = keyof typeof costs;
export type Costs = Record<Cost, number>;

/** What the model takes for granted; docs/scaling.md says so. */
export const assumed = {
  tabsPerSession: 2,
  updatesPerSessionAndMinute: 1,
  /** Of one core, of a node and of a Redis: the rest is for bursts, and for what a failed neighbour leaves. */
  nodeCoreShare: 0.6,
  redisCoreShare: 0.5,
  nodeBytes: 2 * 1024 ** 3,
  redisBytes: 16 * 1024 ** 3,
  /** Updates of a session that are kept, on average. */
  keptUpdates: 100,
};

export interface Needs {
  tabs: number;
  sessions: number;
  updatesPerS: number;
  deliveriesPerS: number;
  nodesByProcessor: number;
  nodesByMemory: number;
  shardsByChecks: number;
  shardsByUpdates: number;
  shardsByMemory: number;
  /** Share of one core of each lock server. */
  lockCores: number;
  deliveredMBPerS: number;
  writtenMBPerS: number;
}

/** What so many open tabs need, each tab of a session on another node: the worst that a balancer can do. */
export function needs(tabs: number, c: Costs): Needs {
  const sessions = tabs / assumed.tabsPerSession;
  const updatesPerS = (sessions * assumed.updatesPerSessionAndMinute) / 60;
  const deliveriesPerS = updatesPerS * assumed.tabsPerSession;
  const nodeUs = assumed.nodeCoreShare * 1e6;
  const redisUs = assumed.redisCoreShare * 1e6;
  const keptPerSession = c.sessionBytes + assumed.keptUpdates * c.keptBytes;
  return {
    tabs,
    sessions,
    updatesPerS,
    deliveriesPerS,
    nodesByProcessor:
      (tabs * (c.connectionUs + c.roomUs) + updatesPerS * c.updateUs + deliveriesPerS * c.deliveryUs) / nodeUs,
    nodesByMemory: (tabs * (c.connectionBytes + c.roomBytes)) / assumed.nodeBytes,
    shardsByChecks: (tabs * c.heardUs) / redisUs,
    shardsByUpdates: (updatesPerS * c.commitUs) / redisUs,
    shardsByMemory: (sessions * keptPerSession + tabs * c.heardBytes) / assumed.redisBytes,
    lockCores: (updatesPerS * c.lockUs) / 1e6,
    deliveredMBPerS: (deliveriesPerS * c.eventBytes) / 1e6,
    writtenMBPerS: (updatesPerS * c.fileBytes) / 1e6,
  };
}

/** The table of costs, as Markdown. */
export function costTable(c: Costs): string[] {
  const rows = (Object.keys(costs) as Cost[]).map((key) => [...costs[key], rounded(c[key])] as const);
  return [
    '| what | figure | unit |',
    '| --- | ---: | --- |',
    ...rows.map(([what, unit, n]) => `| ${what} | ${n} | ${unit} |`),
  ];
}

/** The costs that a text has in such a table; throws where one is missing. */
export function readCosts(markdown: string): Costs {
  const rows = new Map<string, number>();
  for (const [, what, figure] of markdown.matchAll(/^\| (.+?) +\| +([\d,.]+) +\|/gm)) {
    rows.set(what!, Number(figure!.replaceAll(',', '')));
  }
  const read = (Object.keys(costs) as Cost[]).map((key) => {
    const figure = rows.get(costs[key][0]);
    if (figure === undefined) throw new Error(`no row "${costs[key][0]}"`);
    return [key, figure] as const;
  });
  return Object.fromEntries(read) as Costs;
}

/** What 1, 10 and 100 million open tabs need, as Markdown. */
export function needsTable(c: Costs): string[] {
  const columns = [1e6, 10e6, 100e6].map((tabs) => needs(tabs, c));
  const row = (what: string, of: (n: Needs) => number) =>
    `| ${what} | ${columns.map((n) => rounded(of(n))).join(' | ')} |`;
  return [
    '| | 1 million tabs | 10 million | 100 million |',
    '| --- | ---: | ---: | ---: |',
    row('sessions', (n) => n.sessions),
    row('updates/s', (n) => n.updatesPerS),
    row('deliveries/s', (n) => n.deliveriesPerS),
    row('nodes, by processor', (n) => n.nodesByProcessor),
    row('nodes, by memory', (n) => n.nodesByMemory),
    row('shards, by the check of revisions', (n) => n.shardsByChecks),
    row('shards, by updates', (n) => n.shardsByUpdates),
    row('shards, by memory', (n) => n.shardsByMemory),
    row('subscriptions of all shards', (n) => n.tabs),
    row('cores of each lock server', (n) => n.lockCores),
    row('delivered, MB/s', (n) => n.deliveredMBPerS),
    row('append-only files, MB/s', (n) => n.writtenMBPerS),
  ];
}

/** Three digits, and no more than there are. */
const rounded = (n: number): string =>
  Number(n.toPrecision(3)).toLocaleString('en-US', { maximumSignificantDigits: 3 });
