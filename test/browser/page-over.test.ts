// The page where there is no session to show: an address that names none, one that was deleted, and one that is not for its
// user. Each says what happened, and what to do.
import { expect } from 'chai';
import { SignJWT } from 'jose';
import { startAttune, type Attune } from '../support/attune.js';
import { accessibilityViolations, browserOfSuite } from '../support/browser.js';
import { becomes, DemoPage, newSession, openSession, profileOf } from '../support/demo-page.js';
import { request } from '../support/http.js';
import { freshId } from '../support/shapes.js';
import { connect } from '../support/socket.js';

const SECRET = 'a secret of tests that is long enough';

function tokenFor(match: string, role: string): Promise<string> {
  return new SignJWT({ sub: role, name: `The ${role}`, sessions: [{ match, role }] })
    .setProtectedHeader({ alg: 'HS256' })
    .setExpirationTime('1h')
    .sign(new TextEncoder().encode(SECRET));
}

describe('the page without a session', () => {
  const browser = browserOfSuite();
  let attune: Attune;
  let guarded: Attune;
  before(async () => {
    [attune, guarded] = await Promise.all([startAttune(), startAttune({ env: { AUTH_SECRET: SECRET } })]);
  });
  after(() => Promise.all([attune?.destroy(), guarded?.destroy()]));

  it('[BR27] an address that names no session says so, and leads to a new one; it makes none', () =>
    browser.visit(async (visit) => {
      const page = new DemoPage(await visit.open(`${attune.url}/?session=${encodeURIComponent('../etc <b>')}`));
      await page.saysInstead('This link leads to no session', '../etc <b> cannot be the name of a session');
      await visit.screenshot(page.page, 'address of no session');
      expect((await accessibilityViolations(page.page)).join('\n')).to.equal('');
      expect((await request('GET', `${attune.url}/v1/sessions`)).body.sessions).to.deep.equal([]);
      await page.page.getByRole('link', { name: 'Start a new session' }).click();
      await page.isLive();
      expect(page.page.url()).to.match(/\?session=demo-\w{12}$/);
    }));

  it('[BR28] a session that somebody deletes says who did, and leads to a new one; it stays deleted', () =>
    browser.visit(async (visit) => {
      const id = await newSession(attune);
      const page = await openSession(visit, attune, id);
      const deleter = await connect(attune.url, { clientId: 'Bob|0b6e99|x' });
      await deleter.ok('session:delete', { sessionId: id });
      deleter.close();
      await page.saysInstead(
        'This session was deleted',
        'Bob deleted it, with its settings and messages, for everybody.',
      );
      await visit.screenshot(page.page, 'session deleted');
      expect((await accessibilityViolations(page.page)).join('\n')).to.equal('');
      expect((await request('GET', `${attune.url}/v1/sessions/${id}`)).status).to.equal(404);
      await page.page.getByRole('link', { name: 'Start a new session' }).click();
      await page.isLive();
    }));

  it('[BR28] one that was deleted while the page was offline says so when it comes back', () =>
    browser.visit(async (visit) => {
      const id = await newSession(attune);
      const page = await openSession(visit, attune, id);
      await page.onlineSwitch.click();
      await page.hasStatus('Offline');
      await request('DELETE', `${attune.url}/v1/sessions/${id}`);
      await page.onlineSwitch.click();
      await page.saysInstead('This session was deleted', 'Somebody deleted it');
    }));

  it('[BR29] a server that wants a token is given one on the page', () =>
    browser.visit(async (visit) => {
      const id = freshId('page');
      const page = new DemoPage(await visit.open(`${guarded.url}/?session=${id}`));
      await page.saysInstead('This server asks who you are', 'UNAUTHENTICATED');
      await visit.screenshot(page.page, 'token asked for');
      expect((await accessibilityViolations(page.page)).join('\n')).to.equal('');
      const give = async (token: string) => {
        await page.page.getByLabel('Token (a JWT)').fill(token);
        await page.page.getByRole('button', { name: 'Continue' }).click();
      };
      await give(await tokenFor('other:*', 'editor'));
      await page.saysInstead('You have no access to this session', id);
      await give(await tokenFor(id, 'editor'));
      await page.isLive();
    }));

  it('[BR29] who may only read sees the session, and why a change is not taken', () =>
    browser.visit(async (visit) => {
      const id = freshId('page');
      const owner = await connect(guarded.url, { token: await tokenFor('*', 'owner') });
      await owner.ok('session:open', { sessionId: id });
      owner.close();
      const profile = await profileOf(visit, 'Ada');
      const token = await tokenFor(id, 'viewer');
      const page = new DemoPage(await visit.open(`${guarded.url}/?session=${id}#token=${token}`, profile));
      await page.isLive();
      await page.choose('Model', 'gpt-4o');
      const problem = page.field('/model').locator('.field-problem');
      await becomes(async () => /^Not taken: .+ It is still "gpt-4"\.$/.test(await problem.innerText()), true, 'why');
      await page.hasChoice('Model', 'gpt-4');
      await page.hasStatus('Live');
    }));
});
