// The page's words: its timeline, streamed text, the demo bot's answers, and who is who. Pure parts, without a browser.
import { expect } from 'chai';
import fc from 'fast-check';
import type { JsonObject } from '../../client-sdk/protocol/json.js';
import type { Author, SettingsVersion } from '../../client-sdk/protocol/messages.js';
import { answerTo } from '../../server/demo/messages/answer.js';
import { shownText, tokensOf, withTokens } from '../../server/demo/messages/live-text.js';
import { clientIdOf, colors, initials, inkOn, personOf, presenceOf } from '../../server/demo/person.js';
import { withNewest, withOlder, type HistoryPages } from '../../server/demo/timeline/history-pages.js';
import { changesBetween, shownValue, timeAgo, timelineOf } from '../../server/demo/timeline/version-changes.js';

const author: Author = { userId: 'anonymous', clientId: 'tab-a', kind: 'tab' };
const version = (revision: number, settings: JsonObject): SettingsVersion => ({
  revision,
  at: '2026-11-22T10:00:00.000Z',
  by: author,
  settings,
  changedPaths: [],
});

describe("the page's timeline", () => {
  it('[DP4] names what was added, changed and removed, objects member by member and lists as a whole', () => {
    const before = { model: 'a', options: { temperature: 0.7, stop: ['x'], gone: 1 }, 'a/b': 1 };
    const after = { model: 'a', options: { temperature: 0.9, stop: ['x', 'y'], fresh: null }, 'a/b': 2 };
    expect(changesBetween(before, after).map(({ path, before: was, after: is }) => [path, was, is])).to.deep.equal([
      ['/options/temperature', 0.7, 0.9],
      ['/options/stop', ['x'], ['x', 'y']],
      ['/options/fresh', undefined, null],
      ['/options/gone', 1, undefined],
      ['/a~1b', 1, 2],
    ]);
    expect(changesBetween(before, structuredClone(before))).to.deep.equal([]);
  });

  it('[DP4] an object in the place of a value, and the other way round, is one change', () => {
    expect(changesBetween({ a: 1 }, { a: { b: 1 } })).to.have.length(1);
    expect(changesBetween({ a: { b: 1 } }, { a: 1 })).to.have.length(1);
  });

  it('[DP4] each version is compared with the one before; the oldest that is known says only what is certain', () => {
    const versions = [version(9, { a: 2 }), version(5, { a: 1 }), version(1, { a: 1 })];
    const all = timelineOf(versions, false);
    expect(all.map(({ changes, isFirst }) => [changes?.length, isFirst])).to.deep.equal([
      [1, false],
      [0, false],
      [undefined, true],
    ]);
    expect(timelineOf(versions.slice(0, 2), true)[1]).to.include({ changes: undefined, isFirst: false });
    // Versions before the first one of the list may have been forgotten: revision 5 is not the beginning.
    expect(timelineOf(versions.slice(0, 2), false)[1]).to.include({ changes: undefined, isFirst: false });
  });

  it('[DP10] pages make one list without a gap, whatever comes in front meanwhile', () => {
    const page = (from: number, to: number, isLast = false) => ({
      versions: Array.from({ length: from - to + 1 }, (_, n) => version(from - n, {})),
      ...(!isLast && { next: to }),
    });
    const revisions = ({ versions }: HistoryPages) => versions.map(({ revision }) => revision);
    const first = withNewest(undefined, page(10, 7));
    const more = withOlder(first, 7, page(6, 3));
    expect(revisions(more)).to.deep.equal([10, 9, 8, 7, 6, 5, 4, 3]);
    expect(more.next).to.equal(3);
    // Asked for twice, the second answer is of no use.
    expect(withOlder(more, 7, page(6, 3))).to.equal(more);
    const grown = withNewest(more, page(12, 9));
    expect([revisions(grown)[0], revisions(grown).length, grown.next]).to.deep.equal([12, 10, 3]);
    // A version that went on has another revision.
    expect(revisions(withNewest(withOlder(first, 7, page(6, 3)), page(11, 8)))).to.deep.equal([
      11, 10, 9, 8, 7, 6, 5, 4, 3,
    ]);
    // Between 10 and 21 there may be more than was read.
    expect(withNewest(more, page(24, 21)))
      .to.include({ next: 21 })
      .and.to.have.property('versions')
      .of.length(4);
    const all = withOlder(more, 3, page(2, 1, true));
    expect([revisions(all).length, all.next]).to.deep.equal([10, undefined]);
  });

  it('[DP4] values and times are told in few words', () => {
    expect(shownValue('gpt-4')).to.equal('“gpt-4”');
    expect(shownValue(undefined)).to.equal('not set');
    expect(shownValue({ a: [1] })).to.equal('{"a":[1]}');
    expect(shownValue('x'.repeat(500)).length).to.be.below(70);
    const at = '2026-11-22T10:00:00.000Z';
    const told = (seconds: number) => timeAgo(at, Date.parse(at) + seconds * 1000);
    expect([-30, 0, 30, 90, 7200, 90_000, 900_000].map(told)).to.deep.equal([
      'just now',
      'just now',
      '30 s ago',
      '1 min ago',
      '2 h ago',
      'yesterday',
      '10 days ago',
    ]);
  });
});

describe("the page's streamed text", () => {
  it('[DP5] tokens in order give the text, whatever comes twice', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ minLength: 1 })), fc.array(fc.nat()), (parts, again) => {
        const tokens = parts.map((text, i) => ({ messageId: 'm', at: parts.slice(0, i).join('').length, text }));
        let live = '';
        for (const [index, token] of tokens.entries()) {
          live = withTokens(live, token);
          const repeated = tokens[(again[index] ?? 0) % (index + 1)]!;
          expect(withTokens(live, repeated)).to.equal(live);
        }
        expect(live).to.equal(parts.join(''));
      }),
    );
  });

  it('[DP5] tokens behind a gap are dropped until a commit brings what was missed', () => {
    const late = { messageId: 'm', at: 10, text: 'world' };
    expect(withTokens('Hello', late)).to.equal('Hello');
    expect(withTokens('Hello the ', late)).to.equal('Hello the world');
    expect(shownText('Hello the world, all', 'Hello')).to.equal('Hello the world, all');
    expect(shownText('Hello', 'Hello the')).to.equal('Hello the');
    expect(shownText('Changed', 'Hello the')).to.equal('Changed');
    expect(shownText('Hello', undefined)).to.equal('Hello');
  });

  it('[DP5] a signal that is no tokens is none', () => {
    const good = { messageId: 'm', at: 0, text: 'a' };
    expect(tokensOf(good)).to.deep.equal(good);
    for (const bad of [null, 'a', [], {}, { ...good, at: -1 }, { ...good, at: 0.5 }, { ...good, text: 1 }]) {
      expect(tokensOf(bad)).to.equal(undefined);
    }
  });
});

describe('the demo bot', () => {
  const settings = (options: JsonObject): JsonObject => ({ model: 'gpt-4', mode: 'assistant', options });

  it('[DP6] it names the model and what is set, and the question', () => {
    const { text, tokens, endedBy } = answerTo(
      'Why?',
      settings({ temperature: 0.5, system_prompt: 'Be kind' }),
      () => 0,
    );
    expect(text).to.contain('gpt-4').and.contain('Temperature is 0.5').and.contain('Be kind').and.contain('Why?');
    expect(tokens.join('')).to.equal(text);
    expect(endedBy).to.equal('end');
    expect(answerTo('Why?', {}, () => 0).text).to.contain('not chosen');
  });

  it('[DP6] it ends at max tokens and at the first stop text', () => {
    const cut = answerTo('Why?', settings({ max_tokens: 5 }), () => 0);
    expect(cut.tokens).to.have.length(5);
    expect(cut.endedBy).to.equal('max_tokens');
    const stopped = answerTo('Why?', settings({ stop: ['never there', 'model'] }), () => 0);
    expect(stopped.text).to.not.contain('model');
    expect(stopped.endedBy).to.equal('stop');
  });

  it('[DP6] at temperature 0 it repeats itself, above it may not', () => {
    const said = (temperature: number, chance: number) =>
      answerTo('Why?', settings({ temperature }), () => chance).text;
    expect(said(0, 0.9)).to.equal(said(0, 0.1));
    expect(said(0.7, 0.9)).to.not.equal(said(0.7, 0.1));
    expect(said(1.9, 0.1)).to.not.equal(said(0.7, 0.1));
  });
});

describe('who is who on the page', () => {
  it('[DP7] a client id tells name and colour, also of a name with odd characters', () => {
    const ada = { name: 'Ada | Löve “lace”', color: '#0b6e99' };
    for (const person of [
      { name: 'Ada', color: '#b0416b' },
      { ...ada, name: 'Ada Löve 😀' },
    ]) {
      expect(personOf({ ...author, clientId: clientIdOf(person, 'x7') })).to.deep.equal(person);
    }
    expect(personOf({ ...author, clientId: clientIdOf(ada, 'x7') }).name)
      .to.be.a('string')
      .and.not.equal('');
    expect(clientIdOf({ ...ada, name: 'x'.repeat(500) }, 'x7').length).to.be.at.most(128);
    expect(clientIdOf({ ...ada, name: `${'x'.repeat(39)}😀` }, 'x7').isWellFormed()).to.equal(true);
  });

  it("[DP7] the server's name counts before the client's own", () => {
    const clientId = clientIdOf({ name: 'Mallory', color: '#b0416b' }, 'x7');
    expect(personOf({ ...author, clientId, name: 'Ada' }).name).to.equal('Ada');
  });

  it('[DP7] what others show of themselves is taken only as far as it is what it should be', () => {
    const self = personOf(author);
    for (const state of [null, 7, [], { name: 1, color: 'red; x', editing: {} }, { name: '  ' }]) {
      expect(presenceOf(author, state)).to.deep.equal(self);
    }
    const shown = presenceOf(author, { name: 'x'.repeat(500), color: '#AABBCC', editing: '/model' });
    expect(shown).to.deep.equal({ name: 'x'.repeat(40), color: '#AABBCC', editing: '/model' });
  });

  it('[DP7] every colour that can be chosen carries white text, and others get a text that can be read', () => {
    for (const { value } of colors) expect(inkOn(value), value).to.equal('#ffffff');
    expect(inkOn('#ffe08a')).to.equal('#000000');
    expect(inkOn('#101010')).to.equal('#ffffff');
    expect(initials('Ada King Lovelace')).to.equal('AL');
    expect(initials('ada')).to.equal('A');
    expect(initials('😀 x')).to.equal('😀X');
    expect(initials('')).to.equal('?');
  });
});
