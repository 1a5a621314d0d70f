import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { UserError } from '../errors.js';
import { parseJsonStrict } from './json-parse.js';
import type { JsonObject, JsonValue } from './json-parse.js';
import { fileError, show, sizeOfFile } from './paths.js';

export { parseJsonStrict } from './json-parse.js';
export type { JsonObject, JsonValue } from './json-parse.js';

const DEFAULT_MAX_BYTES = 16 << 20;

/** `bytes` as text; `UserError` where they are not UTF-8. A byte order mark is dropped. */
export function decodeUtf8(bytes: Uint8Array, where: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    throw new UserError(`${where}: not valid UTF-8 text.`, { cause: error });
  }
}

/**
 * Reads a JSON file by the rules and options of `parseJsonStrict`. A file above `maxBytes` (16 MiB if not given) is
 * refused by its size, before it is read. Errors start with the name of the file.
 */
export async function readJsonFile(
  path: string,
  options: { maxBytes?: number; python?: boolean } = {},
): Promise<JsonValue> {
  const { maxBytes = DEFAULT_MAX_BYTES, python = false } = options;
  const where = basename(path);
  const size = await sizeOfFile(path);
  if (size > maxBytes) throw new UserError(`${where}: ${size} bytes, more than the ${maxBytes} allowed.`);
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (error) {
    throw fileError(error, 'read', path);
  }
  return parseJsonStrict(decodeUtf8(bytes, where), where, { python });
}

/** `value` as an object; `UserError` otherwise. */
export function expectObject(value: unknown, where: string): JsonObject {
  if (!isObject(value)) throw new UserError(`${where}: must be a JSON object, found ${show(value, 40)}.`);
  return value;
}

/** The object under `key`. */
export const expectObjectAt = (object: JsonObject, key: string, where: string): JsonObject =>
  take(object, key, where, {}, 'an object', isObject);

/** The integer under `key`, within `min..max`. */
export function expectInteger(
  object: JsonObject,
  key: string,
  where: string,
  options: { readonly min?: number; readonly max?: number; readonly default?: number } = {},
): number {
  const { min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER } = options;
  return take(
    object,
    key,
    where,
    options,
    describeInteger(min, max),
    (value): value is number => Number.isSafeInteger(value) && Number(value) >= min && Number(value) <= max,
  );
}

/** The number under `key`, within `min..max`. */
export function expectNumber(
  object: JsonObject,
  key: string,
  where: string,
  options: { readonly min?: number; readonly max?: number; readonly default?: number } = {},
): number {
  const { min = -Infinity, max = Infinity } = options;
  return take(
    object,
    key,
    where,
    options,
    `a number${describeRange(min, max)}`,
    (value): value is number => Number.isFinite(value) && Number(value) >= min && Number(value) <= max,
  );
}

/** The text under `key`; with `oneOf`, one of those texts. */
export function expectString<T extends string = string>(
  object: JsonObject,
  key: string,
  where: string,
  options: { readonly oneOf?: readonly T[]; readonly default?: T } = {},
): T {
  const { oneOf } = options;
  const wanted = oneOf ? `one of ${oneOf.map((text) => show(text)).join(', ')}` : 'a text';
  return take(
    object,
    key,
    where,
    options,
    wanted,
    (value): value is T => typeof value === 'string' && (!oneOf || oneOf.includes(value as T)),
  );
}

/** The truth value under `key`. */
export const expectBoolean = (
  object: JsonObject,
  key: string,
  where: string,
  options: { readonly default?: boolean } = {},
): boolean =>
  take(object, key, where, options, 'true or false', (value): value is boolean => typeof value === 'boolean');

/** The numbers under `key`; with `integer`, whole ones; with `length`, exactly so many. */
export function expectNumberArray(
  object: JsonObject,
  key: string,
  where: string,
  options: {
    readonly integer?: boolean;
    readonly length?: number;
    readonly min?: number;
    readonly max?: number;
    readonly default?: readonly number[];
  } = {},
): readonly number[] {
  const { integer = false, length, min = -Infinity, max = Infinity } = options;
  const isItem = (item: unknown) =>
    Number.isFinite(item) &&
    (!integer || Number.isSafeInteger(item)) &&
    Number(item) >= min &&
    Number(item) <= max;
  const wanted = `a list of ${length === undefined ? '' : `${length} `}${integer ? 'integers' : 'numbers'}`;
  return take(
    object,
    key,
    where,
    options,
    wanted + describeRange(min, max),
    (value): value is number[] =>
      Array.isArray(value) && (length === undefined || value.length === length) && value.every(isItem),
  );
}

/**
 * The value under `key` if `accepts` does; the default where the key is missing or null and a default was
 * given; else a `UserError`: `config.json: "hidden_size" must be a positive integer, found "abc".`
 */
function take<T>(
  object: JsonObject,
  key: string,
  where: string,
  options: { readonly default?: T },
  wanted: string,
  accepts: (value: unknown) => value is T,
): T {
  const value = Object.hasOwn(object, key) ? object[key] : undefined;
  if ((value === undefined || value === null) && options.default !== undefined) return options.default;
  if (accepts(value)) return value;
  const found = value === undefined ? 'but is missing' : `found ${show(value, 40)}`;
  throw new UserError(`${where}: "${key}" must be ${wanted}, ${found}.`);
}

/** Whether it is an object, neither a list nor null. */
export const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function describeInteger(min: number, max: number): string {
  if (max === Number.MAX_SAFE_INTEGER) {
    if (min === 1) return 'a positive integer';
    if (min === 0) return 'an integer of 0 or more';
    return min === Number.MIN_SAFE_INTEGER ? 'an integer' : `an integer of at least ${min}`;
  }
  return `an integer${min === Number.MIN_SAFE_INTEGER ? ` of at most ${max}` : ` from ${min} to ${max}`}`;
}

function describeRange(min: number, max: number): string {
  if (min === -Infinity && max === Infinity) return '';
  if (max === Infinity) return ` of at least ${min}`;
  return min === -Infinity ? ` of at most ${max}` : ` from ${min} to ${max}`;
}
