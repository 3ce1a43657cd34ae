// What a repeated update is told where the log no longer reaches it, by a store that is played by hand.
import { expect } from 'chai';
import type { AtReply, Remembered, SessionStore } from '../../server/redis/session-store.js';
import { answerAgain } from '../../server/sync/answers.js';
import { iso, merge, noon, update } from '../support/planned.js';

const epoch = 'b1b1b1b1b1b1b1b1-cafe0123';

describe('the answer to a repeated update', () => {
  /** Asked again for revision 5, of which Redis knows only this. */
  function told(settings: AtReply['settings'], changed: boolean): Promise<object> {
    const again = update(merge({ n: 5 }));
    const { payloadHash } = again;
    const first: Remembered = { revision: 5, epoch, payloadHash, changed, at: iso(noon) };
    const at = () => Promise.resolve({ now: { epoch, revision: 9 }, commit: null, settings });
    return answerAgain({ at } as unknown as SessionStore, again, first);
  }
  const kept = (revision: number) => ({ value: { n: revision }, revision, at: iso(noon), changedPaths: ['/n'] });

  it('[SI5] has no settings where the version that covers it is of a later revision', async () => {
    const base = { epoch, revision: 5, duplicate: true, updatedAt: iso(noon) };
    expect(await told(kept(7), true)).to.deep.equal({ ...base, settingsRevision: 5, changedPaths: ['/n'] });
    expect(await told(kept(7), false)).to.deep.equal({ ...base, changedPaths: [] });
  });

  it('[SI5] has the settings where they were in force at its own revision', async () => {
    expect(await told(kept(5), true)).to.deep.include({ settings: { n: 5 }, settingsRevision: 5 });
    expect(await told(kept(3), false)).to.deep.include({ settings: { n: 3 }, settingsRevision: 3, changedPaths: [] });
  });
});
