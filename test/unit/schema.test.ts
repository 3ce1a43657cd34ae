// Validation at the edge: the server's own JSON Schema and libraries that speak Standard Schema, held against the server.
import { expect } from 'chai';
import fc from 'fast-check';
import { z } from 'zod';
import type { JsonObject } from '../../client-sdk/protocol/json.js';
import { defaultSettingsSchema } from '../../client-sdk/protocol/settings.js';
import { jsonSchema, standardSchema } from '../../client-sdk/schema.js';
import { compileSettingsSchema } from '../../server/session/settings-schema.js';

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
