// Why a client is not connected: what each attempt failed with, and when it gives up.
import { expect } from 'chai';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Link, LinkEvents, Reply } from '../../client-sdk/index.js';
import { startAttune, type Attune } from '../support/attune.js';
import { clientOf, closeClients, failureOf, freshSession, recorded } from '../support/clients.js';
import { until } from '../support/until.js';

describe('attempts to connect', () => {
  let server: Attune;
  before(async () => {
    server = await startAttune();
  });
  after(() => server.destroy());
  afterEach(closeClients);

  it('[CK47] while it tries it says what the last attempt failed with, and no more once it is connected', async () => {
    let isThere = false;
    const client = clientOf(server.url, {
      getToken: () => (isThere ? 'any' : Promise.reject(new Error('the office is closed'))),
    });
    const session = client.session(freshSession(), { create: true });
    const stop = session.subscribe(() => undefined);
    await until(() => session.getSnapshot().error !== null, { deadlineMs: 5000, what: 'the reason' });
    expect(client).to.include({ status: 'connecting' });
    expect(client.error).to.include({ code: 'OFFLINE', message: 'the office is closed' });
    expect(client.error?.isTemporary).to.equal(true);
    expect(session.getSnapshot().error).to.equal(client.error);
    isThere = true;
    await session.ready();
    expect([client.error, session.getSnapshot().error]).to.deep.equal([null, null]);
    stop();
  });

  it('[CK47] an address with nothing behind it, or another server, is told', async () => {
    const other = createServer((_request, response) => response.writeHead(404).end());
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const { port } = other.address() as AddressInfo;
    const clients = [`http://127.0.0.1:${port}`, 'http://127.0.0.1:1'].map((url) => clientOf(url));
    for (const client of clients) client.connect();
    for (const client of clients) {
      await until(() => client.error !== null, { deadlineMs: 5000, what: 'the reason' });
      expect(client.error).to.include({ code: 'OFFLINE' });
      expect(client.error?.message).to.match(/error/);
    }
    await new Promise((resolve) => other.close(resolve));
  });

  it('[CK48] a token that opens the line and is refused then is replaced after a pause, three times in a row', async () => {
    const error = { code: 'UNAUTHENTICATED', message: 'no', retry: 'reauthenticate', outcome: 'not-committed' };
    let opened = 0;
    let asked = 0;
    const transport = (_url: string, line: LinkEvents): Link => ({
      open: () => void line.auth().then(() => ((opened += 1), line.opened())),
      close: () => undefined,
      request: (_event, _body, _timeoutMs, answered) => queueMicrotask(() => answered({ ok: false, error } as Reply)),
    });
    const client = clientOf('', { transport, getToken: () => `token ${(asked += 1)}` });
    const told = recorded<string>((listener) => client.on('status', listener));
    expect(await failureOf(client.session('s').ready())).to.include({ code: 'UNAUTHENTICATED' });
    expect([opened, asked]).to.deep.equal([3, 3]);
    expect(told.at(-1)).to.equal('disconnected');
  });
});
