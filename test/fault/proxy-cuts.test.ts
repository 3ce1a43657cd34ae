// Clients of the SDK behind a proxy that cuts each connection again and again: nothing is lost, nothing is doubled, and all
// see the same at the end. ATTUNE_CUTS_S sets how long it runs, ATTUNE_CUTS_SEED repeats a run.
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import { Redis } from 'ioredis';
import { createClient, type AttuneClient, type Session } from '../../client-sdk/index.js';
import { startAttune, type Attune } from '../support/attune.js';
import { expectAcknowledged, expectSoundLog, readLog, wholeLog, type LoggedCommit } from '../support/session-log.js';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.js';
import { until } from '../support/until.js';

const RUN_S = Number(process.env.ATTUNE_CUTS_S ?? 6);
const SEED = Number(process.env.ATTUNE_CUTS_SEED ?? Math.floor(Math.random() * 2 ** 31));
const CLIENTS = 4;
const UPDATES = 2000;
/** A connection lives so long on average, milliseconds; each as long as the dice say. */
const LIFE_MS = 2000;

/** Numbers from 0 to 1, the same for the same seed. */
function dice(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Tab {
  readonly name: string;
  readonly client: AttuneClient;
  readonly session: Session;
  /** Acknowledged writes in the order in which they were made; what they were told. */
  readonly told: { updateId: string; revision: number; holds: (body: LoggedCommit['body']) => boolean }[];
  duplicates: number;
  readonly failures: unknown[];
  /** Revisions of the commits that it saw, and of the snapshots (negative). */
  readonly seen: number[];
}

describe('a proxy that cuts every connection every 2 s', () => {
  let server: Attune;
  let proxy: TcpProxy;
  let tabs: Tab[] = [];
  const timers = new Set<NodeJS.Timeout>();

  before(async () => {
    server = await startAttune({ env: { ...wholeLog, RATE_CALLS_PER_S: '100000' } });
    proxy = await startTcpProxy(server.port);
  });
  after(async () => {
    for (const timer of timers) clearTimeout(timer);
    for (const { client } of tabs) client.close();
    await proxy?.close();
    await server?.destroy();
  });

  const open = (name: string): Tab => {
    const client = createClient({ url: proxy.url, clientId: name });
    const session = client.session('cuts', { create: true });
    const tab: Tab = { name, client, session, told: [], duplicates: 0, failures: [], seen: [] };
    session.on('commit', ({ revision }) => tab.seen.push(revision));
    session.on('snapshot', ({ revision }) => tab.seen.push(-revision));
    session.on('acknowledged', ({ reply }) => void (tab.duplicates += reply.duplicate ? 1 : 0));
    return tab;
  };
  /** Every fifth is a message, the others set the tab's own key and one that all of them set. */
  const writeOne = async (tab: Tab, n: number): Promise<void> => {
    const updateId = `${tab.name}-${n}`;
    if (n % 5 === 0) {
      await tab.session.addMessage({ id: updateId, role: 'user', content: updateId }, { updateId });
      return;
    }
    const { revision } = await tab.session.update({ [tab.name]: n, newest: updateId }, { updateId });
    tab.told.push({ updateId, revision, holds: (body) => body.settings[tab.name] === n });
  };

  it('[CK40] 2,000 updates of 4 clients: none lost, none doubled, each client in its order, all equal at the end', async function () {
    this.timeout((RUN_S + 60) * 1000);
    const random = dice(SEED);
    let cuts = 0;
    proxy.onConnection((cutThis) => {
      const timer = setTimeout(
        () => {
          timers.delete(timer);
          cuts += 1;
          cutThis();
        },
        random() * 2 * LIFE_MS,
      );
      timers.add(timer);
    });
    tabs = Array.from({ length: CLIENTS }, (_, i) => open(`tab-${i}`));
    await Promise.all(tabs.map(({ session }) => session.ready()));
    const from = performance.now();
    const writes: Promise<void>[] = [];
    for (let n = 0; n < UPDATES / CLIENTS; n += 1) {
      for (const tab of tabs) {
        writes.push(writeOne(tab, n).catch((error: unknown) => void tab.failures.push(error)));
      }
      // Evenly over the run: the pace, not a wait for something.
      await delay(Math.max(0, from + ((n + 1) * RUN_S * 1000 * CLIENTS) / UPDATES - performance.now()));
    }
    await Promise.all(writes);
    const tookMs = performance.now() - from;
    // No more cuts: now all must become equal.
    proxy.onConnection(() => undefined);
    for (const timer of timers) clearTimeout(timer);
    const isSettled = () => tabs.every(({ session }) => session.getSnapshot().syncStatus === 'synchronized');
    const revisions = () => new Set(tabs.map(({ session }) => session.getSnapshot().revision));
    await until(() => isSettled() && revisions().size === 1, { deadlineMs: 15_000, what: 'all clients to be equal' });

    const redis = new Redis({ path: join(server.dataDir, 'redis.sock') });
    const log = await readLog(redis, 'cuts').finally(() => redis.disconnect());
    const ids = log.map(({ body }) => body.updateId as string);
    const made = tabs.flatMap(({ name }) => Array.from({ length: UPDATES / CLIENTS }, (_, n) => `${name}-${n}`));
    const lost = made.filter((id) => !ids.includes(id));
    const doubled = ids.filter((id, at) => ids.indexOf(id) !== at);
    const duplicates = tabs.reduce((sum, tab) => sum + tab.duplicates, 0);
    console.log(
      `      seed ${SEED}: ${cuts} cuts in ${(tookMs / 1000).toFixed(1)} s, ${proxy.accepted} connections, ${made.length} updates, ` +
        `${duplicates} answered again, ${lost.length} lost, ${doubled.length} doubled`,
    );
    expect(tabs.flatMap(({ failures }) => failures)).to.deep.equal([]);
    expect(lost).to.deep.equal([]);
    expect(doubled).to.deep.equal([]);
    expectSoundLog(log);
    for (const tab of tabs) {
      expectAcknowledged(log, tab.told);
      const own = ids.filter((id) => id?.startsWith(`${tab.name}-`));
      expect(own, 'in the order in which it made them').to.deep.equal(
        Array.from({ length: UPDATES / CLIENTS }, (_, n) => `${tab.name}-${n}`),
      );
      expect(tab.session.getSnapshot().settings).to.deep.equal(
        log.findLast(({ body }) => body.settings)!.body.settings,
      );
      expect(tab.session.getSnapshot()).to.include({ revision: log.length, pending: 0 });
      for (const [at, revision] of tab.seen.entries()) {
        if (at > 0 && revision > 0) expect(revision, 'one after the other').to.equal(Math.abs(tab.seen[at - 1]!) + 1);
      }
    }
    expect(cuts, 'a run without cuts proves nothing').to.be.at.least((RUN_S * CLIENTS * 1000) / LIFE_MS / 4);
  });
});
