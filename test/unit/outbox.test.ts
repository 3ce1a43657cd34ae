// The outbox with a sender that the test answers by hand, in time of its own: order, retries, what is not known, limits.
import { expect } from 'chai';
import fc from 'fast-check';
import { ClientError, type ClientErrorCode } from '../../client-sdk/client-error.js';
import {
  createOutbox,
  IN_FLIGHT_MAX,
  RESEND_MS,
  RESEND_WITHIN_MS,
  WRITES_CHARS_MAX,
  WRITES_MAX,
  type Outbox,
  type StoredWrite,
} from '../../client-sdk/outbox.js';
import { errorTable, type ErrorCode } from '../../client-sdk/protocol/errors.js';
import { takeTime, type ManualTime } from '../support/manual-time.js';

const errorOf = (code: ErrorCode, retryAfterMs?: number) =>
  new ClientError(code, { ...errorTable[code], ...(retryAfterMs !== undefined && { retryAfterMs }) });
const write = (updateId: string, more: Partial<StoredWrite> = {}): StoredWrite => ({
  updateId,
  event: 'settings:update',
  request: { merge: { [updateId]: 1 } },
  ...more,
});
/** Runs what promises have to say. */
const settle = () => new Promise<void>((resolve) => setImmediate(resolve));

interface Sent {
  readonly updateId: string;
  readonly request: Record<string, unknown>;
  answer(): void;
  fail(error: ClientError): void;
}

/** What a connection says where its line was lost. */
const noAnswer = () => new ClientError('OFFLINE', { retry: 'same-id', outcome: 'unknown' });

describe('the outbox', () => {
  let time: ManualTime;
  let outbox: Outbox;
  /** What is on its way and not answered, and the ids of all that was ever sent. */
  let onWay: Sent[];
  let sent: string[];
  let acknowledged: string[];
  let refused: string[];
  /** What was to be kept after each change. */
  let kept: StoredWrite[][];
  let outcomes: Map<string, string[]>;
  /** What a listener does when it is told of a change. */
  let heard: (() => void) | undefined;

  beforeEach(() => {
    time = takeTime();
    [onWay, sent, acknowledged, refused, kept] = [[], [], [], [], []];
    outcomes = new Map();
    heard = undefined;
    outbox = createOutbox({
      ask(_event, body, answered) {
        const request = body as Record<string, unknown>;
        const updateId = request.updateId as string;
        sent.push(updateId);
        const forget = () => (onWay = onWay.filter((one) => one !== entry));
        const entry: Sent = {
          updateId,
          request,
          answer: () => (forget(), answered(null, { revision: 1 })),
          fail: (error) => (forget(), answered(error)),
        };
        onWay.push(entry);
      },
      changed() {
        kept.push(outbox?.writes.map((one) => ({ ...one })) ?? []);
        heard?.();
      },
      settled: ({ updateId }, error) => (error ? refused : acknowledged).push(updateId),
    });
  });
  afterEach(() => time.restore());

  /** Adds and notes how it ends: `ok`, or the error's code. */
  const add = (given: string | StoredWrite, signal?: AbortSignal) => {
    const one = typeof given === 'string' ? write(given) : given;
    const ends = outcomes.get(one.updateId) ?? [];
    outcomes.set(one.updateId, ends);
    const done = outbox.add(one, JSON.stringify(one.request).length, signal);
    done.then(
      () => ends.push('ok'),
      (error: ClientError) => ends.push(`${error.code} ${error.outcome}`),
    );
    return done;
  };
  const take = (updateId: string): Sent => {
    const found = onWay.find((one) => one.updateId === updateId);
    if (!found) throw new Error(`${updateId} is not on its way`);
    return found;
  };
  const waiting = () => outbox.writes.map(({ updateId }) => updateId);

  it('[OB1] writes wait until it is opened, and are sent in their order, with session and id', () => {
    ['a', 'b', 'c'].forEach((id) => add(id));
    expect(sent).to.deep.equal([]);
    outbox.open();
    expect(sent).to.deep.equal(['a', 'b', 'c']);
    expect(take('b').request).to.deep.equal({ updateId: 'b', merge: { b: 1 } });
    void add('d');
    expect(sent).to.deep.equal(['a', 'b', 'c', 'd']);
  });

  it('[OB1] an answer settles its write alone, once, after the owner heard of it', async () => {
    outbox.open();
    void add('a');
    const done = add('b').then(() => expect(acknowledged).to.deep.equal(['b']));
    take('b').answer();
    await done;
    expect(waiting()).to.deep.equal(['a']);
    take('a').answer();
    await settle();
    expect([...outcomes.values()]).to.deep.equal([['ok'], ['ok']]);
    expect(acknowledged).to.deep.equal(['b', 'a']);
    expect(refused).to.deep.equal([]);
  });

  it('[OB2] so many are on their way at most; each answer lets the next one go', () => {
    outbox.open();
    const ids = Array.from({ length: IN_FLIGHT_MAX + 3 }, (_, i) => `w${i}`);
    for (const id of ids) void add(id);
    expect(sent).to.deep.equal(ids.slice(0, IN_FLIGHT_MAX));
    take('w5').answer();
    take('w0').answer();
    expect(sent).to.deep.equal(ids.slice(0, IN_FLIGHT_MAX + 2));
  });

  for (const code of Object.keys(errorTable) as ErrorCode[]) {
    it(`[OB3] ${code} is the end of a write, or the reason to send it again, as its class says`, async () => {
      outbox.open();
      void add('a');
      take('a').fail(errorOf(code));
      await settle();
      const { retry, outcome } = errorTable[code];
      const isOver = retry === 'never' || retry === 'after-refresh' || code === 'INTERNAL';
      expect(outcomes.get('a')).to.deep.equal(isOver ? [`${code} ${outcome}`] : []);
      expect(refused).to.deep.equal(isOver ? ['a'] : []);
      expect(sent).to.deep.equal(['a']);
      time.pass(RESEND_MS[1]);
      expect(sent).to.deep.equal(isOver ? ['a'] : ['a', 'a']);
    });
  }

  it('[OB4] after a failure that may be retried nothing is sent until all on their way are answered, and then from the oldest on', () => {
    outbox.open();
    ['a', 'b', 'c'].forEach((id) => add(id));
    take('a').fail(errorOf('UNAVAILABLE'));
    void add('d');
    time.pass(RESEND_MS[1]);
    expect(sent, 'b and c are on their way').to.deep.equal(['a', 'b', 'c']);
    take('b').fail(errorOf('UNAVAILABLE'));
    time.pass(RESEND_MS[1]);
    take('c').fail(errorOf('UNAVAILABLE'));
    expect(sent).to.deep.equal(['a', 'b', 'c']);
    time.pass(RESEND_MS[1]);
    expect(sent.slice(3)).to.deep.equal(['a', 'b', 'c', 'd']);
  });

  it('[OB4] it waits as long as the server says, at least, and longer after each failure', () => {
    outbox.open();
    void add('a');
    take('a').fail(errorOf('RATE_LIMITED', 20_000));
    time.pass(19_999);
    expect(sent).to.have.length(1);
    time.pass(RESEND_MS[1]);
    expect(sent).to.have.length(2);
    const pauses: number[] = [];
    for (let i = 0; i < 12; i += 1) {
      const count = sent.length;
      const from = time.now;
      take('a').fail(errorOf('OVERLOADED'));
      while (sent.length === count) time.pass(1);
      pauses.push(time.now - from);
    }
    expect(Math.max(...pauses)).to.be.at.most(RESEND_MS[1]);
    expect(Math.max(...pauses.slice(-3)), 'the last').to.be.above(RESEND_MS[1] / 2 - 1);
    expect(pauses[0]).to.be.below(RESEND_MS[0] * 8);
    take('a').answer();
    void add('b');
    const from = time.now;
    take('b').fail(errorOf('OVERLOADED'));
    while (onWay.length === 0) time.pass(1);
    expect(time.now - from, 'after a success').to.be.at.most(RESEND_MS[0] * 2);
  });

  it('[OB5] a connection that is gone decides nothing: all that was on its way is sent again in the next, in order', async () => {
    outbox.open();
    ['a', 'b', 'c'].forEach((id) => add(id));
    const [old] = onWay;
    take('b').answer();
    outbox.close();
    old!.fail(noAnswer());
    void add('d');
    time.pass(RESEND_MS[1]);
    expect(sent).to.deep.equal(['a', 'b', 'c']);
    outbox.open();
    expect(sent.slice(3)).to.deep.equal(['a', 'c', 'd']);
    await settle();
    expect(refused).to.deep.equal([]);
  });

  it('[OB5] a late answer of an earlier connection counts, and starts nothing', async () => {
    outbox.open();
    ['a', 'b', 'c'].forEach((id) => add(id));
    const [a, b, c] = onWay;
    outbox.open();
    expect(sent).to.have.length(6);
    a!.answer();
    b!.fail(errorOf('UNAVAILABLE'));
    c!.fail(errorOf('FORBIDDEN'));
    time.pass(RESEND_MS[1]);
    await settle();
    expect(outcomes.get('a')).to.deep.equal(['ok']);
    expect(outcomes.get('c')).to.deep.equal(['FORBIDDEN not-committed']);
    expect(waiting()).to.deep.equal(['b']);
    expect(sent, 'b is on its way in this one').to.have.length(6);
    take('b').answer();
    await settle();
    expect(outcomes.get('b')).to.deep.equal(['ok']);
  });

  it('[OB5] a retry that waits for its time is sent at once where the connection is a new one', () => {
    outbox.open();
    void add('a');
    take('a').fail(errorOf('UNAVAILABLE', 60_000));
    outbox.close();
    outbox.open();
    expect(sent).to.deep.equal(['a', 'a']);
    expect(time.waiting).to.equal(0);
  });

  it('[OB6] what may have happened is not sent again once the server may have forgotten its id', async () => {
    outbox.open();
    void add('a');
    outbox.close();
    time.pass(RESEND_WITHIN_MS + 1);
    void add('b');
    outbox.open();
    await settle();
    expect(outcomes.get('a')).to.deep.equal(['OUTCOME_UNKNOWN unknown']);
    expect(sent).to.deep.equal(['a', 'b']);
  });

  it('[OB6] where that ends all that may be on their way at once, what waits behind them is sent', async () => {
    outbox.open();
    const ids = Array.from({ length: IN_FLIGHT_MAX }, (_, i) => `w${i}`);
    for (const id of ids) void add(id);
    outbox.close();
    void add('next');
    time.pass(RESEND_WITHIN_MS + 1);
    outbox.open();
    await settle();
    expect(refused).to.deep.equal(ids);
    expect(sent).to.deep.equal([...ids, 'next']);
  });

  it('[OB6] what certainly did not happen may be sent for as long as it takes', async () => {
    outbox.open();
    void add('a');
    take('a').fail(errorOf('UNAVAILABLE'));
    outbox.close();
    time.pass(RESEND_WITHIN_MS * 2);
    outbox.open();
    expect(sent).to.deep.equal(['a', 'a']);
    // An unknown outcome stays unknown, though a later attempt certainly did not happen.
    take('a').fail(errorOf('OUTCOME_UNKNOWN'));
    time.pass(RESEND_MS[1]);
    take('a').fail(errorOf('UNAVAILABLE'));
    outbox.close();
    time.pass(RESEND_WITHIN_MS * 2);
    outbox.open();
    await settle();
    expect(outcomes.get('a')).to.deep.equal(['OUTCOME_UNKNOWN unknown']);
  });

  it('[OB6] the same for one that an earlier page left: it says when it was sent', async () => {
    void add(write('old', { sentAt: time.now - RESEND_WITHIN_MS - 1 }));
    void add(write('young', { sentAt: time.now - RESEND_WITHIN_MS + 60_000 }));
    void add(write('never'));
    outbox.open();
    await settle();
    expect(outcomes.get('old')).to.deep.equal(['OUTCOME_UNKNOWN unknown']);
    expect(sent).to.deep.equal(['young', 'never']);
  });

  it('[OB6] what is kept says when it was sent first; and no more once it certainly did not happen', () => {
    outbox.open();
    const from = time.now;
    void add('a');
    expect(kept.at(-1)).to.have.nested.property('[0].sentAt', from);
    time.pass(5);
    take('a').fail(errorOf('OUTCOME_UNKNOWN'));
    time.pass(RESEND_MS[1]);
    expect(kept.at(-1)).to.have.nested.property('[0].sentAt', from);
    take('a').answer();
    expect(kept.at(-1)).to.deep.equal([]);
    void add('b');
    take('b').fail(errorOf('UNAVAILABLE'));
    expect(kept.at(-1)![0]!.sentAt).to.equal(undefined);
  });

  it('[OB7] aborted before it was sent it is taken back; afterwards only the waiting ends', async () => {
    const [before, after] = [new AbortController(), new AbortController()];
    void add('a', after.signal);
    outbox.open();
    outbox.close();
    void add('b', before.signal);
    before.abort();
    after.abort();
    await settle();
    expect(outcomes.get('b')).to.deep.equal(['ABORTED not-committed']);
    expect(outcomes.get('a')).to.deep.equal(['ABORTED unknown']);
    expect(refused).to.deep.equal(['b']);
    expect(waiting()).to.deep.equal(['a']);
    outbox.open();
    take('a').answer();
    await settle();
    expect(acknowledged).to.deep.equal(['a']);
    expect(outcomes.get('a')).to.have.length(1);
  });

  it('[OB7] with a signal that is aborted already nothing is taken', async () => {
    outbox.open();
    void add('a', AbortSignal.abort());
    await settle();
    expect(outcomes.get('a')).to.deep.equal(['ABORTED not-committed']);
    expect([sent, waiting()]).to.deep.equal([[], []]);
  });

  it('[OB7] a signal that outlives its writes keeps none of them', async () => {
    const { signal } = new AbortController();
    let listening = 0;
    const add0 = signal.addEventListener.bind(signal);
    const remove0 = signal.removeEventListener.bind(signal);
    signal.addEventListener = ((...args: Parameters<typeof add0>) => ((listening += 1), add0(...args))) as never;
    signal.removeEventListener = ((...args: Parameters<typeof remove0>) => (
      (listening -= 1),
      remove0(...args)
    )) as never;
    outbox.open();
    for (let i = 0; i < 3; i += 1) {
      void add(`a${i}`, signal);
      take(`a${i}`).answer();
    }
    await settle();
    expect(listening).to.equal(0);
  });

  it('[OB8] a full outbox refuses with QUEUE_FULL, by number and by size, and takes again what fits', async () => {
    for (let i = 0; i < WRITES_MAX; i += 1) void add(`w${i}`);
    void add('more');
    await settle();
    expect(outcomes.get('more')).to.deep.equal(['QUEUE_FULL not-committed']);
    outbox.open();
    take('w0').answer();
    void add('fits');
    expect(waiting().at(-1)).to.equal('fits');
    for (const id of waiting()) outcomes.delete(id);
    outbox.fail(new ClientError('CLOSED'));
    const big = (updateId: string, chars: number) => write(updateId, { request: { text: 'x'.repeat(chars) } });
    void add(big('half', WRITES_CHARS_MAX / 2));
    void add(big('too much', WRITES_CHARS_MAX / 2));
    void add(big('small', 10));
    await settle();
    expect(outcomes.get('too much')).to.deep.equal(['QUEUE_FULL not-committed']);
    expect(waiting()).to.deep.equal(['half', 'small']);
  });

  it('[OB9] its end fails all: with the reason what was never sent, with OUTCOME_UNKNOWN what was', async () => {
    outbox.open();
    ['a', 'b'].forEach((id) => add(id));
    take('b').fail(errorOf('UNAVAILABLE'));
    outbox.close();
    void add('c');
    outbox.fail(new ClientError('CLOSED'));
    await settle();
    expect(Object.fromEntries(outcomes)).to.deep.equal({
      a: ['OUTCOME_UNKNOWN unknown'],
      b: ['CLOSED not-committed'],
      c: ['CLOSED not-committed'],
    });
    expect(waiting()).to.deep.equal([]);
    time.pass(RESEND_WITHIN_MS);
    expect(sent).to.have.length(2);
    expect(time.waiting).to.equal(0);
  });

  it('[OB9] the write that is known to be its end was done, once, answered or not', async () => {
    outbox.open();
    ['a', 'b'].forEach((id) => add(id));
    const late = take('b');
    outbox.fail(new ClientError('SESSION_NOT_FOUND'), { updateId: 'b' });
    late.answer();
    await settle();
    expect(acknowledged).to.deep.equal(['b']);
    expect(Object.fromEntries(outcomes)).to.deep.equal({ a: ['OUTCOME_UNKNOWN unknown'], b: ['ok'] });
  });

  it('[OB11] a write that a listener makes, whatever it was told of, is sent after those made before', () => {
    const before = ['first', 'second'];
    for (const id of before) void add(id);
    // At each change one more, until there are enough.
    let made = 0;
    heard = () => {
      if (made < 8) void add(`heard ${++made}`);
    };
    outbox.open();
    const inOrder = [...before, ...Array.from({ length: 8 }, (_, n) => `heard ${n + 1}`)];
    expect(sent).to.deep.equal(inOrder);
    heard = undefined;
    const refusals = onWay;
    heard = () => {
      heard = undefined;
      void add('behind the refusal');
    };
    refusals[0]!.fail(errorOf('UNAVAILABLE'));
    expect(sent, 'before the retry').to.deep.equal(inOrder);
    for (const one of refusals.slice(1)) one.fail(errorOf('UNAVAILABLE'));
    time.pass(RESEND_MS[1]);
    expect(sent.slice(inOrder.length)).to.deep.equal([...inOrder, 'behind the refusal']);
  });

  it('[OB10] whatever the server and the line do, writes are committed in their order, once each, and settle once', async () => {
    time.restore();
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 80, size: 'max' }), async (steps) => {
        const own = takeTime();
        try {
          await runSteps(steps, own);
        } finally {
          own.restore();
        }
      }),
      { numRuns: 150 },
    );
  });
});

// ---- A server that remembers ids and lets nothing overtake a retry --------------------------------------------------

const fates = [
  'ok',
  'lost',
  'UNAVAILABLE',
  'RATE_LIMITED',
  'OUTCOME_UNKNOWN',
  'committed OUTCOME_UNKNOWN',
  'FORBIDDEN',
] as const;
type Fate = (typeof fates)[number];
type Step = { do: 'add' | 'cut' | 'open' | 'pass' | 'abort' } | { do: 'serve'; fate: Fate };
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 10, arbitrary: fc.constant<Step>({ do: 'add' }) },
  { weight: 2, arbitrary: fc.constant<Step>({ do: 'cut' }) },
  { weight: 3, arbitrary: fc.constant<Step>({ do: 'open' }) },
  { weight: 6, arbitrary: fc.constant<Step>({ do: 'pass' }) },
  { weight: 1, arbitrary: fc.constant<Step>({ do: 'abort' }) },
  { weight: 8, arbitrary: fc.constant<Step>({ do: 'serve', fate: 'ok' }) },
  { weight: 6, arbitrary: fc.constantFrom(...fates).map((fate): Step => ({ do: 'serve', fate })) },
);

async function runSteps(steps: readonly Step[], time: ManualTime): Promise<void> {
  /** Requests of the line that is open, in the order in which they arrived. */
  let line: { updateId: string; answered: (error: ClientError | null, reply?: object) => void }[] = [];
  const committed: string[] = [];
  /** The server refuses what is behind a write that is to be retried, until that comes. */
  let barrier: string | undefined;
  const added: string[] = [];
  const ends = new Map<string, string[]>();
  const controllers: AbortController[] = [];
  const outbox = createOutbox({
    ask: (_event, request, answered) => line.push({ ...(request as { updateId: string }), answered }),
    changed: () => undefined,
    settled: () => undefined,
  });

  const commit = (updateId: string) => committed.includes(updateId) || committed.push(updateId);
  const serve = (wanted: Fate) => {
    const next = line.shift();
    if (!next) return;
    const { updateId, answered } = next;
    const isDuplicate = committed.includes(updateId);
    if (barrier !== undefined && barrier !== updateId) return answered(errorOf('UNAVAILABLE', 100));
    barrier = undefined;
    const fate = isDuplicate && wanted !== 'lost' ? 'ok' : wanted;
    if (fate === 'ok' || fate === 'lost' || fate.startsWith('committed')) commit(updateId);
    if (fate === 'lost') return cut();
    if (fate === 'ok') return answered(null, {});
    const code = fate.replace('committed ', '') as ErrorCode;
    if (code !== 'FORBIDDEN') barrier = updateId;
    answered(errorOf(code));
  };
  const cut = () => {
    outbox.close();
    const gone = line;
    line = [];
    barrier = undefined;
    for (const { answered } of gone) answered(noAnswer());
  };
  const perform = (one: Step) => {
    if (one.do === 'add') {
      const updateId = `w${added.length}`;
      const controller = new AbortController();
      const mine: string[] = [];
      added.push(updateId);
      controllers.push(controller);
      ends.set(updateId, mine);
      outbox.add(write(updateId), 2, controller.signal).then(
        () => mine.push('ok'),
        (error: { code: ClientErrorCode }) => mine.push(error.code),
      );
    } else if (one.do === 'serve') serve(one.fate);
    else if (one.do === 'cut') cut();
    else if (one.do === 'abort') controllers.at(-1)?.abort();
    else if (one.do === 'pass') time.pass(RESEND_MS[0]);
    else {
      cut();
      outbox.open();
    }
  };

  for (const one of steps) perform(one);
  perform({ do: 'open' });
  for (let rounds = 0; outbox.writes.length > 0; rounds += 1) {
    if (rounds > 1000) expect.fail(`${outbox.writes.length} writes never end`);
    while (line.length > 0) serve('ok');
    time.pass(RESEND_MS[1]);
  }
  await settle();
  const place = new Map(added.map((updateId, index) => [updateId, index]));
  expect(committed).to.deep.equal(committed.toSorted((a, b) => place.get(a)! - place.get(b)!));
  for (const [updateId, mine] of ends) {
    expect(mine, updateId).to.have.length(1);
    // Said to be done, it is; said to have failed for certain, it is not.
    if (mine[0] === 'ok') expect(committed).to.include(updateId);
    if (mine[0] === 'FORBIDDEN') expect(committed).to.not.include(updateId);
  }
}
