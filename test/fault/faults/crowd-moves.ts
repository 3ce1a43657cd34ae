// The fault of a node that takes half of a crowd with it: O3.
import { startCrowd } from '../../support/crowd.js';
import { timed, type Fault } from '../../support/fault-run.js';
import { connect } from '../../support/socket.js';
import { until } from '../../support/until.js';

/** Sockets over two nodes, and the sessions that they are in. */
const CROWD = 10_000;
const SHORT_CROWD = 600;
const CROWD_SESSIONS = 200;
/** All are back within so long, and a writer is answered within so long meanwhile, milliseconds. */
const BACK_MS = 60_000;
const WRITER_P99_MS = 1000;

export const crowdMoves: Fault = {
  id: 'O3',
  title: 'a node with half of 10,000 sockets is killed',
  async inject(world) {
    const [stays, killed, ...others] = world.nodes;
    for (const other of others) other.takesClients = false;
    const opener = await connect(stays!.attune.url);
    const sessionIds = Array.from({ length: CROWD_SESSIONS }, (_, n) => `crowd${n}`);
    for (const sessionId of sessionIds) await opener.ok('session:open', { sessionId });
    opener.close();
    const count = world.size.isShort ? SHORT_CROWD : CROWD;
    const crowd = await startCrowd(count, sessionIds, world.urls);
    const from = performance.now();
    const killedAt = process.hrtime.bigint();
    await killed!.kill();
    await until(() => crowd.inside <= count / 2 + 1, { deadlineMs: BACK_MS, everyMs: 1, what: 'the loss of a half' });
    await until(() => crowd.inside === count, { deadlineMs: 2 * BACK_MS, what: 'the return of all' });
    const backMs = performance.now() - from;
    const backAt = process.hrtime.bigint();
    return {
      async heal() {
        await crowd.close();
        await killed!.start();
        for (const other of others) other.takesClients = true;
      },
      effect: () => count / 2,
      counted: 'sockets that came back',
      beside: ({ answers }) => {
        const times = answers
          .filter(({ end, updateId }) => end === 'ok' && updateId !== undefined)
          .filter(({ invokedAt, endedAt }) => endedAt > killedAt && invokedAt < backAt)
          .map(({ tookMs }) => tookMs)
          .sort((a, b) => a - b);
        return [
          timed('all back after ms', backMs, BACK_MS),
          timed(
            `p99 of ${times.length} writes meanwhile ms`,
            times[Math.floor(times.length * 0.99)] ?? 0,
            WRITER_P99_MS,
          ),
        ];
      },
    };
  },
};
