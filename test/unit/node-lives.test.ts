// Which nodes live, by a clock and a Redis that are played by hand: what no real one does in a given order.
import { expect } from 'chai';
import { pino } from 'pino';
import type { PresenceStore } from '../../server/redis/presence-store.js';
import { NodeLives } from '../../server/sync/node-lives.js';
import { realTime } from '../../server/time.js';
import { takeTime, type ManualTime } from '../support/manual-time.js';

/** How often a node looks, milliseconds. */
const LOOK_MS = 1000;
/** Looks after which a node believes what it sees. */
const STEADY_LOOKS = 7;

/** Lets everything go on that waits for nothing but answers that are there. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

describe('which nodes live', () => {
  let time: ManualTime;
  let lives: NodeLives;
  let logged: string[];
  /** Whether Redis answers when a node says that it lives. */
  let isAnswering: boolean;
  /** What is asked about nodes by somebody who opens a session. */
  let asked: { ids: readonly string[]; answer: (missing: string[]) => void; fail: (error: Error) => void }[];

  beforeEach(async () => {
    time = takeTime();
    logged = [];
    asked = [];
    isAnswering = true;
    const keepAlive = () => (isAnswering ? Promise.resolve(true) : new Promise<boolean>(() => undefined));
    const missing = (ids: readonly string[]) =>
      ids.length === 0
        ? Promise.resolve([])
        : new Promise<string[]>((answer, fail) => void asked.push({ ids, answer, fail }));
    lives = new NodeLives({
      store: { keepAlive, missing } as unknown as PresenceStore,
      nodeId: 'this',
      others: () => [],
      onLapsed: () => undefined,
      onGone: () => undefined,
      onLook: () => undefined,
      logger: pino({ level: 'debug' }, { write: (line: string) => void logged.push(line) }),
      time: realTime,
    });
    for (let look = 0; look < STEADY_LOOKS; look += 1) {
      await settled();
      time.pass(LOOK_MS);
    }
    await settled();
  });
  afterEach(() => {
    lives.stop();
    time.restore();
  });

  it('[PR34] a node that Redis does not know is gone', async () => {
    const gone = lives.goneOf(['this', 'other', 'third']);
    expect(asked[0]?.ids).to.deep.equal(['other', 'third']);
    asked[0]?.answer(['other']);
    expect([...(await gone)]).to.deep.equal(['other']);
  });

  it('[PR35] an answer that comes when the last look is too old takes nobody for gone', async () => {
    const gone = lives.goneOf(['other']);
    expect(asked).to.have.length(1);
    isAnswering = false;
    time.pass(3 * LOOK_MS);
    asked[0]?.answer(['other']);
    expect([...(await gone)]).to.deep.equal([]);
  });

  it('[PR35] what Redis does not answer takes nobody for gone, and is logged', async () => {
    const gone = lives.goneOf(['other']);
    asked[0]?.fail(new Error('no answer'));
    expect([...(await gone)]).to.deep.equal([]);
    expect(logged.join('')).to.contain('which nodes live is not known').and.to.contain('no answer');
  });
});
