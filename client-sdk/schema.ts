// Validation of settings before anything is sent: by a JSON Schema, such as the one the server gives, or by any library
// that speaks Standard Schema. The server decides all the same.
import { Validator, type OutputUnit, type Schema } from '@cfworker/json-schema';
import type { JsonObject } from './protocol/json.js';
import { ClientError } from './client-error.js';
import type { SettingsValidator } from './shapes.js';

/** What is wrong with one value: its JSON Pointer, and a sentence. */
export interface SettingsIssue {
  path: string;
  message: string;
}

/** The part of a Standard Schema (version 1) that is used. Only synchronous ones can be. */
export interface StandardSchema<S> {
  readonly '~standard': {
    /** The value where it is valid, else what is wrong with it. */
    readonly validate: (value: unknown) => StandardResult<S> | Promise<StandardResult<S>>;
  };
}
/** What a Standard Schema answers: the value, or what is wrong with it. */
export type StandardResult<S> =
  | { readonly value: S; readonly issues?: undefined }
  | {
      readonly issues: readonly {
        readonly message: string;
        readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
      }[];
    };

/** A validator for `client.session(id, { validate })` of a JSON Schema, draft 2020-12. Throws where it is not one. */
export function jsonSchema<S = JsonObject>(schema: object): SettingsValidator<S> {
  const validator = new Validator(schema as Schema, '2020-12', false);
  return (settings) => {
    const { errors } = validator.validate(settings);
    return refusalOf(errors.filter((error) => !isHolder(error, errors)).map(issueOf));
  };
}

/** Whether an error says only that there is another in what it holds. */
function isHolder({ keyword, keywordLocation }: OutputUnit, errors: OutputUnit[]): boolean {
  if (/^(anyOf|oneOf|contains)$/.test(keyword)) return false;
  const within = `${keywordLocation}/`;
  return (
    /^(if$|additional|unevaluated)/.test(keyword) || errors.some((other) => other.keywordLocation.startsWith(within))
  );
}

/** An error at the member that is meant, as the server names it. */
function issueOf({ keyword, instanceLocation, error }: OutputUnit): SettingsIssue {
  // It gives the pointer as the fragment of a URI.
  const path = decodeURI(instanceLocation.replace(/^#/, ''));
  if (keyword === 'false') return { path, message: 'is not a setting that is known here' };
  const missing = keyword === 'required' ? /"(.*)"/s.exec(error)?.[1] : undefined;
  if (missing === undefined) return { path, message: error };
  return { path: `${path}/${tokenOf(missing)}`, message: 'is required' };
}

/** The same of any library that speaks Standard Schema: zod, valibot, arktype … */
export function standardSchema<S>(schema: StandardSchema<S>): SettingsValidator<S> {
  return (settings) => {
    const result = schema['~standard'].validate(settings);
    if (result instanceof Promise) throw new TypeError('a schema that validates asynchronously cannot be used here');
    return refusalOf(
      (result.issues ?? []).map(({ path, message }) => ({
        path: (path ?? []).map((key) => `/${tokenOf(typeof key === 'object' ? key.key : key)}`).join(''),
        message,
      })),
    );
  };
}

/** The settings schema that a server has in force. Rejects where it cannot be had. */
export async function fetchSettingsSchema(url = ''): Promise<object> {
  const response = await fetch(`${url.replace(/\/$/, '')}/v1/settings-schema`);
  if (!response.ok) throw new Error(`the server answered ${response.status} to a request for its settings schema`);
  return (await response.json()) as object;
}

function refusalOf(issues: SettingsIssue[]): ClientError | undefined {
  if (issues.length === 0) return undefined;
  const message = issues.map((issue) => `${issue.path || '/'}: ${issue.message}`).join('; ');
  return new ClientError('INVALID_SETTINGS', { message, details: { issues } });
}

const tokenOf = (key: PropertyKey) => String(key).replaceAll('~', '~0').replaceAll('/', '~1');
