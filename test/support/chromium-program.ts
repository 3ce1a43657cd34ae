// Which browser the tests run: a Chromium or Chrome of the machine. It never downloads one (the set-up installs it).
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Names of its program on PATH, the best first; the set-up script looks for the same. */
export const chromiumNames = ['chromium', 'chromium-browser', 'google-chrome'] as const;
/** Where the installers of macOS put it. */
const places = ['/Applications/Google Chrome.app/Contents/MacOS/Google Chrome'];

/** The path of the first one that can be run; an error that says what to do where there is none. */
export function chromiumProgram(searchPath = process.env['PATH'] ?? ''): string {
  const folders = searchPath.split(delimiter).filter((folder) => folder !== '');
  const found = [...chromiumNames.flatMap((name) => folders.map((folder) => join(folder, name))), ...places].find(
    canRun,
  );
  if (found !== undefined) return found;
  throw new Error(`none of ${chromiumNames.join(', ')} is on PATH: run \`node scripts/setup.mjs --browser\``);
}

function canRun(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
