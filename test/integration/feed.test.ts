// The feed may lose, double and swap what it says, and be cut: no reader is left behind or misled.
import { expect } from 'chai';
import { startAttune } from '../support/attune.js';
import { isRunning } from '../support/child.js';
import { farAndNear, isPublication, MENDED_MS, reached, updateN } from '../support/far-and-near.js';
import { range } from '../support/range.js';
import { expectOrderly, expectSoundLog, keysOf, metric, readLog } from '../support/session-log.js';
import { freshId, type Wire } from '../support/shapes.js';
import { connect } from '../support/socket.js';
import { until } from '../support/until.js';
import { acknowledgements, startWriter } from '../support/writer.js';

describe('the feed under faults', () => {
  const nodes = farAndNear();
  const { hold, joined, opened } = nodes;

  it('[T11] a join that made a session which is gone again is OUTCOME_UNKNOWN with the id of the update', async () => {
    const [joiner, other] = [await connect(nodes.far.url), await connect(nodes.near.url)];
    for (const own of [undefined, 'mine']) {
      const sessionId = freshId('f');
      const held = nodes.proxy.hold('attune-feed', 'toRedis');
      const joining = joiner.refused('session:join', { sessionId, create: true, updateId: own }, 'OUTCOME_UNKNOWN');
      await until(async () => (await other.call('session:delete', { sessionId })).ok, { what: 'the deletion' });
      held.release();
      const { updateId } = (await joining).details;
      expect(updateId).to.be.a('string').with.length.above(0);
      if (own !== undefined) expect(updateId).to.equal(own);
      const again = await joiner.ok('session:open', { sessionId, updateId });
      expect(again).to.include({ duplicate: true, created: true });
    }
  });

  describe('that loses messages', () => {
    it('[F1] a publication that is lost, with none after it, is delivered once by the next check', async () => {
      const { socket: writer, sessionId } = await opened();
      const observer = await joined(nodes.far, sessionId);
      await updateN(writer, sessionId, 1);
      await reached(observer.socket, sessionId, 2);
      let dropped = 0;
      nodes.proxy.frames('attune-feed', (frame) => {
        if (!isPublication(frame)) return [frame];
        dropped += 1;
        return [];
      });
      const before = await metric(nodes.far.url, 'attune_feed_repairs_total', 'cause="check"');
      await updateN(writer, sessionId, 2);
      await until(() => dropped === 1, { what: 'the loss' });
      await reached(observer.socket, sessionId, 3);
      nodes.proxy.frames('attune-feed', undefined);
      expect(await metric(nodes.far.url, 'attune_feed_repairs_total', 'cause="check"')).to.be.at.least(before + 1);
      await updateN(writer, sessionId, 3);
      await reached(observer.socket, sessionId, 4);
      const seen = expectOrderly(observer.socket, observer.from, await readLog(nodes.direct, sessionId));
      expect(seen).to.deep.include({ commits: 3, snapshots: [] });
    });

    it('[F2] a fifth of the publications lost, a fifth doubled, a fifth late: each observer sees every revision once, in order', async function () {
      this.timeout(30_000);
      const { sessionId } = await opened();
      const observers = [
        await joined(nodes.far, sessionId),
        await joined(nodes.far, sessionId, { body: 'delta' }),
        await joined(nodes.near, sessionId),
      ];
      const latest = await joined(nodes.far, sessionId, { delivery: 'latest' });
      const did = { lost: 0, doubled: 0, late: 0 };
      let kept: Buffer | undefined;
      let count = 0;
      nodes.proxy.frames('attune-feed', (frame) => {
        if (!isPublication(frame)) return [frame];
        count += 1;
        const after = kept ? [Buffer.from(kept)] : [];
        kept = undefined;
        if (count % 5 === 0) did.lost += 1;
        if (count % 5 === 0) return after;
        if (count % 5 === 2) did.doubled += 1;
        if (count % 5 === 2) return [frame, frame, ...after];
        if (count % 5 !== 3) return [frame, ...after];
        did.late += 1;
        kept = Buffer.from(frame);
        return after;
      });
      const writers = range(1, 4).map((n) => startWriter({ name: `w${n}`, sessionId, url: () => nodes.near.url }));
      await acknowledgements(writers, 500);
      await Promise.all(writers.map((writer) => writer.stop()));
      const log = await readLog(nodes.direct, sessionId);
      expectSoundLog(log);
      for (const { socket } of [...observers, latest]) await reached(socket, sessionId, log.length);
      for (const [name, times] of Object.entries(did)) expect(times, name).to.be.at.least(10);
      for (const { socket, from } of [observers[0]!, observers[2]!]) {
        const seen = expectOrderly(socket, from, log);
        const settings = log.findLast(({ body }) => body.settings)?.body.settings;
        expect(seen).to.deep.include({ commits: log.length - 1, snapshots: [], settings });
      }
      const revisions = observers[1]!.socket.events.map(({ body }) => body.revision);
      expect(revisions, 'with deltas').to.deep.equal(range(2, log.length));
      expect(expectOrderly(latest.socket, latest.from, log, { latest: true }).revision).to.equal(log.length);
    });

    it('[F3] the feed cut again and again while 500 updates are written: each revision once, in order, or a snapshot', async function () {
      this.timeout(30_000);
      const { sessionId } = await opened();
      const observers = await Promise.all([
        joined(nodes.far, sessionId),
        joined(nodes.far, sessionId),
        joined(nodes.near, sessionId),
      ]);
      const writers = range(1, 2).map((n) => startWriter({ name: `w${n}`, sessionId, url: () => nodes.near.url }));
      let cuts = 0;
      let enough = false;
      const cutting = (async () => {
        while (!enough) {
          // As soon as it is back and has heard something.
          const had = observers[0].socket.events.length;
          await until(() => enough || observers[0].socket.events.length > had, { deadlineMs: MENDED_MS, what: 'news' });
          if (!enough && (await until(() => enough || nodes.proxy.cut('attune-feed')))) cuts += 1;
        }
      })();
      await acknowledgements(writers, 500, 20_000);
      await until(() => cuts >= 8, { deadlineMs: 15_000, what: 'eight cuts' });
      enough = true;
      await cutting;
      await Promise.all(writers.map((writer) => writer.stop()));
      const log = await readLog(nodes.direct, sessionId);
      expectSoundLog(log);
      for (const { socket, from } of observers) {
        await reached(socket, sessionId, log.length);
        const seen = expectOrderly(socket, from, log);
        expect(seen).to.include({ revision: log.length, rolledBack: 0 });
        expect(seen.settings).to.deep.equal(log.findLast(({ body }) => body.settings)?.body.settings);
      }
      expect(await metric(nodes.far.url, 'attune_feed_repairs_total', 'cause="reconnected"')).to.be.at.least(1);
    });

    it('[F4] what the log does not hold any more when a room was cut off from the feed is a snapshot, reason gap', async () => {
      const small = await startAttune({ redisUrl: nodes.redis.url, env: { LOG_COMMITS_MAX: '10' } });
      try {
        const writer = await connect(small.url);
        const { session } = await writer.ok('session:open', { sessionId: freshId('f') });
        const observer = await joined(nodes.far, session.id);
        nodes.proxy.frames('attune-feed', (frame) => (isPublication(frame) ? [] : [frame]));
        await Promise.all(range(1, 60).map((n) => updateN(writer, session.id, n)));
        const told = await observer.socket.next('session:snapshot', undefined, MENDED_MS);
        nodes.proxy.frames('attune-feed', undefined);
        expect(told.reason).to.equal('gap');
        await updateN(writer, session.id, 61);
        await reached(observer.socket, session.id, 62);
        const kept = await readLog(nodes.direct, session.id);
        expect(kept.map(({ revision }) => revision)).to.deep.equal(range(53, 62));
        const { epoch } = session;
        const resume = (revision: number) =>
          observer.socket.ok('session:join', { sessionId: session.id, cursor: { epoch, revision } });
        const reached52 = await resume(52);
        expect(reached52).to.include({ resumed: true, revision: 62 });
        expect(reached52.commits.map(({ revision }: Wire) => revision)).to.deep.equal(range(53, 62));
        const trimmed = await resume(51);
        expect(trimmed.resumed).to.equal(undefined);
        expect(trimmed.session.revision).to.equal(62);
      } finally {
        await small.destroy();
      }
    });

    it('[V2] the feed cut while it subscribes again, over and over: the server lives and no observer misses a revision', async () => {
      const { sessionId } = await opened(nodes.near);
      const observers = [
        await joined(nodes.near, sessionId),
        await joined(nodes.near, sessionId),
        await joined(nodes.far, sessionId),
      ];
      const { socket: crowd } = await joined(nodes.near, sessionId);
      await Promise.all(range(1, 400).map(() => crowd.ok('session:join', { sessionId: freshId('v'), create: true })));
      const writer = startWriter({ name: 'w', sessionId, url: () => nodes.near.url, settingsOnly: true });
      await acknowledgements([writer], 20);
      // Whoever subscribes is cut at once: also between two channels of the same 400.
      let kills = 0;
      const endsAt = performance.now() + 1500;
      while (performance.now() < endsAt && isRunning(nodes.near.process)) {
        kills += Number(await nodes.direct.call('CLIENT', 'KILL', 'TYPE', 'pubsub'));
      }
      expect(isRunning(nodes.near.process), `the server ended:\n${nodes.near.stderr()}`).to.equal(true);
      expect(kills).to.be.at.least(10);
      await acknowledgements([writer], 20);
      await writer.stop();
      const log = await readLog(nodes.direct, sessionId);
      expectSoundLog(log);
      for (const { socket, from } of observers) {
        await reached(socket, sessionId, log.length);
        expect(expectOrderly(socket, from, log)).to.include({ revision: log.length, rolledBack: 0 });
      }
    });

    it('[V2] a feed whose subscriptions Redis refused for a time is subscribed again soon after', async () => {
      const { sessionId } = await opened(nodes.near);
      await joined(nodes.near, sessionId);
      const { channel } = keysOf(sessionId);
      const subscribed = async () =>
        ((await nodes.direct.call('PUBSUB', 'SHARDCHANNELS')) as string[]).includes(channel);
      expect(await subscribed()).to.equal(true);
      const refusals = async () =>
        Number(/cmdstat_ssubscribe:.*rejected_calls=(\d+)/.exec(await nodes.direct.info('commandstats'))?.[1]);
      const before = await refusals();
      await nodes.direct.call('ACL', 'SETUSER', 'default', 'resetchannels');
      try {
        await until(async () => (await refusals()) > before, { what: 'a refused subscription' });
      } finally {
        await nodes.direct.call('ACL', 'SETUSER', 'default', 'allchannels');
      }
      await until(subscribed, { what: 'the subscription' });
    });
  });

  it('[V6] a join asked for after a deletion and a new creation were acknowledged finds the session', async () => {
    const { socket: writer, sessionId } = await opened(nodes.near);
    const [early, late] = [await joined(nodes.far, sessionId), await joined(nodes.far, sessionId)];
    for (const _ of range(1, 10)) {
      // The read of a join is answered as of before, the deletion is heard, and then somebody else joins.
      const reads = hold('attune-data', 'fromRedis');
      const news = hold('attune-feed', 'fromRedis');
      const first = early.socket.call('session:join', { sessionId });
      await until(() => reads.bytes().includes('SAME'), { what: 'the read', everyMs: 2 });
      await writer.ok('session:delete', { sessionId });
      const { session } = await writer.ok('session:open', { sessionId });
      await until(() => news.bytes().includes('session:deleted'), { what: 'the news', everyMs: 2 });
      const second = late.socket.call('session:join', { sessionId });
      news.release();
      // Its refusal says that the server has taken what was sent to it before.
      await late.socket.refused('no:such:event', {}, 'INVALID_REQUEST');
      reads.release();
      for (const ack of await Promise.all([second, first])) {
        expect(ack.error).to.equal(undefined);
        expect(ack.session).to.deep.include({ epoch: session.epoch, revision: 1 });
      }
    }
  });

  it('[F12] a join or a resume right after an acknowledgement is not older than it, though the feed loses everything', async () => {
    const { socket: writer, sessionId } = await opened();
    const { socket: reader } = await joined(nodes.far, sessionId);
    // Another reader, so that the room stays.
    await joined(nodes.far, sessionId);
    nodes.proxy.frames('attune-feed', (frame) => (isPublication(frame) ? [] : [frame]));
    for (const n of range(1, 100)) {
      const { epoch, revision } = await updateN(writer, sessionId, n);
      if (n % 2 === 0) {
        const { session } = await reader.ok('session:join', { sessionId });
        expect(session).to.deep.include({ epoch, revision });
        expect(session.settings.n).to.equal(n);
      } else {
        const cursor = { epoch, revision: Math.max(1, revision - 3) };
        const resumed = await reader.ok('session:join', { sessionId, cursor });
        const expected = range(cursor.revision + 1, revision);
        expect(resumed).to.include({ resumed: true, revision });
        expect(resumed.commits.map((commit: Wire) => commit.revision)).to.deep.equal(expected);
      }
    }
  });
});
