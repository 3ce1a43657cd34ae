// The kinds of REDIS_URL: TLS, Sentinel, Cluster. Each with real servers of its own, and one session through two sockets.
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { Redis } from 'ioredis';
import { projectDir, runAttune, startAttune, type Attune } from '../support/attune.js';
import { endWithTests, exited } from '../support/child.js';
import { startCluster } from '../support/cluster.js';
import { request } from '../support/http.js';
import { freePort, startRedis } from '../support/redis.js';
import { startSentinels } from '../support/sentinel.js';
import { metric } from '../support/session-log.js';
import { freshId } from '../support/shapes.js';
import { closeSockets, connect } from '../support/socket.js';
import { startTopology } from '../support/topology.js';
import { until } from '../support/until.js';

const PASSWORD = 'a p:ss@word/ of tests';

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
    const redis = await startRedis({ config: [...tls, '--requirepass', PASSWORD] });
    started.push(() => redis.stop());
    const url = `rediss://:${encodeURIComponent(PASSWORD)}@127.0.0.1:${port}/3`;
    await refuses(url, /self-signed certificate/);
    await serves(await attune(url, { NODE_EXTRA_CA_CERTS: cert }));
  });

  it('[T2] redis+sentinel:// finds the primary of the name through the first sentinel that answers', async () => {
    const sentinels = await startSentinels({ sentinels: 1, replicas: 0, password: PASSWORD });
    started.push(() => sentinels.stop());
    const dead = `127.0.0.1:${await freePort()}`;
    await serves(await attune(sentinels.url.replace('@', `@${dead},`)));
  });

  it('[T3] redis+cluster:// serves sessions on every primary, and hears all of them', async () => {
    const cluster = await startCluster({ replicas: 0, password: PASSWORD });
    started.push(() => cluster.stop());
    const user = `default:${encodeURIComponent(PASSWORD)}`;
    await serves(await attune(cluster.url.replace('//', `//${user}@`)), 12);
    for (const { direct } of cluster.servers) expect((await direct.keys('attune:*:doc')).length).to.be.above(0);
  });

  it('[TP5] with the managed Redis and by an address, with 0 to 5 lock servers and 1 to 4 nodes, it serves', async () => {
    for (const [kind, options] of [
      ['managed', { nodes: 1, locks: 0 }],
      ['managed', { nodes: 1, locks: 1 }],
      ['external', { nodes: 2, locks: 3 }],
      ['external', { nodes: 4, locks: 5 }],
    ] as const) {
      const topology = await startTopology(kind, options);
      started.push(() => topology.stop());
      expect(topology.nodes).to.have.length(options.nodes);
      await serves(topology.nodes.at(-1)!);
      for (const { url } of topology.locks) {
        const lock = new Redis(url);
        started.push(() => lock.disconnect());
        await until(async () => (await lock.info('commandstats')).includes('cmdstat_evalsha:'), { what: 'a lock' });
      }
    }
  });

  it('[TP6] npm run topology starts what it is asked for, says where it is, and leaves nothing when it is ended', async () => {
    const temporary = directory();
    const main = join(projectDir, 'dist/test/topologies/main.js');
    const env = { PATH: process.env['PATH'], TMPDIR: temporary };
    const args = [main, 'external', '--nodes', '2', '--locks', '1'];
    const child = spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    started.push(
      () => exited(child, 10_000),
      () => void child.kill('SIGTERM'),
      endWithTests(() => void child.kill('SIGKILL')),
    );
    let said = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (said += chunk.toString()));
    await until(() => said.includes('lock '), { deadlineMs: 15_000, what: 'the topology' });
    const urls = [...said.matchAll(/node +(\S+)/g)].map(([, url]) => url!);
    expect(urls).to.have.length(2);
    const [one, other] = [await connect(urls[0]!), await connect(urls[1]!)];
    const { session } = await one.ok('session:open', {});
    expect((await other.ok('session:get', { sessionId: session.id })).session).to.deep.equal(session);
    closeSockets();
    child.kill('SIGINT');
    expect(await exited(child, 10_000), said).to.equal(0);
    expect(readdirSync(temporary)).to.deep.equal([]);
    for (const url of urls) expect(await fetch(url).catch(() => 'gone')).to.equal('gone');
  });

  it('[TP7] the log says what kind of Redis it is, and /readyz what the primary that keeps least is worth', async () => {
    const cluster = await startCluster({ replicas: 0 });
    const sentinels = await startSentinels({ sentinels: 1, replicas: 0 });
    const single = await startRedis();
    for (const one of [cluster, sentinels, single]) started.push(() => one.stop());
    await cluster.servers[2]!.direct.config('SET', 'appendfsync', 'everysec');
    for (const [redisUrl, kind, durability] of [
      [cluster.url, 'cluster', 'everysec'],
      [sentinels.url, 'sentinel', 'fsync'],
      [single.url, 'single', 'fsync'],
      [undefined, 'managed', 'fsync'],
    ] as const) {
      const node = await startAttune({ env: { LOG_LEVEL: 'info' }, ...(redisUrl && { redisUrl }) });
      started.push(() => node.destroy());
      expect((await request('GET', `${node.url}/readyz`)).body).to.deep.include({ ready: true, durability });
      const said = () => node.stderr() + node.stdout();
      await until(() => said().includes(`"redis":"${kind}"`), { what: kind });
    }
  });

  it('[TP8] DURABILITY=replica is refused where it cannot be kept, and the reason is said', async () => {
    const env = { DURABILITY: 'replica' };
    expect((await runAttune({ env })).stderr).to.include('the managed Redis has none');
    const cluster = await startCluster({ replicas: 0 });
    started.push(() => cluster.stop());
    expect((await runAttune({ env, redisUrl: cluster.url })).stderr).to.include('not offered on a Cluster');
    const single = await startRedis({ config: ['--appendonly', 'no'] });
    started.push(() => single.stop());
    const { status, stderr } = await runAttune({ env, redisUrl: single.url });
    expect(status).to.not.equal(0);
    expect(stderr).to.match(/it needs Redis 7\.2 or newer|Redis has no append-only file/);
  });
});
