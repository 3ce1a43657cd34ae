// The SDK in workers, as it is built: a Web Worker of a real page and a thread of Node, each joined to a real server.
import { pathToFileURL } from 'node:url';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { expect } from 'chai';
import { build } from 'esbuild';
import { projectDir, startAttune, type Attune } from '../support/attune.js';
import { browserOfSuite } from '../support/browser.js';
import { clientOf, closeClients, freshSession } from '../support/clients.js';
import { until } from '../support/until.js';

/** What a worker says: the revision of its own update, or whose commit it heard of. */
type Said = { updated: number } | { heard: string; settings: Record<string, unknown> };

/** What each worker does, as text: `work({ createClient, say, sessionId, options })`. */
const work = `async ({ createClient, say, sessionId, options }) => {
  const session = createClient(options).session(sessionId, { create: true });
  session.on('commit', ({ by }) => say({ heard: by.clientId, settings: session.getSnapshot().settings }));
  await session.ready();
  const { revision } = await session.update({ [options.clientId]: 'from a worker' });
  say({ updated: revision });
}`;

describe('the SDK in workers', () => {
  const browser = browserOfSuite();
  let attune: Attune;
  before(async () => {
    attune = await startAttune();
  });
  after(() => attune?.destroy());
  afterEach(closeClients);

  /** A client here sees what the worker changes, and the worker what is changed here. */
  async function expectInStep(clientId: string, sessionId: string, said: readonly Said[]): Promise<void> {
    const session = clientOf(attune.url, { clientId: 'here' }).session<Record<string, unknown>>(sessionId);
    await until(() => said.some((one) => 'updated' in one), { what: 'the update of the worker to be acknowledged' });
    await session.ready();
    expect(session.getSnapshot().settings).to.include({ [clientId]: 'from a worker' });
    await session.update({ here: 'to a worker' });
    const isHeard = (one: Said) => 'heard' in one && one.heard === 'here' && one.settings['here'] === 'to a worker';
    await until(() => said.some(isHeard), { what: 'the worker to hear of it' });
  }

  for (const transport of ['a socket of its own', 'tabs that share a connection']) {
    it(`[PK13] a Web Worker, asked for ${transport}: it updates, and hears what others change`, async () => {
      const [sessionId, clientId] = [freshSession('worker'), 'web'];
      const script = await bundled(transport !== 'a socket of its own');
      await browser.visit(async ({ profile }) => {
        const said: Said[] = [];
        await profile.exposeFunction('say', (one: Said) => void said.push(one));
        await profile.route('**/favicon.ico', (route) => route.fulfill({ status: 204 }));
        await profile.route('**/worker.js', (route) => route.fulfill({ contentType: 'text/javascript', body: script }));
        const page = await profile.newPage();
        await page.goto(`${attune.url}/livez`);
        await page.evaluate(`{
          const worker = new Worker('/worker.js');
          worker.onmessage = ({ data }) => say(data);
          worker.onerror = ({ message }) => console.error(message);
          worker.postMessage(${JSON.stringify({ sessionId, url: attune.url, clientId })});
        }`);
        await expectInStep(clientId, sessionId, said);
      });
    });
  }

  it('[PK13] a thread of Node: it updates, and hears what others change', async () => {
    const [sessionId, clientId] = [freshSession('worker'), 'thread'];
    const script = `
      const { parentPort, workerData } = require('node:worker_threads');
      import(workerData.sdk).then(({ createClient }) =>
        (${work})({ createClient, say: (one) => parentPort.postMessage(one), ...workerData }));
    `;
    const sdk = pathToFileURL(join(projectDir, 'client-sdk/dist/index.js')).href;
    const worker = new Worker(script, {
      eval: true,
      workerData: { sdk, sessionId, options: { url: attune.url, clientId } },
    });
    try {
      const said: Said[] = [];
      worker.on('message', (one: Said) => said.push(one));
      const failed = new Promise<never>((_, reject) => {
        worker.on('error', reject);
      });
      await Promise.race([expectInStep(clientId, sessionId, said), failed]);
    } finally {
      await worker.terminate();
    }
  });
});

/** The worker's script, with the SDK's package in it. */
async function bundled(sharesTabs: boolean): Promise<string> {
  const contents = `
    import { createClient } from '@attune/client';
    import { sharedTabs } from '@attune/client/tabs';
    const more = ${sharesTabs ? '{ transport: sharedTabs() }' : '{}'};
    onmessage = ({ data: { sessionId, url, clientId } }) =>
      (${work})({ createClient, say: (one) => postMessage(one), sessionId, options: { url, clientId, ...more } });
  `;
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: projectDir, sourcefile: 'worker.js' },
    bundle: true,
    format: 'iife',
    platform: 'browser',
    target: 'es2022',
    write: false,
    logLevel: 'silent',
  });
  return outputFiles[0]!.text;
}
