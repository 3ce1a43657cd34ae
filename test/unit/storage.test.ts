// What is kept over a reload: `localStorageOutbox` over a storage of the test's own, which may be full, forbidden or shared.
import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect } from 'chai';
import type { StoredWrite } from '../../client-sdk/outbox.js';
import type { Confirmed } from '../../client-sdk/replica.js';
import { localStorageOutbox } from '../../client-sdk/storage.js';
import { fakePages, type FakePage } from '../support/fake-pages.js';
import { opened } from '../support/opened-storage.js';
import { memoryStorage } from '../support/memory-storage.js';
import { takeTime, type ManualTime } from '../support/manual-time.js';

const write = (updateId: string, more: Partial<StoredWrite> = {}): StoredWrite => ({
  updateId,
  event: 'settings:update',
  request: { merge: { [updateId]: 1 } },
  ...more,
});
const confirmed = (revision: number): Confirmed => ({
  epoch: 'E',
  revision,
  settingsRevision: revision,
  settings: {},
});
/** Whoever asked for a lock was answered. */
const answered = async () => {
  for (let turns = 0; turns < 5; turns += 1) await nextTurn();
};
const ids = (writes: readonly StoredWrite[]) => writes.map(({ updateId }) => updateId);

describe('what is kept over a reload', () => {
  let time: ManualTime;
  beforeEach(() => (time = takeTime()));
  afterEach(() => time.restore());

  it('[ST1] the next page is given the writes that were left, in their order, as they were', () => {
    const storage = memoryStorage();
    const page = opened(localStorageOutbox({ storage }));
    expect(page.load('s')).to.deep.equal({ writes: [], confirmed: null });
    const list = Array.from({ length: 40 }, (_, i) => write(`w${i}`, i % 2 ? { sentAt: 1000 + i } : {}));
    for (let n = 1; n <= list.length; n += 1) page.save('s', list.slice(0, n), null);
    const left = list.slice(3);
    page.save('s', left, null);
    const next = opened(localStorageOutbox({ storage }));
    expect(JSON.parse(JSON.stringify(next.load('s').writes))).to.deep.equal(JSON.parse(JSON.stringify(left)));
    // What that page adds comes after them in the one after it.
    next.save('s', [...left, write('new')], null);
    expect(ids(opened(localStorageOutbox({ storage })).load('s').writes)).to.deep.equal([...ids(left), 'new']);
  });

  it('[ST1] the order holds though the clock goes back', () => {
    const storage = memoryStorage();
    const page = opened(localStorageOutbox({ storage }));
    page.save('s', [write('a')], null);
    const { now } = time;
    Date.now = () => now - 60_000;
    page.save('s', [write('a'), write('b')], null);
    expect(ids(opened(localStorageOutbox({ storage })).load('s').writes)).to.deep.equal(['a', 'b']);
  });

  it('[ST2] what was answered is forgotten; what was sent says so', () => {
    const storage = memoryStorage();
    const page = opened(localStorageOutbox({ storage }));
    page.save('s', [write('a'), write('b')], null);
    page.save('s', [write('a', { sentAt: 7 }), write('b')], null);
    expect(opened(localStorageOutbox({ storage })).load('s').writes[0]).to.include({ updateId: 'a', sentAt: 7 });
    page.save('s', [write('b')], null);
    expect(ids(opened(localStorageOutbox({ storage })).load('s').writes)).to.deep.equal(['b']);
    page.save('s', [write('b', { sentAt: 8 })], null);
    page.save('s', [write('b')], null);
    expect(opened(localStorageOutbox({ storage })).load('s').writes[0]?.sentAt).to.equal(undefined);
    page.save('s', [], null);
    expect(storage.length).to.equal(0);
  });

  it('[ST3] what is confirmed is kept too, written now and then and when the page goes', () => {
    const storage = memoryStorage();
    const page = opened(localStorageOutbox({ storage }));
    page.save('s', [], confirmed(1));
    page.save('s', [], confirmed(2));
    expect(storage.writes, 'not with each commit').to.equal(0);
    time.pass(1000);
    expect(storage.writes).to.equal(1);
    expect(opened(localStorageOutbox({ storage })).load('s').confirmed).to.deep.equal(confirmed(2));
  });

  it('[ST3] a session that is no more is forgotten', () => {
    const storage = memoryStorage();
    const page = opened(localStorageOutbox({ storage }));
    page.save('s', [write('a')], confirmed(1));
    time.pass(1000);
    page.save('s', [], confirmed(2));
    page.save('s', [], null);
    time.pass(1000);
    expect(opened(localStorageOutbox({ storage })).load('s')).to.deep.equal({ writes: [], confirmed: null });
    expect(storage.length).to.equal(0);
  });

  it('[ST4] sessions, keys, and what else is in the storage do not touch each other', () => {
    const storage = memoryStorage();
    storage.setItem('theme', 'dark');
    storage.setItem('attune:write/s/broken', '{no JSON');
    const [page, other] = [
      opened(localStorageOutbox({ storage })),
      opened(localStorageOutbox({ storage, key: 'attune:ada' })),
    ];
    page.save('s', [write('a')], null);
    page.save('s:t', [write('b')], null);
    other.save('s', [write('c')], null);
    const next = opened(localStorageOutbox({ storage }));
    expect(ids(next.load('s').writes)).to.deep.equal(['a']);
    expect(ids(next.load('s:t').writes)).to.deep.equal(['b']);
    expect(ids(opened(localStorageOutbox({ storage, key: 'attune:ada' })).load('s').writes)).to.deep.equal(['c']);
    expect(storage.getItem('theme')).to.equal('dark');
  });

  it('[ST4] nor do those whose names begin like parts of another one', () => {
    const storage = memoryStorage();
    const [page, ada] = [
      opened(localStorageOutbox({ storage })),
      opened(localStorageOutbox({ storage, key: 'attune:ada' })),
    ];
    page.save('s:write', [], confirmed(1));
    page.save('ada:s', [write('a')], confirmed(2));
    time.pass(1000);
    expect(opened(localStorageOutbox({ storage })).load('s')).to.deep.equal({ writes: [], confirmed: null });
    expect(ada.load('s')).to.deep.equal({ writes: [], confirmed: null });
  });

  it('[ST4] two tabs keep what each of them has', async () => {
    const browser = fakePages();
    const [one, two] = [browser.open('one'), browser.open('two')];
    one.load('s');
    two.load('s');
    one.save('s', [write('a')], null);
    two.save('s', [write('b')], null);
    two.save('s', [], null);
    await answered();
    expect(ids(browser.open('one').load('s').writes)).to.deep.equal(['a']);
    expect(ids(browser.open('two').load('s').writes)).to.deep.equal([]);
  });

  it('[ST5] a storage that is full or forbidden never throws: what it cannot keep stays in memory', () => {
    const storage = memoryStorage();
    const page = opened(localStorageOutbox({ storage }));
    page.save('s', [write('a')], null);
    storage.fail = true;
    page.save('s', [write('a'), write('b')], confirmed(1));
    page.save('s', [write('b')], confirmed(2));
    time.pass(1000);
    expect(() => opened(localStorageOutbox({ storage })).load('s')).to.not.throw();
  });

  describe('and of other pages', () => {
    /** A page that uses a session as a client does: what it is given it takes, and saves. */
    const use = (page: FakePage, sessionId = 's') => {
      const own: StoredWrite[] = [];
      const take = (stored: StoredWrite) => {
        own.push(stored);
        page.save(sessionId, own, null);
      };
      page.load(sessionId, take).writes.forEach(take);
      return own;
    };

    it('[ST6] what a page left that is gone is taken over, in its order, behind what is there', async () => {
      const browser = fakePages();
      const gone = browser.open('gone');
      const list = [write('a'), write('b', { sentAt: 7 }), write('c')];
      gone.save('s', list, null);
      gone.save('t', [write('d')], null);
      gone.end();
      browser.open('next').save('s', [write('own')], null);
      const next = browser.open('next');
      const own = use(next);
      expect(ids(own)).to.deep.equal(['own']);
      await answered();
      expect(ids(own)).to.deep.equal(['own', 'a', 'b', 'c']);
      expect(own[2]).to.deep.equal(list[1]);
      // It is the next page's from now on; what it does not use waits.
      expect(ids(browser.open('next').load('s').writes)).to.deep.equal(['own', 'a', 'b', 'c']);
      const other = use(next, 't');
      await answered();
      expect(ids(other)).to.deep.equal(['d']);
      next.save('s', [], null);
      next.save('t', [], null);
      expect(browser.storage.length).to.equal(0);
    });

    it('[ST6] what a page keeps that is alive is left alone', async () => {
      const browser = fakePages();
      const alive = browser.open('alive');
      await answered();
      alive.save('s', [write('a')], null);
      const [other, third] = [use(browser.open('other')), use(browser.open('third', 'attune:ada'))];
      await answered();
      expect([other, third]).to.deep.equal([[], []]);
      alive.end();
      const [late] = [use(browser.open('late'))];
      await answered();
      expect(ids(late)).to.deep.equal(['a']);
    });

    it('[ST6] of two pages that open together one takes it over', async () => {
      const browser = fakePages();
      const gone = browser.open('gone');
      gone.save('s', [write('a'), write('b')], null);
      gone.end();
      const [one, two] = [use(browser.open('one')), use(browser.open('two'))];
      await answered();
      expect([...ids(one), ...ids(two)]).to.deep.equal(['a', 'b']);
    });

    it('[ST6] it is kept by the next page though the storage has no room for it twice', async () => {
      const browser = fakePages();
      const gone = browser.open('gone');
      gone.save('s', [write('a')], null);
      gone.end();
      const next = browser.open('next');
      const setItem = browser.storage.setItem.bind(browser.storage);
      browser.storage.setItem = (name, value) => {
        if (browser.storage.length > 0) throw new DOMException('full', 'QuotaExceededError');
        setItem(name, value);
      };
      use(next);
      await answered();
      expect(ids(browser.open('next').load('s').writes)).to.deep.equal(['a']);
    });

    it('[ST6] what the session does not take stays where it is; what is settled at once does not', async () => {
      const browser = fakePages();
      const gone = browser.open('gone');
      gone.save('s', [write('a'), write('b'), write('c')], null);
      gone.end();
      const page = browser.open('next');
      // It is over.
      page.load('s', () => undefined);
      await answered();
      expect(browser.storage.length).to.equal(3);
      // There is room for one, and another is too old to be sent.
      page.load('s', (stored) => {
        if (stored.updateId === 'a') page.save('s', [stored], null);
        if (stored.updateId !== 'b') return;
        page.save('s', [write('a'), stored], null);
        page.save('s', [write('a')], null);
      });
      await answered();
      const last = use(browser.open('next'));
      expect(ids(last)).to.deep.equal(['a']);
      await answered();
      expect(ids(last)).to.deep.equal(['a', 'c']);
    });
  });

  describe('what makes no sense', () => {
    const nonsense = ['{no JSON', 'null', '5', '"text"', '[]', '{}', '[[]]', 'true', '{"length":3}'];

    for (const text of [
      ...nonsense,
      JSON.stringify({ epoch: 'E', revision: 1, settingsRevision: 1 }),
      JSON.stringify({ ...confirmed(1), settings: [] }),
      JSON.stringify({ ...confirmed(1), settings: null }),
      JSON.stringify({ ...confirmed(1), epoch: 5 }),
      JSON.stringify({ ...confirmed(1), revision: '1' }),
      JSON.stringify({ ...confirmed(1), settingsRevision: null }),
    ]) {
      it(`[ST7] ${text} is no document, and is removed`, () => {
        const storage = memoryStorage();
        storage.setItem('attune:document/s', text);
        expect(opened(localStorageOutbox({ storage })).load('s')).to.deep.equal({ writes: [], confirmed: null });
        expect(storage.length).to.equal(0);
      });
    }

    const { request: _, ...withoutRequest } = write('x');
    for (const text of [
      ...nonsense,
      ...[
        null,
        5,
        'text',
        [],
        {},
        withoutRequest,
        write('x', { request: null! }),
        write('x', { request: [] }),
        write('x', { request: { merge: 5 } }),
        write('x', { request: { replace: [1] } }),
        write('x', { event: 'message:add', request: {} }),
        write('x', { event: 5 as never }),
        { ...write('x'), updateId: 5 },
      ].map((entry) => JSON.stringify(entry)),
    ]) {
      it(`[ST7] ${text} is no write, and is removed`, async () => {
        const browser = fakePages();
        browser.storage.setItem('attune:write/gone/s/1/x', text);
        const given: StoredWrite[] = [];
        expect(browser.open('next').load('s', (stored) => given.push(stored)).writes).to.deep.equal([]);
        await answered();
        expect(given).to.deep.equal([]);
        expect(browser.storage.length).to.equal(0);
      });
    }

    it('[ST7] the writes beside it are kept', async () => {
      const browser = fakePages();
      const message = write('m', { event: 'message:add', request: { message: { role: 'user', content: 'hi' } } });
      const good = [write('a'), message, write('r', { request: { toRevision: 3 } })];
      for (const [place, entry] of [null, good[0], 5, good[1], good[2], {}].entries()) {
        browser.storage.setItem(`attune:write/gone/s/${place}/x`, JSON.stringify(entry));
      }
      const given: StoredWrite[] = [];
      browser.open('next').load('s', (stored) => given.push(stored));
      await answered();
      expect(given).to.deep.equal(good);
    });
  });

  it('[ST10] each change writes what changed and nothing else, whatever the ids are', () => {
    const storage = memoryStorage();
    const list = Array.from({ length: 200 }, (_, n) => write(`${n}/${'x'.repeat(n % 7)}`));
    const page = opened(localStorageOutbox({ storage }));
    for (let n = 1; n <= list.length; n += 1) page.save('s', list.slice(0, n), null);
    expect(storage.writes).to.equal(list.length);
    for (let n = 1; n <= list.length; n += 1) page.save('s', list.slice(n), null);
    expect(storage.writes).to.equal(list.length);
    expect(storage.length).to.equal(0);
  });

  it('[ST10] two clients of one page keep what each of them has', () => {
    const storage = memoryStorage();
    const [one, two] = [opened(localStorageOutbox({ storage })), opened(localStorageOutbox({ storage }))];
    one.load('s');
    two.load('s');
    one.save('s', [write('a')], null);
    two.save('s', [write('settled'), write('b')], null);
    one.save('s', [write('a'), write('c')], null);
    two.save('s', [write('b')], null);
    const { writes } = opened(localStorageOutbox({ storage })).load('s');
    expect(ids(writes).sort()).to.deep.equal(['a', 'b', 'c']);
  });

  it('[ST8] where there are no Web Locks every other page counts as gone', async () => {
    const before = Object.getOwnPropertyDescriptor(globalThis, 'navigator');
    Object.defineProperty(globalThis, 'navigator', { value: {}, configurable: true });
    try {
      const storage = memoryStorage();
      storage.setItem('attune:write/other/s/1/a', JSON.stringify(write('a')));
      storage.setItem('attune:write/other/s/2/b', JSON.stringify(write('b')));
      const page = opened(localStorageOutbox({ storage }));
      const own: StoredWrite[] = [];
      page.load('s', (stored) => {
        own.push(stored);
        page.save('s', own, null);
      });
      await answered();
      expect(ids(own)).to.deep.equal(['a', 'b']);
      expect(storage.getItem('attune:write/other/s/1/a')).to.equal(null);
    } finally {
      if (before) Object.defineProperty(globalThis, 'navigator', before);
      else Reflect.deleteProperty(globalThis, 'navigator');
    }
  });

  it('[ST8] where there is no storage, or looking at it is forbidden, nothing is kept and nothing throws', () => {
    const before = Object.getOwnPropertyDescriptor(globalThis, 'localStorage');
    const forbidden = () => {
      throw new DOMException('denied', 'SecurityError');
    };
    try {
      for (const get of [() => undefined, forbidden]) {
        Object.defineProperty(globalThis, 'localStorage', { get, configurable: true });
        const page = opened(localStorageOutbox());
        page.save('s', [write('a')], confirmed(1));
        time.pass(1000);
        expect(page.load('s')).to.deep.equal({ writes: [], confirmed: null });
      }
    } finally {
      if (before) Object.defineProperty(globalThis, 'localStorage', before);
      else Reflect.deleteProperty(globalThis, 'localStorage');
    }
  });
});
