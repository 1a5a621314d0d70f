import { describe, expect, it } from 'vitest';
import { createRandom } from '../data/random.js';
import { float32ToHalf, halfToFloat32 } from '../formats/floats.js';
import { formOf } from '../quantized/form.js';
import { statisticValues, toFloats, type BinaryWeight, type GridWeight } from '../quantized/weight.js';
import type { KeptTensor } from './progress.js';
import { readWeight, storedTensors, storeWeight } from './stored-weight.js';

const [OUT, IN] = [5, 11];
const random = createRandom(1, 'stored');
const halves = (length: number) =>
  halfToFloat32(float32ToHalf(Float32Array.from({ length }, () => random.normal())));
const integers = (length: number, limit: number) => Uint8Array.from({ length }, () => random.integer(limit));

const statistic = (bits: number) => ({
  bits,
  codes: integers(OUT * 3, 2 ** bits),
  step: halves(3 * 3),
  start: halves(3 * 3),
});
const level = { rows: 2, scale: statistic(3), zero: statistic(2) };
const plain: GridWeight = {
  kind: 'grid',
  shape: [OUT, IN],
  bits: 3,
  codes: integers(OUT * IN, 8),
  groupSize: 4,
  scale: halves(OUT * 3).map((x) => Math.abs(x) + 0.5),
  zero: halves(OUT * 3),
};
const sparse: GridWeight = {
  ...plain,
  level,
  scale: statisticValues(level.scale, 3, 2),
  zero: statisticValues(level.zero, 3, 2),
  order: Uint32Array.of(10, 3, 4, 0, 1, 9, 8, 2, 5, 7, 6),
  outliers: { rows: Uint32Array.of(0, 4), columns: Uint32Array.of(10, 2), values: Float32Array.of(2.5, -7) },
};
const binary: BinaryWeight = {
  kind: 'binary',
  shape: [OUT, IN],
  signs: integers(OUT * IN, 2),
  classes: 2,
  classOf: integers(OUT * IN, 2).map((x, i) => ([1, 9].includes(i % IN) ? 0 : x)),
  groupSize: 6,
  scale: halves(OUT * 2 * 2),
  mean: halves(OUT * 2 * 2),
  second: {
    columns: Uint32Array.of(1, 9),
    signs: integers(OUT * 2, 2),
    mean: halves(OUT * 2),
    scales: [halves(OUT * 2), halves(OUT * 2)],
  },
};
const { second: _, ...single } = binary;
const weights = {
  plain,
  'with everything that SpQR has': sparse,
  'without a single outlier': {
    ...sparse,
    outliers: { rows: new Uint32Array(0), columns: new Uint32Array(0), values: new Float32Array(0) },
  },
  'as signs': binary,
  'as signs of one plane': {
    ...single,
    classes: 1,
    classOf: new Uint8Array(OUT * IN),
    scale: halves(OUT * 2),
    mean: halves(OUT * 2),
  },
};

const read = (stored: ReadonlyMap<string, KeptTensor>) => (what: string) =>
  Promise.resolve(stored.get(what)!.data);

describe.each(Object.entries(weights))('a weight, %s', (_name, weight) => {
  it('is read as it was stored', async () => {
    const found = await readWeight(formOf(weight), 'x', read(storeWeight(weight)));
    expect(found).toEqual(weight);
    expect(toFloats(found)).toEqual(toFloats(weight));
  });

  it('has tensors of the shapes that its form says', () => {
    const stored = storeWeight(weight);
    const expected = storedTensors(formOf(weight));
    expect([...stored.keys()]).toEqual([...expected.keys()]);
    for (const [what, { shape, data }] of stored) {
      expect(shape, what).toEqual(expected.get(what)!.shape);
      expect(data.length, what).toBe(shape.reduce((a, b) => a * b, 1));
    }
  });
});

describe('refuses', () => {
  it.each([
    ['order', sparse, /x: order must be below 11/],
    ['outlier_rows', sparse, /x: outlier_rows must be below 5/],
    ['second_columns', binary, /x: second_columns must name 2 columns/],
  ] as const)('%s of numbers that there are not', async (what, weight, message) => {
    const stored = storeWeight(weight);
    const own = stored.get(what)!;
    stored.set(what, { ...own, data: own.data.map(() => 255) });
    await expect(readWeight(formOf(weight), 'x', read(stored))).rejects.toThrow(message);
  });

  it('an order that names a column twice', async () => {
    const stored = storeWeight({ ...sparse, order: Uint32Array.from({ length: IN }, () => 1) });
    await expect(readWeight(formOf(sparse), 'x', read(stored))).rejects.toThrow(/every column once/);
  });
});
