// A `localStorage` of a test's own: one map, which may be shared as the tabs of a browser share theirs, and made to fail.

export interface MemoryStorage {
  readonly length: number;
  /** How often something was written. */
  readonly writes: number;
  /** Every call throws, as where storage is forbidden or full. */
  fail: boolean;
  getItem(name: string): string | null;
  setItem(name: string, value: string): void;
  removeItem(name: string): void;
  key(index: number): string | null;
}

export function memoryStorage(): MemoryStorage {
  const items = new Map<string, string>();
  let writes = 0;
  const check = () => {
    if (storage.fail) throw new DOMException('the storage is not to be had', 'QuotaExceededError');
  };
  const storage: MemoryStorage = {
    fail: false,
    get length() {
      check();
      return items.size;
    },
    get writes() {
      return writes;
    },
    getItem(name) {
      check();
      return items.get(name) ?? null;
    },
    setItem(name, value) {
      check();
      writes += 1;
      items.set(name, value);
    },
    removeItem(name) {
      check();
      items.delete(name);
    },
    key(index) {
      check();
      return [...items.keys()][index] ?? null;
    },
  };
  return storage;
}
