// Reads a deployment's JSON Schema before the validator does: finds what would be ignored in silence (unknown keywords,
// unknown formats) or reach outside (references), and says where. Never validates settings.
import { isJsonObject, pointerToken } from '../../client-sdk/protocol/json.js';
import type { Json, JsonObject } from '../../client-sdk/protocol/json.js';
import { valueAt } from './settings-rules.js';

/** The dialects that a settings schema may be written in. */
export type Dialect = '2020-12' | 'draft-07';

/** A schema that cannot be used. The message names the place, as a JSON Pointer into the schema file. */
export class SchemaError extends Error {
  override name = 'SchemaError';
  constructor(at: string, problem: string) {
    super(`settings schema, ${at === '' ? 'at its root' : `at ${at}`}: ${problem}`);
  }
}

/** What a keyword holds: a schema, a list or a map of schemas, either a schema or a list, or no schema at all. */
type Holds = 'schema' | 'list' | 'map' | 'maybe' | 'plain';

const holding = (holds: Holds, keywords: string): [string, Holds][] => keywords.split(' ').map((name) => [name, holds]);

const inBothDialects: readonly [string, Holds][] = [
  ...holding(
    'plain',
    '$schema $id $ref $comment title description default examples readOnly writeOnly deprecated type enum const',
  ),
  ...holding(
    'plain',
    'multipleOf maximum exclusiveMaximum minimum exclusiveMinimum maxLength minLength pattern format',
  ),
  ...holding(
    'plain',
    'contentEncoding contentMediaType maxItems minItems uniqueItems maxProperties minProperties required',
  ),
  ...holding('schema', 'additionalProperties contains propertyNames not if then else'),
  ...holding('list', 'allOf anyOf oneOf'),
  ...holding('map', 'properties patternProperties definitions $defs'),
];

const keywordsOf: Readonly<Record<Dialect, ReadonlyMap<string, Holds>>> = {
  '2020-12': new Map([
    ...inBothDialects,
    ...holding('schema', 'items unevaluatedItems unevaluatedProperties contentSchema'),
    ...holding('list', 'prefixItems'),
    ...holding('map', 'dependentSchemas'),
    ...holding('plain', '$anchor $dynamicAnchor $dynamicRef $vocabulary dependentRequired minContains maxContains'),
  ]),
  'draft-07': new Map([
    ...inBothDialects,
    ...holding('maybe', 'items'),
    ...holding('schema', 'additionalItems'),
    ...holding('map', 'dependencies'),
  ]),
};

/** The `$schema` of each dialect, in the spelling of its own meta-schema. */
export const dialectUris: Readonly<Record<Dialect, string>> = {
  '2020-12': 'https://json-schema.org/draft/2020-12/schema',
  'draft-07': 'http://json-schema.org/draft-07/schema#',
};

/** The dialect that `$schema` names, 2020-12 where it is absent. Throws `SchemaError` for any other. */
export function dialectOf(schema: JsonObject): Dialect {
  const named = schema['$schema'];
  if (named === undefined) return '2020-12';
  if (typeof named === 'string') {
    // People write http for https and leave out or add the empty fragment.
    const spelling = (uri: string): string => uri.replace(/#$/, '').replace(/^http:/, 'https:');
    for (const dialect of ['2020-12', 'draft-07'] as const) {
      if (spelling(named) === spelling(dialectUris[dialect])) return dialect;
    }
  }
  throw new SchemaError('/$schema', 'the dialect must be JSON Schema 2020-12 or draft-07');
}

/**
 * Goes through every subschema and throws `SchemaError` at the first unknown keyword (those that begin with `x-` are the
 * deployment's own), unknown format, broken pattern, `$id` below the root, or reference that is remote or leads nowhere.
 * The schema must have passed the dialect's meta-schema, and `checkJson`: recursive.
 */
export function checkSchema(root: JsonObject, dialect: Dialect, knowsFormat: (name: string) => boolean): void {
  const keywords = keywordsOf[dialect];

  function visit(schema: Json | undefined, at: string): void {
    if (!isJsonObject(schema)) return; // true and false are schemas, too
    for (const [keyword, value] of Object.entries(schema)) {
      if (keyword.startsWith('x-')) continue;
      const place = `${at}/${pointerToken(keyword)}`;
      const holds = keywords.get(keyword);
      if (holds === undefined) {
        throw new SchemaError(
          place,
          `the keyword "${keyword}" is not known in ${dialect}; one of your own must begin with "x-"`,
        );
      }
      checkValue(keyword, value, place);
      if (holds === 'schema' || (holds === 'maybe' && !Array.isArray(value))) visit(value, place);
      else if (Array.isArray(value) && holds !== 'plain')
        value.forEach((item, index) => visit(item, `${place}/${index}`));
      else if (holds === 'map' && isJsonObject(value)) {
        for (const [key, item] of Object.entries(value)) visit(item, `${place}/${pointerToken(key)}`);
      }
    }
  }

  function checkValue(keyword: string, value: Json, place: string): void {
    if (keyword === '$id' && place !== '/$id') throw new SchemaError(place, '"$id" is taken at the root only');
    if (keyword === 'format' && typeof value === 'string' && !knowsFormat(value)) {
      throw new SchemaError(place, `the format "${value}" is not known`);
    }
    if (keyword === 'pattern' && typeof value === 'string') checkPattern(value, place);
    if (keyword === 'patternProperties' && isJsonObject(value)) {
      for (const pattern of Object.keys(value)) checkPattern(pattern, `${place}/${pointerToken(pattern)}`);
    }
    if ((keyword === '$ref' || keyword === '$dynamicRef') && typeof value === 'string') checkReference(value, place);
  }

  function checkReference(reference: string, place: string): void {
    if (!reference.startsWith('#')) throw new SchemaError(place, 'a reference must stay in this file: "#/…"');
    if (reference !== '#' && !reference.startsWith('#/')) return; // an anchor; the validator knows them
    const target = referenced(root, reference);
    if (!isJsonObject(target) && typeof target !== 'boolean')
      throw new SchemaError(place, `${reference} leads to no schema`);
  }

  visit(root, '');
}

/** What a local reference (`#`, `#/…`) leads to, undefined where it leads nowhere. */
export function referenced(root: JsonObject, reference: string): Json | undefined {
  try {
    return valueAt(root, decodeURIComponent(reference.slice(1)));
  } catch {
    return undefined; // a broken percent escape
  }
}

function checkPattern(pattern: string, place: string): void {
  try {
    new RegExp(pattern, 'u');
  } catch {
    throw new SchemaError(place, 'the pattern is not a regular expression');
  }
}
