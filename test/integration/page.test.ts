// How the page at `/` and its assets are served. What it does in a browser is tested in one.
import { expect } from 'chai';
import { startAttune, type Attune } from '../support/attune.js';
import { expectProblem, request } from '../support/http.js';

describe('the page as it is served', () => {
  let attune: Attune;
  let html = '';
  before(async () => {
    attune = await startAttune();
    html = (await request('GET', attune.url)).text;
  });
  after(() => attune?.destroy());

  /** Paths of what the page names: scripts, styles, icon. */
  const named = () => [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map((match) => match[1]!);

  it('[DP8] it is asked for anew each time, and holds no script or style of its own', async () => {
    const { headers } = await request('GET', attune.url);
    expect(headers.get('cache-control')).to.equal('no-cache');
    expect(html).to.not.match(/<style|\bstyle=|\bon[a-z]+="/);
    for (const [, attributes, text] of html.matchAll(/<script([^>]*)>([^<]*)</g)) {
      expect(attributes).to.match(/ src="\/assets\//);
      expect(text).to.equal('');
    }
    expect(named().some((path) => path.endsWith('.js'))).to.equal(true);
    for (const path of named()) expect(path).to.match(/^\/assets\/[\w.-]+$/);
  });

  it('[DP8] the policy lets no script or style through that stands in a page, and nothing from another host', async () => {
    const policy = (await request('GET', attune.url)).headers.get('content-security-policy') ?? '';
    const directives = new Map(
      policy.split(';').map((part) => [part.split(' ')[0]!, part.split(' ').slice(1)] as const),
    );
    expect(directives.get('default-src')).to.deep.equal(["'self'"]);
    expect(policy).to.not.match(/unsafe|https?:|data:|\*/);
  });

  it('[DP9] assets say what they are, are kept for ever, and are compressed for who takes it', async () => {
    for (const path of named()) {
      const plain = await fetch(attune.url + path, { headers: { 'accept-encoding': 'identity' } });
      expect(plain.status, path).to.equal(200);
      expect(plain.headers.get('content-type')).to.match(/^(text\/(javascript|css); charset=utf-8|image\/svg\+xml)$/);
      expect(plain.headers.get('cache-control')).to.equal('public, max-age=31536000, immutable');
      expect(plain.headers.get('content-encoding')).to.equal(null);
      expect(plain.headers.get('vary')).to.match(/accept-encoding/i);
      const body = await plain.text();
      const zipped = await fetch(attune.url + path, { headers: { 'accept-encoding': 'gzip' } });
      expect(zipped.headers.get('content-encoding')).to.equal(path.endsWith('.svg') ? null : 'gzip');
      expect(await zipped.text()).to.equal(body);
    }
  });

  it('[DP9] other names are 404, also such as lead out of the folder, and a compressed copy is no asset', async () => {
    const script = named().find((path) => path.endsWith('.js'))!;
    for (const path of [
      '/assets/none.js',
      '/assets/',
      '/assets/..%2findex.html',
      '/assets/..%2f..%2fmain.js',
      `${script}.gz`,
    ]) {
      expectProblem(await request('GET', attune.url + path), 'INVALID_REQUEST', 404);
    }
  });
});
