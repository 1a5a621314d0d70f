import { expect, test } from 'vitest';
import type { ImageSource } from './image-source.js';
import { alignLabels } from './labels.js';
import { selectFirst, selectRandom } from './select.js';

const source = (labels: number[], rest: Partial<ImageSource> = {}): ImageSource => ({
  name: 'set',
  kind: 'folder',
  length: labels.length,
  labels: Int32Array.from(labels),
  labelled: true,
  skipped: [],
  fingerprint: () => Promise.resolve(''),
  batches: () => {
    throw new Error('not read');
  },
  close: () => Promise.resolve(),
  ...rest,
});

test('takes classes in turn where they stand one after another', () => {
  const set = source([0, 0, 0, 0, 1, 2, 2]);
  expect(selectFirst(set, 5)).toEqual([0, 4, 5, 1, 6]);
  expect(selectFirst(set, 100)).toEqual([0, 4, 5, 1, 6, 2, 3]);
  expect(selectFirst({ ...set, kind: 'parquet' }, 4)).toEqual([0, 1, 4, 5]);
});

test('takes the first ones where classes are mixed or unknown', () => {
  expect(selectFirst(source([1, 0, 1, 0]), 3)).toEqual([0, 1, 2]);
  expect(selectFirst(source([0, 0, 0]), 2)).toEqual([0, 1]);
});

test('draws without replacement, the same for a seed', () => {
  const set = source(new Array<number>(50).fill(0));
  const draw = selectRandom(set, 20, 7);
  expect(new Set(draw).size).toBe(20);
  expect(selectRandom(set, 20, 7)).toEqual(draw);
  expect(selectRandom(set, 20, 8)).not.toEqual(draw);
  expect(selectRandom(set, 50, 7)).toEqual(Array.from({ length: 50 }, (_, i) => i));
});

const named = (classNames: string[], labels = classNames.map((_, i) => i)) => source(labels, { classNames });
const mapped = (set: ImageSource, label2id: Record<string, number> | undefined, count: number) =>
  [...set.labels!].map(
    alignLabels(set, new Map(Object.entries(label2id ?? {}).map(([name, id]) => [id, name])), count),
  );

test('finds class names among those of the model', () => {
  const label2id = { 'tench, Tinca tinca': 0, 'T-shirt/top': 1, great_white: 2, Dog: 3 };
  const names = ['Great White', 'dog', 't_shirt_top', 'tench', 'tench, Tinca tinca'];
  expect(mapped(named(names), label2id, 4)).toEqual([2, 3, 1, 0, 0]);
});

test('prefers the exact name, and refuses an ambiguous one', () => {
  const label2id = { crane: 1, 'crane, bird': 0, 'maillot, suit': 2, 'maillot, tank suit': 3 };
  expect(mapped(named(['crane']), label2id, 4)).toEqual([1]);
  expect(() => mapped(named(['maillot']), label2id, 4)).toThrow('"maillot" is the name of several classes');
});

test('takes names that are numbers for the numbers of classes', () => {
  const folders = ['0', '1', '10', '11', '2'];
  expect(mapped(named(folders), { LABEL_0: 0 }, 12)).toEqual([0, 1, 10, 11, 2]);
  expect(mapped(named(['000', '007']), undefined, 12)).toEqual([0, 7]);
  expect(mapped(named(['0', '1']), { '1': 0, '0': 1 }, 2)).toEqual([1, 0]);
  expect(() => mapped(named(['1', '12']), undefined, 12)).toThrow("12 is none of the model's, 0 to 11");
  expect(() => mapped(named(['1', '01']), undefined, 12)).toThrow('01 is there twice');
});

test('refuses a name that two classes have, unless the lists are the same', () => {
  const names = new Map([
    [0, 'crane'],
    [1, 'emu'],
    [2, 'crane'],
  ]);
  const align = (list: string[]) => [0, 1, 2].slice(0, list.length).map(alignLabels(named(list), names, 3));
  expect(() => align(['crane', 'emu'])).toThrow('"crane" is the name of several classes');
  expect(align(['emu'])).toEqual([1]);
  expect(align(['crane', 'emu', 'crane'])).toEqual([0, 1, 2]);
});

test('falls back on the order if no name is known and the number fits', () => {
  const wnids = named(['n01440764', 'n01443537', 'n01484850']);
  expect(mapped(wnids, { LABEL_0: 0, LABEL_1: 1, LABEL_2: 2 }, 3)).toEqual([0, 1, 2]);
  expect(mapped(wnids, undefined, 3)).toEqual([0, 1, 2]);
  expect(() => mapped(wnids, undefined, 4)).toThrow(
    'set has 3 classes, of which the model does not know "n01440764", "n01443537", "n01484850"; the model has 4 classes without names.',
  );
});

test('does not fall back on an order that known names contradict', () => {
  expect(() => mapped(named(['cat', 'emu']), { dog: 0, cat: 1 }, 2)).toThrow(
    'does not know "emu"; the model has 2 classes: "dog", "cat".',
  );
});

test('passes numbers through while the model has such classes', () => {
  expect(mapped(source([0, 9, -1]), { a: 3 }, 10)).toEqual([0, 9, -1]);
  expect(() => mapped(source([0, 10]), undefined, 10)).toThrow(
    'set: label 10 is out of range: the model has classes 0 to 9.',
  );
  expect(() => mapped(named(['a', 'b'], [0, 2]), { a: 0, b: 1 }, 2)).toThrow('it names 2 classes');
});
