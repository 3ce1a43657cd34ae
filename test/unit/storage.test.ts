// What is kept over a reload: `localStorageOutbox` over a storage of the test's own, which may be full, forbidden or shared.
import { expect } from 'chai';
import type { StoredWrite } from '../../client-sdk/outbox.js';
import type { Confirmed } from '../../client-sdk/replica.js';
import { localStorageOutbox } from '../../client-sdk/storage.js';
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
  createdAt: '',
});
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

  it('[ST4] two tabs keep what each of them has; one forgets only what it knew', () => {
    const storage = memoryStorage();
    const [one, two] = [opened(localStorageOutbox({ storage })), opened(localStorageOutbox({ storage }))];
    one.load('s');
    two.load('s');
    one.save('s', [write('a')], null);
    two.save('s', [write('b')], null);
    expect(ids(opened(localStorageOutbox({ storage })).load('s').writes)).to.deep.equal(['a', 'b']);
    two.save('s', [], null);
    expect(ids(opened(localStorageOutbox({ storage })).load('s').writes)).to.deep.equal(['a']);
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
});
