// What a command tells at its end: counts, and a bounded list of what was refused or needs a word. As text for people
// and as JSON for programs.
import { IMPORT_REFUSALS_MAX } from '../../client-sdk/protocol/limits.js';

/** One line of a report: a refusal, or a note on something that was taken. */
export interface Finding {
  /** Where it stands: a file's name, `name:line`, or nothing for what came from the server. */
  place?: string;
  id?: string;
  reason: string;
}

/** A list of findings that keeps the first ones and counts all. */
export interface Findings {
  readonly kept: Finding[];
  readonly count: number;
  add(finding: Finding): void;
}

/** A list that keeps as many findings as an import's report does. */
export function createFindings(): Findings {
  const kept: Finding[] = [];
  let count = 0;
  return {
    kept,
    get count() {
      return count;
    },
    add(finding) {
      count += 1;
      if (kept.length < IMPORT_REFUSALS_MAX) kept.push(finding);
    },
  };
}

/** One line per finding, and one for those that were not kept. */
export function findingLines(word: string, findings: readonly Finding[], count: number): string[] {
  const lines = findings.map((finding) => {
    const id = finding.id === undefined ? '' : `(${finding.id})`;
    const subject = [finding.place, id].filter((part) => part).join(' ');
    return printable(`${word} ${subject}${subject ? ': ' : ''}${finding.reason}`);
  });
  if (count > findings.length) lines.push(`${word} ${count - findings.length} more that are not listed`);
  return lines;
}

/** Text in which control characters are shown as escapes, so that no file or server writes to the terminal's state. */
export function printable(text: string): string {
  // eslint-disable-next-line no-control-regex -- they are what is looked for
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
}

/** Prints a report: JSON on stdout, or text on stderr, where it is in nobody's way. */
export function printReport(asJson: boolean, report: object, lines: readonly string[]): void {
  if (asJson) process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
  else process.stderr.write(`${lines.join('\n')}\n`);
}
