// What a repeated update is told where the log no longer reaches it, by a store that is played by hand.
import { expect } from 'chai';
import type { Commit, Message } from '../../client-sdk/protocol/messages.js';
import type { AtReply, Remembered, SessionStore } from '../../server/redis/session-store.js';
import { answerAgain } from '../../server/sync/answers.js';
import { ada, change, iso, merge, noon, update } from '../support/planned.js';

const epoch = 'b1b1b1b1b1b1b1b1-cafe0123';

describe('the answer to a repeated update', () => {
  const message = (id: string): Message => ({
    id,
    revision: 5,
    settingsRevision: 1,
    role: 'user',
    content: 'hi',
    timestamp: iso(noon),
    status: 'complete',
    author: ada,
  });
  /** Asked again for revision 5, of which Redis knows only this. */
  function told(
    settings: AtReply['settings'],
    changed: boolean,
    again = update(merge({ n: 5 })),
    commit: Commit | null = null,
  ): Promise<object> {
    const { payloadHash } = again;
    const first: Remembered = { revision: 5, epoch, payloadHash, changed, at: iso(noon) };
    const at = () => Promise.resolve({ now: { epoch, revision: 9 }, commit, settings });
    const read = () => Promise.resolve({ kind: 'state', messages: [message('m1')] });
    return answerAgain({ at, read } as unknown as SessionStore, again, first);
  }
  const kept = (revision: number) => ({ value: { n: revision }, revision, at: iso(noon), changedPaths: ['/n'] });

  it('[SI5] has no settings where the version that covers it is of a later revision', async () => {
    const base = { epoch, revision: 5, duplicate: true, updatedAt: iso(noon) };
    expect(await told(kept(7), true)).to.deep.equal({ ...base, settingsRevision: 5, changedPaths: ['/n'] });
    expect(await told(kept(7), false)).to.deep.equal({ ...base, changedPaths: [] });
  });

  it('[SI6] of an update that changed nothing says nothing of the commit of another at its revision', async () => {
    const base = { sessionId: 's', epoch, revision: 5, at: iso(noon), by: ada, updateId: 'another' };
    const cleared: Commit = { ...base, event: 'session:cleared', removed: 8 };
    expect(await told(null, false, update({ kind: 'clear' }), cleared)).to.include({ removed: 0 });
    const other = { ...message('m2'), content: 'of another' };
    const added: Commit = { ...base, event: 'message:added', message: other };
    const same = update(change('m1', { status: 'complete' }));
    expect(await told(null, false, same, added)).to.deep.include({ message: message('m1') });
    const own = { ...added, message: message('m1') };
    expect(await told(null, false, same, own)).to.deep.include({ message: message('m1') });
    expect(await told(null, true, update({ kind: 'clear' }), cleared)).to.include({ removed: 8 });
  });

  it('[SI5] has the settings where they were in force at its own revision', async () => {
    expect(await told(kept(5), true)).to.deep.include({ settings: { n: 5 }, settingsRevision: 5 });
    expect(await told(kept(3), false)).to.deep.include({ settings: { n: 3 }, settingsRevision: 3, changedPaths: [] });
  });
});
