// A session over a line that the test answers by hand: what may come in either order.
import { expect } from 'chai';
import { createClient, type Transport } from '../../client-sdk/index.js';

interface Asked {
  event: string;
  body: { updateId?: string };
  answer: (reply: object) => void;
}

/** A line that is open at once, and what was asked over it. */
function handLine(): { transport: Transport; asked: Asked[]; tell: (event: string, body: object) => void } {
  const asked: Asked[] = [];
  let received: (event: string, body: object) => void = () => undefined;
  const transport: Transport = (_url, events) => {
    received = events.received;
    return {
      open: () => queueMicrotask(events.opened),
      close: () => undefined,
      request: (event, body, _timeoutMs, answered) =>
        void asked.push({ event, body, answer: (reply) => answered(reply as never) }),
    };
  };
  return { transport, asked, tell: (event, body) => received(event, body) };
}
const settled = () => new Promise<void>((resolve) => setImmediate(resolve));
const by = { userId: 'u', clientId: 'c', kind: 'tab' };
const document = { epoch: 'E', revision: 1, settingsRevision: 1, settings: { model: 'a' } };

describe('a session over a line', () => {
  async function joined() {
    const line = handLine();
    const client = createClient({ transport: line.transport });
    const session = client.session('s');
    const ready = session.ready();
    await settled();
    expect(line.asked[0]?.event).to.equal('session:join');
    line.asked.shift()!.answer({ ok: true, session: document, participants: [] });
    await ready;
    const next = (): Asked => line.asked.shift()!;
    /** Also after a pause. */
    const nextLater = async (): Promise<Asked> => {
      while (line.asked.length === 0) await settled();
      return next();
    };
    return { line, client, session, next, nextLater };
  }
  const base = (revision: number, updateId?: string) => ({
    sessionId: 's',
    epoch: 'E',
    revision,
    at: '2026-11-22T10:00:00.000Z',
    by,
    updateId,
  });

  it('[CK2] an update is seen once, whether its commit or its answer comes first', async () => {
    for (const answerFirst of [true, false]) {
      const { line, client, session, next } = await joined();
      const seen: unknown[] = [];
      session.subscribe(() => seen.push(session.getSnapshot().settings?.model));
      const update = session.update({ model: 'b' });
      const { body, answer } = next();
      const reply = {
        ok: true,
        epoch: 'E',
        revision: 2,
        duplicate: false,
        settingsRevision: 2,
        changedPaths: ['/model'],
      };
      const commit = () =>
        line.tell('settings:updated', {
          ...base(2, body.updateId),
          settingsRevision: 2,
          changedPaths: ['/model'],
          delta: [{ op: 'replace', path: '/model', value: 'b' }],
          from: 1,
        });
      if (answerFirst) answer(reply);
      else commit();
      expect(session.getSnapshot()).to.include({ syncStatus: 'synchronizing' });
      if (answerFirst) commit();
      else answer(reply);
      expect((await update).revision).to.equal(2);
      expect(session.getSnapshot()).to.include({ syncStatus: 'synchronized', revision: 2, pending: 0 });
      expect(new Set(seen)).to.deep.equal(new Set(['b']));
      client.close();
    }
  });

  it('[CK17] a commit that is missing is asked for by a join with the cursor, once, and events meanwhile are not taken', async () => {
    const { line, client, session, nextLater } = await joined();
    const revisions: number[] = [];
    session.on('commit', ({ revision }) => revisions.push(revision));
    const described = (revision: number) => ({ ...base(revision), title: `${revision}` });
    line.tell('session:described', described(3));
    line.tell('session:described', described(4));
    const join = await nextLater();
    expect(join).to.deep.include({ event: 'session:join' });
    expect(join.body).to.deep.include({ cursor: { epoch: 'E', revision: 1 } });
    expect(line.asked).to.deep.equal([]);
    const commits = [2, 3, 4].map((revision) => ({ event: 'session:described', ...described(revision) }));
    const resumed = { ok: true, resumed: true, epoch: 'E', revision: 4, participants: [] };
    // Where an answer has a gap itself, that is one more join and not one for each commit behind it.
    join.answer({ ...resumed, commits: [commits[1], commits[2]] });
    const again = await nextLater();
    expect(again.body).to.deep.include({ cursor: { epoch: 'E', revision: 1 } });
    expect([line.asked, revisions]).to.deep.equal([[], []]);
    again.answer({ ...resumed, commits });
    line.tell('session:described', described(5));
    line.tell('session:described', described(4));
    expect(revisions).to.deep.equal([2, 3, 4, 5]);
    expect(session.getSnapshot()).to.include({ title: '5', revision: 5, syncStatus: 'synchronized' });
    client.close();
  });

  it('[CK20] a join that is refused for now is tried again; one that may never be ends the session', async () => {
    const { client, session, line, nextLater } = await joined();
    line.tell('session:described', { ...base(3), title: 'gap' });
    const error = { code: 'UNAVAILABLE', message: 'm', retry: 'after-delay', outcome: 'not-committed', requestId: 'r' };
    (await nextLater()).answer({ ok: false, error });
    expect(session.getSnapshot()).to.include({ syncStatus: 'synchronizing' });
    expect(session.getSnapshot().error).to.include({ code: 'UNAVAILABLE', isTemporary: true });
    (await nextLater()).answer({ ok: false, error: { ...error, code: 'FORBIDDEN', retry: 'never' } });
    expect(session.getSnapshot().error?.code).to.equal('FORBIDDEN');
    client.close();
  });
});
