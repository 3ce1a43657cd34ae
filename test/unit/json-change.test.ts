// The SDK's own merge, patch and difference of JSON values, held against the server's rules and against fast-json-patch.
import { expect } from 'chai';
import jsonPatch from 'fast-json-patch';
import fc from 'fast-check';
import { applyMerge, applyPatch, mergeBetween, type PatchOperation } from '../../client-sdk/json-change.js';
import { equalJson, type Json, type JsonObject } from '../../client-sdk/protocol/json.js';
import { applyJsonPatch, changedPaths, deltaOf, mergePatch } from '../../server/session/settings-rules.js';

/** Few keys, so that two objects share some; the odd ones are those that a pointer escapes, an index, an inherited name. */
const key = fc.constantFrom('a', 'b', 'c', '', 'x/y', 'm~n', '~1', '0', 'toString', 'length');
const leaf = fc.oneof(fc.constantFrom(null, true, false, 0, 1, -0.5, '', 'text', '0'), fc.integer());
const jsonWith = (names: fc.Arbitrary<string>) =>
  fc.letrec<{ json: Json; object: JsonObject }>((tie) => ({
    json: fc.oneof({ depthSize: 'small' }, leaf, tie('object'), fc.array(tie('json'), { maxLength: 4 })),
    object: fc.dictionary(names, tie('json'), { maxKeys: 5 }),
  }));
const { json, object } = jsonWith(key);
/** Without names that objects inherit, which an updater's difference does not tell from members. */
const { object: plainObject } = jsonWith(key.filter((name) => !(name in {})));
/** What a merge can make of `before` where `after` is wanted: a null stays only where it was. */
function withoutNulls(after: Json, before: Json | undefined): Json {
  if (!isObject(after)) return after;
  const kept = Object.entries(after).flatMap(([name, value]): [string, Json][] => {
    const was = isObject(before) && Object.hasOwn(before, name) ? before[name] : undefined;
    return value === null && was !== null ? [] : [[name, withoutNulls(value, was)]];
  });
  return Object.fromEntries(kept);
}
const isObject = (value: Json | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const frozen = <T extends Json>(value: T): T => {
  if (typeof value === 'object' && value !== null) Object.values(Object.freeze(value)).forEach(frozen);
  return value;
};

/** Pointers into a value, all of them, and some that lead nowhere. */
function pointersOf(value: Json, at = ''): string[] {
  if (typeof value !== 'object' || value === null) return [at];
  const below = Object.entries(value).flatMap(([name, member]) =>
    pointersOf(member, `${at}/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`),
  );
  return [at, ...below, ...(Array.isArray(value) ? [`${at}/-`, `${at}/${value.length}`, `${at}/9`] : [`${at}/new`])];
}
const patchOf = (document: JsonObject): fc.Arbitrary<PatchOperation[]> => {
  const path = fc.constantFrom(...pointersOf(document), '/nowhere/at/all');
  const operation = fc.oneof(
    fc.record({ op: fc.constantFrom('add' as const, 'replace' as const), path, value: json }),
    fc.record({ op: fc.constant('remove' as const), path }),
    fc.record({ op: fc.constantFrom('move' as const, 'copy' as const), from: path, path }),
  );
  return fc.array(operation, { minLength: 1, maxLength: 4 });
};
const documentAndPatch = object.chain((document) => fc.tuple(fc.constant(document), patchOf(document)));

/** The document after a patch; undefined where the patch does not apply, and nothing else may go wrong. */
function tried(document: JsonObject, patch: PatchOperation[]): Json | undefined {
  const before = JSON.stringify(document);
  const after = attempt(() => applyPatch(document, patch));
  expect(JSON.stringify(document)).to.equal(before);
  return after;
}
function attempt<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch {
    return undefined;
  }
}

/** What did not change is the same reference. */
function expectShared(before: Json, after: Json, where = ''): void {
  if (typeof before !== 'object' || typeof after !== 'object' || before === null || after === null) return;
  if (Array.isArray(before) || Array.isArray(after)) return;
  for (const name of Object.keys(before)) {
    if (!Object.hasOwn(after, name)) continue;
    const [was, now] = [before[name]!, after[name]!];
    if (equalJson(was, now)) expect(now, `${where}/${name}`).to.equal(was);
    else expectShared(was, now, `${where}/${name}`);
  }
}

describe('changes of JSON values', () => {
  it('[JC1] a merge gives what the server gives', () => {
    fc.assert(
      fc.property(object, object, (target, merge) => {
        expect(applyMerge(frozen(target), frozen(merge))).to.deep.equal(mergePatch(target, merge));
      }),
    );
  });

  it('[JC1] a merge is as the examples of RFC 7396 have it', () => {
    const examples: [Json, Json, Json][] = [
      [{ a: 'b' }, { a: 'c' }, { a: 'c' }],
      [{ a: 'b' }, { b: 'c' }, { a: 'b', b: 'c' }],
      [{ a: 'b' }, { a: null }, {}],
      [{ a: 'b', b: 'c' }, { a: null }, { b: 'c' }],
      [{ a: ['b'] }, { a: 'c' }, { a: 'c' }],
      [{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
      [{ a: [{ b: 'c' }] }, { a: [1] }, { a: [1] }],
      [
        ['a', 'b'],
        ['c', 'd'],
        ['c', 'd'],
      ],
      [{ a: 'foo' }, null, null],
      [{ e: null }, { a: 1 }, { e: null, a: 1 }],
      [[1, 2], { a: 'b', c: null }, { a: 'b' }],
      [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
    ];
    for (const [target, merge, result] of examples) expect(applyMerge(target, merge)).to.deep.equal(result);
  });

  it('[JC2] a patch that the server takes gives what the server and fast-json-patch give', () => {
    let taken = 0;
    fc.assert(
      fc.property(documentAndPatch, ([document, patch]) => {
        const served = applyJsonPatch(document, patch);
        if (!served.ok) return;
        taken += 1;
        expect(applyPatch(frozen(document), frozen(patch as unknown as Json) as never)).to.deep.equal(served.settings);
        const library = jsonPatch.applyPatch(structuredClone(document), structuredClone(patch)).newDocument;
        expect(served.settings).to.deep.equal(library);
      }),
      { numRuns: 500 },
    );
    expect(taken, 'patches that the server took').to.be.above(50);
  });

  it('[JC2] a patch of a path that is not there gives nothing, and has changed nothing', () => {
    const document = frozen({ a: { b: [1, 2] } });
    const wrong: PatchOperation[] = [
      { op: 'replace', path: '/x', value: 1 },
      { op: 'replace', path: '/a/b/2', value: 1 },
      { op: 'remove', path: '/a/x' },
      { op: 'remove', path: '/a/b/2' },
      { op: 'add', path: '/x/y', value: 1 },
      { op: 'copy', from: '/x', path: '/y' },
      { op: 'move', from: '/x', path: '/y' },
      { op: 'move', from: '/a', path: '/a/b/c' },
    ];
    for (const operation of wrong) {
      const patch: PatchOperation[] = [{ op: 'add', path: '/first', value: 1 }, operation];
      expect(tried(document, patch), JSON.stringify(operation)).to.equal(undefined);
      expect(applyJsonPatch(document, patch).ok, 'the server').to.equal(false);
    }
  });

  it('[JC2] whatever a patch holds, the document before it is not changed', () => {
    fc.assert(fc.property(documentAndPatch, ([document, patch]) => void tried(document, patch)));
  });

  it('[JC3] the merge between two settings makes the one of the other, and removes what is null', () => {
    fc.assert(
      fc.property(plainObject, plainObject, (before, after) => {
        const merge = mergeBetween(frozen(before), frozen(after));
        expect(applyMerge(before, merge)).to.deep.equal(withoutNulls(after, before));
        expect(mergePatch(before, merge), 'as the server merges').to.deep.equal(withoutNulls(after, before));
      }),
      { numRuns: 500 },
    );
  });

  it('[JC3] the merge between two settings holds nothing that did not change', () => {
    fc.assert(
      fc.property(plainObject, plainObject, (before, change) => {
        const after = applyMerge(before, change) as JsonObject;
        const merge = mergeBetween(before, after);
        for (const name of Object.keys(merge)) {
          const [was, now] = [before[name], after[name]];
          expect(was !== undefined && now !== undefined && equalJson(was, now), name).to.equal(false);
        }
      }),
    );
    expect(mergeBetween({ a: { b: 1, c: [1] }, d: 2 }, { a: { b: 2, c: [1] } })).to.deep.equal({
      a: { b: 2 },
      d: null,
    });
    expect(mergeBetween({ a: null, b: [null] }, { a: null, b: [null] })).to.deep.equal({});
    expect(mergeBetween({ a: 1 }, { a: [null] })).to.deep.equal({ a: [null] });
    expect(mergeBetween({ a: { b: null } }, { a: { b: null, c: 1 } })).to.deep.equal({ a: { c: 1 } });
    // As JSON has it, a member that is undefined is not there.
    expect(mergeBetween({ a: 1, b: 2 }, { a: undefined, b: 2 } as never)).to.deep.equal({ a: null });
  });

  it('[JC4] what a merge or a patch does not name keeps its reference', () => {
    const before = frozen({ a: { b: { c: 1 }, d: { e: [1] } }, f: { g: {} } });
    const merged = applyMerge(before, { a: { b: { c: 2 } } }) as typeof before;
    expect(merged.f).to.equal(before.f);
    expect(merged.a.d).to.equal(before.a.d);
    const patched = applyPatch(before, [{ op: 'replace', path: '/a/b/c', value: 2 }]) as typeof before;
    expect(patched).to.deep.equal(merged);
    expect(patched.f).to.equal(before.f);
    expect(patched.a.d).to.equal(before.a.d);
  });

  it("[JC4] the server's deltas make the settings after of those before, and what did not change keeps its reference", () => {
    fc.assert(
      fc.property(object, object, fc.boolean(), (before, change, isMerge) => {
        const after = isMerge ? mergePatch(before, change) : change;
        const delta = deltaOf(changedPaths(before, after), before, after) as PatchOperation[];
        const made = applyPatch(frozen(before), frozen(JSON.parse(JSON.stringify(delta)) as Json) as never) as Json;
        expect(made).to.deep.equal(after);
        expectShared(before, made);
      }),
      { numRuns: 500 },
    );
  });

  it('[JC5] keys that reach for a prototype change no prototype', () => {
    const evil = JSON.parse(
      '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"prototype":{"polluted":1}}',
    ) as JsonObject;
    const isClean = () => {
      expect(({} as JsonObject).polluted).to.equal(undefined);
      expect(([] as unknown as JsonObject).polluted).to.equal(undefined);
    };
    for (const target of [{}, { a: 1 }, evil]) {
      applyMerge(target, evil);
      mergeBetween(target, evil);
      mergeBetween(evil, target);
      isClean();
    }
    for (const path of [
      '/__proto__/polluted',
      '/constructor/prototype/polluted',
      '/a/__proto__/polluted',
      '/__proto__',
    ]) {
      for (const op of ['add', 'replace'] as const) {
        tried({ a: {} }, [{ op, path, value: 1 }]);
        isClean();
      }
    }
    expect(Object.getPrototypeOf(applyMerge({ a: 1 }, { b: 2 }))).to.equal(Object.prototype);
  });
});
