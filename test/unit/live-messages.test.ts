// A live list of messages with a server that answers when told: orders that are hard to meet over a real line.
import { expect } from 'chai';
import { createClient, type AttuneClient, type LinkEvents, type Reply } from '../../client-sdk/index.js';
import { liveMessages, type MessageList } from '../../client-sdk/live-messages.js';
import { ScriptedServer } from '../support/scripted-server.js';
import { until } from '../support/until.js';

describe('a live list whose answers are late', () => {
  let server: ScriptedServer;
  let client: AttuneClient;
  /** What the server tells, and how the newest message that was to be added is answered. */
  let line: LinkEvents;
  let answerAdded: (reply: object) => void;

  beforeEach(() => {
    server = new ScriptedServer();
    server.create('a', {});
    client = createClient({
      transport(url, events) {
        const link = server.transport(url, (line = events));
        return {
          ...link,
          request(event, body, timeoutMs, answered) {
            if (event !== 'message:add') return link.request(event, body, timeoutMs, answered);
            answerAdded = (reply) => answered({ ok: true, ...reply } as Reply);
          },
        };
      },
    });
  });
  afterEach(() => client.close());

  const contents = (list: MessageList) => list.getSnapshot().messages.map(({ content }) => content);
  const pagesAsked = () => server.count('message:list', 'a');
  const snapshot = (revision: number) => {
    const session = { id: 'a', epoch: 'e', revision, settingsRevision: 1, settings: {}, createdAt: 'then' };
    line.received('session:snapshot', { sessionId: 'a', session, reason: 'gap' });
  };

  it('[CK50] shown before its session is joined it reads the newest page once', async () => {
    server.say('a', 'one');
    const list = liveMessages(client.session('a'));
    let wasLoaded = false;
    list.subscribe(() => (wasLoaded ||= !list.getSnapshot().loading));
    await until(() => wasLoaded);
    expect(contents(list)).to.deep.equal(['one']);
    // Whatever is still asked for is asked before this is answered.
    await client.session('a').history();
    expect(pagesAsked()).to.equal(1);
  });

  it('[CK50] however often too much is missed while a page is read, one more is read, after it', async () => {
    const list = liveMessages(client.session('a'));
    list.subscribe(() => undefined);
    await until(() => !list.getSnapshot().loading);
    server.hold();
    snapshot(2);
    await until(() => pagesAsked() === 2);
    snapshot(3);
    snapshot(4);
    let isLoading = true;
    list.subscribe(() => (isLoading = list.getSnapshot().loading));
    server.release();
    await until(() => !isLoading);
    await client.session('a').history();
    expect(pagesAsked()).to.equal(3);
  });

  it('[CK51] an own message that was added and deleted before its answer came is not shown', async () => {
    const session = client.session('a');
    const list = liveMessages(session);
    list.subscribe(() => undefined);
    await until(() => !list.getSnapshot().loading);
    const message = { id: 'mine', role: 'user', content: 'mine', revision: 2, settingsRevision: 1 } as const;
    const adding = session.addMessage(message);
    expect(contents(list)).to.deep.equal(['mine']);
    const base = { sessionId: 'a', epoch: 'e', at: '', by: {}, updateId: session.unsent[0]!.updateId };
    line.received('message:added', { ...base, revision: 2, message });
    line.received('message:deleted', { ...base, revision: 3, messageId: 'mine', updateId: 'another' });
    answerAdded({ epoch: 'e', revision: 2, duplicate: false, message });
    await adding;
    expect(contents(list)).to.deep.equal([]);
  });
});
