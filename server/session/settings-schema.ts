// The schema that settings must keep to: made from a JSON Schema at start, asked on every change. Never fetches anything,
// never changes settings: it fills in no defaults while validating.
import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv';
import { Ajv2020 } from 'ajv/dist/2020.js';
import ajvFormats from 'ajv-formats';
import { checkJson, isJsonObject, pointerToken } from '../../client-sdk/protocol/json.js';
import type { Json, JsonObject } from '../../client-sdk/protocol/json.js';
import { JSON_DEPTH_MAX } from '../../client-sdk/protocol/limits.js';
import { checkSchema, dialectOf, dialectUris, referenced, SchemaError, type Dialect } from './schema-check.js';
import { overlay, valueAt } from './settings-rules.js';

/** Where settings break the schema (a JSON Pointer into the settings) and how, in words. */
export interface SettingsIssue {
  readonly path: string;
  readonly message: string;
}

/** A settings schema in force. */
export interface SettingsSchema {
  /** The JSON Schema itself, frozen. */
  readonly json: JsonObject;
  /** What a new session starts from, frozen: the schema's `default`s, put together. */
  readonly defaults: JsonObject;
  /** All that is wrong with the settings, at most `SETTINGS_ISSUES_MAX` of it; [] when they are valid. Settings must have passed `checkJson`. */
  validate(settings: JsonObject): SettingsIssue[];
}

/** Issues named in one refusal. */
export const SETTINGS_ISSUES_MAX = 20;
/** A schema larger than this is a mistake. */
export const SCHEMA_BYTES_MAX = 1_048_576;
/** Nor is one nested deeper than this; settings go to JSON_DEPTH_MAX, and a schema takes two levels for each of theirs. */
export const SCHEMA_DEPTH_MAX = 4 * JSON_DEPTH_MAX;
/** Subschemas looked at for defaults: references can multiply a small file without end. */
const DEFAULTS_VISITED_MAX = 10_000;
/** A value or a list in a message is cut to this many characters. */
const MESSAGE_VALUE_CHARACTERS_MAX = 60;
/** The name the validator knows the schema by; whatever its `$id` is, parts of it are compiled under this. */
const SCHEMA_KEY = 'settings';

/** Keywords that a document can break by what it lacks. */
const absenceKeywords: ReadonlySet<string> = new Set([
  'required',
  'dependentRequired',
  'dependencies',
  'minProperties',
]);

type Validator = Ajv | Ajv2020;

/**
 * Compiles a JSON Schema, 2020-12 or draft-07 by its `$schema`. Throws an Error whose message names the place in the schema, as a
 * JSON Pointer, where it is malformed, has keywords or formats nobody knows (keywords that begin with `x-` are free), refers to
 * other files, or has a default that breaks it. Defaults may be incomplete: a required member without one is for clients to send.
 */
export function compileSettingsSchema(json: unknown): SettingsSchema {
  const schema = readSchema(json);
  const dialect = dialectOf(schema);
  const ajv = validatorFor(dialect);
  checkAgainstMetaSchema(ajv, schema);
  checkSchema(schema, dialect, (name) => Object.hasOwn(ajv.formats, name));
  const check = compile(ajv, schema);

  const found = collectDefaults(schema);
  for (const place of found.places) {
    const issues = issuesOf(compiledPart(ajv, place), valueAt(schema, `${place}/default`) as Json);
    if (issues[0]) throw new SchemaError(`${place}/default${issues[0].path}`, `the default ${issues[0].message}`);
  }
  const together = brokenTogether(check, found.defaults);
  if (together)
    throw new SchemaError('', `the defaults together break it: ${together.path || 'the settings'} ${together.message}`);

  return {
    json: deepFreeze(schema),
    defaults: deepFreeze(found.defaults),
    validate: (settings) => issuesOf(check, settings),
  };
}

/** The schema as a copy of our own, so that nobody changes it later. */
function readSchema(json: unknown): JsonObject {
  const checked = checkJson(json, { maxDepth: SCHEMA_DEPTH_MAX, maxBytes: SCHEMA_BYTES_MAX });
  if (!checked.ok) throw new SchemaError(checked.path, checked.message);
  if (!isJsonObject(json)) throw new SchemaError('', 'must be a JSON object');
  const copy = JSON.parse(JSON.stringify(json)) as JsonObject;
  // The validator knows one spelling of each dialect, and who reads the schema in force should see what it is.
  copy['$schema'] = dialectUris[dialectOf(copy)];
  return copy;
}

function validatorFor(dialect: Dialect): Validator {
  const options = {
    allErrors: true,
    strict: false, // what its strict mode would find is found by checkSchema, with the place
    ownProperties: true, // settings called "toString" are settings, and those inherited are none
    validateSchema: false, // done by hand, for the place
    logger: false,
  } as const;
  const ajv = dialect === '2020-12' ? new Ajv2020(options) : new Ajv(options);
  ajvFormats.default(ajv);
  return ajv;
}

function checkAgainstMetaSchema(ajv: Validator, schema: JsonObject): void {
  if (ajv.validateSchema(schema) === true) return;
  // The deepest error is the one that the author made; the others say that its parents are wrong because of it.
  const errors = [...(ajv.errors ?? [])].sort(
    (a, b) => b.instancePath.split('/').length - a.instancePath.split('/').length,
  );
  const issue = errors[0] && issueOf(errors[0], schema);
  throw new SchemaError(issue?.path ?? '', issue?.message ?? 'is not a JSON Schema');
}

function compile(ajv: Validator, schema: JsonObject): ValidateFunction {
  try {
    ajv.addSchema(schema, SCHEMA_KEY);
    return ajv.getSchema(SCHEMA_KEY) as ValidateFunction;
  } catch (error) {
    throw new SchemaError('', error instanceof Error ? error.message : 'cannot be compiled');
  }
}

/** The check of one subschema, named by its pointer. */
function compiledPart(ajv: Validator, pointer: string): ValidateFunction {
  const fragment = pointer.split('/').map(encodeURIComponent).join('/');
  const check = ajv.getSchema(fragment === '' ? SCHEMA_KEY : `${SCHEMA_KEY}#${fragment}`);
  if (check === undefined) throw new SchemaError(pointer, 'cannot be compiled');
  return check as ValidateFunction;
}

/**
 * The defaults of a schema, and the pointers of the subschemas that they came from. Follows `properties`, `allOf` and local
 * references; of two defaults for one place the outer one wins.
 */
function collectDefaults(schema: JsonObject): { defaults: JsonObject; places: ReadonlySet<string> } {
  const places = new Set<string>();
  const following = new Set<string>();
  let visited = 0;

  function collect(node: Json | undefined, at: string): Json | undefined {
    if (!isJsonObject(node)) return undefined;
    visited += 1;
    if (visited > DEFAULTS_VISITED_MAX)
      throw new SchemaError(at, 'the references multiply: too many places to look for defaults in');
    let value = follow(node['$ref']);
    if (Array.isArray(node['allOf'])) {
      node['allOf'].forEach((part, index) => (value = over(value, collect(part, `${at}/allOf/${index}`))));
    }
    if (isJsonObject(node['properties'])) {
      for (const [key, part] of Object.entries(node['properties'])) {
        const member = collect(part, `${at}/properties/${pointerToken(key)}`);
        if (member !== undefined) value = over(value, { [key]: member });
      }
    }
    if (node['default'] !== undefined) places.add(at);
    return over(value, node['default']);
  }

  function follow(reference: Json | undefined): Json | undefined {
    // A schema may refer to itself: below its own default there is no other.
    if (typeof reference !== 'string' || following.has(reference)) return undefined;
    following.add(reference);
    const value = collect(referenced(schema, reference), decodeURIComponent(reference.slice(1)));
    following.delete(reference);
    return value;
  }

  const defaults = collect(schema, '') ?? {};
  if (!isJsonObject(defaults)) throw new SchemaError('/default', 'the default of the settings must be an object');
  const checked = checkJson(defaults, { maxDepth: JSON_DEPTH_MAX, maxBytes: SCHEMA_BYTES_MAX });
  if (!checked.ok) throw new SchemaError('', `the default of ${checked.path} ${checked.message}`);
  return { defaults: JSON.parse(JSON.stringify(defaults)) as JsonObject, places };
}

function over(below: Json | undefined, above: Json | undefined): Json | undefined {
  if (above === undefined) return below;
  return isJsonObject(below) && isJsonObject(above) ? overlay(below, above) : above;
}

/** What the defaults break as a whole, unless it may be only that something is missing. */
function brokenTogether(check: ValidateFunction, defaults: JsonObject): SettingsIssue | undefined {
  const issues = issuesOf(check, defaults);
  const incomplete = (check.errors ?? []).some((error) => absenceKeywords.has(error.keyword));
  return incomplete ? undefined : issues[0];
}

function issuesOf(check: ValidateFunction, value: Json): SettingsIssue[] {
  if (check(value) === true) return [];
  const issues = new Map<string, SettingsIssue>();
  for (const error of check.errors ?? []) {
    // These two only say that another error in the list is one.
    if (error.keyword === 'if' || error.keyword === 'propertyNames') continue;
    const issue = issueOf(error, value);
    issues.set(`${issue.path} ${issue.message}`, issue);
    if (issues.size >= SETTINGS_ISSUES_MAX) break;
  }
  return [...issues.values()];
}

/** One error of the validator in words, at the member that is meant. */
function issueOf(error: ErrorObject, document: Json): SettingsIssue {
  const params = error.params as Record<string, unknown>;
  const member = (key: unknown): string => `${error.instancePath}/${pointerToken(typeof key === 'string' ? key : '')}`;
  switch (error.keyword) {
    case 'required':
      return { path: member(params['missingProperty']), message: 'is required' };
    case 'additionalProperties':
      return { path: member(params['additionalProperty']), message: 'is not a setting that is known here' };
    case 'unevaluatedProperties':
      return { path: member(params['unevaluatedProperty']), message: 'is not a setting that is known here' };
  }
  if (error.propertyName !== undefined) {
    return { path: member(error.propertyName), message: `has a name that ${error.message ?? 'is not allowed'}` };
  }
  return {
    path: error.instancePath,
    message: `${demand(error, params)} (is ${shown(valueAt(document, error.instancePath))})`,
  };
}

/** What an error asks for. */
function demand(error: ErrorObject, params: Record<string, unknown>): string {
  if (error.keyword === 'false schema') return 'is not allowed here';
  if (error.keyword === 'const') return `must be ${shown(params['allowedValue'])}`;
  if (error.keyword === 'enum' && Array.isArray(params['allowedValues'])) {
    return `must be one of ${cut(params['allowedValues'].map(shown).join(', '), 4 * MESSAGE_VALUE_CHARACTERS_MAX)}`;
  }
  if (error.keyword === 'type') return `must be ${[params['type']].flat().join(' or ')}`;
  return cut(error.message ?? 'is not valid', 4 * MESSAGE_VALUE_CHARACTERS_MAX);
}

/** A value for a message: scalars as JSON, cut short; of arrays and objects only what they are. */
function shown(value: unknown): string {
  if (value === undefined) return 'absent';
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object' && value !== null) return 'an object';
  const text = typeof value === 'string' ? value.slice(0, MESSAGE_VALUE_CHARACTERS_MAX + 1) : value;
  return cut(JSON.stringify(text), MESSAGE_VALUE_CHARACTERS_MAX);
}

function cut(text: string, characters: number): string {
  return text.length > characters ? `${text.slice(0, characters)}…` : text;
}

/** Recursive: for values that passed `checkJson`. */
function deepFreeze<T extends Json>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const member of Object.values(value)) deepFreeze(member as Json);
  }
  return value;
}
