// The cluster slot of a key or channel, as Redis computes it.

export const SLOTS = 16_384;

/** CRC-16 (XMODEM) of the hash tag where there is one, else of the whole. */
export function slotOf(key: string): number {
  const bytes = Buffer.from(/\{([^}]+)\}/.exec(key)?.[1] ?? key);
  let crc = 0;
  for (const byte of bytes) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 0x8000 ? ((crc << 1) ^ 0x1021) & 0xffff : (crc << 1) & 0xffff;
  }
  return crc % SLOTS;
}
