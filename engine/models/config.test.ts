import { describe, expect, it } from 'vitest';
import { UserError } from '../errors.js';
import { ModelConfig } from './config.js';

const config = (values: Record<string, unknown>) => new ModelConfig(values, 'tiny/config.json');

/** The message of the UserError that reading ends in; it must name the file and the key, on one line of readable length. */
function complaint(values: Record<string, unknown>, read: (config: ModelConfig) => unknown): string {
  try {
    read(config(values));
  } catch (error) {
    expect(error).toBeInstanceOf(UserError);
    const { message } = error as UserError;
    expect(message).toMatch(/^tiny\/config\.json: "[a-z0-9_]+" [^\n]{1,200}\.$/);
    return message.slice('tiny/config.json: '.length);
  }
  throw new Error('It was accepted.');
}

describe('size', () => {
  it('reads an integer, else the fallback', () => {
    expect(config({ n: 7 }).size('n', 3)).toBe(7);
    expect(config({}).size('n', 3)).toBe(3);
    expect(config({ n: null }).size('n', 3)).toBe(3);
  });

  it.each([0, -1, 1.5, '7', true, [7], {}, 2 ** 24 + 1])('refuses %j', (n) => {
    expect(complaint({ n }, (c) => c.size('n', 3))).toBe(
      `"n" must be an integer from 1 to 16777216, found ${JSON.stringify(n)}.`,
    );
  });

  it('refuses what is above the limit given', () => {
    expect(config({ n: 5 }).size('n', 1, 5)).toBe(5);
    expect(complaint({ n: 6 }, (c) => c.size('n', 1, 5))).toBe(
      '"n" must be an integer from 1 to 5, found 6.',
    );
  });

  it('says that a key without fallback is missing', () => {
    expect(complaint({}, (c) => c.size('n'))).toBe('"n" is missing.');
    expect(complaint({ n: null }, (c) => c.size('n'))).toBe('"n" is missing.');
  });
});

describe('optionalSize', () => {
  it('tells a key that is null from one that is absent', () => {
    expect(config({ n: 7 }).optionalSize('n', 3)).toBe(7);
    expect(config({ n: null }).optionalSize('n', 3)).toBeUndefined();
    expect(config({}).optionalSize('n', 3)).toBe(3);
    expect(config({}).optionalSize('n')).toBeUndefined();
  });

  it.each([0, '7', false])('refuses %j', (n) => {
    expect(complaint({ n }, (c) => c.optionalSize('n', 3, 5))).toBe(
      `"n" must be an integer from 1 to 5, found ${JSON.stringify(n)}.`,
    );
  });
});

describe('section', () => {
  it('reads the keys of an object, and names them in full', () => {
    const scaling = config({ scaling: { inner: { factor: 0 } } })
      .section('scaling')!
      .section('inner')!;
    expect(() => scaling.positive('factor')).toThrow(
      'tiny/config.json: "scaling.inner.factor" must be a positive number, found 0.',
    );
    expect(() => scaling.text('type')).toThrow('tiny/config.json: "scaling.inner.type" is missing.');
  });

  it('is none where the key is absent or null', () => {
    expect(config({}).section('x')).toBeUndefined();
    expect(config({ x: null }).section('x')).toBeUndefined();
    expect([config({ x: null }).has('x'), config({}).has('x'), config({ x: 0 }).has('x')]).toEqual([
      false,
      false,
      true,
    ]);
  });

  it.each([1, 'a', [], true])('refuses %j', (x) => {
    expect(complaint({ x }, (c) => c.section('x'))).toBe(
      `"x" must be an object, found ${JSON.stringify(x)}.`,
    );
  });
});

describe('pair', () => {
  it('reads one number for both axes, or height and width', () => {
    expect(config({ n: 8 }).pair('n', 2)).toEqual([8, 8]);
    expect(config({ n: [8, 4] }).pair('n', 2)).toEqual([8, 4]);
    expect(config({}).pair('n', 2)).toEqual([2, 2]);
  });

  it.each([0, '8', [8], [8, 8, 8], [8, 0], [8, 1.5], ['8', 8], [10, 11], { height: 8, width: 8 }])(
    'refuses %j',
    (n) => {
      expect(complaint({ n }, (c) => c.pair('n', 2, 10))).toBe(
        `"n" must be an integer from 1 to 10, or a list of two, found ${JSON.stringify(n)}.`,
      );
    },
  );
});

it.each<[string, (c: ModelConfig) => unknown, unknown, string]>([
  ['a text for a number', (c) => c.positive('x', 1), '1', 'must be a positive number, found "1"'],
  ['zero', (c) => c.positive('x', 1), 0, 'must be a positive number, found 0'],
  ['a number for a truth value', (c) => c.flag('x', true), 1, 'must be true or false, found 1'],
  ['a number for a text', (c) => c.text('x'), 1, 'must be a text, found 1'],
  ['a text for a list', (c) => c.texts('x'), 'a', 'must be a list of texts, found "a"'],
  ['a list of numbers', (c) => c.texts('x'), [1], 'must be a list of texts, found [1]'],
  ['one that is not supported', (c) => c.oneOf('x', ['a', 'b'], 'a'), 'c', 'is "c"; supported: a, b'],
  ['a list for one of several', (c) => c.oneOf('x', ['a', 'b'], 'a'), ['a'], 'is ["a"]; supported: a, b'],
])('refuses %s', (_, read, x, problem) => {
  expect(complaint({ x }, read)).toBe(`"x" ${problem}.`);
});

it('cuts what it found, so that the message stays readable', () => {
  expect(complaint({ x: 'a'.repeat(100_000) }, (c) => c.oneOf('x', ['a'], 'a'))).toMatch(
    /a…; supported: a\.$/,
  );
});

describe('classes', () => {
  it('come from id2label, in any order, numbers as names too', () => {
    const { count, names } = config({
      id2label: { '1': 'dog', '0': 'cat', '2': 7 },
      num_labels: 3,
    }).classes();
    expect([...names].sort()).toEqual([[0, 'cat'], [1, 'dog'], [2, '7']]); // prettier-ignore
    expect(count).toBe(3);
  });

  it('are counted by num_labels where there is no id2label, else two', () => {
    expect(config({ num_labels: 10 }).classes().count).toBe(10);
    expect(config({ id2label: {}, num_labels: 10 }).classes().count).toBe(10);
    expect(config({ id2label: null }).classes().count).toBe(2);
    expect(config({}).classes().names.size).toBe(0);
  });

  it('are those of num_labels, without names, where id2label has another number of them, which is noted', () => {
    const c = config({ id2label: { '0': 'cat', '1': 'dog' }, num_labels: 7 });
    expect(c.classes()).toEqual({ count: 7, names: new Map() });
    expect(c.notes).toEqual([expect.stringContaining('"num_labels" is 7, and "id2label" names 2 classes')]);
  });

  it('leave out names beyond their number, which is noted', () => {
    const c = config({ id2label: { '1': 'cat', '2': 'dog' } });
    expect(c.classes()).toEqual({ count: 2, names: new Map([[1, 'cat']]) });
    expect(c.notes).toEqual([expect.stringContaining('names a class 2')]);
  });

  it.each<[string, unknown, string]>([
    ['a list', ['cat'], 'must map class numbers to names, found ["cat"]'],
    ['a text', 'cat', 'must map class numbers to names, found "cat"'],
    ['a name for a number', { cat: 0 }, 'must map class numbers to names, found "cat": 0'],
    ['a negative number', { '-1': 'cat' }, 'must map class numbers to names, found "-1": "cat"'],
    ['an empty number', { '': 'cat' }, 'must map class numbers to names, found "": "cat"'],
    ['one number twice', { '0': 'cat', '00': 'dog' }, 'must map class numbers to names, found "00": "dog"'],
    ['a name that is a list', { '0': ['cat'] }, 'must map class numbers to names, found "0": ["cat"]'],
  ])('refuses %s', (_, id2label, problem) => {
    expect(complaint({ id2label }, (c: ModelConfig) => c.classes())).toBe(`"id2label" ${problem}.`);
  });
});
