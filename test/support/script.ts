// The project's scripts as modules, for tests of what they export. They are plain JavaScript: the test says their shape.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { projectDir } from './attune.js';

/** Imports `scripts/<file>`. */
export async function script<Shape>(file: string): Promise<Shape> {
  return (await import(pathToFileURL(join(projectDir, 'scripts', file)).href)) as Shape;
}
