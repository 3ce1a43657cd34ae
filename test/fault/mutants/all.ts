// Every mutant, and the invariant that has to find it.
import type { Change, Mutant } from '../../support/mutants.js';
import {
  commitsLost,
  feedTorn,
  locksLost,
  locksRemoved,
  readerAway,
  none,
  redisKilled,
  repliesLost,
  subscriptionLate,
} from './faults.js';

const commit = 'redis/scripts/commit.lua';
const read = 'redis/scripts/read.lua';
const queue = 'sync/update-queue.js';
const hub = 'sync/session-hub.js';

const guardsHeld = '-- Guards held: from here on only writes.\n';
/** Some commits fail before anything is written. */
const forcedError = `if mode == 'update' and redis.call('TIME')[2] % 10 == 0 then return redis.error_reply('ERR forced') end\n`;
const publishFirst = `
do
  local early, count = {}, tonumber(ARGV[cursor + 1])
  for i = 1, count do early[i] = ARGV[cursor + 1 + 3 * i] end
  if count > 0 then
    redis.call('SPUBLISH', KEYS[11], '{"epoch":"' .. epoch .. '","commits":[' .. table.concat(early, ',') .. ']}')
  end
end
`;

/** Nothing mends a room but what it hears. */
const noCheck: Change = { file: hub, find: 'void this.checkForEver();', replace: '' };

export const mutants: readonly Mutant[] = [
  {
    name: 'no revision check',
    changes: [{ file: commit, find: ' or at.revision ~= revision then', replace: ' then' }],
    fault: locksLost,
    finds: 'I7',
  },
  {
    name: "acknowledgement before Redis's reply",
    changes: [
      {
        file: queue,
        find: 'const answer = await this.store.commit({',
        replace:
          'todo.forEach((one, i) => this.settle(one, planned.outcomes[i]));\nconst answer = await this.store.commit({',
      },
    ],
    fault: commitsLost,
    finds: 'I2',
  },
  {
    name: 'publish before the write, which fails',
    changes: [{ file: commit, find: guardsHeld, replace: publishFirst + forcedError }],
    rightChanges: [{ file: commit, find: guardsHeld, replace: forcedError }],
    fault: none,
    finds: 'I4',
  },
  {
    name: 'the feed dropped without a revision check',
    changes: [
      {
        file: hub,
        find: 'if (commit.revision !== room.document.revision + 1 || commit.epoch',
        replace: 'if (commit.epoch',
      },
    ],
    fault: feedTorn,
    finds: 'I8',
  },
  {
    name: 'no updateId check',
    changes: [{ file: commit, find: 'if #duplicates > 1 then return duplicates end', replace: '' }],
    fault: repliesLost,
    finds: 'I3',
  },
  {
    name: 'delivery without ordering',
    changes: [
      { file: hub, find: '|| commit.revision <= room.document.revision)', replace: ')' },
      {
        file: hub,
        find: 'if (commit.revision !== room.document.revision + 1 || commit.epoch',
        replace: 'if (commit.epoch',
      },
    ],
    fault: feedTorn,
    finds: 'I8',
  },
  {
    name: 'a refill off by one',
    changes: [
      {
        file: read,
        find: 'local commits, nextId = {}, revision + 1',
        replace: 'local commits, nextId = {}, revision + 2',
      },
    ],
    fault: feedTorn,
    finds: 'I10',
  },
  {
    name: 'a resume off by one',
    changes: [
      {
        file: 'sync/room.js',
        find: 'let revision = cursor.revision + 1;',
        replace: 'let revision = cursor.revision + 2;',
      },
    ],
    fault: readerAway,
    finds: 'I9',
  },
  {
    name: 'epoch ignored',
    changes: [
      { file: hub, find: 'message.epoch !== document.epoch || message.replaced', replace: 'message.replaced' },
      { file: hub, find: ' || commit.epoch !== room.document.epoch) {', replace: ') {' },
      { file: hub, find: 'found.epoch !== document.epoch || ', replace: '' },
      { file: read, find: 'if ARGV[1] == at.epoch then', replace: "if ARGV[1] ~= '' then" },
    ],
    fault: redisKilled,
    finds: 'I8',
  },
  {
    name: 'an unknown outcome reported as certain',
    changes: [{ file: queue, find: "if (isCommitting && error.kind === 'no-answer') {", replace: 'if (false) {' }],
    fault: repliesLost,
    finds: 'I4',
  },
  {
    name: 'an event in the wrong room',
    changes: [
      {
        file: 'api/socket.js',
        find: 'this.namespaces.emit([roomOf(sessionId, audience)], event, body);',
        replace: `const to = Math.random() < 0.02 ? (this.last ?? sessionId) : sessionId;
        this.last = sessionId;
        this.namespaces.emit([roomOf(to, audience)], event, body);`,
      },
    ],
    fault: none,
    finds: 'I11',
  },
  {
    name: 'snapshot read before subscribing at a join',
    changes: [
      noCheck,
      {
        file: hub,
        find: 'room.subscribed = this.feed.subscribe(sessionId, room.listener);',
        replace: `room.first = this.refresh(room, 'join').catch(() => undefined);
        room.subscribed = room.first.then(() => this.feed.subscribe(sessionId, room.listener));`,
      },
      {
        file: hub,
        find: 'const isNew = room.document === null;',
        replace: 'const isNew = room.first !== undefined; room.first = undefined;',
      },
      { file: hub, find: "if (isNew)\n                await this.refresh(room, 'join');", replace: '' },
    ],
    rightChanges: [noCheck],
    fault: subscriptionLate,
    finds: 'I10',
  },
  {
    name: 'a failed lock release fails the write',
    changes: [
      {
        file: 'redis/lease.js',
        find: 'const released = lock.release().catch(',
        replace: 'const releasing = lock.release();\nconst released = releasing.catch(',
      },
      {
        file: 'redis/lease.js',
        find: 'this.releasing.add(released);',
        replace: 'this.releasing.add(released);\nthis.last = releasing;',
      },
      {
        file: queue,
        find: 'if (answer.wanted || lane.wanted)\n                    lane.giveWay();',
        replace: `if (answer.wanted || lane.wanted) {
                    lane.giveWay();
                    await this.options.leases.last?.catch((cause) => {
                        throw new RedisFailure('refused', 'the lock was not released', cause);
                    });
                }`,
      },
    ],
    fault: locksRemoved,
    finds: 'I4',
  },
];
