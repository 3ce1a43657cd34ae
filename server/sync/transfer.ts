// Sessions out and in as JSON Lines: one line each way per session, a few at a time, never all in memory.
import { randomBytes } from 'node:crypto';
import { AttuneError } from '../../client-sdk/protocol/errors.js';
import { checkJson, type JsonObject } from '../../client-sdk/protocol/json.js';
import {
  CONTENT_BYTES_MAX,
  IMPORT_LINE_BYTES_MAX,
  IMPORT_REFUSALS_MAX,
  JSON_DEPTH_MAX,
  METADATA_BYTES_MAX,
  type Limits,
} from '../../client-sdk/protocol/limits.js';
import { importLine, type Author, type ImportLine, type Message } from '../../client-sdk/protocol/messages.js';
import type { SessionStore } from '../redis/session-store.js';
import type { SettingsSchema } from '../session/settings-schema.js';
import { RedisFailure } from '../redis/connection.js';
import { nestsDeeperThan } from './json-bytes.js';
import { SessionReads, type ListPosition } from './reads.js';

/** Lines of an import under way at the same time. */
const IMPORT_LINES_PARALLEL = 8;
/** Sessions of an export read at the same time. */
const EXPORT_SESSIONS_PARALLEL = 4;
/** Exports and imports under way at the same time; each may hold some lines of 16 MiB. */
const TRANSFERS_MAX = 4;
/** What a caller is told to wait where there are as many, milliseconds. */
const TRANSFER_RETRY_AFTER_MS = 5000;
/** Levels of nesting of a line: the deepest value it can hold, and the members around it. */
const LINE_DEPTH_MAX = JSON_DEPTH_MAX + 8;
/** Ids that an export asks for at a time. */
const EXPORT_PAGE = 256;

export interface ImportReport {
  taken: number;
  replaced: number;
  skipped: number;
  refused: number;
  /** The first IMPORT_REFUSALS_MAX. */
  refusals: { line: number; id?: string; reason: string }[];
}

export interface ImportOptions {
  /** Sessions that exist are replaced; else skipped. */
  replace: boolean;
  /** Author of what names none. */
  by: Author;
  allowed: (sessionId: string) => boolean;
}

/** A line of an import as it was read: `null` where it is longer than a line may be. */
export type RawLine = Buffer | null;

export class Transfer {
  private readonly store: SessionStore;
  private readonly reads: SessionReads;
  private readonly schema: SettingsSchema;
  private readonly limits: Limits;
  private readonly now: () => number;
  private underWay = 0;

  /** `store` should be on a connection of its own. */
  constructor(options: { store: SessionStore; schema: SettingsSchema; limits: Limits; now: () => number }) {
    this.store = options.store;
    this.reads = new SessionReads(options.store);
    this.schema = options.schema;
    this.limits = options.limits;
    this.now = options.now;
  }

  /**
   * Takes sessions in, one a line. Each is swapped in whole; a bad line refuses only itself. `allowed` says whether the
   * caller may import under an id. Rejects with UNAVAILABLE where Redis is lost half way; what was taken stays.
   */
  async import(lines: AsyncIterable<RawLine>, options: ImportOptions): Promise<ImportReport> {
    this.begin();
    try {
      return await this.importLines(lines, options);
    } finally {
      this.underWay -= 1;
    }
  }

  private begin(): void {
    if (this.underWay >= TRANSFERS_MAX) {
      throw new AttuneError('OVERLOADED', `at most ${TRANSFERS_MAX} exports and imports are under way at a time`, {
        retryAfterMs: TRANSFER_RETRY_AFTER_MS,
      });
    }
    this.underWay += 1;
  }

  private async importLines(lines: AsyncIterable<RawLine>, options: ImportOptions): Promise<ImportReport> {
    const report: ImportReport = { taken: 0, replaced: 0, skipped: 0, refused: 0, refusals: [] };
    const running = new Set<Promise<void>>();
    // Two lines of one id must come in the order of the file.
    const byId = new Map<string, Promise<void>>();
    let failed: unknown;
    let number = 0;
    for await (const line of lines) {
      number += 1;
      if (line !== null && line.length === 0) continue;
      const at = number;
      const refuse = (reason: string, id?: string) => {
        report.refused += 1;
        if (report.refusals.length < IMPORT_REFUSALS_MAX) {
          report.refusals.push({ line: at, ...(id === undefined ? {} : { id: id.slice(0, 200) }), reason });
        }
      };
      const parsed = this.parseLine(line, options.allowed, refuse);
      if (!parsed) continue;
      const before = byId.get(parsed.id) ?? Promise.resolve();
      const work: Promise<void> = before
        .then(() => this.take(parsed, options, report, refuse))
        .catch((error: unknown) => {
          failed ??= error;
        })
        .finally(() => {
          running.delete(work);
          if (byId.get(parsed.id) === work) byId.delete(parsed.id);
        });
      byId.set(parsed.id, work);
      running.add(work);
      if (running.size >= IMPORT_LINES_PARALLEL) await Promise.race(running);
      if (failed) break;
    }
    await Promise.all(running);
    if (failed) throw withReport(failed, report);
    report.refusals.sort((a, b) => a.line - b.line);
    return report;
  }

  private parseLine(
    line: RawLine,
    allowed: (sessionId: string) => boolean,
    refuse: (reason: string, id?: string) => void,
  ): ImportLine | undefined {
    if (line === null) {
      refuse(`the line is longer than ${IMPORT_LINE_BYTES_MAX} bytes`);
      return undefined;
    }
    if (nestsDeeperThan(line, LINE_DEPTH_MAX)) {
      refuse(`nests deeper than ${LINE_DEPTH_MAX} levels`);
      return undefined;
    }
    let raw: unknown;
    try {
      raw = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(line));
    } catch (error) {
      refuse(error instanceof SyntaxError ? `not JSON: ${error.message}` : 'not UTF-8');
      return undefined;
    }
    const given = (raw as { id?: unknown } | null)?.id;
    const id = typeof given === 'string' ? given : undefined;
    const checked = checkJson(raw, { maxDepth: LINE_DEPTH_MAX, maxBytes: 2 * IMPORT_LINE_BYTES_MAX });
    const parsed = checked.ok ? importLine.safeParse(raw) : undefined;
    if (!checked.ok) refuse(`${checked.path}: ${checked.message}`, id);
    else if (!parsed?.success) refuse(firstIssue(parsed!.error.issues), id);
    else if (!allowed(parsed.data.id)) refuse('this token does not allow importing under this id', id);
    else return parsed.data;
    return undefined;
  }

  private async take(
    line: ImportLine,
    { replace, by }: ImportOptions,
    report: ImportReport,
    refuse: (reason: string, id?: string) => void,
  ): Promise<void> {
    const session = this.build(line, by);
    if (typeof session === 'string') return refuse(session, line.id);
    const [tag, key] = await this.store.import(session, replace);
    if (tag === 'TAKEN') report.taken += 1;
    else if (tag === 'REPLACED') report.replaced += 1;
    else if (tag === 'SKIPPED') report.skipped += 1;
    else refuse(`Redis holds something else under this id (key ${String(key)})`, line.id);
    return undefined;
  }

  /** The session of a line; or why it cannot be one. */
  private build(line: ImportLine, by: Author) {
    const settings = line.settings ?? this.schema.defaults;
    const problem = this.problemOf(line, settings);
    if (problem) return problem;
    const at = new Date(this.now()).toISOString();
    const createdAt = sessionTime(line.createdAt) ?? sessionTime(line.updatedAt) ?? at;
    const updatedAt = sessionTime(line.updatedAt) ?? createdAt;
    const author = cleanAuthor(line.updatedBy) ?? by;
    const messages: Message[] = line.messages.map(
      ({ id, timestamp, author: from, metadata, references, ...message }, i) => ({
        id: id ?? randomBytes(12).toString('base64url'),
        revision: i + 2,
        settingsRevision: 1,
        ...message,
        timestamp: timestamp ?? updatedAt,
        ...(metadata === undefined ? {} : { metadata }),
        ...(references === undefined ? {} : { references }),
        author: cleanAuthor(from) ?? author,
      }),
    );
    if (new Set(messages.map(({ id }) => id)).size < messages.length) return 'two messages have the same id';
    const revision = messages.length + 1;
    const birth = randomBytes(8).toString('hex');
    const document = {
      id: line.id,
      epoch: `${birth}-`,
      revision,
      settingsRevision: 1,
      messagesRevision: messages.length > 0 ? revision : 0,
      settings,
      ...(line.title === undefined ? {} : { title: line.title }),
      ...(line.metadata === undefined ? {} : { metadata: line.metadata }),
      messageCount: messages.length,
      createdAt,
      updatedAt,
      updatedBy: author,
    };
    return { document, messages, birth, importedAt: at };
  }

  private problemOf(line: ImportLine, settings: JsonObject): string | undefined {
    const { SETTINGS_BYTES_MAX, SESSION_MESSAGES_MAX } = this.limits;
    const size = checkJson(settings, { maxDepth: JSON_DEPTH_MAX, maxBytes: SETTINGS_BYTES_MAX });
    if (!size.ok) return `/settings${size.path}: ${size.message}`;
    const [issue] = this.schema.validate(settings);
    if (issue) return `/settings${issue.path}: ${issue.message}`;
    if (line.metadata) {
      const metadata = checkJson(line.metadata, { maxDepth: JSON_DEPTH_MAX, maxBytes: METADATA_BYTES_MAX });
      if (!metadata.ok) return `/metadata${metadata.path}: ${metadata.message}`;
    }
    if (line.messages.length > SESSION_MESSAGES_MAX) return `more than ${SESSION_MESSAGES_MAX} messages`;
    const large = line.messages.findIndex(
      ({ content }) =>
        Buffer.byteLength(typeof content === 'string' ? content : JSON.stringify(content)) > CONTENT_BYTES_MAX,
    );
    return large < 0 ? undefined : `/messages/${large}/content: more than ${CONTENT_BYTES_MAX} bytes`;
  }

  /**
   * Sessions as lines (without the line feed), each as of one moment. `ids`: those; else all that `allowed` lets through.
   * What cannot be a line is `{ id, error }`.
   */
  async *export(ids: readonly string[] | null, allowed: (sessionId: string) => boolean): AsyncGenerator<string> {
    this.begin();
    try {
      yield* this.exportLines(ids, allowed);
    } finally {
      this.underWay -= 1;
    }
  }

  private async *exportLines(
    ids: readonly string[] | null,
    allowed: (sessionId: string) => boolean,
  ): AsyncGenerator<string> {
    for await (const page of ids ? [ids] : this.allIds()) {
      for (let i = 0; i < page.length; i += EXPORT_SESSIONS_PARALLEL) {
        const some = page.slice(i, i + EXPORT_SESSIONS_PARALLEL);
        const lines = await Promise.all(
          some.map(async (id) =>
            allowed(id) ? this.line(id) : errorLine(id, 'FORBIDDEN', 'this token does not allow that'),
          ),
        );
        for (const [at, line] of lines.entries()) {
          const isMissing = line === null;
          if (!isMissing && (ids || allowed(some[at]!))) yield line;
          // One that was deleted while the walk came to it is not missing: nobody asked for it by name.
          else if (isMissing && ids) yield errorLine(some[at]!, 'SESSION_NOT_FOUND', 'there is no such session');
        }
      }
    }
  }

  private async *allIds(): AsyncGenerator<string[]> {
    let from: ListPosition | undefined = { partition: 0, after: '' };
    while (from) {
      const page: { ids: string[]; next?: ListPosition } = await this.reads.ids('', from, EXPORT_PAGE);
      yield page.ids;
      from = page.next;
    }
  }

  private async line(id: string): Promise<string | null> {
    const found = await this.reads.export(id);
    if (found === null) return null;
    const tooLarge = () =>
      errorLine(id, 'TOO_LARGE', `the session is more than ${IMPORT_LINE_BYTES_MAX} bytes as a line`);
    if (found.kind === 'tooLarge') return tooLarge();
    const document = JSON.stringify(found.document);
    const line = `${document.slice(0, -1)},"messages":[${found.messagesJson.join(',')}]}`;
    return Buffer.byteLength(line) > IMPORT_LINE_BYTES_MAX ? tooLarge() : line;
  }
}

function errorLine(id: string, code: AttuneError['code'], message: string): string {
  return JSON.stringify({ id, error: { code, message } });
}

function firstIssue(issues: readonly { path: PropertyKey[]; message: string }[]): string {
  const [issue] = issues;
  return `${issue?.path.map((part) => `/${String(part)}`).join('') || '/'}: ${issue?.message}`;
}

/** A session's time: UTC, to the millisecond. */
function sessionTime(text: string | undefined): string | undefined {
  return text === undefined ? undefined : new Date(text).toISOString();
}

function cleanAuthor(author: ImportLine['updatedBy']): Author | undefined {
  if (!author) return undefined;
  const { name, ...rest } = author;
  return name === undefined ? rest : { ...rest, name };
}

/** Why an import ended early, with what it had done by then. */
function withReport(error: unknown, report: ImportReport): unknown {
  if (!(error instanceof RedisFailure)) return error;
  const details = { report: { ...report } };
  if (error.kind === 'no-answer') {
    return new AttuneError('OUTCOME_UNKNOWN', 'Redis did not answer for some lines; import them again', {
      details,
      cause: error,
    });
  }
  return new AttuneError('UNAVAILABLE', 'Redis does not answer', { details, cause: error });
}
