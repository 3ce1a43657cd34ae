// The commands `attune import` and `attune export` as processes against a real server, over the sample folder.
import { expect } from 'chai';
import { SignJWT } from 'jose';
import { createWriteStream, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { once } from 'node:events';
import { startAttune, projectDir, type Attune } from '../support/attune.js';
import { runCli, startCli, startStoppingProxy, type CliEnd } from '../support/cli.js';
import { request } from '../support/http.js';
import { freshId, type Wire } from '../support/shapes.js';
import { until } from '../support/until.js';

const samples = join(projectDir, 'test/fixtures/docchat');
const MiB = 1024 * 1024;

/** A time as a number: one without a zone is UTC. */
const instant = (time: string): number => Date.parse(/Z|[+-]\d\d:?\d\d$/.test(time) ? time : `${time}Z`);
/** The digits of a time's fraction, without the zeroes at its end. */
const fraction = (time: string): string => /\.(\d*?)0*(?:Z|$)/.exec(time)?.[1] ?? '';

/** A docchat file with its times in one form: those of the session to the millisecond, all as UTC. */
function normalised(file: Wire): Wire {
  const cut = (time?: string): string | undefined => time && new Date(instant(time)).toISOString();
  return {
    ...file,
    created_at: cut(file.created_at),
    updated_at: cut(file.updated_at),
    messages: file.messages.map((message: Wire) => ({
      ...message,
      timestamp: `${cut(message.timestamp)?.slice(0, 19)}.${fraction(message.timestamp)}Z`,
    })),
  };
}

/** The lines of a JSON Lines text by session id, without what a new life of a session changes. */
function linesById(text: string): Map<string, Wire> {
  const lines = text.split('\n').filter((line) => line !== '');
  return new Map(
    lines.map((line) => {
      const {
        epoch: _,
        revision: _r,
        settingsRevision: _s,
        messagesRevision: _m,
        updatedBy: _u,
        ...kept
      } = JSON.parse(line);
      const messages = kept.messages.map(({ revision: _v, settingsRevision: _w, ...message }: Wire) => message);
      return [kept.id, { ...kept, messages }];
    }),
  );
}

function sample(name: string): Wire {
  return JSON.parse(readFileSync(join(samples, name), 'utf8'));
}

describe('the command line tool', function () {
  this.timeout(60_000);
  let attune: Attune;
  let folder: string;
  before(async () => {
    attune = await startAttune();
    folder = mkdtempSync(join(tmpdir(), 'attune-cli-'));
  });
  after(async () => {
    await attune?.destroy();
    rmSync(folder, { recursive: true, force: true });
  });

  const cli = (args: readonly string[], options?: Parameters<typeof runCli>[2]): Promise<CliEnd> =>
    runCli(attune.url, args, options);
  /** The path of a new folder or file below the test's own. */
  const place = (label: string): string => join(folder, freshId(label));
  function put(files: Record<string, string | Buffer>): string {
    const directory = place('in');
    mkdirSync(directory);
    for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text);
    return directory;
  }

  describe('with the sample folder', () => {
    let first: CliEnd;
    before(async () => {
      first = await cli(['import', samples, '--json']);
    });

    it('[X10] takes 49 of 53, refuses four with their file and reason, and exits with 1', () => {
      expect(first.stderr).to.equal('');
      const report = JSON.parse(first.stdout);
      expect(report).to.include({ taken: 49, replaced: 0, skipped: 0, refused: 4, defaulted: 1 });
      const reasons = Object.fromEntries(report.refusals.map((refusal: Wire) => [refusal.place, refusal]));
      expect(Object.keys(reasons)).to.deep.equal(['bad-id.json', 'bad-role.json', 'empty.json', 'truncated.json']);
      expect(reasons['bad-id.json']).to.include({ id: '../../outside' });
      expect(reasons['bad-id.json'].reason).to.match(/\bid\b/);
      expect(reasons['bad-role.json']).to.include({ id: 'bad-role-1' });
      expect(reasons['bad-role.json'].reason).to.match(/role/);
      expect(reasons['empty.json'].reason).to.equal('is empty');
      expect(reasons['truncated.json'].reason).to.match(/^is not valid JSON/);
      expect(first.status).to.equal(1);
    });

    it('[X10] says which session has the default settings now, and it has them', async () => {
      const report = JSON.parse(first.stdout);
      expect(report.notes).to.have.length(1);
      expect(report.notes[0]).to.include({ place: 'no-settings.json', id: 'no-settings-1' });
      const fresh = await request('PUT', `${attune.url}/v1/sessions/${freshId()}`, { body: {} });
      const taken = await request('GET', `${attune.url}/v1/sessions/no-settings-1`);
      expect(taken.body.settings).to.deep.equal(fresh.body.session.settings);
    });

    it('[X11] skips what the server has, without touching it', async () => {
      const id = basename(readdirSync(samples)[0]!, '.json');
      await request('PATCH', `${attune.url}/v1/sessions/${id}/settings`, { body: { model: 'changed' } });
      const again = await cli(['import', join(samples, `${id}.json`)]);
      expect(again.stderr).to.equal('taken 0, replaced 0, skipped 1, refused 0\n');
      expect(again.status).to.equal(0);
      const kept = await request('GET', `${attune.url}/v1/sessions/${id}`);
      expect(kept.body.settings.model).to.equal('changed');
    });

    it('[X11] replaces what the server has with --existing replace, and reports on stderr', async () => {
      const again = await cli(['import', samples, '--existing', 'replace']);
      expect(again.stdout).to.equal('');
      const [counts, ...lines] = again.stderr.trimEnd().split('\n');
      expect(counts).to.equal('taken 0 (1 with default settings), replaced 49, skipped 0, refused 4');
      expect(lines.filter((line) => line.startsWith('refused '))).to.have.length(4);
      expect(lines.filter((line) => line.startsWith('note '))).to.have.length(1);
      const id = basename(readdirSync(samples)[0]!, '.json');
      const replaced = await request('GET', `${attune.url}/v1/sessions/${id}`);
      expect(replaced.body.settings).to.deep.equal(sample(`${id}.json`).settings);
      expect(again.status).to.equal(1);
    });

    it('[X12] comes out as files that are the same but for the precision of session times', async () => {
      const ids = readdirSync(samples)
        .map((name) => basename(name, '.json'))
        .filter((id) => !['bad-id', 'bad-role', 'empty', 'truncated', 'no-settings'].includes(id));
      const out = place('out');
      const ended = await cli(['export', ...ids, 'no-settings-1', '--out', `${out}/`]);
      expect(ended.stderr).to.equal(`exported 49 to ${out}/, refused 0\n`);
      expect(ended.status).to.equal(0);
      expect(readdirSync(out).toSorted()).to.deep.equal([...ids, 'no-settings-1'].map((id) => `${id}.json`).toSorted());
      for (const id of ids) {
        const written = JSON.parse(readFileSync(join(out, `${id}.json`), 'utf8'));
        expect(normalised(written), id).to.deep.equal(normalised(sample(`${id}.json`)));
        for (const message of written.messages) expect(message.timestamp).to.not.match(/Z|\+/);
      }
      const written = JSON.parse(readFileSync(join(out, 'no-settings-1.json'), 'utf8'));
      const { settings: _, updated_at: _u, ...rest } = normalised(written);
      const { updated_at: _v, ...expected } = normalised(sample('no-settings.json'));
      expect(rest).to.deep.equal(expected);
    });

    it('[X13] comes out as JSON Lines that go in again whole, with ids, authors and states', async () => {
      const id = freshId('rich');
      const session = {
        id,
        settings: { model: 'm', options: { stop: [], deep: { n: 1.5, none: null } } },
        title: 'T',
        metadata: { k: [1] },
        createdAt: '2026-01-01T00:00:00.000Z',
        updatedAt: '2026-01-02T00:00:00.500Z',
        messages: [
          {
            id: 'm-1',
            role: 'tool',
            content: [{ type: 'text', text: '\u2028"' }],
            timestamp: '2026-01-01T00:00:00.123456Z',
          },
          { role: 'assistant', content: '', status: 'error', references: [], metadata: {} },
        ],
      };
      expect((await cli(['import', '-'], { input: `${JSON.stringify(session)}\n` })).status).to.equal(0);
      const [before, after] = [`${place('before')}.jsonl`, `${place('after')}.jsonl`];
      expect((await cli(['export', '--out', before])).status).to.equal(0);
      const replaced = await cli(['import', before, '--existing', 'replace', '--json']);
      expect(replaced.status, replaced.stderr).to.equal(0);
      expect((await cli(['export', '--out', after])).status).to.equal(0);
      const sessions = linesById(readFileSync(before, 'utf8'));
      expect(JSON.parse(replaced.stdout).replaced).to.equal(sessions.size).and.to.be.at.least(50);
      const again = linesById(readFileSync(after, 'utf8'));
      expect([...again.keys()].toSorted()).to.deep.equal([...sessions.keys()].toSorted());
      for (const [sessionId, session] of sessions) expect(again.get(sessionId), sessionId).to.deep.equal(session);
      expect(sessions.get(id)).to.deep.include({
        settings: session.settings,
        title: 'T',
        metadata: { k: [1] },
        createdAt: session.createdAt,
        updatedAt: session.updatedAt,
      });
      expect(sessions.get(id).messages[0]).to.deep.include(session.messages[0]);
      expect(sessions.get(id).messages[1]).to.deep.include(session.messages[1]);
    });
  });

  it('[X14] names file and line of what is refused, here or by the server, and goes on', async () => {
    const [good, late] = [freshId(), freshId()];
    const directory = put({
      'a.json': `{\n"id": "${good}",\n"settings": {}\n}`,
      'b.jsonl': `\n{"id":"../up"}\n[1]\n{"id":"gone","error":{"code":"TOO_LARGE","message":"too large"}}\n{"id":"a b"}`,
      'c.jsonl': `{"id":"long","title":"${'x'.repeat(17 * MiB)}"}\n{"id":"${late}","settings":{}}\n`,
      'd.json': Buffer.from([0xff, 0xfe]),
      'e.json': '{"neither": 1}',
      'f.json': '{"session_id": "f", "messages": [7]}',
      'ignored.txt': 'no session',
    });
    mkdirSync(join(directory, 'g.json'));
    symlinkSync('nowhere', join(directory, 'h.json'));
    const ended = await cli(['import', directory, '--json']);
    const report = JSON.parse(ended.stdout);
    expect(report).to.include({ taken: 2, refused: 10 });
    expect(report.refusals.map((refusal: Wire) => refusal.place).join(' ')).to.equal(
      'b.jsonl:2 b.jsonl:3 b.jsonl:4 b.jsonl:5 c.jsonl:1 d.json e.json f.json g.json h.json',
    );
    expect(ended.status).to.equal(1);
    for (const id of [good, late]) {
      expect((await request('GET', `${attune.url}/v1/sessions/${id}`)).status, id).to.equal(200);
    }
  });

  it('[X15] exports the named sessions alone, and refuses one that does not exist', async () => {
    const [one, odd] = [freshId(), `${freshId()}:a.b_c`];
    for (const id of [one, odd]) await request('PUT', `${attune.url}/v1/sessions/${id}`, { body: {} });
    const out = place('some');
    mkdirSync(out);
    const ended = await cli(['export', one, odd, 'nobody', odd, '--out', out, '--json']);
    expect(readdirSync(out).toSorted()).to.deep.equal([`${one}.json`, `${odd}.json`].toSorted());
    const report = JSON.parse(ended.stdout);
    expect(report).to.include({ exported: 2, refused: 1 });
    expect(report.refusals[0].id).to.equal('nobody');
    expect(report.refusals[0].reason).to.match(/^SESSION_NOT_FOUND/);
    expect(ended.status).to.equal(1);
  });

  it('[X16] tells a wrong command line (2) from a server that cannot be reached (1), and leaves no file', async () => {
    const out = place('never');
    for (const args of [
      [],
      ['export'],
      ['import', '/nowhere/at/all'],
      ['import', put({})],
      ['import', put({ 'x.txt': '' })],
      ['export', '../x', '--out', out],
      ['export', '--out', '-', '--format', 'files'],
      ['export', '--out', '-', '--json'],
      ['export', '--out', `${out}/`, '--format', 'jsonl'],
      ['export', '--out', out, '--url', 'ftp://x'],
      ['import', samples, '--existing', 'merge'],
    ]) {
      const ended = await cli(args);
      expect(ended.status, args.join(' ')).to.equal(2);
      expect(ended.stderr, args.join(' ')).to.not.equal('');
      expect(ended.stdout).to.equal('');
    }
    for (const args of [
      ['import', samples],
      ['export', '--out', out],
    ]) {
      const ended = await runCli('http://127.0.0.1:1', args);
      expect(ended.status).to.equal(1);
      expect(ended.stderr).to.match(/^attune: no server answers at http:\/\/127\.0\.0\.1:1 /);
    }
    expect(existsSync(out)).to.equal(false);
    const help = await cli(['import', '--help']);
    expect(help.status).to.equal(0);
    expect(help.stdout).to.contain('Exit status');
  });

  it('[X17] writes JSON Lines to stdout, and ends quietly when the reader has enough', async () => {
    const whole = await cli(['export', '--out', '-']);
    expect(whole.status).to.equal(0);
    const count = linesById(whole.stdout).size;
    expect(whole.stderr).to.equal(`exported ${count} to stdout, refused 0\n`);
    const run = startCli(attune.url, ['export', '--out', '-']);
    run.process.stdout?.destroy();
    const ended = await run.ended;
    expect(ended.stderr).to.equal('');
    expect(ended.status).to.equal(141);
  });

  describe('with many sessions', () => {
    const few = 100;
    const many = 3000;
    const contentBytes = 20_000;
    let own: Attune;
    let file: string;
    before(async () => {
      own = await startAttune();
      file = `${place('many')}.jsonl`;
      const lines = createWriteStream(file);
      for (let i = 0; i < many; i += 1) {
        const messages = [{ role: 'user', content: `${i} `.repeat(contentBytes).slice(0, contentBytes) }];
        if (!lines.write(`${JSON.stringify({ id: `many-${i}`, settings: {}, messages })}\n`))
          await once(lines, 'drain');
      }
      lines.end();
      await once(lines, 'close');
    });
    after(() => own?.destroy());

    it('[X18] imports and exports in memory that does not grow with the number of sessions', async () => {
      const small = `${place('few')}.jsonl`;
      writeFileSync(small, readFileSync(file, 'utf8').split('\n').slice(0, few).join('\n'));
      const importFew = await runCli(own.url, ['import', small]);
      expect(importFew.stderr).to.equal(`taken ${few}, replaced 0, skipped 0, refused 0\n`);
      const exportFew = await runCli(own.url, ['export', '--out', place('few')]);
      const importMany = await runCli(own.url, ['import', file]);
      expect(importMany.stderr).to.equal(`taken ${many - few}, replaced 0, skipped ${few}, refused 0\n`);
      const exportMany = await runCli(own.url, ['export', '--out', place('many')]);
      expect(exportMany.status).to.equal(0);
      const room = (many * contentBytes) / 2;
      expect(importMany.peakBytes - importFew.peakBytes, 'import').to.be.below(room);
      expect(exportMany.peakBytes - exportFew.peakBytes, 'export').to.be.below(room);
    });

    it('[X19] an interrupt half way leaves neither the file nor a part of it', async () => {
      const directory = place('interrupted');
      mkdirSync(directory);
      const proxy = await startStoppingProxy(own.port, 2 * MiB);
      const run = startCli(proxy.url, ['export', '--out', join(directory, 'all.jsonl')]);
      await proxy.stopped;
      await until(() => readdirSync(directory).length === 1, { what: 'the file beside' });
      run.process.kill('SIGINT');
      const ended = await run.ended;
      await proxy.close();
      expect(ended.signal).to.equal('SIGINT');
      expect(readdirSync(directory)).to.deep.equal([]);
    });

    it('[X20] a server that dies half way leaves the old file as it was, and whole files in a folder', async () => {
      const directory = place('died');
      mkdirSync(directory);
      const out = join(directory, 'all.jsonl');
      writeFileSync(out, 'old');
      const proxies = await Promise.all([startStoppingProxy(own.port, 2 * MiB), startStoppingProxy(own.port, 2 * MiB)]);
      const runs = [
        startCli(proxies[0].url, ['export', '--out', out]),
        startCli(proxies[1].url, ['export', '--out', join(directory, 'files/')]),
      ];
      await Promise.all(proxies.map((proxy) => proxy.stopped));
      await until(() => readdirSync(join(directory, 'files')).length > 10, { what: 'the first files' });
      await own.kill();
      await Promise.all(proxies.map((proxy) => proxy.close()));
      for (const run of runs) {
        const ended = await run.ended;
        expect(ended.stderr).to.match(/^attune: the server at \S+ broke off the connection\n$/);
        expect(ended.status).to.equal(1);
      }
      expect(readFileSync(out, 'utf8')).to.equal('old');
      expect(readdirSync(directory).toSorted()).to.deep.equal(['all.jsonl', 'files']);
      for (const name of readdirSync(join(directory, 'files'))) {
        expect(name).to.match(/^many-\d+\.json$/);
        const written = JSON.parse(readFileSync(join(directory, 'files', name), 'utf8'));
        expect(`${written.session_id}.json`).to.equal(name);
      }
    });
  });

  it('[X21] sends the token, and shows what the server says without one', async () => {
    const secret = 'a secret of the tests that is long enough';
    const guarded = await startAttune({ env: { AUTH_SECRET: secret } });
    try {
      const token = await new SignJWT({ sub: 'u1', sessions: [{ match: '*', role: 'owner' }] })
        .setProtectedHeader({ alg: 'HS256' })
        .setExpirationTime('10m')
        .sign(new TextEncoder().encode(secret));
      const out = place('guarded');
      const refused = [
        await runCli(guarded.url, ['import', samples]),
        await runCli(guarded.url, ['export', '--out', out]),
      ];
      for (const ended of refused) {
        expect(ended.status).to.equal(1);
        expect(ended.stderr).to.match(/^attune: the server at \S+ answered 401: UNAUTHENTICATED/);
      }
      expect(existsSync(out)).to.equal(false);
      const taken = await runCli(guarded.url, ['import', samples, '--json'], { env: { ATTUNE_TOKEN: token } });
      expect(JSON.parse(taken.stdout).taken).to.equal(49);
      const written = await runCli(guarded.url, ['export', '--out', out, '--token', token]);
      expect(written.stderr).to.equal(`exported 49 to ${out}, refused 0\n`);
    } finally {
      await guarded.destroy();
    }
  });
});
