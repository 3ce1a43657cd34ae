// The settings on the page: what one tab changes the others show, at once for whoever changes it, and back when refused.
import { expect } from 'chai';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startAttune, type Attune } from '../support/attune.js';
import { browserOfSuite } from '../support/browser.js';
import { becomes, newSession, openSession, openTwo, whileSilent } from '../support/demo-page.js';
import { request } from '../support/http.js';
import { startRedis } from '../support/redis.js';
import { connect } from '../support/socket.js';
import { until } from '../support/until.js';

/** More than one call gives. */
const VERSIONS = 535;

/** A rule that no form knows: the small model takes no temperature above 1. */
const schema = {
  type: 'object',
  properties: {
    model: { type: 'string', title: 'Model', enum: ['large', 'small'], default: 'large' },
    temperature: { type: 'number', title: 'Temperature', minimum: 0, maximum: 2, default: 1.5 },
  },
  required: ['model'],
  if: { properties: { temperature: { exclusiveMinimum: 1 } } },
  // oxlint-disable-next-line unicorn/no-thenable
  then: { properties: { model: { const: 'large' } } },
};

describe('the settings on the page', () => {
  const browser = browserOfSuite();
  let attune: Attune;
  let strict: Attune;
  const folder = mkdtempSync(join(tmpdir(), 'attune-schema-'));

  before(async () => {
    const file = join(folder, 'schema.json');
    writeFileSync(file, JSON.stringify(schema));
    attune = await startAttune();
    strict = await startAttune({ env: { SETTINGS_SCHEMA: file } });
  });
  after(async () => {
    await Promise.all([attune?.destroy(), strict?.destroy()]);
    rmSync(folder, { recursive: true });
  });

  it('[BR11] what is changed with any control is shown by the other tab, live, and a slider while it moves', () =>
    browser.visit(async (visit) => {
      const options = { temperature: 0.7, stop: ['END'], stream: true, system_prompt: 'Be brief.' };
      const id = await newSession(attune, { options });
      const [one, other] = await openTwo(visit, attune, id, 'Ada', 'Bob');
      await one.choose('Model', 'claude-sonnet-4');
      await other.hasChoice('Model', 'claude-sonnet-4');
      await other.setting('System prompt').fill('Be kind.');
      await one.hasText('System prompt', 'Be kind.');
      await one.setting('Stop').fill('STOP');
      await one.page.keyboard.press('Enter');
      await other.hasTags('/options/stop', ['END', 'STOP']);
      await other.page.getByRole('button', { name: 'Remove END' }).click();
      await one.hasTags('/options/stop', ['STOP']);
      await one.setting('Streaming').click();
      await other.isOn('Streaming', false);
      await other.setting('Max tokens').fill('123');
      await one.hasText('Max tokens', '123');
      await one.setting('Mode').selectOption({ label: 'Other…' });
      await one.page.keyboard.type('tutor');
      await one.page.keyboard.press('Enter');
      await other.hasChoice('Mode', 'tutor');

      // A slider that is dragged moves in the other tab before it is let go.
      const slider = one.setting('Temperature slider');
      await slider.scrollIntoViewIfNeeded();
      const { x, y, width, height } = (await slider.boundingBox())!;
      await one.page.mouse.move(x + width * 0.35, y + height / 2);
      await one.page.mouse.down();
      await one.page.mouse.move(x + width * 0.9, y + height / 2, { steps: 10 });
      await becomes(async () => Number(await other.setting('Temperature').inputValue()) > 0.7, true, 'it to move');
      await one.page.mouse.up();
      const value = await slider.inputValue();
      expect(Number(value)).to.be.above(1.5);
      await other.hasText('Temperature slider', value);
      await other.hasText('Temperature', value);
    }));

  it('[BR12] a change is shown before the server answers, with what it waits for', () =>
    browser.visit(async (visit) => {
      const id = await newSession(attune);
      const [one, other] = await openTwo(visit, attune, id, 'Ada', 'Bob');
      await whileSilent(attune, async () => {
        await one.choose('Model', 'gpt-4o');
        await one.hasChoice('Model', 'gpt-4o');
        await one.hasProgress('/model', 'saving…');
        await becomes(() => one.page.getByTestId('pending').innerText(), '1 change waits', 'the header to say it');
        await other.hasChoice('Model', 'gpt-4');
      });
      await one.hasProgress('/model', 'saved');
      await other.hasChoice('Model', 'gpt-4o');
      const latency = await one.page.getByTestId('latency').innerText();
      expect(latency).to.match(/^\d+(\.\d)? ms$/);
    }));

  it('[BR13] what the server refuses is rolled back, with the reason at the setting', () =>
    browser.visit(async (visit) => {
      const id = await newSession(strict);
      const [one, other] = await openTwo(visit, strict, id, 'Ada', 'Bob');
      await whileSilent(strict, async () => {
        await one.choose('Model', 'small');
        await one.hasChoice('Model', 'small');
      });
      await one.hasChoice('Model', 'large');
      const problem = one.field('/model').locator('.field-problem');
      await becomes(
        () => problem.innerText().then((text) => /^Not taken: .+ It is still "large"\.$/.test(text)),
        true,
        'why',
      );
      expect(await one.setting('Model').getAttribute('aria-invalid')).to.equal('true');
      await visit.screenshot(one.page, 'refused by the server');
      // What was refused is forgotten: with a temperature that goes with it, the same choice is taken.
      await one.setting('Temperature').fill('0.5');
      await one.page.keyboard.press('Enter');
      await one.hasProgress('/temperature', 'saved');
      await one.choose('Model', 'small');
      await other.hasChoice('Model', 'small');
      await becomes(() => problem.innerText(), '', 'no problem to be left');
    }));

  it('[BR13] what can be seen to be wrong is said at the setting, and nothing is sent', () =>
    browser.visit(async (visit) => {
      const id = await newSession(attune);
      const one = await openSession(visit, attune, id);
      await one.setting('Temperature').fill('3');
      const problem = one.field('/options/temperature').locator('.field-problem');
      await becomes(() => problem.innerText(), 'Must be from 0 to 2. It is still 0.7.', 'why');
      await one.page.keyboard.press('Escape');
      await one.hasText('Temperature', '0.7');
      await becomes(() => problem.innerText(), '', 'no problem to be left');
      expect((await request('GET', `${attune.url}/v1/sessions/${id}`)).body.revision).to.equal(1);
    }));

  it('[BR17] a version of the history is restored by one click, for everybody', () =>
    browser.visit(async (visit) => {
      const id = await newSession(attune);
      const [one, other] = await openTwo(visit, attune, id, 'Ada', 'Bob');
      await one.choose('Model', 'gpt-4o');
      await other.hasChoice('Model', 'gpt-4o');
      await other.setting('Temperature').fill('1.1');
      await other.page.keyboard.press('Enter');
      await one.hasVersions(3);
      const versions = await one.versions.allInnerTexts();
      const [newest, before, first] = versions.map((text) => text.replaceAll(/\s+/g, ' '));
      expect(newest).to.match(/Bob .*Temperature from 0\.7 → to 1\.1 .*in force/);
      expect(before).to.match(/Ada .*Model from “gpt-4” → to “gpt-4o”/);
      expect(first).to.contain('began the session');
      await other.restoreButton(1).click();
      await other.hasNotice('The settings are again as of revision 1.');
      for (const page of [one, other]) {
        await page.hasChoice('Model', 'gpt-4');
        await page.hasText('Temperature slider', '0.7');
        await page.hasVersions(4);
      }
      await visit.screenshot(other.page, 'history restored');
    }));

  it('[BR30] the history is read page by page, to its beginning, and a version far back is restored', () =>
    browser.visit(async (visit) => {
      const id = await newSession(attune);
      const writer = await connect(attune.url);
      // Two settings by turns: changes of the same one would be one version.
      const change = (n: number) => ({ options: n % 2 ? { top_p: n / 1000 } : { seed: n } });
      await Promise.all(
        Array.from({ length: VERSIONS }, (_, n) => writer.ok('settings:update', { sessionId: id, merge: change(n) })),
      );
      const one = await openSession(visit, attune, id);
      await one.hasVersions(20);
      const older = one.page.getByRole('button', { name: 'Show older versions' });
      for (let shown = 120; shown <= VERSIONS; shown += 100) {
        await older.click();
        await one.hasVersions(shown);
      }
      // A change that comes meanwhile is shown in front, and what was loaded stays.
      await writer.ok('settings:update', { sessionId: id, merge: { model: 'gpt-4o' } });
      writer.close();
      await older.click();
      await one.hasVersions(VERSIONS + 2);
      await older.waitFor({ state: 'detached' });
      await one.restoreButton(1).click();
      await one.hasNotice('The settings are again as of revision 1.');
      await one.hasVersions(VERSIONS + 3);
      const { body } = await request('GET', `${attune.url}/v1/sessions/${id}/settings`);
      expect(body.options).to.not.have.any.keys('top_p', 'seed');
    }));

  it('[BR30] a page of the history that cannot be read says so beside the button, until it can', () =>
    browser.visit(async (visit) => {
      const redis = await startRedis();
      const own = await startAttune({ redisUrl: redis.url });
      try {
        const id = await newSession(own);
        const writer = await connect(own.url);
        for (let n = 0; n < 30; n += 1) {
          await writer.ok('settings:update', {
            sessionId: id,
            merge: { options: n % 2 ? { seed: n } : { top_p: n / 100 } },
          });
        }
        writer.close();
        const one = await openSession(visit, own, id);
        await one.hasVersions(20);
        const older = one.page.getByRole('button', { name: 'Show older versions' });
        const failure = one.page.getByText('Older versions could not be loaded.');
        await redis.kill();
        await older.click();
        await failure.waitFor();
        await one.hasVersions(20);
        await redis.restart();
        await until(async () => (await request('GET', `${own.url}/v1/sessions/${id}/settings`)).status === 200);
        await older.click();
        await one.hasVersions(31);
        await failure.waitFor({ state: 'detached' });
      } finally {
        await own.destroy();
        await redis.stop();
      }
    }));

  it('[BR31] the history of a session that another was put in the place of is that of the other', () =>
    browser.visit(async (visit) => {
      const id = await newSession(attune);
      const one = await openSession(visit, attune, id);
      await one.choose('Model', 'gpt-4o');
      await one.choose('Mode', 'agent');
      await one.hasVersions(3);
      const settings = { model: 'gpt-4', mode: 'rag' };
      const body = `${JSON.stringify({ id, settings, messages: [] })}\n`;
      const headers = { 'content-type': 'application/x-ndjson' };
      const answer = await request('POST', `${attune.url}/v1/import?existing=replace`, { body, headers });
      expect(answer.body, answer.text).to.include({ replaced: 1 });
      await one.hasChoice('Mode', 'rag');
      await one.hasVersions(1);
      expect(await one.versions.innerText()).to.contain('began the session');
    }));
});
