// The Lua scripts of sessions as a model in TypeScript, call by call: the same keys and arguments, the same replies and
// publications. scripts-model.test.ts holds it against the scripts in Redis; the simulation runs on it.
import { Keyspace, type Kind } from './redis-keyspace.js';
import type { LoggedCommit } from './session-log.js';
import type { Wire } from './shapes.js';

export type Argument = string | number;
export interface Publication {
  readonly channel: string;
  readonly text: string;
}
type Reply = (string | number | null | Reply)[];
/** A commit of the log, its body as JSON. */
type Journaled = Omit<LoggedCommit, 'body'> & { body: string };
interface Position {
  epoch: string;
  revision: number;
  fence: number;
}

/** The fields of a state reply, in their order. */
const STATE_FIELDS =
  'settingsRevision messagesRevision settings title metadata messageCount createdAt updatedAt updatedBy lastVersion fence messageBytes'.split(
    ' ',
  );
/** What the keys of a commit hold, in their order. */
const COMMIT_KINDS: readonly Kind[] = ['hash', 'stream', 'hash', 'hash', 'hash', 'zset', 'zset', 'stream', 'zset'];
/** Entries that `at` looks through for settings. */
const LOOKED_THROUGH = 2000;

const bytesOf = (text: string): number => Buffer.byteLength(text);

/** The arguments of a call, read from the front. */
class Arguments {
  private at = 0;
  private readonly all: readonly Argument[];
  constructor(all: readonly Argument[]) {
    this.all = all;
  }
  text(): string {
    return String(this.all[this.at++]);
  }
  number(): number {
    return Number(this.all[this.at++]);
  }
  /** As many rows as the next number says, of so many texts each. */
  rows(width: number): string[][] {
    return Array.from({ length: this.number() }, () => Array.from({ length: width }, () => this.text()));
  }
  rest(): string[] {
    return this.all.slice(this.at).map(String);
  }
}

/** What a commit call asks for. */
type CommitCall = ReturnType<typeof readCommitCall>;
function readCommitCall(args: readonly Argument[]) {
  const from = new Arguments(args);
  return {
    sessionId: from.text(),
    mode: from.text(),
    epoch: from.text(),
    revision: from.number(),
    fence: from.number(),
    logCommitsMax: from.number(),
    logBytesMax: from.number(),
    versionsMax: from.number(),
    idsMax: from.number(),
    idsMs: from.number(),
    ids: from.rows(1).map(([id]) => id!),
    commits: from
      .rows(3)
      .map(([revision, event, body]) => ({ revision: Number(revision), event: event!, body: body! })),
    remember: from.rows(2) as [string, string][],
    fields: from.rows(2) as [string, string][],
    cleared: from.text() === '1',
    removed: from.rows(1).map(([id]) => id!),
    messages: from.rows(4) as [string, string, string, string][],
    versions: from.rows(3) as [string, string, string][],
  };
}

/** A Redis with the sessions' scripts. Planted bugs are subclasses. */
export class RedisModel {
  readonly keyspace = new Keyspace();
  /** The first eight digits of its replication id. */
  life: string;
  /** Log key -> every commit that was ever appended, life by life of the session. */
  private journal = new Map<string, Journaled[][]>();
  private readonly published: Publication[] = [];

  constructor(life: string) {
    this.life = life;
  }

  /** Runs a script by the name that Scripts gives it; undefined for one that the model does not know. */
  run(
    name: string,
    keys: readonly string[],
    args: readonly Argument[],
  ): { reply: Reply; published: Publication[] } | undefined {
    const reply = this.reply(name, keys, args);
    return reply && { reply, published: this.published.splice(0) };
  }

  /** The log of a session's present life, as far as it was not trimmed. */
  stream(logKey: string): LoggedCommit[] {
    const kept = new Set(this.keyspace.entries(logKey).map(({ id }) => id));
    return (this.lives(logKey).at(-1) ?? []).filter(({ revision }) => kept.has(revision));
  }

  /** The logs of all lives of a session, oldest first, though the log was trimmed. */
  lives(logKey: string): LoggedCommit[][] {
    const lives = this.journal.get(logKey) ?? [[]];
    return lives.map((life) => life.map((commit) => ({ ...commit, body: JSON.parse(commit.body) as Wire })));
  }

  /** Where a session is; null where it is not. */
  position(docKey: string): Position | null {
    if (this.keyspace.typeOf(docKey) !== 'hash') return null;
    const doc = this.keyspace.hash(docKey);
    if (!doc.has('birth')) return null;
    const revision = Number(doc.get('revision'));
    return { epoch: `${doc.get('birth')}-${this.life}`, revision, fence: Number(doc.get('fence')) };
  }

  /** All there is, to be put back later. */
  save(): () => void {
    const keyspace = this.keyspace.save();
    const journal = structuredClone(this.journal);
    return () => {
      keyspace();
      this.journal = structuredClone(journal);
    };
  }

  private reply(name: string, keys: readonly string[], args: readonly Argument[]): Reply | undefined {
    switch (name) {
      case 'read':
        return this.read(keys, args);
      case 'check':
        return this.check(keys);
      case 'fence':
        return this.fence(keys, args);
      case 'at':
        return this.at(keys, args);
      case 'commit':
      case 'commitFreeing':
        return this.commit(keys, readCommitCall(args));
      case 'import':
        return this.import(keys, args);
      default:
        return undefined;
    }
  }

  private gone(): Reply {
    return ['GONE', this.life];
  }

  private state(docKey: string): Reply {
    const doc = this.keyspace.hash(docKey);
    return STATE_FIELDS.map((field) => doc.get(field) ?? null);
  }

  private isTyped(key: string, kind: Kind): boolean {
    return ['none', kind].includes(this.keyspace.typeOf(key));
  }

  private read([doc, log, messages]: readonly string[], args: readonly Argument[]): Reply {
    const at = this.position(doc!);
    if (!at) return this.gone();
    const from = new Arguments(args);
    const [epoch, revision, room] = [from.text(), from.number(), from.number()];
    const kept = this.isTyped(messages!, 'hash') ? this.keyspace.hash(messages!) : new Map<string, string>();
    const asked = from.rest().map((id) => kept.get(id) ?? null);
    if (epoch === at.epoch && revision === at.revision) return ['SAME', epoch, revision, asked];
    if (epoch === at.epoch && room > 0 && revision < at.revision && this.isTyped(log!, 'stream')) {
      const tail = this.keyspace.entries(log!).filter(({ id }) => id > revision);
      const bodies = tail.map(({ fields }) => fields[5]!);
      const fits = bodies.reduce((sum, body) => sum + bytesOf(body), 0) <= room;
      if (fits && tail.length === at.revision - revision) return ['TAIL', epoch, at.revision, asked, bodies];
    }
    return ['STATE', at.epoch, at.revision, asked, this.state(doc!)];
  }

  protected check([doc, presence]: readonly string[]): Reply {
    const at = this.position(doc!);
    if (!at) return this.gone();
    const version = this.isTyped(presence!, 'hash') ? this.keyspace.hash(presence!).get('v') : undefined;
    return ['AT', at.epoch, at.revision, version ?? '0'];
  }

  private fence([doc, wanted]: readonly string[], [epoch, revision]: readonly Argument[]): Reply {
    const at = this.position(doc!);
    if (!at) return this.gone();
    this.keyspace.unlink(wanted!);
    this.keyspace.hset(doc!, 'fence', at.fence + 1);
    const isKnown = epoch === at.epoch && Number(revision) === at.revision;
    return ['TAKEN', at.fence + 1, at.epoch, at.revision, isKnown ? null : this.state(doc!)];
  }

  private at([doc, log, history]: readonly string[], [asked]: readonly Argument[]): Reply {
    const at = this.position(doc!);
    if (!at) return this.gone();
    const revision = Number(asked);
    const logged = this.isTyped(log!, 'stream') ? this.keyspace.entries(log!) : [];
    const commit = logged.find(({ id }) => id === revision)?.fields[5] ?? null;
    const upTo = logged.filter(({ id }) => id <= revision).slice(-LOOKED_THROUGH);
    const isOfSettings = (event = '') => event === 'settings:updated' || event === 'session:created';
    const settings = upTo.findLast(({ fields }) => isOfSettings(fields[1]))?.fields[5] ?? null;
    const versions = this.isTyped(history!, 'stream') ? this.keyspace.entries(history!) : [];
    const before = versions.findLast(({ id }) => id <= revision)?.fields[1] ?? null;
    const after = versions.find(({ id }) => id > revision)?.fields[1] ?? null;
    return ['AT', at.epoch, at.revision, commit, settings, before, after];
  }

  private commit(keys: readonly string[], call: CommitCall): Reply {
    const broken = COMMIT_KINDS.findIndex((kind, i) => !this.isTyped(keys[i]!, kind));
    if (broken >= 0) return ['BROKEN', broken + 1];
    const refusal = this.duplicates(keys, call.ids) ?? this.guarded(keys[0]!, call);
    if (refusal) return refusal;
    this.write(keys, call);
    return ['COMMITTED', this.keyspace.get(keys[9]!)];
  }

  protected duplicates([, , ids, idsBefore]: readonly string[], asked: readonly string[]): Reply | undefined {
    const found = asked.flatMap((id, i) => {
      const remembered = this.keyspace.hash(ids!).get(id) ?? this.keyspace.hash(idsBefore!).get(id);
      return remembered === undefined ? [] : [i, remembered];
    });
    return found.length > 0 ? ['DUPLICATE', ...found] : undefined;
  }

  protected guarded(doc: string, { mode, epoch, revision, fence }: CommitCall): Reply | undefined {
    const at = this.position(doc);
    if (mode === 'create') {
      if (at) return ['STALE', at.epoch, at.revision, this.state(doc)];
      return epoch.slice(-8) === this.life ? undefined : this.gone();
    }
    if (!at) return this.gone();
    if (at.epoch !== epoch || at.revision !== revision) return ['STALE', at.epoch, at.revision, this.state(doc)];
    return this.isOvertaken(fence, at.fence) ? ['FENCED', at.fence] : undefined;
  }

  protected isOvertaken(fence: number, newest: number): boolean {
    return fence < newest;
  }

  private write(keys: readonly string[], call: CommitCall): void {
    const [doc, log, ids, idsBefore, messages, created, changed, history, index, , channel, presence] = keys;
    const { keyspace } = this;
    const { commits } = call;
    if (call.mode === 'create' && commits.length > 0)
      this.unlinkSession([log!, messages!, created!, changed!, history!], log!);
    for (const { revision, event, body } of commits) {
      keyspace.xadd(log!, revision, ['e', event, 'f', String(call.fence), 'b', body]);
      this.noteCommit(log!, { revision, event, fence: call.fence, body });
    }
    if (call.remember.length > 0) this.rememberIds(ids!, idsBefore!, call);
    if (call.mode === 'create' && call.fields.length > 0) keyspace.zadd(index!, 0, call.sessionId);
    this.writeMessages([log!, messages!, created!, changed!], doc!, call);
    for (const [drop, at, json] of call.versions) {
      if (drop !== '0') keyspace.xkeep(history!, (id) => id !== Number(drop));
      keyspace.xadd(history!, Number(at), ['v', json]);
      const over = keyspace.entries(history!).length - call.versionsMax;
      keyspace.xkeep(history!, (_id, place) => place >= over);
    }
    if (commits.length === 0) return;
    if (call.mode === 'delete') {
      this.unlinkSession([doc!, log!, messages!, created!, changed!, history!], log!);
      if (this.isTyped(presence!, 'hash')) keyspace.unlink(presence!);
      keyspace.zrem(index!, call.sessionId);
    } else this.writeDocument(doc!, log!, call);
    const bodies = commits.map(({ body }) => body).join(',');
    this.publish(channel!, `{"epoch":"${call.epoch}","commits":[${bodies}]}`);
  }

  private writeDocument(doc: string, log: string, call: CommitCall): void {
    const { keyspace } = this;
    const over = keyspace.entries(log).length - call.logCommitsMax;
    keyspace.xkeep(log, (_id, place) => place >= over);
    const sizes = keyspace.entries(log).map(({ id, fields }) => ({ id, bytes: bytesOf(fields[5]!) }));
    let total = sizes.reduce((sum, { bytes }) => sum + bytes, 0);
    for (const { id, bytes } of sizes) {
      if (total <= call.logBytesMax) break;
      total -= bytes;
      keyspace.xkeep(log, (kept) => kept > id);
    }
    if (call.mode === 'create') keyspace.hset(doc, 'fence', call.fence);
    if (call.cleared) keyspace.hset(doc, 'messageBytes', 0);
    for (const [field, value] of call.fields) if (value !== '') keyspace.hset(doc, field, value);
    keyspace.hset(doc, 'logBytes', total);
    for (const [field, value] of call.fields) if (value === '') keyspace.hdel(doc, field);
  }

  private writeMessages([log, messages, created, changed]: readonly string[], doc: string, call: CommitCall): void {
    const { keyspace } = this;
    const sizeOf = (id: string) => bytesOf(keyspace.hash(messages!).get(id) ?? '');
    const dropLogTo = (last: number) => keyspace.xkeep(log!, (id) => id > last);
    if (call.cleared) {
      dropLogTo(call.revision);
      keyspace.unlink(messages!, created!, changed!);
    }
    let bytes = 0;
    for (const id of call.removed) {
      bytes -= sizeOf(id);
      dropLogTo(keyspace.scores(changed!).get(id) ?? 0);
      keyspace.hdel(messages!, id);
      keyspace.zrem(created!, id);
      keyspace.zrem(changed!, id);
    }
    for (const [id, added, at, json] of call.messages) {
      bytes += bytesOf(json) - sizeOf(id);
      keyspace.hset(messages!, id, json);
      if (!keyspace.scores(created!).has(id)) keyspace.zadd(created!, Number(added), id);
      keyspace.zadd(changed!, Number(at), id);
    }
    if (bytes === 0) return;
    keyspace.hset(doc, 'messageBytes', Number(keyspace.hash(doc).get('messageBytes') ?? 0) + bytes);
  }

  /** Two generations: each holds so many ids, or those of so long, and the one before is kept whole. */
  private rememberIds(ids: string, idsBefore: string, { remember, idsMax, idsMs }: CommitCall): void {
    const { keyspace } = this;
    const now = Math.floor(keyspace.now);
    let since = Number(keyspace.hash(ids).get('') ?? 0);
    if (since > 0 && (keyspace.hash(ids).size > idsMax || now - since > idsMs)) {
      keyspace.rename(ids, idsBefore);
      keyspace.pexpire(idsBefore, 2 * idsMs);
      since = 0;
    }
    if (since === 0) keyspace.hset(ids, '', now);
    for (const [id, remembered] of remember) keyspace.hset(ids, id, remembered);
    if (keyspace.pttl(ids) < 2 * idsMs) keyspace.pexpire(ids, 3 * idsMs);
  }

  private import(keys: readonly string[], args: readonly Argument[]): Reply {
    const kinds: readonly Kind[] = ['hash', 'stream', 'hash', 'zset', 'zset', 'stream', 'zset'];
    const broken = kinds.findIndex((kind, i) => !this.isTyped(keys[i]!, kind));
    if (broken >= 0) return ['BROKEN', broken + 1];
    const [doc, log, messages, created, changed, history, index, channel] = keys as string[];
    const { keyspace } = this;
    const from = new Arguments(args);
    const [sessionId, replaces, birth, revision, version] = [
      from.text(),
      from.text() === '1',
      from.text(),
      from.text(),
      from.text(),
    ];
    const at = this.position(doc!);
    if (at && !replaces) return ['SKIPPED'];
    this.unlinkSession([doc!, log!, messages!, created!, changed!, history!], log!);
    const fields = [['birth', birth], ['revision', revision], ['fence', String((at?.fence ?? 0) + 1)], ...from.rows(2)];
    for (const [field, value] of fields) keyspace.hset(doc!, field!, value!);
    const rest = from.rest();
    let bytes = 0;
    for (let i = 0; i < rest.length; i += 2) {
      const [id, json] = [rest[i]!, rest[i + 1]!];
      bytes += bytesOf(json);
      keyspace.hset(messages!, id, json);
      keyspace.zadd(created!, 2 + i / 2, id);
      keyspace.zadd(changed!, 2 + i / 2, id);
    }
    keyspace.hset(doc!, 'messageBytes', bytes);
    keyspace.xadd(history!, 1, ['v', version]);
    keyspace.zadd(index!, 0, sessionId);
    this.publish(channel!, `{"epoch":"${birth}-${this.life}","replaced":true}`);
    return [at ? 'REPLACED' : 'TAKEN'];
  }

  publish(channel: string, text: string): void {
    this.published.push({ channel, text });
  }

  private unlinkSession(keys: readonly string[], log: string): void {
    this.keyspace.unlink(...keys);
    const lives = this.journal.get(log);
    if (lives?.at(-1)?.length) lives.push([]);
  }

  private noteCommit(log: string, commit: Journaled): void {
    const lives = this.journal.get(log);
    if (lives) lives.at(-1)!.push(commit);
    else this.journal.set(log, [[commit]]);
  }
}
