/** Typed objects from JSON of unknown origin: one reader a key, so that a type and what is read of it cannot drift apart. */
import { isAbsolute } from 'node:path';
import { UserError } from '../errors.js';
import { expectBoolean, expectInteger, expectNumber, expectObject, expectString } from './json.js';
import type { JsonObject } from './json.js';
import { show } from './paths.js';

/** Reads the value under a key; throws `UserError` that begins with `where` for one it does not accept. */
export type Field<T> = (object: JsonObject, key: string, where: string) => T;

/** A reader for every key of `T`; those of optional keys may return undefined. */
export type Fields<T> = {
  readonly [K in keyof Required<T>]: Field<object extends Pick<T, K> ? T[K] | undefined : T[K]>;
};

/**
 * The value as an object with the keys of `fields`. Optional keys that are missing stay missing. Throws `UserError` for
 * the first key that is wrong, and for one that `fields` does not have unless `others` are dropped.
 */
export function readFields<T extends object>(
  value: unknown,
  fields: Fields<T>,
  where: string,
  others: 'refused' | 'dropped' = 'refused',
): T {
  const object = expectObject(value, where);
  if (others === 'refused')
    for (const key of Object.keys(object))
      if (!Object.hasOwn(fields, key)) throw new UserError(`${where}: there is no ${show(key, 40)}.`);
  const entries = Object.entries<Field<unknown>>(fields)
    .map(([key, field]) => [key, field(object, key, where)] as const)
    .filter(([, read]) => read !== undefined);
  return Object.fromEntries(entries) as T;
}

/** The field, or undefined where the key is missing. */
export const optional =
  <T>(field: Field<T>): Field<T | undefined> =>
  (object, key, where) =>
    Object.hasOwn(object, key) ? field(object, key, where) : undefined;

export const text = (): Field<string> => (object, key, where) => expectString(object, key, where);

export const oneOf =
  <const T extends string>(...values: readonly T[]): Field<T> =>
  (object, key, where) =>
    expectString(object, key, where, { oneOf: values });

export const flag = (): Field<boolean> => (object, key, where) => expectBoolean(object, key, where);

export const integer =
  (min?: number, max?: number): Field<number> =>
  (object, key, where) =>
    expectInteger(object, key, where, range(min, max));

export const number =
  (min?: number, max?: number): Field<number> =>
  (object, key, where) =>
    expectNumber(object, key, where, range(min, max));

/** A SHA-256 as 64 hex digits. */
export const sha256 = (): Field<string> => (object, key, where) => {
  const found = expectString(object, key, where);
  if (!/^[0-9a-f]{64}$/.test(found))
    throw new UserError(`${where}: "${key}" must be 64 hex digits, found ${show(found, 40)}.`);
  return found;
};

/** The path of a file or folder on this machine. */
export const path = (): Field<string> => (object, key, where) => {
  const found = expectString(object, key, where);
  if (!isAbsolute(found) || found.includes('\0'))
    throw new UserError(`${where}: "${key}" must be an absolute path, found ${show(found)}.`);
  return found;
};

/** A list of what `item` reads; at least `least` of them. */
export const list =
  <T>(item: Field<T>, least = 0): Field<T[]> =>
  (object, key, where) => {
    const found = Object.hasOwn(object, key) ? object[key] : undefined;
    if (!Array.isArray(found) || found.length < least)
      throw new UserError(
        `${where}: "${key}" must be a list${least > 0 ? ` of at least ${least}` : ''}, found ${show(found, 40)}.`,
      );
    return found.map((value, i) => item({ [`${key}[${i}]`]: value }, `${key}[${i}]`, where));
  };

/** An object by the readers of its keys. */
export const record =
  <T extends object>(fields: Fields<T>, others: 'refused' | 'dropped' = 'refused'): Field<T> =>
  (object, key, where) =>
    readFields(Object.hasOwn(object, key) ? object[key] : undefined, fields, `${where}: ${key}`, others);

/** An object with any keys, all of whose values one reader accepts. */
export const mapOf =
  <T>(item: Field<T>): Field<Readonly<Record<string, T>>> =>
  (object, key, where) => {
    const found = expectObject(Object.hasOwn(object, key) ? object[key] : undefined, `${where}: ${key}`);
    return Object.fromEntries(
      Object.keys(found).map((name) => [name, item(found, name, `${where}: ${key}`)]),
    );
  };

/** What the first of two readers accepts, or else the second. */
export const either =
  <A, B>(first: Field<A>, second: Field<B>): Field<A | B> =>
  (object, key, where) => {
    try {
      return first(object, key, where);
    } catch {
      return second(object, key, where);
    }
  };

const range = (min?: number, max?: number) => ({
  ...(min !== undefined && { min }),
  ...(max !== undefined && { max }),
});
