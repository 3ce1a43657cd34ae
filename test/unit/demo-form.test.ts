// The page's form as a model: what fields a schema gives, and what they take. Draws nothing.
import { expect } from 'chai';
import { defaultSettingsSchema } from '../../client-sdk/protocol/settings.js';
import type { Json, JsonObject } from '../../client-sdk/protocol/json.js';
import { problemWith, readJson, readNumber } from '../../server/demo/settings/field-check.js';
import { controlFor, formOf, stepOf, unknownFields, type Field } from '../../server/demo/settings/form-model.js';

const builtIn = defaultSettingsSchema as unknown as JsonObject;
const fieldsOf = (schema: JsonObject) => formOf(schema).flatMap(({ fields }) => fields);
const one = (node: JsonObject): Field => fieldsOf({ properties: { it: node } })[0]!;
const named = (path: string) => fieldsOf(builtIn).find((field) => field.path === path)!;

describe("the page's form", () => {
  it('[DP1] every setting of the built-in schema has a field, each once, with a title, in the order of the groups', () => {
    const { options, ...others } = builtIn['properties'] as Record<string, JsonObject>;
    const paths = [
      ...Object.keys(others).map((key) => `/${key}`),
      ...Object.keys(options!['properties'] as JsonObject).map((key) => `/options/${key}`),
    ];
    expect(fieldsOf(builtIn).map(({ path }) => path)).to.have.members(paths);
    expect(fieldsOf(builtIn).every(({ title, description }) => title !== '' && description !== undefined)).to.equal(
      true,
    );
    expect(
      formOf(builtIn)
        .slice(0, 4)
        .map(({ title }) => title),
    ).to.deep.equal(['Model', 'Prompt', 'Sampling', 'Length']);
  });

  const controls: [string, JsonObject, string][] = [
    ['a closed list', { enum: ['a', 'b', null] }, 'choice'],
    ['named constants', { oneOf: [{ const: 1, title: 'One' }, { const: 2 }] }, 'choice'],
    ['examples', { type: ['string', 'null'], examples: ['x'] }, 'choice'],
    ['a boolean', { type: ['boolean', 'null'] }, 'toggle'],
    ['a boolean that may be a word', { type: ['boolean', 'string', 'object'] }, 'toggle'],
    ['a number between bounds', { type: 'number', minimum: 0, maximum: 2 }, 'slider'],
    ['a whole number in a small range', { type: 'integer', minimum: 1, maximum: 10 }, 'slider'],
    ['a whole number in a wide range', { type: 'integer', minimum: 0, maximum: 10_000 }, 'number'],
    ['a number without an upper bound', { type: 'integer', minimum: 1 }, 'number'],
    ['a text', { type: 'string', maxLength: 100 }, 'text'],
    ['a long text', { type: 'string', maxLength: 4000 }, 'textarea'],
    ['a text that asks for lines', { type: 'string', 'x-control': 'textarea' }, 'textarea'],
    ['a list of texts', { type: 'array', items: { type: 'string' } }, 'tags'],
    ['a list of numbers', { type: 'array', items: { type: 'number' } }, 'json'],
    ['an object without known members', { type: 'object' }, 'json'],
    ['anything', {}, 'json'],
  ];
  for (const [what, node, control] of controls) {
    it(`[DP1] ${what} is a ${control}`, () => expect(one(node).control).to.equal(control));
  }

  it('[DP1] choices leave null out and keep their types; examples are open, an enum is not', () => {
    const closed = one({ enum: [1, true, 'x', null] });
    expect(closed.choices).to.deep.equal([
      { value: 1, title: '1' },
      { value: true, title: 'Yes' },
      { value: 'x', title: 'x' },
    ]);
    expect(closed.isOpen).to.equal(false);
    expect(one({ type: 'string', examples: ['x'] }).isOpen).to.equal(true);
  });

  it('[DP1] local references, allOf and objects in objects are followed; what refers to itself ends', () => {
    const schema: JsonObject = {
      $defs: { 'a/b': { type: 'number', minimum: 0, maximum: 1 }, loop: { $ref: '#/$defs/loop' } },
      allOf: [{ properties: { extra: { type: 'boolean' } } }],
      properties: {
        warmth: { $ref: '#/$defs/a~1b', title: 'Warmth' },
        round: { $ref: '#/$defs/loop' },
        deep: { type: 'object', properties: { max_size: { type: 'integer' } }, required: ['max_size'] },
      },
    };
    const fields = fieldsOf(schema);
    expect(fields.map(({ path, control }) => [path, control])).to.deep.equal([
      ['/extra', 'toggle'],
      ['/warmth', 'slider'],
      ['/round', 'json'],
      ['/deep/max_size', 'number'],
    ]);
    expect(fields[1]).to.include({ title: 'Warmth', minimum: 0, maximum: 1 });
    expect(fields[3]).to.include({ title: 'Max size', isOptional: false });
  });

  it('[DP1] a slider goes in steps of a power of ten, about a hundred for its range', () => {
    expect(stepOf(named('/options/temperature'))).to.equal(0.01);
    expect(stepOf(one({ type: 'number', minimum: 0, maximum: 100 }))).to.equal(1);
    expect(stepOf(one({ type: 'integer', minimum: 0, maximum: 10 }))).to.equal(1);
    expect(stepOf(one({ type: 'number', minimum: 0, maximum: 1, multipleOf: 0.25 }))).to.equal(0.25);
  });

  it('[DP2] a value that its control cannot show is shown as JSON', () => {
    const shown = (path: string, value: Json | undefined) => controlFor(named(path), value);
    expect(shown('/options/web_search', true)).to.equal('toggle');
    expect(shown('/options/web_search', { engine: 'x' })).to.equal('json');
    expect(shown('/options/temperature', 'warm')).to.equal('json');
    expect(shown('/options/temperature', null)).to.equal('slider');
    expect(shown('/options/stop', ['a'])).to.equal('tags');
    expect(shown('/options/stop', 'a')).to.equal('tags');
    expect(shown('/options/tools', true)).to.equal('json');
    expect(shown('/options/response_format', { type: 'json' })).to.equal('json');
    expect(shown('/model', undefined)).to.equal('choice');
  });

  it('[DP2] settings that the schema does not know have a field, and no others have two', () => {
    const settings = { model: 'm', options: { temperature: 1, mine: { a: 1 } }, own: [1], 'a/b': true };
    const unknown = unknownFields(formOf(builtIn), settings);
    expect(unknown.map(({ path, title, control }) => [path, title, control])).to.deep.equal([
      ['/options/mine', 'options › mine', 'json'],
      ['/own', 'own', 'json'],
      ['/a~1b', 'a/b', 'json'],
    ]);
  });

  const problems: [string, JsonObject, Json, RegExp | undefined][] = [
    ['above a range', { type: 'number', minimum: 0, maximum: 2 }, 2.1, /from 0 to 2/],
    ['at its edge', { type: 'number', minimum: 0, maximum: 2 }, 2, undefined],
    ['below the least', { type: 'integer', minimum: 1 }, 0, /at least 1/],
    ['a part of a whole number', { type: ['integer', 'null'] }, 1.5, /whole number/],
    ['not a multiple', { type: 'number', multipleOf: 0.1 }, 0.25, /multiple of 0\.1/],
    ['a multiple in spite of floating point', { type: 'number', multipleOf: 0.1 }, 0.3, undefined],
    ['empty', { type: 'string', minLength: 1 }, '', /not be empty/],
    ['too long', { type: 'string', maxLength: 2 }, 'abc', /at most 2 characters; this has 3/],
    ['long in units, not in characters', { type: 'string', maxLength: 2 }, '😀😀', undefined],
    ['not of the pattern', { type: 'string', pattern: '^[a-z]+$' }, 'A', /match/],
    ['a pattern that cannot be read', { type: 'string', pattern: '(?<' }, 'A', undefined],
    ['not in a closed list', { enum: ['a', 'b'] }, 'c', /one of a, b/],
    ['not among examples', { type: 'string', examples: ['a'] }, 'c', undefined],
    ['too many entries', { type: 'array', items: { type: 'string' }, maxItems: 1 }, ['a', 'b'], /at most 1/],
  ];
  for (const [what, node, value, problem] of problems) {
    it(`[DP3] ${what}: ${problem ? 'refused in words' : 'taken'}`, () => {
      const said = problemWith(one(node), value);
      if (problem) expect(said).to.match(problem);
      else expect(said).to.equal(undefined);
    });
  }

  it('[DP3] what is typed is read as a number or as JSON, nothing as "not set", or refused in words', () => {
    const number = one({ type: 'number' });
    expect(readNumber(number, ' 0,5 ')).to.deep.equal({ value: 0.5 });
    expect(readNumber(number, '')).to.deep.equal({});
    expect(readNumber(number, 'warm').problem).to.match(/not a number/);
    const needed = fieldsOf({ properties: { it: { type: 'number' } }, required: ['it'] })[0]!;
    expect(readNumber(needed, '').problem).to.match(/needed/);
    expect(readJson(one({}), '{"a": [1]}')).to.deep.equal({ value: { a: [1] } });
    expect(readJson(one({}), 'word').problem).to.match(/not JSON/);
    expect(readJson(one({}), ' ')).to.deep.equal({});
  });
});
