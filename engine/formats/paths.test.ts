import { describe, expect, it } from 'vitest';
import { checkName, show } from './paths.js';
import { complaint } from './testing.js';

describe('checkName', () => {
  it.each(['fashion', 'Réseau 4 bits', '4-bit.v2', 'console', 'x'.repeat(200)])('takes %j', (name) => {
    expect(checkName(name)).toBe(name);
  });

  it.each([
    ['', 'is empty'],
    [' a', 'begins or ends with a space'],
    ['a ', 'begins or ends with a space'],
    ['é'.repeat(101), 'is too long'],
    ['../a', 'holds a character'],
    ['a\\b', 'holds a character'],
    ['a\nb', 'holds a character'],
    ['C:', 'holds a character'],
    ['.hidden', 'begins or ends with a dot'],
    ['..', 'begins or ends with a dot'],
    ['a.', 'begins or ends with a dot'],
    ['NUL', 'reserved by Windows'],
    ['com1.json', 'reserved by Windows'],
    ['x.PARTIAL', 'marks unfinished work'],
  ])('refuses %j', async (name, reason) => {
    expect(await complaint(() => checkName(name))).toContain(reason);
  });
});

describe('show', () => {
  it.each([
    [undefined, 'nothing'],
    ['a "b"', '"a \\"b\\""'],
    [[1, null, { a: [true] }, NaN], '[1,null,{"a":[true]},null]'],
    [{}, '{}'],
    // As columns of Parquet hold them.
    [{ id: 5n }, '{"id":5}'],
  ])('%o is %s', (value, shown) => expect(show(value)).toBe(shown));

  it('cuts what is longer, and looks no further', () => {
    const { length } = show('x'.repeat(100), 20);
    expect(length).toBe(20);
    let deep: unknown = 0;
    for (let i = 0; i < 100_000; i++) deep = [deep];
    expect(show(deep, 10)).toBe('[[[[[[[[[…');
    const tail = {
      get later(): never {
        throw new Error('looked at');
      },
    };
    expect(show(['x'.repeat(30), tail], 20)).toBe(`["${'x'.repeat(17)}…`);
  });
});
