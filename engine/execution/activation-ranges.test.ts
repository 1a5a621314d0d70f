import { describe, expect, it } from 'vitest';
import { createRandom } from '../data/random.js';
import { percentileStart, PERCENTILES, roundHalfEven } from './activation-ranges.js';
import { normals, rounded } from './testing.js';

const BITS = [2, 4, 8];

const shapes: Readonly<Record<string, (n: number) => Float32Array>> = {
  normal: (n) => normals([n], 'normal', n).data,
  'normal with outliers': (n) => normals([n], 'outliers', n).data.map((x, i) => (i % 997 === 3 ? 80 * x : x)),
  'positive only': (n) => normals([n], 'positive', n).data.map((x) => 5 + Math.abs(x)),
  'few distinct values': (n) => normals([n], 'distinct', n).data.map((x) => Math.round(2 * x)),
  ascending: (n) => normals([n], 'sorted', n).data.sort(),
  descending: (n) => normals([n], 'sorted', n).data.sort().reverse(),
  'a spike at zero': (n) => normals([n], 'spike', n).data.map((x) => Math.max(x - 2, 0)),
};

/** Grids over the percentile ranges and their mean squared errors, from a sorted copy. */
function reference(values: Float32Array, bits: number, percentiles: readonly number[]) {
  const sorted = values.slice().sort();
  const at = (share: number) => {
    const position = share * (sorted.length - 1);
    const [below, above] = [sorted[Math.floor(position)]!, sorted[Math.ceil(position)]!];
    return below + (above - below) * (position - Math.floor(position));
  };
  const levels = 2 ** bits - 1;
  return percentiles.map((p) => {
    const [lo, hi] = [at(1 - p), at(p)];
    const scale = Math.max((hi - lo) / levels, 1e-5 * Math.max(hi, -lo), 1e-20);
    const zero = rounded(-lo / scale);
    const error = values.reduce(
      (sum, x) => sum + (scale * (Math.min(Math.max(rounded(x / scale) + zero, 0), levels) - zero) - x) ** 2,
      0,
    );
    return { scale, zero, error: error / values.length };
  });
}

describe('percentileStart', () => {
  for (const [name, make] of Object.entries(shapes))
    it.each([1, 2, 3, 10, 1000, 2003, 100_000])(
      `takes the best of three ranges: ${name}, %i elements`,
      (n) => {
        const values = make(n);
        const found = percentileStart(values.slice(), BITS);
        BITS.forEach((bits, i) => {
          const candidates = reference(values, bits, PERCENTILES);
          const best = candidates.reduce((a, b) => (b.error < a.error ? b : a));
          expect(found[i]!.scale / best.scale).toBeCloseTo(1, 6);
          expect(found[i]!.zero).toBe(best.zero);
        });
      },
    );

  it('takes another range where it has less error', () => {
    const values = shapes['normal with outliers']!(100_000);
    const chosen = percentileStart(values.slice(), [2, 8]).map(({ scale }, i) =>
      reference(values, [2, 8][i]!, PERCENTILES).findIndex((c) => Math.abs(c.scale / scale - 1) < 1e-6),
    );
    expect(chosen[0]).toBeLessThan(chosen[1]!);
  });

  it('takes percentiles as given, the extremes too', () => {
    const values = normals([5000], 'given').data;
    const [whole] = percentileStart(values.slice(), [8], [1]);
    expect(whole!.scale).toBeCloseTo((Math.max(...values) - Math.min(...values)) / 255, 6);
    const [half] = percentileStart(values.slice(), [8], [0.75]);
    expect(half!.scale).toBeCloseTo(reference(values, 8, [0.75])[0]!.scale, 6);
  });

  it.each([0, 0.5, -3, 1e-30, 1e6])('gives a constant tensor of %d a grid that holds it', (value) => {
    for (const n of [1, 2, 5000]) {
      const [grid] = percentileStart(new Float32Array(n).fill(value), [4]);
      expect(grid!.scale).toBeGreaterThan(0);
      expect(grid!.scale).toBeLessThan(1e-19 + 1.1e-5 * Math.abs(value));
      expect(Math.abs(-grid!.zero * grid!.scale - value)).toBeLessThanOrEqual(grid!.scale);
    }
  });

  it.each(Object.keys(shapes))('gives multiples of values multiples of their grids: %s', (name) => {
    const values = shapes[name]!(2003);
    const grids = percentileStart(values.slice(), BITS);
    for (const factor of [2 ** -30, 2 ** 20])
      expect(
        percentileStart(
          values.map((x) => x * factor),
          BITS,
        ),
      ).toEqual(grids.map(({ scale, zero }) => ({ scale: scale * factor, zero })));
  });

  it('reorders its input and loses nothing', () => {
    const values = shapes.normal!(5000);
    const sorted = values.slice().sort();
    percentileStart(values, [4]);
    expect(values.sort()).toEqual(sorted);
  });

  it('does not depend on the order of the elements', () => {
    const values = shapes['few distinct values']!(5000);
    const shuffled = Float32Array.from(createRandom(1, 'shuffle').shuffle([...values]));
    expect(percentileStart(shuffled, BITS)).toEqual(percentileStart(values, BITS));
  });
});

it.each([
  [0.5, 0],
  [1.5, 2],
  [2.5, 2],
  [-0.5, 0],
  [-1.5, -2],
  [-2.5, -2],
  [0.49999999999999994, 0],
  [0.5000000000000001, 1],
  [-0.2, 0],
  [7, 7],
  [2251799813685249.5, 2251799813685250],
  [-1e15 - 0.5, -1e15],
])('roundHalfEven(%d) is %d', (x, y) => expect(roundHalfEven(x) === y).toBe(true));
