// What is handed over is copied as JSON has it, and refused where JSON cannot say it.
import { expect } from 'chai';
import { ClientError } from '../../client-sdk/client-error.js';
import { BODY_BYTES_MAX, jsonOf } from '../../client-sdk/json-copy.js';

const failureOf = (value: unknown): unknown => {
  try {
    jsonOf(value);
  } catch (error) {
    return error;
  }
  return undefined;
};

describe('a copy as JSON has it', () => {
  it('[JC6] is the value, whatever is done to that afterwards, and tells its length', () => {
    const given = { model: 'm', options: { tags: ['a', null, 1.5, true] }, none: undefined, at: new Date(0) };
    const [copy, chars] = jsonOf<unknown>(given);
    given.options.tags.push('b');
    const text = '{"model":"m","options":{"tags":["a",null,1.5,true]},"at":"1970-01-01T00:00:00.000Z"}';
    expect(JSON.stringify(copy)).to.equal(text);
    expect(chars).to.equal(text.length);
  });

  it('[JC7] is refused where something in it would be lost, or remove a setting', () => {
    class Tagged {
      readonly [Symbol.toStringTag] = 'Tagged';
    }
    const bad: unknown[] = [NaN, Infinity, () => 1, Promise.resolve({}), new Map(), new Set(), Symbol('s'), 1n];
    bad.push(/x/, new Error('x'), new Uint8Array(1), new ArrayBuffer(1), new Tagged());
    for (const value of bad) {
      for (const [where, holder] of [
        ['deep', { options: { deep: [{ deep: value }] } }],
        ['', value],
      ] as const) {
        const failure = failureOf(holder);
        expect(failure, typeof value).to.be.instanceOf(ClientError);
        expect(failure).to.include({ code: 'INVALID_REQUEST', outcome: 'not-committed' });
        expect((failure as Error).message).to.equal(`${where} is no JSON`);
      }
    }
    const cycle: Record<string, unknown> = {};
    cycle.self = cycle;
    expect(failureOf(cycle)).to.be.instanceOf(TypeError);
    expect(failureOf(undefined)).to.be.instanceOf(Error);
  });

  it('[JC8] is refused above what one packet may hold, in bytes', () => {
    expect(failureOf('x'.repeat(BODY_BYTES_MAX - 2))).to.equal(undefined);
    expect(failureOf('x'.repeat(BODY_BYTES_MAX - 1))).to.include({ code: 'TOO_LARGE' });
    expect(failureOf('é'.repeat(BODY_BYTES_MAX / 2))).to.include({ code: 'TOO_LARGE' });
  });
});
