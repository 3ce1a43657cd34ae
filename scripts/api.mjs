// The public API of the SDK as text, one report per entry point: `npm run api` writes them to client-sdk/api after a build.
// A unit test makes them again and compares, so that no change of the API goes unseen.
import { mkdtempSync, mkdirSync, readFileSync, readdirSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CompilerState, Extractor, ExtractorConfig } from '@microsoft/api-extractor';
import { entryPoints, projectRoot } from './entry-points.mjs';

/** Where the reports are kept in git. */
export const reportsDir = join(projectRoot, 'client-sdk/api');

/** How the declarations are read: as a browser's project would. */
const compilerOptions = {
  target: 'es2022',
  module: 'nodenext',
  moduleResolution: 'nodenext',
  lib: ['es2023', 'dom', 'dom.iterable'],
  types: [],
  strict: true,
  exactOptionalPropertyTypes: true,
  skipLibCheck: true,
};

/**
 * Makes the reports from the declarations in client-sdk/dist: file name → text. `nameless` are the types that the API speaks
 * of and no entry point exports: nobody could write their names. Throws what the extractor cannot read.
 */
export function apiReports(root = projectRoot) {
  const scratch = mkdtempSync(join(realpathSync(tmpdir()), 'attune-api-'));
  try {
    const configs = entryPoints(root).map(({ name, declarations }) =>
      configOf(name, join(root, declarations), join(root, 'client-sdk'), scratch),
    );
    const declarations = configs.map(({ mainEntryPointFilePath }) => mainEntryPointFilePath);
    const compilerState = CompilerState.create(configs[0], { additionalEntryPoints: declarations });
    const spokenOf = new Set(configs.flatMap((config) => extract(config, compilerState)));
    const files = readdirSync(join(scratch, 'reports'));
    const reports = Object.fromEntries(
      files.map((file) => [file, readFileSync(join(scratch, 'reports', file), 'utf8')]),
    );
    return { reports, nameless: [...spokenOf].filter((name) => !isExported(name, Object.values(reports))) };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

function isExported(name, reports) {
  const declaration = new RegExp(
    `^export (?:declare |abstract )*(?:class|const|function|interface|type) ${name}\\b`,
    'm',
  );
  return reports.some((report) => declaration.test(report));
}

function configOf(entry, declarations, sdkDir, scratch) {
  const name = entry === '.' ? 'client' : entry.slice(2);
  for (const folder of ['reports', 'temp']) mkdirSync(join(scratch, folder), { recursive: true });
  return ExtractorConfig.prepare({
    configObjectFullPath: undefined,
    packageJsonFullPath: join(sdkDir, 'package.json'),
    configObject: {
      projectFolder: sdkDir,
      mainEntryPointFilePath: declarations,
      newlineKind: 'lf',
      compiler: { overrideTsconfig: { compilerOptions, files: [declarations] } },
      apiReport: {
        enabled: true,
        reportFileName: `${name}.api.md`,
        reportFolder: join(scratch, 'reports'),
        reportTempFolder: join(scratch, 'temp'),
      },
      docModel: { enabled: false },
      dtsRollup: { enabled: false },
      tsdocMetadata: { enabled: false },
      messages: {
        compilerMessageReporting: { default: { logLevel: 'error' } },
        extractorMessageReporting: { default: { logLevel: 'none' }, 'ae-forgotten-export': { logLevel: 'warning' } },
        tsdocMessageReporting: { default: { logLevel: 'none' } },
      },
    },
  });
}

/** Writes one report; the names of the types in it that its entry point does not export. */
function extract(config, compilerState) {
  const problems = [];
  const spokenOf = [];
  const { succeeded } = Extractor.invoke(config, {
    compilerState,
    localBuild: true,
    messageCallback: (message) => {
      message.handled = true;
      // A name that stands in two files is told apart by a number behind it.
      const [, name] = /^The symbol "(\w+?)(?:_\d+)?" needs to be exported/.exec(message.text) ?? [];
      if (name !== undefined) spokenOf.push(name);
      else if (message.logLevel === 'error') problems.push(message.text);
    },
  });
  if (!succeeded || problems.length > 0) throw new Error(`${config.reportFilePath}: ${problems.join('; ')}`);
  return spokenOf;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { reports } = apiReports();
  rmSync(reportsDir, { recursive: true, force: true });
  mkdirSync(reportsDir);
  for (const [file, text] of Object.entries(reports)) writeFileSync(join(reportsDir, file), text);
}
