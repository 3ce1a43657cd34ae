// docker-compose.yml, Dockerfile and their neighbours, read as text: that what they run is what the tests run.
// Needs no Docker, and does not know whether an image can be built.
import { expect } from 'chai';
import { Redis } from 'ioredis';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { tunableLimits } from '../../client-sdk/protocol/limits.js';
import { readConfig, variables } from '../../server/config.js';
import { startRedis } from '../support/redis.js';

/** The project's folder, where npm runs scripts. */
const root = process.cwd();

/** What makes an acknowledgement mean "on disk": said in the file, not left to a default. */
const durabilityFlags = ['appendonly', 'appendfsync', 'no-appendfsync-on-rewrite', 'maxmemory-policy', 'save'];
/** Where it stores and how much: a deployment's own business, which the tests' Redis has otherwise. */
const placeFlags = ['dir', 'protected-mode', 'maxmemory'];

interface Service {
  image?: string;
  build?: string;
  user?: string;
  command?: string;
  environment?: Record<string, string | number | null>;
  ports?: string[];
  volumes?: string[];
  networks?: string[];
  restart?: string;
  read_only?: boolean;
  cap_drop?: string[];
  init?: boolean;
  stop_grace_period?: string;
  depends_on?: Record<string, { condition: string }>;
  healthcheck?: { test: string[] };
  ulimits?: { nofile: number };
}

interface Compose {
  services: Record<string, Service>;
  networks: Record<string, { internal?: boolean } | null>;
  volumes: Record<string, unknown>;
}

const textOf = (file: string): string => readFileSync(join(root, file), 'utf8');
const composeText = textOf('docker-compose.yml');
const { services, networks, volumes } = parse(composeText, { merge: true }) as Compose;
const haproxy = textOf('deploy/haproxy.cfg');
const entries = Object.entries(services);
const nodes = entries.filter(([, service]) => service.build !== undefined);
const nodeNames = nodes.map(([name]) => name);
const packageFile = JSON.parse(textOf('package.json')) as { scripts: { start: string } };

/** The flags of a `redis-server` command: `--save ""` is `{ save: '' }`. */
function redisFlags(service: string): Record<string, string> {
  const [program, ...words] = (services[service]?.command ?? '').match(/"[^"]*"|\S+/g) ?? [];
  expect(program, `program of ${service}`).to.equal('redis-server');
  expect(words.length % 2, `flags of ${service} come with one value each`).to.equal(0);
  const flags: Record<string, string> = {};
  for (let at = 0; at < words.length; at += 2) {
    flags[String(words[at]).replace(/^--/, '')] = String(words[at + 1]).replaceAll('"', '');
  }
  return flags;
}

function environmentOf(name: string): Record<string, string | number | null> {
  const environment = services[name]?.environment;
  if (environment === undefined) throw new Error(`service ${name} has no environment`);
  return environment;
}

/** Name of the one service that a redis:// URL without credentials leads to. */
function serviceOf(url: string): string {
  const { protocol, hostname, port } = new URL(url);
  expect({ protocol, port }, url).to.deep.equal({ protocol: 'redis:', port: '6379' });
  expect(services, url).to.have.property(hostname);
  return hostname;
}

/** What follows an instruction of the last stage of the Dockerfile, each time it stands there; lines joined. */
function lastStage(instruction: string): string[] {
  const stage = textOf('Dockerfile')
    .replaceAll(/\\\n\s*/g, '')
    .split(/^FROM /m)
    .at(-1);
  return [...(stage ?? '').matchAll(new RegExp(`^${instruction} (.+)$`, 'gm'))].map((match) => String(match[1]));
}

/** Value of a setting of haproxy.cfg that stands there once. */
function haproxySetting(name: string): string {
  const found = [...haproxy.matchAll(new RegExp(`^ *${name} (\\S+)$`, 'gm'))];
  expect(found, name).to.have.length(1);
  return String(found[0]?.[1]);
}

describe('docker-compose.yml', () => {
  it('[D1] the data Redis has the durability settings of the Redis that the tests run, on a named volume', async () => {
    const name = serviceOf(String(environmentOf('attune-1')['REDIS_URL']));
    const flags = redisFlags(name);
    expect(flags).to.include.keys(durabilityFlags);
    const redis = await startRedis();
    const client = new Redis(redis.url);
    try {
      for (const [flag, value] of Object.entries(flags)) {
        if (placeFlags.includes(flag)) continue;
        expect({ [flag]: value }).to.deep.equal({ [flag]: ((await client.config('GET', flag)) as string[])[1] });
      }
    } finally {
      client.disconnect();
      await redis.stop();
    }
    expect(flags).to.include({ appendonly: 'yes', appendfsync: 'always', 'maxmemory-policy': 'noeviction', save: '' });
    const [volume, path] = (services[name]?.volumes?.[0] ?? '').split(':');
    expect(volumes).to.have.property(String(volume));
    expect(path).to.equal(flags['dir']);
  });

  it('[D2] the nodes share an odd number of lock servers, each a Redis of its own that writes nothing to disk', () => {
    const lists = nodeNames.map((name) => String(environmentOf(name)['LOCK_REDIS_URLS']));
    expect(new Set(lists).size).to.equal(1);
    const locks = String(lists[0]).split(',').map(serviceOf);
    expect(locks.length % 2).to.equal(1);
    expect(locks.length).to.be.at.least(3);
    const data = serviceOf(String(environmentOf('attune-1')['REDIS_URL']));
    const others = entries.filter(([name, service]) => service.image?.startsWith('redis:') && name !== data);
    expect([...locks].toSorted()).to.deep.equal(others.map(([name]) => name).toSorted());
    for (const lock of locks) {
      expect(redisFlags(lock), lock).to.include({ save: '', appendonly: 'no', 'maxmemory-policy': 'noeviction' });
      expect(services[lock]?.volumes, lock).to.equal(undefined);
    }
  });

  it('[D3] the secret comes from .env, has no default, and its absence is told with what to do', () => {
    for (const name of nodeNames) {
      const secret = String(environmentOf(name)['AUTH_SECRET']);
      expect(secret, name).to.match(/^\$\{AUTH_SECRET:\?AUTH_SECRET is not set.*\.env.*openssl rand -base64 \d+.*\}$/);
    }
    expect(composeText.match(/\$\{AUTH_SECRET/g)).to.have.length(1);
    expect(textOf('.env.example')).to.match(/^AUTH_SECRET=$/m);
    expect(textOf('.gitignore').split('\n')).to.include('.env');
    expect(textOf('.dockerignore').split('\n')).to.include('*');
  });

  it('[D4] every variable given to a node is one that the server knows and accepts, and the nodes differ in none', () => {
    expect(nodeNames.length).to.be.at.least(2);
    const known = [...Object.keys(variables), ...Object.keys(tunableLimits)];
    for (const name of nodeNames) {
      expect(known, name).to.include.members(Object.keys(environmentOf(name)));
      expect(environmentOf(name), name).to.deep.equal(environmentOf(String(nodeNames[0])));
      expect(environmentOf(name), name).to.include({ HOST: '0.0.0.0' });
      const drainS = Number(environmentOf(name)['DRAIN_TIMEOUT_MS']) / 1000;
      expect(Number.parseInt(String(services[name]?.stop_grace_period)), name).to.be.above(drainS);
    }
    const given = Object.entries(environmentOf('attune-1')).map(([name, value]) => [name, String(value ?? '')]);
    const config = readConfig({ ...Object.fromEntries(given), AUTH_SECRET: 'of at least 32 bytes, as .env says' });
    expect(config).to.include({ HOST: '0.0.0.0', REDIS_URL: 'redis://redis:6379' });
    expect(config.LOCK_REDIS_URLS).to.have.length(3);
    const read = [
      ...Object.keys(environmentOf('attune-1')),
      ...[...composeText.matchAll(/\$\{(\w+)/g)].map((match) => match[1]),
    ];
    for (const [, name] of textOf('.env.example').matchAll(/^#?([A-Z_]+)=/gm))
      expect(read, '.env.example').to.include(name);
  });

  it('[D5] the image runs what npm start runs, not as root, without development dependencies, and is asked /readyz', () => {
    const [command] = lastStage('CMD');
    expect((JSON.parse(String(command)) as string[]).join(' ')).to.equal(packageFile.scripts.start);
    const [user] = lastStage('USER');
    expect(user).to.be.a('string');
    expect(['root', '0']).to.not.include(String(user).split(':')[0]);
    expect(lastStage('COPY').every((copy) => copy.startsWith('--from=build'))).to.equal(true);
    expect(textOf('Dockerfile')).to.match(/npm prune --omit=dev/);
    const health = /CMD (\[.+\])$/.exec(String(lastStage('HEALTHCHECK')[0]));
    expect((JSON.parse(String(health?.[1])) as string[]).join(' ')).to.match(/^node -e .*\/readyz/);
    const [variables] = lastStage('ENV');
    expect(String(variables).split(' ')).to.include.members([
      'NODE_ENV=production',
      'HOST=0.0.0.0',
      `PORT=${environmentOf('attune-1')['PORT']}`,
    ]);
    const letThrough = textOf('.dockerignore').split('\n');
    for (const [, list] of textOf('Dockerfile').matchAll(/^COPY (?!--from)(.+) \S+$/gm)) {
      for (const source of String(list).split(' ')) {
        expect(existsSync(join(root, source)), source).to.equal(true);
        const isLetThrough = letThrough.some((line) => line === `!${source}` || `!${source}`.startsWith(`${line}/`));
        expect(isLetThrough, source).to.equal(true);
      }
    }
  });

  it('[D6] only the balancer is published, on loopback unless told otherwise, and it serves every node', () => {
    const published = entries.filter(([, service]) => service.ports !== undefined);
    expect(published.map(([name]) => name)).to.deep.equal(['balancer']);
    expect(published[0]?.[1].ports).to.deep.equal(['${BIND_ADDRESS:-127.0.0.1}:${PORT:-4100}:8080']);
    expect(haproxy).to.match(/^frontend public\n {2}bind :8080$/m);
    const servers = [...haproxy.matchAll(/^ *server (\S+) (\S+)$/gm)].map((match) => [match[1], match[2]]);
    const expected = nodeNames.map((name) => [name, `${name}:${environmentOf(name)['PORT']}`]);
    expect(servers).to.deep.equal(expected);
    const balancer = services['balancer'];
    expect(balancer?.volumes?.[0]).to.match(/^\.\/deploy\/haproxy\.cfg:.*:ro$/);
    expect(balancer?.ulimits?.nofile).to.be.above(2 * Number(haproxySetting('maxconn')));
    const hardStopS = Number.parseInt(haproxySetting('hard-stop-after'));
    expect(Number.parseInt(String(balancer?.stop_grace_period))).to.be.above(hardStopS);
  });

  it('[D7] every container restarts, is confined, is checked for health, and waits for what it needs to be healthy', () => {
    for (const [name, service] of entries) {
      expect(service, name).to.include({ restart: 'unless-stopped', read_only: true });
      expect(service.cap_drop, name).to.deep.equal(['ALL']);
      // The nodes have the image's user, health check and command; they need an init that forwards signals.
      if (service.build !== undefined) expect(service.init, name).to.equal(true);
      else {
        expect(service.user, name)
          .to.be.a('string')
          .and.not.match(/^(root|0)\b/);
        expect(service.healthcheck?.test, name).to.have.property('length').above(0);
      }
      for (const { condition } of Object.values(service.depends_on ?? {}))
        expect(condition).to.equal('service_healthy');
      if (service.image?.startsWith('redis:')) {
        expect(service.networks, name).to.deep.equal(['store']);
        expect(service.healthcheck?.test.join(' '), name).to.include('redis-cli ping');
        for (const node of nodeNames) expect(services[node]?.depends_on, node).to.have.property(name);
      }
    }
    expect(Object.keys(services['balancer']?.depends_on ?? {})).to.deep.equal(nodeNames);
    expect(services['balancer']?.networks).to.not.include('store');
    expect(networks['store']?.internal).to.equal(true);
  });
});
