// A session's handle with a server that answers when told: what a real one does too seldom to be waited for.
import { expect } from 'chai';
import { createClient, type AttuneClient } from '../../client-sdk/index.js';
import { ScriptedServer } from '../support/scripted-server.js';
import { until } from '../support/until.js';

describe('a session whose answers are late', () => {
  let server: ScriptedServer;
  let client: AttuneClient;

  beforeEach(() => {
    server = new ScriptedServer();
    server.create('a', { model: 'one' });
    client = createClient({ clientId: 'me', transport: server.transport });
  });
  afterEach(() => client.close());

  it('[CK6] who leaves before the join was answered is taken out of the room that it enters', async () => {
    server.hold();
    const session = client.session('a');
    const stop = session.subscribe(() => undefined);
    await until(() => server.count('session:join') === 1);
    stop();
    session.leave();
    await until(() => session.getSnapshot().error?.code === 'CLOSED');
    expect(server.asked.map(({ event }) => event)).to.deep.equal(['session:join', 'session:leave']);
  });

  it('[CK49] what a listener writes when it is told of a write is sent after that', async () => {
    const session = client.session('a');
    await session.ready();
    server.hold();
    let isAnswered = false;
    session.subscribe(() => {
      if (isAnswered) return;
      isAnswered = true;
      void session.update({ model: 'corrected' });
    });
    void session.update({ model: 'wrong' });
    expect(session.getSnapshot().settings).to.deep.equal({ model: 'corrected' });
    const sent = server.asked.filter(({ event }) => event === 'settings:update').map(({ body }) => body['merge']);
    expect(sent).to.deep.equal([{ model: 'wrong' }, { model: 'corrected' }]);
    server.release();
    await until(() => session.getSnapshot().syncStatus === 'synchronized');
    expect(session.getSnapshot().settings).to.deep.equal({ model: 'corrected' });
  });

  it('[CK21] who deletes it is told that it is done, also where the deletion is heard of before the answer', async () => {
    const session = client.session('a');
    await session.ready();
    server.hold();
    let late: Promise<unknown> | undefined;
    session.on('acknowledged', () => (late = session.update({ model: 'too late' }).catch((error: unknown) => error)));
    const deleting = session.delete();
    await until(() => server.count('session:delete') === 1);
    server.remove('a', server.asked.at(-1)!.body['updateId'] as string);
    await deleting;
    expect(await late).to.include({ code: 'SESSION_NOT_FOUND' });
    expect(session.getSnapshot()).to.deep.include({ pending: 0 });
    expect(session.getSnapshot().error?.code).to.equal('SESSION_NOT_FOUND');
  });
});
