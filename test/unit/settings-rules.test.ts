// Merge, patch, defaults and differences of settings, against naive references and their own inverses.
import { expect } from 'chai';
import fc from 'fast-check';
import { checkJson, equalJson } from '../../client-sdk/protocol/json.js';
import type { Json, JsonObject } from '../../client-sdk/protocol/json.js';
import { JSON_DEPTH_MAX } from '../../client-sdk/protocol/limits.js';
import {
  applyJsonPatch,
  changedPaths,
  deltaOf,
  mergePatch,
  overlay,
  PATCH_OPERATIONS_MAX,
  PATCH_WRITTEN_BYTES_MAX,
  valueAt,
} from '../../server/session/settings-rules.js';

/** Few keys, so that two documents meet in them; among them those that pointers escape and that objects inherit. */
const key = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.constantFrom('a', 'b', 'options', '0', '', 'a/b', 'm~n', '~1', '-', 'toString', 'hasOwnProperty'),
  },
  {
    weight: 1,
    arbitrary: fc.string({ maxLength: 4 }).filter((text) => !['__proto__', 'constructor', 'prototype'].includes(text)),
  },
);
const { document } = fc.letrec<{ json: Json; document: JsonObject }>((tie) => ({
  json: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    fc.constantFrom<Json>(null, true, 0, 0.7, 'x', ''),
    fc.array(tie('json'), { maxLength: 3 }),
    tie('document'),
  ),
  document: fc.dictionary(key, tie('json'), { maxKeys: 5, noNullPrototype: true }),
}));

const copy = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;

/** RFC 7396, section 2, word for word. */
function mergeAsWritten(target: unknown, patch: unknown): unknown {
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) return patch;
  const result: Record<string, unknown> =
    typeof target === 'object' && target !== null && !Array.isArray(target) ? (target as Record<string, unknown>) : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete result[name];
    else result[name] = mergeAsWritten(Object.hasOwn(result, name) ? result[name] : undefined, value);
  }
  return result;
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    Object.freeze(value);
    Object.values(value).forEach(deepFreeze);
  }
  return value;
}

function patched(target: JsonObject, operations: unknown): JsonObject {
  const result = applyJsonPatch(target, operations);
  if (!result.ok) throw new Error(result.message);
  return result.settings;
}

function refused(target: JsonObject, operations: unknown): { code: string; message: string; index?: number } {
  const before = JSON.stringify(target);
  const result = applyJsonPatch(target, operations);
  if (result.ok) throw new Error(`was not refused: ${JSON.stringify(result.settings)}`);
  expect(JSON.stringify(target)).to.equal(before);
  return result;
}

describe('settings rules', () => {
  const cleanNames = Object.getOwnPropertyNames(Object.prototype);

  afterEach('Object.prototype is clean', () => {
    const keys: string[] = [];
    for (const name in {}) keys.push(name);
    expect(keys).to.deep.equal([]);
    expect(Object.getOwnPropertyNames(Object.prototype)).to.deep.equal(cleanNames);
    expect(Object.keys(Object.prototype)).to.deep.equal([]);
  });

  it('[S1] a merge is RFC 7396, and changes neither of its inputs', () => {
    fc.assert(
      fc.property(document, document, (target, patch) => {
        const expected = mergeAsWritten(copy(target), copy(patch));
        expect(mergePatch(deepFreeze(target), deepFreeze(patch))).to.deep.equal(expected);
      }),
    );
  });

  it('[S1] the examples of RFC 7396 that have an object as patch', () => {
    const examples: [JsonObject, JsonObject, JsonObject][] = [
      [{ a: 'b' }, { a: 'c' }, { a: 'c' }],
      [{ a: 'b' }, { b: 'c' }, { a: 'b', b: 'c' }],
      [{ a: 'b' }, { a: null }, {}],
      [{ a: 'b', b: 'c' }, { a: null }, { b: 'c' }],
      [{ a: ['b'] }, { a: 'c' }, { a: 'c' }],
      [{ a: 'c' }, { a: ['b'] }, { a: ['b'] }],
      [{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
      [{ a: [{ b: 'c' }] }, { a: [1] }, { a: [1] }],
      [{ e: null }, { a: 1 }, { e: null, a: 1 }],
      [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
    ];
    for (const [target, patch, expected] of examples) expect(mergePatch(target, patch)).to.deep.equal(expected);
  });

  it('[S2] a merge keeps what it does not touch, and the whole when nothing changes', () => {
    const target = { options: { stop: ['a'], deep: { x: 1 } }, other: { y: 1 } };
    const merged = mergePatch(target, { options: { stop: ['b'] } });
    expect(merged['other']).to.equal(target.other);
    expect((merged['options'] as JsonObject)['deep']).to.equal(target.options.deep);
    expect(mergePatch(target, { options: { stop: ['a'], none: null }, other: {} })).to.equal(target);
    fc.assert(
      fc.property(document, document, (before, patch) => {
        const after = mergePatch(before, patch);
        expect(after === before).to.equal(equalJson(after, before));
        expect(mergePatch(after, patch)).to.equal(after);
      }),
    );
  });

  it('[S3] no merge, overlay or patch reaches a prototype', () => {
    const evil = JSON.parse(
      '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"a":{"__proto__":{"polluted":1}}}',
    ) as JsonObject;
    for (const result of [mergePatch({ a: { b: 1 } }, evil), overlay({ a: { b: 1 } }, evil)]) {
      expect(Object.getPrototypeOf(result)).to.equal(Object.prototype);
      expect(Object.getPrototypeOf(result['a'])).to.equal(Object.prototype);
      expect((result as { polluted?: unknown }).polluted).to.equal(undefined);
    }
    for (const path of [
      '/__proto__/polluted',
      '/constructor/prototype/polluted',
      '/a/prototype',
      '/a/constructor',
      '/a/__proto__',
    ]) {
      expect(refused({ a: {} }, [{ op: 'add', path, value: 1 }]).message).to.include('not allowed');
      expect(refused({ a: {} }, [{ op: 'copy', from: path, path: '/b' }]).message).to.include('not allowed');
    }
    expect(refused({ a: {} }, [{ op: 'add', path: '/a', value: evil }]).message).to.include('not allowed');
    for (const name of ['toString', 'hasOwnProperty', 'valueOf']) {
      for (const op of ['remove', 'replace', 'test']) {
        expect(refused({}, [{ op, path: `/${name}`, value: 1 }]).message).to.include('nothing at');
      }
      expect(refused({}, [{ op: 'add', path: `/${name}/x`, value: 1 }]).index).to.equal(0);
      expect(patched({}, [{ op: 'add', path: `/${name}`, value: 1 }])).to.deep.equal({ [name]: 1 });
    }
  });

  it('[S4] a patch is RFC 6902: each operation, arrays and escapes', () => {
    const target = deepFreeze({ a: { b: 1 }, list: [1, 2, 3], 'x/y': { 'm~n': 0 }, hasOwnProperty: 1 });
    const cases: [unknown[], JsonObject][] = [
      [[], { ...target }],
      [[{ op: 'add', path: '/a/c', value: null }], { ...target, a: { b: 1, c: null } }],
      [[{ op: 'add', path: '/list/1', value: 9 }], { ...target, list: [1, 9, 2, 3] }],
      [[{ op: 'add', path: '/list/3', value: 9 }], { ...target, list: [1, 2, 3, 9] }],
      [[{ op: 'add', path: '/list/-', value: [] }], { ...target, list: [1, 2, 3, []] }],
      [[{ op: 'remove', path: '/list/0' }], { ...target, list: [2, 3] }],
      [[{ op: 'replace', path: '/x~1y/m~0n', value: 5 }], { ...target, 'x/y': { 'm~n': 5 } }],
      [[{ op: 'move', from: '/list/0', path: '/list/2' }], { ...target, list: [2, 3, 1] }],
      [[{ op: 'move', from: '/a/b', path: '/a' }], { ...target, a: 1 }],
      [[{ op: 'move', from: '/a', path: '/a' }], { ...target }],
      [[{ op: 'copy', from: '/a', path: '/list/-' }], { ...target, list: [1, 2, 3, { b: 1 }] }],
      [[{ op: 'test', path: '/a', value: { b: 1 } }], { ...target }],
      [[{ op: 'test', path: '', value: { ...target } }], { ...target }],
      [
        [
          { op: 'add', path: '', value: { z: 1 } },
          { op: 'copy', from: '', path: '/z' },
        ],
        { z: { z: 1 } },
      ],
      [
        [
          { op: 'remove', path: '' },
          { op: 'add', path: '', value: { z: 1 } },
        ],
        { z: 1 },
      ],
      [[{ op: 'add', path: '/', value: 1, extra: true }], { ...target, '': 1 }],
    ];
    for (const [operations, expected] of cases) {
      expect(patched(target, deepFreeze(operations)), JSON.stringify(operations)).to.deep.equal(expected);
    }
  });

  it('[S4] what a patch copies or adds is its own: later operations do not reach the source or the request', () => {
    const operations = deepFreeze([
      { op: 'add', path: '/new', value: { deep: {} } },
      { op: 'copy', from: '/new', path: '/twin' },
      { op: 'add', path: '/twin/deep/x', value: 1 },
      { op: 'add', path: '/new/deep/y', value: 2 },
    ]);
    expect(patched({}, operations)).to.deep.equal({ new: { deep: { y: 2 } }, twin: { deep: { x: 1 } } });
  });

  it('[S5] a patch that cannot be carried out is refused whole, naming the operation', () => {
    const target = { a: { b: 1 }, list: [1, 2], text: 'x', none: null };
    const bad: unknown[] = [
      null,
      1,
      'add',
      [],
      { path: '/a' },
      { op: '_get', path: '/a' },
      { op: 'toString', path: '/a' },
      { op: 'add', path: '/x' },
      { op: 'add', path: '/x', value: undefined },
      { op: 'add', value: 1 },
      { op: 'add', path: 'x', value: 1 },
      { op: 'add', path: '/~2', value: 1 },
      { op: 'add', path: ['a'], value: 1 },
      { op: 'move', path: '/x' },
      { op: 'copy', path: '/x', from: 5 },
      { op: 'copy', path: '/x', from: '/y' },
      { op: 'remove', path: '/x' },
      { op: 'replace', path: '/x', value: 1 },
      { op: 'test', path: '/x', value: 1 },
      { op: 'test', path: '/a/b', value: '1' },
      { op: 'test', path: '/list', value: { 0: 1, 1: 2 } },
      { op: 'add', path: '/x/y', value: 1 },
      { op: 'add', path: '/text/y', value: 1 },
      { op: 'add', path: '/none/y', value: 1 },
      ...['3', '01', '-1', '1.0', '1e0', '', ' 1', 'length'].map((at) => ({
        op: 'add',
        path: `/list/${at}`,
        value: 1,
      })),
      ...['2', '-', '00', 'length'].map((at) => ({ op: 'replace', path: `/list/${at}`, value: 1 })),
      ...['2', '-', '00'].map((at) => ({ op: 'remove', path: `/list/${at}` })),
      { op: 'move', from: '/a', path: '/a/b/c' },
      { op: 'move', from: '', path: '/x' },
      { op: 'move', from: '/list/0', path: '/list/2' },
      { op: 'move', from: '/list/-', path: '/x' },
      ...[NaN, 1n, new Date(0), [undefined]].map((value) => ({ op: 'add', path: '/x', value })),
    ];
    for (const operation of bad) {
      const result = refused(target, [{ op: 'add', path: '/first', value: 1 }, operation]);
      expect(result, result.message).to.include({ code: 'INVALID_REQUEST', index: 1 });
      expect(result.message).to.match(/^operation 1: .{5,200}$/);
    }
    for (const operations of [null, {}, 'x', undefined, 5])
      expect(refused(target, operations).index).to.equal(undefined);
  });

  it('[S5] the result of a patch must be an object', () => {
    for (const value of [[], null, 5, 'x']) {
      expect(refused({}, [{ op: 'replace', path: '', value }]).message).to.include('must be an object');
    }
    expect(refused({ a: [1] }, [{ op: 'move', from: '/a', path: '' }]).message).to.include('must be an object');
    expect(refused({}, [{ op: 'remove', path: '' }]).message).to.include('must be an object');
  });

  it('[S5] nothing that is given for operations makes a patch throw', () => {
    const pointer = fc.oneof(
      fc.array(key, { maxLength: 4 }).map((keys) => `/${keys.join('/')}`),
      fc.constant(''),
      fc.string(),
    );
    const operation = fc.record(
      {
        op: fc.oneof(fc.constantFrom('add', 'remove', 'replace', 'move', 'copy', 'test'), fc.string({ maxLength: 3 })),
        path: pointer,
        from: pointer,
        value: fc.anything({ maxDepth: 2, withNullPrototype: true, withBigInt: true, withDate: true }),
      },
      { requiredKeys: ['op'] },
    );
    fc.assert(
      fc.property(
        document,
        fc.array(fc.oneof(operation, fc.anything({ maxDepth: 1 })), { maxLength: 4 }),
        (target, operations) => {
          const result = applyJsonPatch(deepFreeze(target), operations);
          if (result.ok)
            expect(checkJson(result.settings, { maxDepth: JSON_DEPTH_MAX, maxBytes: 1e6 }).ok).to.equal(true);
        },
      ),
    );
  });

  it('[S6] a patch has at most 1,000 operations', () => {
    const add = { op: 'add', path: '/a', value: 1 };
    expect(patched({}, Array(PATCH_OPERATIONS_MAX).fill(add))).to.deep.equal({ a: 1 });
    expect(refused({}, Array(PATCH_OPERATIONS_MAX + 1).fill(add)).message).to.include('1001');
  });

  it('[S6] a patch that doubles the document again and again is TOO_LARGE early', () => {
    const doubling = Array.from({ length: 100 }, (_, index) => ({ op: 'copy', from: '/a', path: `/a/${index}` }));
    const { code, index } = refused({ a: { text: 'x'.repeat(100) } }, doubling);
    expect(code).to.equal('TOO_LARGE');
    expect(index).to.be.below(Math.log2(PATCH_WRITTEN_BYTES_MAX / 100));
    const full = { big: 'x'.repeat(60_000), a: 1 };
    const copies = Array.from({ length: PATCH_OPERATIONS_MAX }, () => ({ op: 'copy', from: '/big', path: '/a' }));
    const result = refused(full, copies);
    expect(result).to.include({ code: 'TOO_LARGE', index: Math.floor(PATCH_WRITTEN_BYTES_MAX / 60_002) });
  });

  it('[S6] a patch cannot nest settings deeper than they may be', () => {
    const down = (levels: number): string => '/a'.repeat(levels);
    let deepest: Json = {};
    for (let level = 1; level < JSON_DEPTH_MAX; level += 1) deepest = { a: deepest };
    expect(checkJson(deepest, { maxDepth: JSON_DEPTH_MAX, maxBytes: 1e6 }).ok).to.equal(true);
    const target = deepest as JsonObject;
    expect(patched(target, [{ op: 'add', path: down(JSON_DEPTH_MAX), value: 1 }])).to.be.an('object');
    const tooDeep = [
      { op: 'add', path: down(JSON_DEPTH_MAX), value: [] },
      { op: 'copy', from: '/a', path: '/a/b' },
      { op: 'copy', from: '', path: '/b' },
    ];
    for (const operation of tooDeep) {
      expect(refused(target, [operation])).to.include({ code: 'INVALID_REQUEST', index: 0 });
    }
    const move = [
      { op: 'add', path: '/b', value: { c: {} } },
      { op: 'move', from: '/a', path: '/b/c/d' },
    ];
    expect(refused(target, move)).to.include({ code: 'INVALID_REQUEST', index: 1 });
  });

  it('[S7] paths that would be too long give way to objects above them, at last to the whole; the delta still applies', () => {
    const keys = (prefix: string) =>
      Object.fromEntries(Array.from({ length: 950 }, (_, i) => [(prefix + i.toString(36)).padEnd(60, '~'), 1]));
    const long = 'k'.repeat(30_000);
    const members = (value: number) => Object.fromEntries(Array.from({ length: 2500 }, (_, i) => [`m${i}`, value]));
    const cases: [JsonObject, JsonObject, string[]][] = [
      [keys('a'), keys('b'), ['']],
      [{ [long]: members(1), x: 1 }, { [long]: members(2), x: 2 }, [`/${long}`, '/x']],
    ];
    for (const [before, after, expected] of cases) {
      const changed = changedPaths(before, after);
      expect(changed).to.deep.equal(expected);
      expect(applyJsonPatch(before, deltaOf(changed, before, after))).to.deep.equal({ ok: true, settings: after });
    }
  });

  it('[S7] changedPaths names the values that differ: changed and added as in the new document, then removed', () => {
    const before = {
      gone: 1,
      options: { t: 1, list: [1, 2], old: { x: 1 }, 'a/b': 1 },
      same: { deep: [{}] },
      kind: {},
    };
    const after = { new: 1, same: { deep: [{}] }, options: { 'a/b': 2, list: [2, 1], t: 1, add: {} }, kind: [] };
    const expected = ['/new', '/options/a~1b', '/options/list', '/options/add', '/kind', '/gone', '/options/old'];
    const paths = changedPaths(before, after);
    expect([...paths].sort()).to.deep.equal([...expected].sort());
    expect(paths.slice(0, 5)).to.deep.equal(expected.slice(0, 5));
    expect(changedPaths({ a: { b: {} } }, { a: {} })).to.deep.equal(['/a/b']);
    expect(changedPaths({ a: -0, b: 1 }, { b: 1, a: 0 })).to.deep.equal([]);
    fc.assert(
      fc.property(document, document, (a, b) => {
        expect(changedPaths(a, copy(a))).to.deep.equal([]);
        expect(changedPaths(a, b).length === 0).to.equal(equalJson(a, b));
        for (const path of changedPaths(a, b)) {
          const was = valueAt(a, path);
          const is = valueAt(b, path);
          expect(was === undefined || is === undefined ? was === is : equalJson(was, is), path).to.equal(false);
        }
      }),
    );
  });

  it('[S8] the delta turns the settings before into those after', () => {
    fc.assert(
      fc.property(document, document, (before, after) => {
        const delta = deltaOf(changedPaths(before, after), before, after);
        expect(delta.map((operation) => operation.path)).to.deep.equal(changedPaths(before, after));
        expect(patched(deepFreeze(before), deepFreeze(delta))).to.deep.equal(after);
      }),
    );
    const before = { a: 1, b: 2, c: null };
    const after = { a: 1, b: null, d: 4 };
    expect(deltaOf(changedPaths(before, after), before, after)).to.deep.equal([
      { op: 'replace', path: '/b', value: null },
      { op: 'add', path: '/d', value: 4 },
      { op: 'remove', path: '/c' },
    ]);
  });

  it('[S9] what was given lies over the defaults, null included; objects member by member', () => {
    const defaults = deepFreeze({ model: 'gpt-4', options: { temperature: 0.7, stop: ['a'], deep: { x: 1 } } });
    const given = deepFreeze({ mode: 'rag', options: { temperature: null, stop: [], deep: { y: 2 } } });
    expect(overlay(defaults, given)).to.deep.equal({
      model: 'gpt-4',
      options: { temperature: null, stop: [], deep: { x: 1, y: 2 } },
      mode: 'rag',
    });
    fc.assert(
      fc.property(document, document, (below, above) => {
        const result = overlay(deepFreeze(below), deepFreeze(above));
        expect(changedPaths(result, above).every((path) => valueAt(above, path) === undefined)).to.equal(true);
        expect(overlay(below, {})).to.deep.equal(below);
        expect(overlay({}, above)).to.deep.equal(above);
      }),
    );
  });

  it('[S10] a pointer names own members and exact indexes only', () => {
    const value: Json = { 'a/b': [{ 'm~n': 1 }], '': { '': 2 }, '~1': 3 };
    expect(valueAt(value, '')).to.equal(value);
    expect(valueAt(value, '/a~1b/0/m~0n')).to.equal(1);
    expect(valueAt(value, '//')).to.equal(2);
    expect(valueAt(value, '/~01')).to.equal(3);
    for (const pointer of [
      'a',
      '/x',
      '/a~1b/00',
      '/a~1b/-',
      '/a~1b/1',
      '/a~1b/length',
      '/toString',
      '/__proto__',
      '/~2',
      '/~',
    ]) {
      expect(valueAt(value, pointer), pointer).to.equal(undefined);
    }
  });
});
