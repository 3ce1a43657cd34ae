// Looks at JSON before it is parsed: what nests too deep would cost seconds and gigabytes to parse and to refuse.

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** Whether a JSON text (UTF-8) opens more than `levels` objects and arrays within each other. Says nothing of bad JSON. */
export function nestsDeeperThan(text: Uint8Array, levels: number): boolean {
  let depth = 0;
  let isInString = false;
  for (let i = 0; i < text.length; i += 1) {
    const byte = text[i];
    if (isInString) {
      if (byte === BACKSLASH) i += 1;
      else if (byte === QUOTE) isInString = false;
    } else if (byte === QUOTE) isInString = true;
    else if (byte === 0x5b || byte === 0x7b) {
      depth += 1;
      if (depth > levels) return true;
    } else if (byte === 0x5d || byte === 0x7d) depth -= 1;
  }
  return false;
}
