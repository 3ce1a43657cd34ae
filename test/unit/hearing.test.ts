// What a client has heard, over a connection that is played by hand.
import { EventEmitter } from 'node:events';
import { expect } from 'chai';
import { Hearing } from '../../server/api/hearing.js';

/** A connection of engine.io as far as Hearing sees it. */
class Line extends EventEmitter {
  pings = 0;

  sendPacket(type: 'ping'): void {
    this.emit('packetCreate', { type });
    this.pings += 1;
  }

  /** What came in the same read has been handed out when it resolves. */
  async pong(): Promise<void> {
    this.emit('packet', { type: 'pong' });
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe('what a client has heard', () => {
  let line: Line;
  let hearing: Hearing;
  beforeEach(() => {
    line = new Line();
    hearing = new Hearing(line);
  });
  const refused = (): object => {
    const refusal = {};
    hearing.sent(refusal);
    return refusal;
  };

  it('[Q14] a refusal is heard with the PONG of the PING behind it, and what was not sent is not heard', async () => {
    const refusal = refused();
    expect(line.pings).to.equal(1);
    expect(hearing.has(refusal)).to.equal(false);
    line.emit('packet', { type: 'message' });
    expect(hearing.has(refusal)).to.equal(false);
    await line.pong();
    expect(hearing.has(refusal)).to.equal(true);
    expect(hearing.has({})).to.equal(false);
  });

  it('[Q14] what came before the PONG in the same read is not taken for heard, though it is handed out later', async () => {
    const refusal = refused();
    const pong = line.pong();
    await new Promise<void>((resolve) => process.nextTick(() => process.nextTick(resolve)));
    expect(hearing.has(refusal)).to.equal(false);
    await pong;
    expect(hearing.has(refusal)).to.equal(true);
  });

  it('[Q14] many refusals are one PING, and one more for those that came while it was on its way', async () => {
    const first = refused();
    const later = Array.from({ length: 100 }, refused);
    expect(line.pings).to.equal(1);
    await line.pong();
    expect(line.pings).to.equal(2);
    expect([first, ...later].filter((one) => hearing.has(one))).to.deep.equal([first]);
    await line.pong();
    expect(later.every((one) => hearing.has(one))).to.equal(true);
    expect(line.pings).to.equal(2);
  });

  it('[Q14] a PING of the heartbeat counts where it follows, and not where it went before', async () => {
    line.sendPacket('ping');
    const behind = refused();
    expect(line.pings).to.equal(1);
    line.sendPacket('ping');
    const last = refused();
    await line.pong();
    expect(hearing.has(behind)).to.equal(false);
    await line.pong();
    expect(hearing.has(behind)).to.equal(true);
    expect(hearing.has(last)).to.equal(false);
    expect(line.pings).to.equal(3);
    await line.pong();
    expect(hearing.has(last)).to.equal(true);
  });

  it('[Q14] PONGs that answer nothing say nothing of what comes', async () => {
    await line.pong();
    await line.pong();
    const refusal = refused();
    expect(hearing.has(refusal)).to.equal(false);
    await line.pong();
    expect(hearing.has(refusal)).to.equal(true);
  });
});
