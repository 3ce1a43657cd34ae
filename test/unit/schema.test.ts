// Validation at the edge: the server's own JSON Schema and libraries that speak Standard Schema, held against the server.
import { expect } from 'chai';
import fc from 'fast-check';
import { z } from 'zod';
import type { JsonObject } from '../../client-sdk/protocol/json.js';
import { defaultSettingsSchema } from '../../client-sdk/protocol/settings.js';
import { jsonSchema, standardSchema } from '../../client-sdk/schema.js';
import { compileSettingsSchema, SETTINGS_ISSUES_MAX } from '../../server/session/settings-schema.js';

const server = compileSettingsSchema(defaultSettingsSchema);
const validate = jsonSchema(defaultSettingsSchema);
const pathsOf = (issues: readonly { path: string }[]) => [...new Set(issues.map(({ path }) => path))].sort();
const issuesOf = (refusal: ReturnType<typeof validate>) =>
  (refusal?.details?.issues ?? []) as { path: string; message: string }[];

describe('validation at the edge', () => {
  it("[SV1] the server's own schema takes what the server takes, and refuses what it refuses, at the same paths", () => {
    const value = fc.oneof(
      fc.string(),
      fc.integer(),
      fc.double({ noNaN: true }),
      fc.boolean(),
      fc.constant(null),
      fc.array(fc.string()),
    );
    const settings: fc.Arbitrary<JsonObject> = fc.record(
      {
        model: value,
        mode: value,
        other: value,
        options: fc.record(
          { temperature: value, max_tokens: value, top_p: value, stop: value, system_prompt: value, stream: value },
          { requiredKeys: [] },
        ),
      },
      { requiredKeys: [] },
    ) as never;
    let refused = 0;
    fc.assert(
      fc.property(settings, (given) => {
        const issues = server.validate(given);
        const refusal = validate(given);
        expect(refusal === undefined).to.equal(issues.length === 0);
        if (!refusal) return;
        refused += 1;
        expect(refusal).to.include({ code: 'INVALID_SETTINGS', outcome: 'not-committed', retry: 'never' });
        expect(pathsOf(issuesOf(refusal))).to.deep.equal(pathsOf(issues));
      }),
      { numRuns: 300 },
    );
    expect(refused).to.be.above(50);
    expect(validate(server.defaults)).to.equal(undefined);
  });

  it('[SV1] paths are JSON Pointers, also of names that they escape', () => {
    const names = ['a b', 'x/y', 'm~n', 'ü', '%41', '"'];
    const schema = {
      type: 'object',
      properties: Object.fromEntries(names.map((name) => [name, { type: 'number' }])),
    };
    for (const name of names) {
      const given = { [name]: 'text' };
      const wanted = compileSettingsSchema(schema).validate(given);
      expect(pathsOf(issuesOf(jsonSchema(schema)(given)))).to.deep.equal(pathsOf(wanted));
    }
  });

  /** What can be wrong with the whole, and with what it holds at the same time. */
  const strict = {
    type: 'object',
    required: ['model', 'a/b'],
    minProperties: 2,
    properties: {
      model: { $ref: '#/$defs/name' },
      'a/b': { type: 'number' },
      either: { anyOf: [{ type: 'string' }, { type: 'object', required: ['x'] }] },
      tags: { type: 'array', items: { $ref: '#/$defs/name' }, maxItems: 2 },
      options: {
        type: 'object',
        required: ['temperature'],
        properties: { temperature: { type: 'number', maximum: 2 } },
        additionalProperties: false,
        propertyNames: { maxLength: 12 },
      },
    },
    patternProperties: { '^x-': { type: 'string' } },
    additionalProperties: false,
    dependentRequired: { tags: ['options'] },
    allOf: [{ properties: { model: { minLength: 2 } } }],
    if: { not: { properties: { model: { const: 'big' } }, required: ['model'] } },
    else: { required: ['options'] },
    $defs: { name: { type: 'string', maxLength: 5 } },
  };

  it('[SV3] what is wrong with the whole is shown beside what is wrong with its members', () => {
    const check = jsonSchema(strict);
    expect(issuesOf(check({ model: 5 }))).to.deep.include({ path: '/a~1b', message: 'is required' });
    expect(pathsOf(issuesOf(check({ model: 5 })))).to.deep.equal(['', '/a~1b', '/model']);
    const issues = issuesOf(check({ model: 'big', 'a/b': 'text', extra: 1, options: { other: 1 } }));
    expect(pathsOf(issues)).to.deep.equal(['/a~1b', '/extra', '/options/other', '/options/temperature']);
    expect(issues).to.deep.include({ path: '/extra', message: 'is not a setting that is known here' });
    expect(pathsOf(issuesOf(check({ model: 'ok', 'a/b': 1, tags: [] })))).to.deep.equal(['']);
    expect(check({ model: 'ok', 'a/b': 1, 'x-own': 'text' })).to.equal(undefined);
  });

  it('[SV3] the paths are those that the server names, whatever is wrong at once', () => {
    const [check, wanted] = [jsonSchema(strict), compileSettingsSchema(strict)];
    const leaf = fc.constantFrom<unknown>('', 'ok', 'big', 'far too long', 1, 3, null, true, {}, { x: 1 });
    const settings = fc.record(
      {
        model: leaf,
        'a/b': leaf,
        either: leaf,
        tags: fc.oneof(leaf, fc.array(leaf, { maxLength: 3 })),
        options: fc.oneof(
          leaf,
          fc.record({ temperature: leaf, other: leaf, 'a name too long': leaf }, { requiredKeys: [] }),
        ),
        'x-own': leaf,
        extra: leaf,
      },
      { requiredKeys: [] },
    ) as fc.Arbitrary<JsonObject>;
    fc.assert(
      fc.property(settings, (given) => {
        const issues = wanted.validate(given);
        // More than the server names at once.
        fc.pre(issues.length < SETTINGS_ISSUES_MAX);
        expect(pathsOf(issuesOf(check(given)))).to.deep.equal(pathsOf(issues));
      }),
      { numRuns: 500 },
    );
  });

  it('[SV2] a Standard Schema refuses with the path and the reason of each issue', () => {
    const schema = z.object({
      model: z.string(),
      options: z.object({ temperature: z.number().max(2), stop: z.array(z.string()) }),
    });
    const check = standardSchema(schema);
    expect(check({ model: 'x', options: { temperature: 1, stop: [] } })).to.equal(undefined);
    const issues = issuesOf(check({ model: 1, options: { temperature: 3, stop: ['a', 2] } }));
    expect(pathsOf(issues)).to.deep.equal(['/model', '/options/stop/1', '/options/temperature']);
    for (const { message } of issues) expect(message).to.have.length.above(5);
  });

  it('[SV2] it takes any library: paths of keys or of segments, escaped as JSON Pointers', () => {
    const check = standardSchema({
      '~standard': {
        validate: () => ({
          issues: [{ message: 'whole' }, { message: 'deep', path: ['a/b', { key: 'm~n' }, 0] }],
        }),
      },
    });
    expect(issuesOf(check({}))).to.deep.equal([
      { path: '', message: 'whole' },
      { path: '/a~1b/m~0n/0', message: 'deep' },
    ]);
  });

  it('[SV2] one that answers later cannot be used, and says so', () => {
    const check = standardSchema({ '~standard': { validate: () => Promise.resolve({ value: {} }) } });
    expect(() => check({})).to.throw(TypeError, /asynchronously/);
  });
});
