// The converter between docchat's files and session lines, over the sample folder and by hand.
import { expect } from 'chai';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fromDocchat, isDocchat, toDocchat, withZone, withoutZone } from '../../server/cli/docchat.js';
import type { JsonRecord } from '../../server/cli/docchat.js';
import { projectDir } from '../support/attune.js';

const folder = join(projectDir, 'test/fixtures/docchat');
const wholeFiles = 48;

/** The files that hold a whole docchat session, with their names. */
function samples(): { name: string; file: JsonRecord }[] {
  return readdirSync(folder).flatMap((name) => {
    const text = readFileSync(join(folder, name), 'utf8');
    if (!/^[0-9a-f-]{36}\.json$/.test(name)) return [];
    return [{ name, file: JSON.parse(text) as JsonRecord }];
  });
}

/** The session's own times cut to milliseconds and without a fraction of zero: all that a round trip may change. */
function inMilliseconds(file: JsonRecord): JsonRecord {
  const cut = (time: unknown): string =>
    String(time)
      .replace(/(\.\d{3})\d+$/, '$1')
      .replace(/\.0+$/, '');
  return { ...file, created_at: cut(file['created_at']), updated_at: cut(file['updated_at']) };
}

describe('docchat', () => {
  it('[X1] a file and back is the same file but for the milliseconds of its session times', () => {
    const files = samples();
    expect(files).to.have.length(wholeFiles);
    for (const { name, file } of files) {
      const { session, leftOut } = fromDocchat(file);
      expect(leftOut, name).to.deep.equal([]);
      expect(toDocchat(session as unknown as JsonRecord), name).to.deep.equal(inMilliseconds(file));
    }
  });

  it('[X1] a session line and back is the same session line', () => {
    for (const { name, file } of samples()) {
      const { session } = fromDocchat(file);
      const again = fromDocchat(toDocchat(session as unknown as JsonRecord) as unknown as JsonRecord);
      expect(again.session, name).to.deep.equal(session);
    }
  });

  it('[X1] the members of a file stand in the order in which docchat writes them', () => {
    for (const { name, file } of samples()) {
      const written = toDocchat(fromDocchat(file).session as unknown as JsonRecord);
      expect(Object.keys(written), name).to.deep.equal(Object.keys(file));
    }
  });

  it('[X2] session times become UTC with milliseconds, message times keep their digits', () => {
    const { session } = fromDocchat({
      session_id: 'a',
      created_at: '2026-05-01T10:00:00',
      updated_at: '2026-05-01T12:00:00.123987+02:00',
      messages: [
        { role: 'user', content: 'x', timestamp: '2026-05-01T10:00:01.000042' },
        { role: 'user', content: 'y', timestamp: '2026-05-01 10:00:02' },
        { role: 'user', content: 'z', timestamp: '2026-05-01T12:00:03.5+02:00' },
      ],
    });
    expect(session.createdAt).to.equal('2026-05-01T10:00:00.000Z');
    expect(session.updatedAt).to.equal('2026-05-01T10:00:00.123Z');
    expect(session.messages.map((message) => message.timestamp)).to.deep.equal([
      '2026-05-01T10:00:01.000042Z',
      '2026-05-01T10:00:02Z',
      '2026-05-01T12:00:03.5+02:00',
    ]);
  });

  it('[X2] a time without a zone is UTC, and one with a zone is written in UTC', () => {
    expect(withZone('2026-05-01T10:00:00.094780')).to.equal('2026-05-01T10:00:00.094780Z');
    expect(withZone('2026-05-01T10:00:00Z')).to.equal('2026-05-01T10:00:00Z');
    expect(withZone('no time')).to.equal('no time');
    expect(withoutZone('2026-05-01T10:00:00.094780Z')).to.equal('2026-05-01T10:00:00.094780');
    expect(withoutZone('2026-05-01T10:00:00.000Z')).to.equal('2026-05-01T10:00:00');
    expect(withoutZone('2026-05-01T00:30:00.094780+02:00')).to.equal('2026-04-30T22:30:00.094780');
    expect(withoutZone('2026-12-31T23:30:00-0100')).to.equal('2027-01-01T00:30:00');
    expect(withoutZone('no time')).to.equal('no time');
  });

  it('[X3] what is absent or null stays absent, so that the server gives its defaults', () => {
    const { session } = fromDocchat({
      session_id: 'a',
      settings: null,
      title: null,
      updated_at: null,
      messages: [{ role: 'user', content: 'x', timestamp: null, metadata: null }],
    });
    expect(session).to.deep.equal({ id: 'a', messages: [{ role: 'user', content: 'x' }] });
    expect(fromDocchat({ session_id: 'a' }).session).to.deep.equal({ id: 'a', messages: [] });
  });

  it('[X4] a shape that cannot be a session is refused with the place of the fault', () => {
    const refused: [JsonRecord, string][] = [
      [{ settings: [] }, 'settings is not an object'],
      [{ title: 5 }, 'title is not a string'],
      [{ created_at: 'yesterday' }, 'created_at is not an ISO 8601 time'],
      [{ updated_at: '2026-13-01T00:00:00' }, 'updated_at is not an ISO 8601 time'],
      [{ messages: {} }, 'messages is not an array'],
      [{ messages: [{}, 'hm'] }, 'messages[1] is not an object'],
      [{ messages: [{ timestamp: 'noon' }] }, 'messages[0].timestamp is not an ISO 8601 time'],
      [{ messages: [{ references: {} }] }, 'messages[0].references is not an array'],
      [{ messages: [{ metadata: [] }] }, 'messages[0].metadata is not an object'],
    ];
    for (const [file, reason] of refused) {
      expect(() => fromDocchat({ session_id: 'a', ...file }), reason).to.throw(reason);
    }
    expect(() => toDocchat({ settings: {} })).to.throw('the session has no id');
  });

  it('[X5] fields that a session has no place for are named, not lost in silence', () => {
    const { leftOut } = fromDocchat({
      session_id: 'a',
      owner: 'ada',
      messages: [
        { role: 'user', content: 'x', vote: 1 },
        { role: 'user', content: 'y', vote: 2 },
      ],
    });
    expect(leftOut).to.deep.equal(['owner', 'messages[].vote']);
  });

  it('[X6] a file is told apart from a session line by its id member', () => {
    expect(isDocchat({ session_id: 'a' })).to.equal(true);
    expect(isDocchat({ id: 'a' })).to.equal(false);
    expect(samples().every(({ file }) => isDocchat(file))).to.equal(true);
  });

  it('[X7] an exported session becomes a file with docchat fields alone', () => {
    const message = { id: 'm1', revision: 2, settingsRevision: 1, status: 'complete', author: { userId: 'u' } };
    const file = toDocchat({
      id: 'a',
      epoch: 'e',
      revision: 2,
      settings: { model: 'm', options: {} },
      metadata: { folder: 'f' },
      messageCount: 1,
      createdAt: '2026-05-01T10:00:00.000Z',
      updatedAt: '2026-05-01T10:00:00.120Z',
      messages: [
        {
          ...message,
          role: 'tool',
          content: [{ type: 'text' }],
          timestamp: '2026-05-01T10:00:00.000042Z',
          references: [],
        },
      ],
    });
    expect(file).to.deep.equal({
      session_id: 'a',
      created_at: '2026-05-01T10:00:00',
      updated_at: '2026-05-01T10:00:00.120',
      settings: { model: 'm', options: {} },
      messages: [
        { role: 'tool', content: [{ type: 'text' }], timestamp: '2026-05-01T10:00:00.000042', references: [] },
      ],
      metadata: { folder: 'f' },
    });
  });
});
