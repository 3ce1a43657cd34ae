// The API reference of the SDK from its doc comments: `npm run reference` writes HTML to docs/reference. An exported thing
// without a comment, or a link that leads nowhere, is an error. It uses the TypeScript of docs/, which is older than ours.
import { createRequire } from 'node:module';
import { join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { entryPoints, projectRoot } from './entry-points.mjs';

/** Where the reference goes; not kept in git. */
const referenceDir = join(projectRoot, 'docs/reference');

/** What needs a comment when it is exported. Of properties only those do whose name and type leave something to say. */
const needComments = ['Class', 'Interface', 'TypeAlias', 'Function', 'Variable', 'Enum', 'Method', 'Accessor'];

/**
 * Reads the entry points' sources and writes the reference to `out`. Resolves with what is wrong, one text each; with any of
 * that nothing is written.
 */
export async function makeReference(out = referenceDir, root = projectRoot) {
  const { Application, LogLevel, Logger } = await import(
    pathToFileURL(createRequire(join(projectRoot, 'docs/package.json')).resolve('typedoc')).href
  );
  const problems = [];
  class Problems extends Logger {
    log(message, level) {
      if (level >= LogLevel.Warn) problems.push(message.replaceAll(`${root}/`, ''));
    }
  }
  const app = await Application.bootstrap({
    name: 'Attune SDK',
    entryPoints: entryPoints(root).map(({ source }) => join(root, source)),
    tsconfig: join(root, 'client-sdk/tsconfig.json'),
    readme: 'none',
    excludePrivate: true,
    excludeInternal: true,
    disableSources: true,
    hideGenerator: true,
    validation: { notExported: false, invalidLink: true, invalidPath: true, notDocumented: true },
    requiredToBeDocumented: needComments,
    logLevel: LogLevel.Warn,
  });
  app.logger = new Problems();
  const project = await app.convert();
  if (!project) return [...problems, 'the sources could not be read'];
  nameByEntryPoint(project, entryPoints(root));
  app.validate(project);
  if (problems.length === 0) await app.generateDocs(project, out);
  return problems;
}

/** Modules are called as they are imported, not by their files. */
function nameByEntryPoint(project, entries) {
  for (const { name, source } of entries) {
    const module = source.replace(/^client-sdk\//, '').replace(/(\/index)?\.tsx?$/, '');
    const found = project.children?.find((child) => child.name === module);
    if (found) found.name = name.replace('.', '@attune/client');
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const problems = await makeReference();
  for (const problem of problems) console.error(problem);
  console.log(
    problems.length > 0 ? `${problems.length} problems` : `written: ${relative('.', referenceDir)}/index.html`,
  );
  process.exitCode = problems.length > 0 ? 1 : 0;
}
