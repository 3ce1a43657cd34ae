// What counts as JSON here: checkJson against JSON.stringify itself, and equality.
import { expect } from 'chai';
import fc from 'fast-check';
import { checkJson, equalJson, POINTER_CHARACTERS_MAX } from '../../client-sdk/protocol/json.js';
import type { Json, JsonCheck } from '../../client-sdk/protocol/json.js';

const wide = { maxDepth: 1_000, maxBytes: 10_000_000 };

/** JSON values as they come off the wire, lone surrogates and control characters in keys and strings included. */
const wireJson = fc
  .jsonValue({ stringUnit: 'binary', maxDepth: 6 })
  .map((value) => JSON.parse(JSON.stringify(value)) as Json)
  .filter((value) => !/"(__proto__|constructor|prototype)"/.test(JSON.stringify(value)));
/** Any UTF-16, valid or not. */
const utf16 = fc
  .array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 30 })
  .map((units) => String.fromCharCode(...units));

function refusalOf(check: JsonCheck): Extract<JsonCheck, { ok: false }> {
  if (check.ok) throw new Error('was not refused');
  return check;
}

/** `depth` arrays, or objects with the key "a", in each other. */
function nested(depth: number, kind: 'array' | 'object'): unknown {
  let value: unknown = kind === 'array' ? [] : {};
  for (let level = 1; level < depth; level += 1) value = kind === 'array' ? [value] : { a: value };
  return value;
}

describe('json', () => {
  it('[J1] the size is what JSON.stringify would write, in UTF-8', () => {
    fc.assert(
      fc.property(wireJson, (value) => {
        expect(checkJson(value, wide)).to.deep.equal({ ok: true, bytes: Buffer.byteLength(JSON.stringify(value)) });
      }),
    );
    fc.assert(
      fc.property(utf16, utf16, fc.double({ noNaN: true, noDefaultInfinity: true }), (key, text, number) => {
        const value = { [`k${key}`]: [text, number, -0, true, false, null] };
        expect(checkJson(value, wide)).to.deep.equal({ ok: true, bytes: Buffer.byteLength(JSON.stringify(value)) });
      }),
    );
  });

  it('[J1] undefined members of objects count as absent', () => {
    const value = { a: undefined, b: 1, c: undefined, d: { e: undefined } };
    expect(checkJson(value, wide)).to.deep.equal({ ok: true, bytes: JSON.stringify(value).length });
  });

  it('[J2] exactly maxBytes passes, one byte less is TOO_LARGE', () => {
    fc.assert(
      fc.property(wireJson, (value) => {
        const bytes = Buffer.byteLength(JSON.stringify(value));
        expect(checkJson(value, { maxDepth: 100, maxBytes: bytes }).ok).to.equal(true);
        expect(refusalOf(checkJson(value, { maxDepth: 100, maxBytes: bytes - 1 })).code).to.equal('TOO_LARGE');
      }),
    );
  });

  it('[J2] says where the limit was crossed and looks no further', () => {
    const value = Object.defineProperty({ small: 1, list: ['x', 'y'.repeat(100)] }, 'later', {
      enumerable: true,
      get: () => expect.fail('was read'),
    });
    const refused = refusalOf(checkJson(value, { maxDepth: 9, maxBytes: 60 }));
    expect(refused).to.include({ code: 'TOO_LARGE', path: '/list/1' });
  });

  it('[J3] depth: a scalar is 0, {} and [] are 1, {"a":[]} is 2', () => {
    const deepest = (value: unknown): number => {
      let depth = 0;
      while (!checkJson(value, { maxDepth: depth, maxBytes: 1_000 }).ok) depth += 1;
      return depth;
    };
    expect([1, {}, [], { a: [] }, { a: 1, b: [{}] }].map(deepest)).to.deep.equal([0, 1, 1, 2, 3]);
    const refused = refusalOf(checkJson({ x: 1, 'a/b': [{ '~': {} }] }, { maxDepth: 3, maxBytes: 1_000 }));
    expect(refused).to.include({ code: 'INVALID_REQUEST', path: '/a~1b/0/~0' });
  });

  it('[J3] looks no deeper than it may', () => {
    const bottom = Object.defineProperty({}, 'deeper', { enumerable: true, get: () => expect.fail('was read') });
    let value: object = bottom;
    for (let level = 0; level < 40; level += 1) value = level % 2 === 0 ? [value] : { value };
    expect(refusalOf(checkJson(value, { maxDepth: 40, maxBytes: 1e9 })).code).to.equal('INVALID_REQUEST');
  });

  it('[J3] a million levels do not overflow, and the pointer in the refusal is short', () => {
    for (const kind of ['array', 'object'] as const) {
      const value = nested(1_000_000, kind);
      const refused = refusalOf(checkJson(value, { maxDepth: 999_999, maxBytes: 1e9 }));
      expect(refused.path).to.have.length(POINTER_CHARACTERS_MAX);
      expect(refused.path.endsWith('…')).to.equal(true);
    }
  });

  it('[J3] a value that contains itself is refused', () => {
    const loop: unknown[] = [];
    loop.push(loop);
    expect(refusalOf(checkJson(loop, wide)).code).to.equal('INVALID_REQUEST');
    expect(refusalOf(checkJson(loop, { maxDepth: Infinity, maxBytes: 1_000 })).code).to.equal('TOO_LARGE');
  });

  it('[J4] what JSON cannot hold is refused where it is', () => {
    class Own {
      a = 1;
    }
    const foreign: unknown[] = [
      undefined,
      () => 1,
      1n,
      Symbol('s'),
      NaN,
      Infinity,
      -Infinity,
      Buffer.from('a'),
      new Uint8Array(1),
      new ArrayBuffer(1),
      new DataView(new ArrayBuffer(1)),
      new Date(0),
      new Map(),
      new Set(),
      /a/,
      new Error('e'),
      new Own(),
      Promise.resolve(),
      new String('s'),
    ];
    for (const value of foreign) {
      expect(refusalOf(checkJson(value, wide))).to.include({ code: 'INVALID_REQUEST', path: '' });
      expect(refusalOf(checkJson({ a: [0, value] }, wide))).to.include({ code: 'INVALID_REQUEST', path: '/a/1' });
    }
    const sparse: unknown[] = [1];
    sparse[2] = 1;
    expect(refusalOf(checkJson(sparse, wide)).path).to.equal('/1');
    expect(refusalOf(checkJson(Object.assign([], { length: 4_000_000_000 }), wide)).path).to.equal('/0');
    expect(checkJson(Object.assign(Object.create(null), { a: 1 }), wide)).to.deep.equal({ ok: true, bytes: 7 });
  });

  it('[J5] the keys __proto__, constructor and prototype are refused at any depth', () => {
    for (const key of ['__proto__', 'constructor', 'prototype']) {
      for (const text of [`{"${key}":1}`, `{"a":[{"b":{"${key}":{"x":1}}}]}`]) {
        const refused = refusalOf(checkJson(JSON.parse(text), wide));
        expect(refused.code).to.equal('INVALID_REQUEST');
        expect(refused.path.endsWith(`/${key}`)).to.equal(true);
        expect(refused.message).to.include(key);
      }
      expect(checkJson({ [`${key}s`]: key }, wide).ok).to.equal(true);
    }
    expect(refusalOf(checkJson({ constructor: undefined }, wide)).path).to.equal('/constructor');
    expect(({} as { x?: unknown }).x).to.equal(undefined);
  });

  it('[J6] equality is that of the values, whatever the order of keys', () => {
    const reversed = (value: Json): Json => {
      if (Array.isArray(value)) return value.map(reversed);
      if (typeof value !== 'object' || value === null) return value;
      return Object.fromEntries(
        Object.entries(value)
          .reverse()
          .map(([key, member]) => [key, reversed(member)]),
      );
    };
    const sorted = (value: Json): string =>
      JSON.stringify(value, (_key, member: unknown) =>
        typeof member === 'object' && member !== null && !Array.isArray(member)
          ? Object.fromEntries(Object.entries(member).sort(([a], [b]) => (a < b ? -1 : 1)))
          : member,
      );
    fc.assert(
      fc.property(wireJson, wireJson, (a, b) => {
        expect(equalJson(a, reversed(a))).to.equal(true);
        expect(equalJson(a, b)).to.equal(sorted(a) === sorted(b));
        expect(equalJson([a, b], [b, a])).to.equal(equalJson(a, b));
      }),
    );
  });

  it('[J6] -0 is 0; inherited members are none; undefined members are absent', () => {
    expect(equalJson({ a: [-0] }, { a: [0] })).to.equal(true);
    expect(equalJson({ a: 1 }, { toString: 1 })).to.equal(false);
    expect(equalJson({ toString: 1 }, {})).to.equal(false);
    expect(equalJson({}, { hasOwnProperty: 1 })).to.equal(false);
    expect(equalJson([], {})).to.equal(false);
    expect(equalJson({ a: 1, b: undefined } as unknown as Json, { a: 1 })).to.equal(true);
    expect(equalJson({ a: 1 }, { a: 1, b: undefined } as unknown as Json)).to.equal(true);
  });
});
