// The page at `/` in a real browser, as the server serves it.
import { expect } from 'chai';
import { startAttune, type Attune } from '../support/attune.js';
import { accessibilityViolations, browserOfSuite } from '../support/browser.js';

describe('the page in a browser', () => {
  const browser = browserOfSuite();
  let attune: Attune;

  before(async () => {
    attune = await startAttune();
  });
  after(() => attune?.destroy());

  for (const colorScheme of ['light', 'dark'] as const) {
    it(`[BR10] it loads without a complaint and breaks no rule of accessibility, ${colorScheme}`, () =>
      browser.visit(async (visit) => {
        const page = await visit.open(attune.url, await visit.newProfile({ colorScheme }));
        expect(await page.title()).to.contain('Attune');
        expect(await page.getByRole('heading', { level: 1 }).isVisible()).to.equal(true);
        await visit.screenshot(page, `page ${colorScheme}`);
        expect((await accessibilityViolations(page)).join('\n')).to.equal('');
      }));
  }
});
