// Which line of an upload came from where: the server names lines, people know files.
import type { Place } from './import-source.js';

/** Remembers the places of sent lines: three numbers or names for each run of neighbours, not for each line. */
export interface SentLines {
  /** Notes that the next line (they count from 1) came from `place`. */
  add(place: Place): void;
  /** The place of a line as text, `name` or `name:line`; undefined for a line that was never sent. */
  placeOf(line: number): string | undefined;
}

/** An empty memory of sent lines. */
export function createSentLines(): SentLines {
  const firstSent: number[] = [];
  const files: string[] = [];
  const firstLine: (number | undefined)[] = [];
  let sent = 0;
  return {
    add(place) {
      sent += 1;
      const last = firstSent.length - 1;
      const offset = sent - (firstSent[last] ?? 0);
      const begun = firstLine[last];
      const goesOn = place.line !== undefined && begun !== undefined && begun + offset === place.line;
      if (goesOn && files[last] === place.file) return;
      firstSent.push(sent);
      files.push(place.file);
      firstLine.push(place.line);
    },
    placeOf(line) {
      if (!Number.isInteger(line) || line < 1 || line > sent) return undefined;
      const at = lastNotAbove(firstSent, line);
      const begun = firstLine[at];
      return placeText({ file: files[at]!, line: begun === undefined ? undefined : begun + line - firstSent[at]! });
    },
  };
}

/** A place as people write it. */
export function placeText(place: Place): string {
  return place.line === undefined ? place.file : `${place.file}:${place.line}`;
}

function lastNotAbove(sorted: readonly number[], value: number): number {
  let low = 0;
  let high = sorted.length - 1;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (sorted[middle]! <= value) low = middle;
    else high = middle - 1;
  }
  return low;
}
