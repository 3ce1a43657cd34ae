// The settings schema: the built-in one against real documents, and what a deployment's own file may be.
import { expect } from 'chai';
import fc from 'fast-check';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Json, JsonObject } from '../../client-sdk/protocol/json.js';
import { defaultSettingsSchema } from '../../client-sdk/protocol/settings.js';
import { compileSettingsSchema, SETTINGS_ISSUES_MAX } from '../../server/session/settings-schema.js';

// Tests run from the root of the project, from the sources and from the build alike.
const samples = join(process.cwd(), 'test', 'fixtures', 'docchat');

const builtIn = compileSettingsSchema(defaultSettingsSchema);
const paths = (settings: JsonObject): string[] => builtIn.validate(settings).map((issue) => issue.path);
const options = (of: JsonObject): JsonObject => ({ options: of });

/** The message of the error that a schema is refused with. */
function refusal(schema: unknown): string {
  try {
    compileSettingsSchema(schema);
  } catch (error) {
    expect(error).to.be.instanceOf(Error);
    return (error as Error).message;
  }
  throw new Error('was not refused');
}

/** Every subschema of an object schema, by the pointer of the setting it describes. */
function settingsOf(schema: JsonObject, at = ''): [string, JsonObject][] {
  return Object.entries((schema['properties'] ?? {}) as { [key: string]: JsonObject }).flatMap(([key, part]) => [
    [`${at}/${key}`, part] as [string, JsonObject],
    ...settingsOf(part, `${at}/${key}`),
  ]);
}

describe('settings schema', () => {
  it('[H1] the settings of every sample session are valid', () => {
    let valid = 0;
    for (const name of readdirSync(samples)) {
      let sample: { settings?: JsonObject };
      try {
        sample = JSON.parse(readFileSync(join(samples, name), 'utf8')) as { settings?: JsonObject };
      } catch {
        continue; // two of them are broken on purpose
      }
      if (sample.settings === undefined) continue;
      expect(builtIn.validate(sample.settings), name).to.deep.equal([]);
      valid += 1;
    }
    expect(valid).to.be.at.least(48);
  });

  it('[H1] settings without any of the known keys are valid', () => {
    const foreign = fc
      .dictionary(fc.string({ maxLength: 8 }), fc.jsonValue({ maxDepth: 3 }))
      .filter((value) => !['model', 'provider', 'mode', 'options'].some((key) => Object.hasOwn(value, key)));
    fc.assert(
      fc.property(foreign, (value) => {
        expect(builtIn.validate(value as JsonObject)).to.deep.equal([]);
      }),
    );
    expect(builtIn.validate(options({ my_own: [{}], toString: 'x', hasOwnProperty: null }))).to.deep.equal([]);
  });

  it('[H2] the built-in defaults are model, mode, temperature and max tokens, and nothing else', () => {
    expect(builtIn.defaults).to.deep.equal({
      model: 'gpt-4',
      mode: 'assistant',
      options: { temperature: 0.7, max_tokens: 2000 },
    });
    expect(builtIn.validate(builtIn.defaults)).to.deep.equal([]);
  });

  it('[H2] every known setting has a type, a title and a description; every option takes null', () => {
    const known = settingsOf(builtIn.json);
    expect(known.length).to.be.above(30);
    for (const [path, part] of known) {
      expect(part['title'], path).to.be.a('string').and.not.equal('');
      expect(part['description'], path).to.be.a('string').and.not.equal('');
      expect(part['type'], path).to.not.equal(undefined);
      if (path.startsWith('/options/')) {
        expect(builtIn.validate(options({ [path.slice('/options/'.length)]: null })), path).to.deep.equal([]);
      }
    }
    for (const name of [
      'temperature',
      'top_p',
      'top_k',
      'min_p',
      'presence_penalty',
      'frequency_penalty',
      'repetition_penalty',
    ]) {
      const part = known.find(([path]) => path === `/options/${name}`)?.[1];
      expect(part, name).to.include.keys('minimum', 'maximum');
    }
  });

  it('[H3] values of the wrong type or out of range are named with their place and what is wrong', () => {
    const wrong: [JsonObject, string, RegExp][] = [
      [options({ temperature: 2.1 }), '/options/temperature', /<= 2.*2\.1/],
      [options({ temperature: 'hot' }), '/options/temperature', /number or null.*"hot"/],
      [options({ top_p: -0.1 }), '/options/top_p', />= 0/],
      [options({ top_k: 1.5 }), '/options/top_k', /integer/],
      [options({ max_tokens: 0 }), '/options/max_tokens', />= 1/],
      [options({ seed: 'x' }), '/options/seed', /integer/],
      [options({ stop: ['a', 1] }), '/options/stop/1', /string.*1/],
      [options({ stop: { a: 1 } }), '/options/stop', /an object/],
      [options({ collections: [[]] }), '/options/collections/0', /an array/],
      [options({ stream: 'yes' }), '/options/stream', /boolean/],
      [{ model: 5 }, '/model', /string.*5/],
      [{ model: '' }, '/model', /1 character/],
      [{ options: [] }, '/options', /object.*an array/],
    ];
    for (const [settings, path, message] of wrong) {
      const issues = builtIn.validate(settings);
      expect(issues).to.have.length(1);
      expect(issues[0]?.path).to.equal(path);
      expect(issues[0]?.message).to.match(message);
    }
    expect(paths({ model: 1, options: { top_p: 2, min_p: 2 } })).to.have.members([
      '/model',
      '/options/top_p',
      '/options/min_p',
    ]);
    expect(
      paths(options({ temperature: 0, top_k: 3, stop: '###', tools: true, web_search: {}, citations: 'inline' })),
    ).to.deep.equal([]);
  });

  it('[H3] a refusal names at most 20 issues and repeats no large value', () => {
    expect(builtIn.validate(options({ stop: Array(60).fill(1) }))).to.have.length(SETTINGS_ISSUES_MAX);
    for (const issue of builtIn.validate(options({ temperature: 'x'.repeat(50_000), mode: 1 }))) {
      expect(issue.message.length).to.be.below(300);
    }
    const picky = compileSettingsSchema({
      properties: { a: { enum: Array.from({ length: 1_000 }, (_, index) => `value ${index}`) } },
    });
    expect(picky.validate({ a: 'x'.repeat(50_000) })[0]?.message.length).to.be.below(400);
  });

  it('[H3] what is missing, unknown or badly named is shown at its own place', () => {
    const strict = compileSettingsSchema({
      required: ['mod/el'],
      properties: {
        'mod/el': { const: 'a' },
        off: false,
        limited: { additionalProperties: false },
        kind: { enum: ['x', 2] },
      },
      propertyNames: { maxLength: 8 },
    });
    expect(strict.validate({})).to.deep.equal([{ path: '/mod~1el', message: 'is required' }]);
    const issues = strict.validate({ 'mod/el': 'b', off: 1, limited: { '~x': 1 }, kind: 'y', 'much too long': 1 });
    expect(issues.map((issue) => issue.path)).to.have.members([
      '/mod~1el',
      '/off',
      '/limited/~0x',
      '/kind',
      '/much too long',
    ]);
    const said = Object.fromEntries(issues.map((issue) => [issue.path, issue.message]));
    expect(said['/mod~1el']).to.equal('must be "a" (is "b")');
    expect(said['/kind']).to.equal('must be one of "x", 2 (is "y")');
    expect(said['/limited/~0x']).to.match(/not a setting/);
    expect(said['/much too long']).to.match(/name.*8 characters/);
  });

  it('[H4] validation changes nothing and fills nothing in; what inherits is not there', () => {
    const settings = Object.freeze({ options: Object.freeze({}) }) as JsonObject;
    expect(builtIn.validate(settings)).to.deep.equal([]);
    expect(settings).to.deep.equal({ options: {} });
    const needs = compileSettingsSchema({ required: ['toString'], properties: { valueOf: { type: 'string' } } });
    expect(needs.validate({}).map((issue) => issue.path)).to.deep.equal(['/toString']);
  });

  it('[H5] defaults are collected through properties, allOf and local references; the outer one wins', () => {
    const { defaults } = compileSettingsSchema({
      type: 'object',
      properties: {
        model: { $ref: '#/$defs/model' },
        other: { $ref: '#/$defs/model', default: 'mine' },
        empty: { type: 'object', properties: { none: { type: 'string' } } },
        deep: { default: { a: 1 }, properties: { a: { default: 2 }, b: { default: null } } },
        tree: { $ref: '#' },
        list: { default: [] },
        'a/b': { $ref: '#/$defs/a~1b%25' },
      },
      allOf: [{ properties: { extra: { default: true }, list: { default: ['below'] } } }],
      $defs: { model: { type: 'string', default: 'm' }, 'a/b%': { default: 7 } },
    });
    const own = { model: 'm', other: 'mine', deep: { a: 1, b: null }, list: [], 'a/b': 7, extra: true };
    expect(defaults).to.deep.equal({ ...own, tree: own });
    expect(compileSettingsSchema({}).defaults).to.deep.equal({});
    expect(compileSettingsSchema({ default: { a: 1 } }).defaults).to.deep.equal({ a: 1 });
  });

  it('[H5] schema and defaults are copies that nobody can change', () => {
    const file = { properties: { a: { default: { b: 1 } } } };
    const schema = compileSettingsSchema(file);
    file.properties.a.default.b = 2;
    expect(schema.defaults).to.deep.equal({ a: { b: 1 } });
    expect(() => ((schema.defaults['a'] as JsonObject)['b'] = 3)).to.throw(TypeError);
    expect(() => ((schema.json as { x?: Json }).x = 3)).to.throw(TypeError);
    expect(builtIn.json).to.deep.equal(defaultSettingsSchema);
  });

  it('[H6] draft-07 and 2020-12 are taken by $schema, each with its own keywords', () => {
    const draft = compileSettingsSchema({
      $schema: 'http://json-schema.org/draft-07/schema#',
      $id: 'https://example.org/settings',
      definitions: { pair: { items: [{ type: 'string' }, { type: 'number' }], additionalItems: false } },
      properties: { pair: { $ref: '#/definitions/pair', default: ['a', 1] } },
      dependencies: { a: ['b'] },
    });
    expect(draft.validate({ pair: ['a', 'b'] }).map((issue) => issue.path)).to.deep.equal(['/pair/1']);
    expect(draft.validate({ a: 1 })).to.have.length(1);
    const newer = compileSettingsSchema({
      $schema: 'https://json-schema.org/draft/2020-12/schema#',
      $defs: { text: { $anchor: 'text', type: 'string' } },
      properties: { pair: { prefixItems: [{ $ref: '#text' }] }, at: { format: 'date-time' } },
      dependentRequired: { a: ['b'] },
      unevaluatedProperties: false,
    });
    expect(newer.validate({ pair: [1] }).map((issue) => issue.path)).to.deep.equal(['/pair/0']);
    expect(newer.validate({ at: 'yesterday', c: 1 }).map((issue) => issue.path)).to.have.members(['/at', '/c']);
    expect(refusal({ prefixItems: [], $schema: 'https://json-schema.org/draft-07/schema' })).to.include('/prefixItems');
    const old = {
      $schema: 'http://json-schema.org/draft-07/schema#',
      properties: { a: { items: { tpye: 'string' } } },
    };
    expect(refusal(old)).to.include('/properties/a/items/tpye');
    expect(refusal({ $schema: 'https://json-schema.org/draft/2019-09/schema' })).to.include('/$schema');
  });

  it('[H7] a schema that is wrong is refused with the place', () => {
    const at = (part: Json): JsonObject => ({
      type: 'object',
      properties: { options: { properties: { 'a/b': part } } },
    });
    const place = '/properties/options/properties/a~1b';
    const wrong: [Json, string][] = [
      [{ type: 'strng' }, `${place}/type`],
      [{ minimum: '5' }, `${place}/minimum`],
      [{ maximun: 5 }, `${place}/maximun`],
      [{ items: { anyOf: [{}, { tpye: 'string' }] } }, `${place}/items/anyOf/1/tpye`],
      [{ pattern: '(' }, `${place}/pattern`],
      [{ patternProperties: { '[': {} } }, `${place}/patternProperties/[`],
      [{ format: 'colour' }, `${place}/format`],
      [{ $ref: 'https://example.org/other.json' }, `${place}/$ref`],
      [{ $ref: 'other.json#/a' }, `${place}/$ref`],
      [{ $ref: '#/$defs/none' }, `${place}/$ref`],
      [{ $ref: '#/type' }, `${place}/$ref`],
      [{ $id: 'https://example.org/inner' }, `${place}/$id`],
      [{ properties: { constructor: {} } }, `${place}/properties/constructor`],
      [5, place],
    ];
    for (const [part, expected] of wrong) {
      expect(refusal(at(part)), JSON.stringify(part)).to.include(`at ${expected}:`);
    }
    expect(refusal({ $ref: '#nowhere' })).to.include('nowhere');
    for (const nothing of [null, undefined, [], 'x', 5, true, () => 1])
      expect(refusal(nothing)).to.match(/^settings schema, /);
    let deep: Json = {};
    for (let level = 0; level < 10_000; level += 1) deep = { not: deep };
    expect(refusal(deep)).to.match(/deeper/);
  });

  it('[H7] keywords that begin with x- are free, whatever they hold', () => {
    const schema = compileSettingsSchema({
      'x-form': { tpye: 1 },
      properties: { a: { 'x-widget': 'slider', type: 'number' } },
    });
    expect(schema.validate({ a: 'x' })).to.have.length(1);
    expect(schema.json['x-form']).to.deep.equal({ tpye: 1 });
  });

  it('[H8] a default that breaks the schema is refused with its place', () => {
    const at = (part: JsonObject): JsonObject => ({ properties: { options: { properties: { t: part } } } });
    const place = '/properties/options/properties/t/default';
    expect(refusal(at({ type: 'number', maximum: 2, default: 3 })))
      .to.include(`${place}:`)
      .and.include('<= 2');
    expect(refusal(at({ type: 'object', properties: { a: { type: 'string' } }, default: { a: 1 } }))).to.include(
      `${place}/a:`,
    );
    expect(
      refusal({ $defs: { 'm%25': { type: 'string', default: 1 } }, properties: { m: { $ref: '#/$defs/m%2525' } } }),
    ).to.include('/$defs/m%25/default:');
    expect(refusal({ default: 5 })).to.include('at /default:');
    expect(refusal({ maxProperties: 1, properties: { a: { default: 1 }, b: { default: 2 } } })).to.include('together');
  });

  it('[H8] defaults may leave out what a schema requires', () => {
    const schema = compileSettingsSchema({
      required: ['model'],
      properties: { model: { type: 'string' }, mode: { default: 'chat' } },
    });
    expect(schema.defaults).to.deep.equal({ mode: 'chat' });
    expect(schema.validate(schema.defaults).map((issue) => issue.path)).to.deep.equal(['/model']);
  });

  it('[H8] references that multiply are refused instead of followed for ever', () => {
    const $defs: JsonObject = { s0: { type: 'string' } };
    for (let level = 1; level <= 40; level += 1) {
      const $ref = `#/$defs/s${level - 1}`;
      $defs[`s${level}`] = { properties: { a: { $ref }, b: { $ref } } };
    }
    expect(refusal({ $ref: '#/$defs/s40', $defs })).to.include('multiply');
  });
});
