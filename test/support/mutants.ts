// Mutants: servers of which one thing is made wrong, built from the compiled server and run in its place. The product's own
// sources know nothing of them.
import { linkSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { projectDir } from './attune.js';
import type { Fault } from './fault-run.js';
import type { Invariant } from './history.js';

/** What is put in the place of what, in a file of dist/server. */
export interface Change {
  readonly file: string;
  /** Has to be in the file exactly once. */
  readonly find: string;
  readonly replace: string;
}

export interface Mutant {
  /** What is wrong with it. */
  readonly name: string;
  readonly changes: readonly Change[];
  /** What the server that is right is changed by for the comparison, where the fault needs it; default nothing. */
  readonly rightChanges?: readonly Change[];
  /** What shows the mistake. */
  readonly fault: Fault;
  readonly finds: Invariant;
}

export interface Build {
  readonly main: string;
  remove(): void;
}

const compiled = join(projectDir, 'dist/server');
let builds = 0;

/**
 * A copy of the compiled server with changes. It stands beside the original, so that it finds what that finds. Throws where
 * a change does not fit.
 */
export function buildMutant(changes: readonly Change[]): Build {
  const texts = new Map<string, string>();
  for (const { file, find, replace } of changes) {
    const text = texts.get(file) ?? readFileSync(join(compiled, file), 'utf8');
    const count = text.split(find).length - 1;
    if (count !== 1) throw new Error(`the mutant no longer fits: ${file} has ${count} times «${find}»`);
    texts.set(
      file,
      text.replace(find, () => replace),
    );
  }
  const dir = `${compiled}-mutant-${process.pid}-${(builds += 1)}`;
  const remove = () => rmSync(dir, { recursive: true, force: true });
  try {
    for (const entry of readdirSync(compiled, { recursive: true, withFileTypes: true })) {
      const [from, to] = [compiled, dir].map((root) => join(root, entry.parentPath.slice(compiled.length), entry.name));
      if (entry.isDirectory()) mkdirSync(to!, { recursive: true });
      else {
        mkdirSync(join(to!, '..'), { recursive: true });
        linkSync(from!, to!);
      }
    }
    for (const [file, text] of texts) {
      rmSync(join(dir, file));
      writeFileSync(join(dir, file), text);
    }
  } catch (error) {
    remove();
    throw error;
  }
  return { main: join(dir, 'main.js'), remove };
}
