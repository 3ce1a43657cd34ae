// Keys and values as Redis keeps them, as far as the scripts that redis-model.ts plays need them. It knows no script.

interface Entry {
  readonly id: number;
  readonly fields: readonly string[];
}
interface Stream {
  readonly kind: 'stream';
  entries: Entry[];
  /** The greatest id that it ever had. */
  last: number;
}
type Value =
  | { readonly kind: 'hash'; readonly fields: Map<string, string> }
  | { readonly kind: 'zset'; readonly scores: Map<string, number> }
  | { readonly kind: 'string'; readonly text: string }
  | Stream;
export type Kind = Value['kind'];

/** An error that Redis answers with. */
export class ReplyError extends Error {
  override readonly name = 'ReplyError';
}

/** Streams have whole numbers as ids: the second part of an id is always 0 with us. */
export class Keyspace {
  private values = new Map<string, Value>();
  private readonly endsAt = new Map<string, number>();
  /** Milliseconds; who calls moves it on. */
  now = 0;

  typeOf(key: string): Kind | 'none' {
    return this.find(key)?.kind ?? 'none';
  }

  unlink(...keys: string[]): void {
    for (const key of keys) {
      this.values.delete(key);
      this.endsAt.delete(key);
    }
  }

  rename(from: string, to: string): void {
    const value = this.find(from);
    if (!value) throw new ReplyError('ERR no such key');
    this.unlink(to);
    this.values.set(to, value);
    this.unlink(from);
  }

  pexpire(key: string, ms: number): void {
    if (this.find(key)) this.endsAt.set(key, this.now + ms);
  }

  pttl(key: string): number {
    if (!this.find(key)) return -2;
    return (this.endsAt.get(key) ?? this.now - 1) - this.now;
  }

  get(key: string): string | null {
    const value = this.find(key);
    return value ? this.expect(value, 'string').text : null;
  }

  set(key: string, text: string, ttlMs?: number): void {
    this.unlink(key);
    this.values.set(key, { kind: 'string', text });
    if (ttlMs !== undefined) this.pexpire(key, ttlMs);
  }

  hash(key: string): ReadonlyMap<string, string> {
    const value = this.find(key);
    return value ? this.expect(value, 'hash').fields : new Map();
  }

  hset(key: string, field: string, value: string | number): void {
    this.make(key, 'hash', () => ({ kind: 'hash', fields: new Map() })).fields.set(field, String(value));
  }

  hdel(key: string, field: string): void {
    const value = this.find(key);
    if (!value) return;
    const { fields } = this.expect(value, 'hash');
    fields.delete(field);
    if (fields.size === 0) this.unlink(key);
  }

  scores(key: string): ReadonlyMap<string, number> {
    const value = this.find(key);
    return value ? this.expect(value, 'zset').scores : new Map();
  }

  zadd(key: string, score: number, member: string): void {
    this.make(key, 'zset', () => ({ kind: 'zset', scores: new Map() })).scores.set(member, score);
  }

  zrem(key: string, member: string): void {
    const value = this.find(key);
    if (!value) return;
    const { scores } = this.expect(value, 'zset');
    scores.delete(member);
    if (scores.size === 0) this.unlink(key);
  }

  /** Oldest first. */
  entries(key: string): readonly Entry[] {
    const value = this.find(key);
    return value ? this.expect(value, 'stream').entries : [];
  }

  xadd(key: string, id: number, fields: readonly string[]): void {
    const stream = this.make(key, 'stream', (): Stream => ({ kind: 'stream', entries: [], last: 0 }));
    if (id <= stream.last) throw new ReplyError('ERR The ID specified in XADD is equal or smaller than the last');
    stream.entries.push({ id, fields });
    stream.last = id;
  }

  /** Keeps the entries that `keeps` says; a stream without entries stays, and goes on from its last id. */
  xkeep(key: string, keeps: (id: number, at: number) => boolean): void {
    const value = this.find(key);
    if (!value) return;
    const stream = this.expect(value, 'stream');
    stream.entries = stream.entries.filter(({ id }, at) => keeps(id, at));
  }

  /** All there is, to be put back later. */
  save(): () => void {
    const [values, endsAt] = structuredClone([this.values, [...this.endsAt]] as const);
    return () => {
      this.values = structuredClone(values);
      this.endsAt.clear();
      for (const [key, at] of endsAt) this.endsAt.set(key, at);
    };
  }

  private find(key: string): Value | undefined {
    if ((this.endsAt.get(key) ?? Infinity) <= this.now) this.unlink(key);
    return this.values.get(key);
  }

  private make<K extends Kind>(key: string, kind: K, empty: () => Extract<Value, { kind: K }>) {
    const found = this.find(key);
    if (found) return this.expect(found, kind);
    const made = empty();
    this.values.set(key, made);
    return made;
  }

  private expect<K extends Kind>(value: Value, kind: K): Extract<Value, { kind: K }> {
    if (value.kind !== kind) throw new ReplyError('WRONGTYPE Operation against a key holding the wrong kind of value');
    return value as Extract<Value, { kind: K }>;
  }
}
