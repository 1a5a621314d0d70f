import { describe, expect, it } from 'vitest';
import { UserError } from '../errors.js';
import {
  either,
  flag,
  integer,
  list,
  number,
  oneOf,
  optional,
  path,
  readFields,
  record,
  sha256,
  text,
  type Field,
} from './json-fields.js';

describe('readFields', () => {
  interface Thing {
    readonly name: string;
    readonly size?: number;
  }
  const read = (value: unknown, others?: 'dropped') =>
    readFields<Thing>(value, { name: text(), size: optional(integer(1)) }, 'thing', others);

  it('keeps what is there and adds nothing', () => {
    expect(read({ name: 'a' })).toEqual({ name: 'a' });
    expect(Object.keys(read({ size: 2, name: 'a' }))).toEqual(['name', 'size']);
  });

  it.each<[unknown, string]>([
    [undefined, 'thing: must be a JSON object, found nothing.'],
    [[], 'thing: must be a JSON object, found [].'],
    [{}, 'thing: "name" must be a text, but is missing.'],
    [{ name: 'a', size: 0 }, 'thing: "size" must be a positive integer, found 0.'],
    [{ name: 'a', size: null }, 'thing: "size" must be a positive integer, found null.'],
    [{ name: 'a', colour: 1 }, 'thing: there is no "colour".'],
    [JSON.parse('{"name":"a","__proto__":{}}'), 'thing: there is no "__proto__".'],
    [{ name: 'a', toString: 1 }, 'thing: there is no "toString".'],
  ])('refuses %j', (value, message) => {
    expect(() => read(value)).toThrow(UserError);
    expect(() => read(value)).toThrow(message);
  });

  it('drops other keys where it is told to', () => {
    expect(read({ name: 'a', colour: 1 }, 'dropped')).toEqual({ name: 'a' });
  });

  it('does not look at what an object inherits', () => {
    expect(() => read(Object.create({ name: 'a' }))).toThrow('"name" must be a text, but is missing.');
  });
});

describe('fields', () => {
  const read = <T>(field: Field<T>, value: unknown) => field({ key: value } as never, 'key', 'it');
  const refusal = <T>(field: Field<T>, value: unknown) => {
    try {
      read(field, value);
    } catch (error) {
      return (error as Error).message;
    }
    return undefined;
  };

  it('accept what they say and refuse the rest', () => {
    expect(read(oneOf('a', 'b'), 'b')).toBe('b');
    expect(refusal(oneOf('a', 'b'), 'c')).toBe('it: "key" must be one of "a", "b", found "c".');
    expect(read(flag(), false)).toBe(false);
    expect(refusal(flag(), 0)).toMatch('must be true or false');
    expect(read(number(0, 1), 0.5)).toBe(0.5);
    for (const bad of [NaN, Infinity, '0.5', 1.5])
      expect(refusal(number(0, 1), bad)).toMatch('a number from 0 to 1');
    expect(read(integer(2, 8), 8)).toBe(8);
    for (const bad of [2.5, 1, 9, 2 ** 60])
      expect(refusal(integer(2, 8), bad)).toMatch('an integer from 2 to 8');
  });

  it('name the item of a list that is wrong', () => {
    expect(read(list(list(integer(2, 8), 1)), [[8, 7], [4]])).toEqual([[8, 7], [4]]);
    expect(refusal(list(list(integer(2, 8), 1)), [[8, 7], [9]])).toBe(
      'it: "key[1][0]" must be an integer from 2 to 8, found 9.',
    );
    expect(refusal(list(text(), 1), [])).toBe('it: "key" must be a list of at least 1, found [].');
    expect(refusal(list(text()), { length: 0 })).toMatch('must be a list');
    expect(refusal(record({ a: list(record({ b: text() })) }), { a: [{ b: 1 }] })).toBe(
      'it: key: a[0]: "b" must be a text, found 1.',
    );
  });

  it('try the second reader where the first refuses', () => {
    const field = either(integer(0), list(integer(0)));
    expect(read(field, 3)).toBe(3);
    expect(read(field, [3])).toEqual([3]);
    expect(refusal(field, 'x')).toBe('it: "key" must be a list, found "x".');
  });

  it('take absolute paths alone', () => {
    expect(read(path(), '/a b/ü')).toBe('/a b/ü');
    for (const bad of ['a', './a', '', '/a\0b'])
      expect(refusal(path(), bad)).toMatch('must be an absolute path');
  });

  it('take hashes of 64 hex digits', () => {
    expect(read(sha256(), 'a'.repeat(64))).toBe('a'.repeat(64));
    for (const bad of ['a'.repeat(63), 'A'.repeat(64), 'g'.repeat(64)])
      expect(refusal(sha256(), bad)).toMatch('must be 64 hex digits');
  });
});
