// Loads the Lua scripts and calls them: one typed function each. Their grammar (KEYS, ARGV, REPLY) is in their headers.
import { readFileSync } from 'node:fs';
import type { RedisClient } from './connection.js';
import { RedisFailure, send } from './connection.js';
import type { SessionKeys } from './keys.js';

/** The scripts on disk; `commit-freeing` is commit.lua with leave to run when Redis is out of memory. */
export const scriptNames = [
  'read',
  'check',
  'fence',
  'commit',
  'at',
  'history',
  'messages',
  'export',
  'import',
  'idle',
  'presence',
  'signal',
] as const;
type ScriptName = (typeof scriptNames)[number] | 'commitFreeing';

/** The source of a script with what it includes. */
export function scriptSource(name: (typeof scriptNames)[number]): string {
  const file = (path: string) => readFileSync(new URL(`./scripts/${path}`, import.meta.url), 'utf8');
  return file(`${name}.lua`).replace(/^-- include: (\S+)$/m, (_line, part: string) => file(part));
}

/** One key each reader or writer names, in the order that the script's header gives. */
const keysOf: Record<ScriptName, (keys: SessionKeys) => string[]> = {
  read: (k) => [k.doc, k.log, k.messages],
  check: (k) => [k.doc, k.presence],
  idle: (k) => [k.doc],
  fence: (k) => [k.doc, k.wanted],
  presence: (k) => [k.doc, k.presence, k.channel],
  signal: (k) => [k.doc, k.channel],
  commit: commitKeys,
  commitFreeing: commitKeys,
  at: (k) => [k.doc, k.log, k.history],
  history: (k) => [k.doc, k.history],
  messages: (k) => [k.doc, k.messages, k.created],
  export: (k) => [k.doc, k.messages, k.created],
  import: (k) => [k.doc, k.log, k.messages, k.created, k.changed, k.history, k.index, k.channel],
};

function commitKeys(k: SessionKeys): string[] {
  const data = [k.doc, k.log, k.ids, k.idsBefore, k.messages, k.created, k.changed, k.history];
  return [...data, k.index, k.wanted, k.channel, k.presence];
}

type Argument = string | number;
type Command = (...args: Argument[]) => Promise<unknown>;

/** What a script answers: a tag, then values as its header says. */
export type TaggedReply = [string, ...unknown[]];

/** Calls scripts on one client. Each call is one round trip; a script that Redis has forgotten is sent again. */
export class Scripts {
  private readonly client: RedisClient;
  private readonly sources = new Map<ScriptName, string>();

  constructor(client: RedisClient) {
    this.client = client;
    const define = (name: ScriptName, lua: string) => {
      this.sources.set(name, lua);
      client.defineCommand(`attune_${name}`, {
        lua,
        numberOfKeys: keysOf[name]({} as SessionKeys).length,
      });
    };
    for (const name of scriptNames) define(name, scriptSource(name));
    define('commitFreeing', scriptSource('commit').replace(/^#!lua$/m, '#!lua flags=allow-oom'));
  }

  /** Runs a script over the keys of one session. Throws RedisFailure. */
  async run(name: ScriptName, keys: SessionKeys, args: readonly Argument[]): Promise<TaggedReply> {
    return this.runOn(name, keysOf[name](keys), args);
  }

  /** As {@link run}, over keys of the caller's choice. */
  async runOn(name: ScriptName, keys: readonly string[], args: readonly Argument[]): Promise<TaggedReply> {
    try {
      const reply = await send(this.client, (client) =>
        (client as unknown as Record<string, Command>)[`attune_${name}`]!(...keys, ...args),
      );
      return reply as TaggedReply;
    } catch (error) {
      if (!(error instanceof RedisFailure && error.code === 'NOSCRIPT')) throw error;
      // ioredis had sent it again by its hash, behind another that brought the source, and it was forgotten between the two.
      const source = this.sources.get(name)!;
      return (await send(this.client, (client) => client.eval(source, keys.length, ...keys, ...args))) as TaggedReply;
    }
  }
}
