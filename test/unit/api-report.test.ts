// The public API of the SDK against the reports kept in git: no change of it goes unseen.
import { expect } from 'chai';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { script } from '../support/script.js';

/** What scripts/api.mjs exports. */
interface Api {
  reportsDir: string;
  apiReports(root?: string): { reports: Record<string, string>; nameless: string[] };
}

describe('the public API of the SDK', function () {
  this.timeout(60_000);
  let api: Api;
  let made: ReturnType<Api['apiReports']>;

  before(async () => {
    api = await script<Api>('api.mjs');
    made = api.apiReports();
  });

  it('[PK8] it is what the reports in git say, entry point by entry point', () => {
    const kept = existsSync(api.reportsDir) ? readdirSync(api.reportsDir) : [];
    const advice = 'the API changed: if it was meant to, run `npm run api` and commit client-sdk/api';
    expect(kept.toSorted(), advice).to.deep.equal(Object.keys(made.reports).toSorted());
    for (const [file, report] of Object.entries(made.reports)) {
      expect(report, `${file}: ${advice}`).to.equal(readFileSync(join(api.reportsDir, file), 'utf8'));
    }
  });

  it('[PK9] every type that it speaks of is exported by some entry point', () => {
    expect(made.nameless).to.deep.equal([]);
  });

  it('[PK9] the check sees a type that is not, and the report a signature that changed', () => {
    const folder = mkdtempSync(join(realpathSync(tmpdir()), 'attune-api-test-'));
    const reportOf = (declarations: string) => {
      writeFileSync(join(folder, 'client-sdk/dist/index.d.ts'), declarations);
      return api.apiReports(folder);
    };
    try {
      mkdirSync(join(folder, 'client-sdk/dist'), { recursive: true });
      writeFileSync(join(folder, 'client-sdk/index.ts'), '');
      const entry = { types: './dist/index.d.ts', default: './dist/index.js' };
      writeFileSync(
        join(folder, 'client-sdk/package.json'),
        JSON.stringify({ name: 'small', exports: { '.': entry } }),
      );
      const before = reportOf(
        'export {};\ninterface Hidden { a: string }\nexport declare function f(hidden: Hidden): void;\n',
      );
      expect(before.nameless).to.deep.equal(['Hidden']);
      expect(Object.keys(before.reports)).to.deep.equal(['client.api.md']);
      const after = reportOf(
        'export interface Hidden { a: string }\nexport declare function f(hidden?: Hidden): void;\n',
      );
      expect(after.nameless).to.deep.equal([]);
      expect(before.reports['client.api.md']).to.contain('f(hidden: Hidden): void');
      expect(after.reports['client.api.md']).to.contain('f(hidden?: Hidden): void');
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
