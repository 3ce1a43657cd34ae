// Numbers in a row, for loops that tests make.
/** The whole numbers between two, both among them. */
export const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);
