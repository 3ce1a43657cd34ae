// The kinds of REDIS_URL: TLS, Sentinel, Cluster. Each with real servers of its own, and one session through two sockets.
import { spawn } from 'node:child_process';
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { Redis } from 'ioredis';
import { projectDir, startAttune, type Attune } from '../support/attune.js';
import { endWithTests, exited, isRunning } from '../support/child.js';
import { request } from '../support/http.js';
import { startRedis } from '../support/redis.js';
import { metric } from '../support/session-log.js';
import { freshId } from '../support/shapes.js';
import { closeSockets, connect } from '../support/socket.js';
import { until } from '../support/until.js';

const PASSWORD = 'a p:ss@word/ of tests';
const SLOTS = 16_384;

describe('where Redis is', () => {
  /** What a test started, ended after it in reverse order. */
  const started: (() => Promise<unknown> | void)[] = [];
  afterEach(async () => {
    closeSockets();
    for (const end of started.splice(0).reverse()) await end();
  });
  async function attune(redisUrl: string, env: Record<string, string> = {}): Promise<Attune> {
    const one = await startAttune({ redisUrl, env });
    started.push(() => one.destroy());
    return one;
  }
  async function redis(config: string[], auth = { password: PASSWORD }): Promise<{ port: number; direct: Redis }> {
    const one = await startRedis({ config });
    started.push(() => one.stop());
    const direct = new Redis(one.port, '127.0.0.1', { ...auth, lazyConnect: true });
    started.push(() => direct.disconnect());
    return { port: one.port, direct };
  }
  function directory(): string {
    const dir = mkdtempSync(join(realpathSync(tmpdir()), 'attune-topology-'));
    started.push(() => rmSync(dir, { recursive: true, force: true }));
    return dir;
  }

  /** Opens sessions, writes, hears it on a second socket by the feed, lists and reads all back. */
  async function serves({ url }: Attune, sessions = 1): Promise<void> {
    const ready = await request('GET', `${url}/readyz`);
    expect(ready.status, ready.text).to.equal(200);
    const [writer, reader] = await Promise.all([connect(url), connect(url)]);
    const ids = Array.from({ length: sessions }, () => freshId('t'));
    for (const sessionId of ids) {
      await writer.ok('session:open', { sessionId, settings: { model: 'before' } });
      await reader.ok('session:join', { sessionId });
      const ack = await writer.ok('settings:update', { sessionId, merge: { model: 'after' } });
      const told = await reader.next('settings:updated', (body) => body.sessionId === sessionId);
      expect(told).to.deep.include({ revision: ack.revision, epoch: ack.epoch, settings: ack.settings });
      await writer.ok('message:add', { sessionId, message: { role: 'user', content: 'kept' } });
      await reader.next('message:added', (body) => body.sessionId === sessionId);
      const { body } = await request('GET', `${url}/v1/sessions/${sessionId}`);
      expect(body).to.deep.include({ id: sessionId, revision: 3, messageCount: 1 });
      expect(body.settings.model).to.equal('after');
      expect((await reader.ok('message:list', { sessionId })).messages[0].content).to.equal('kept');
    }
    const exported = await request('GET', `${url}/v1/export`);
    const lines = exported.text.trimEnd().split('\n');
    expect(lines.map((line) => JSON.parse(line).id)).to.have.members(ids);
    expect(await metric(url, 'attune_lease_bypasses_total'), 'writes without a lock').to.equal(0);
    // Without a feed each event would have been found by the look for what was missed.
    expect(await metric(url, 'attune_feed_repairs_total')).to.be.below(2 * sessions);
  }

  /** Starts a server that says why it does not get on, and is not ready. */
  async function refuses(redisUrl: string, why: RegExp): Promise<void> {
    const env = { PATH: process.env['PATH'], REDIS_URL: redisUrl, PORT: '0', LOG_LEVEL: 'debug' };
    const main = join(projectDir, 'dist/server/main.js');
    const child = spawn(process.execPath, [main], { env, cwd: directory(), stdio: ['ignore', 'pipe', 'pipe'] });
    started.push(
      () => exited(child, 5000),
      () => void child.kill('SIGKILL'),
      endWithTests(() => void child.kill('SIGKILL')),
    );
    let said = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (said += chunk.toString()));
    await until(() => why.test(said), { what: String(why) });
    expect(said).to.not.include('ready at').and.not.include(encodeURIComponent(PASSWORD));
  }

  it('[T1] rediss:// speaks TLS and trusts the authorities that the process trusts, and no other', async () => {
    // Made for tests and good for nothing else: for 127.0.0.1, signed by itself.
    const [key, cert] = ['key.pem', 'cert.pem'].map((name) => join(projectDir, 'test/fixtures/tls', name)) as [
      string,
      string,
    ];
    const port = await freePort();
    const files = ['--tls-cert-file', cert, '--tls-key-file', key, '--tls-ca-cert-file', cert];
    const tls = ['--port', '0', '--tls-port', String(port), '--tls-auth-clients', 'no', ...files];
    await redis([...tls, '--requirepass', PASSWORD]);
    const url = `rediss://:${encodeURIComponent(PASSWORD)}@127.0.0.1:${port}/3`;
    await refuses(url, /self-signed certificate/);
    await serves(await attune(url, { NODE_EXTRA_CA_CERTS: cert }));
  });

  it('[T2] redis+sentinel:// finds the primary of the name through the first sentinel that answers', async () => {
    const { port } = await redis(['--requirepass', PASSWORD]);
    const sentinel = await startSentinel(directory(), port);
    started.push(sentinel.end);
    const user = `default:${encodeURIComponent(PASSWORD)}`;
    const dead = await freePort();
    const url = `redis+sentinel://${user}@127.0.0.1:${dead},127.0.0.1:${sentinel.port}/the-primary`;
    await serves(await attune(url));
  });

  it('[T3] redis+cluster:// serves sessions on every primary, and hears all of them', async () => {
    const nodes = await startCluster();
    const user = `default:${encodeURIComponent(PASSWORD)}`;
    const hosts = nodes.map(({ port }) => `127.0.0.1:${port}`);
    await serves(await attune(`redis+cluster://${user}@${hosts.join(',')}`), 12);
    for (const { direct } of nodes) expect((await direct.keys('attune:*:doc')).length).to.be.above(0);
  });

  async function startCluster(): Promise<{ port: number; direct: Redis }[]> {
    const nodes = [];
    for (let n = 0; n < 3; n += 1) {
      // A bus port of its own: the usual one, 10,000 above, may not exist.
      const cluster = ['--cluster-enabled', 'yes', '--cluster-port', String(await freePort())];
      const node = { bus: cluster.at(-1)!, ...(await redis([...cluster, '--requirepass', PASSWORD])) };
      await node.direct.connect();
      nodes.push(node);
    }
    const share = Math.ceil(SLOTS / nodes.length);
    for (const [n, { direct }] of nodes.entries()) {
      await direct.call('CLUSTER', 'SET-CONFIG-EPOCH', n + 1);
      await direct.call('CLUSTER', 'ADDSLOTSRANGE', n * share, Math.min((n + 1) * share, SLOTS) - 1);
      await direct.call('CLUSTER', 'MEET', '127.0.0.1', nodes[0]!.port, nodes[0]!.bus);
    }
    for (const { direct } of nodes) {
      const knowsAll = async () => {
        const info = (await direct.call('CLUSTER', 'INFO')) as string;
        return /cluster_state:ok/.test(info) && /cluster_known_nodes:3/.test(info);
      };
      await until(knowsAll, { deadlineMs: 10_000, what: 'the cluster' });
    }
    return nodes;
  }
});

/** A sentinel that watches the Redis on `primaryPort` under the name `the-primary`. */
async function startSentinel(dir: string, primaryPort: number): Promise<{ port: number; end: () => Promise<unknown> }> {
  const port = await freePort();
  const file = join(dir, 'sentinel.conf');
  const watch = `sentinel monitor the-primary 127.0.0.1 ${primaryPort} 1`;
  const auth = `sentinel auth-pass the-primary "${PASSWORD}"`;
  writeFileSync(file, `port ${port}\nbind 127.0.0.1\ndir "${dir}"\nprotected-mode no\n${watch}\n${auth}\n`);
  const child = spawn('redis-server', [file, '--sentinel'], { stdio: 'ignore' });
  const forget = endWithTests(() => void (isRunning(child) && child.kill('SIGKILL')));
  const direct = new Redis(port, '127.0.0.1');
  direct.on('error', () => undefined);
  try {
    const asked = () => direct.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', 'the-primary') as Promise<string[] | null>;
    await until(async () => (await asked())?.[1] === String(primaryPort), { what: 'the sentinel' });
  } finally {
    direct.disconnect();
  }
  return {
    port,
    async end() {
      child.kill('SIGKILL');
      await exited(child, 5000);
      forget();
    },
  };
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as AddressInfo;
      probe.close(() => resolve(port));
    });
  });
}
