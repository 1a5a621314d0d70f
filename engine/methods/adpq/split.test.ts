import { describe, expect, it } from 'vitest';
import { maxDifference } from '../../../test/support.js';
import { createRandom } from '../../data/random.js';
import { roundHalfEven } from '../../execution/activation-ranges.js';
import { formOf } from '../../quantized/form.js';
import { toFloats } from '../../quantized/weight.js';
import { largestAt } from './largest.js';
import { countOutliers, splitWeight, thresholdsOf } from './split.js';

const random = createRandom(12, 'split');
const normals = (count: number) => Float32Array.from({ length: count }, () => random.normal());
const matrix = (out: number, columns: number) => ({ data: normals(out * columns), shape: [out, columns] });
const quantized = (
  weight: { data: Float32Array; shape: number[] },
  outliers: number,
  {
    bits = 3,
    outlierBits = bits,
    groupSize = 16,
    grid = 'symmetric',
    threshold = 'matrix',
  }: Partial<Asked> = {},
) => {
  const thresholds = thresholdsOf(weight, { outliers, threshold, groupSize });
  return splitWeight(weight, thresholds, { bits, outlierBits, groupSize, grid });
};
interface Asked {
  bits: number;
  outlierBits: number;
  groupSize: number;
  grid: 'symmetric' | 'asymmetric';
  threshold: 'matrix' | 'group';
}

/** Numbers rounded on the grid over them and 0, in float64. */
function rounded(values: readonly number[], bits: number, grid: Asked['grid']): number[] {
  const [least, most] = [Math.min(0, ...values), Math.max(0, ...values)];
  if (grid === 'symmetric') {
    const step = Math.max(-least, most) / (2 ** (bits - 1) - 1) || 1;
    return values.map((x) => step * roundHalfEven(x / step));
  }
  const step = (most - least) / (2 ** bits - 1) || 1;
  const zero = roundHalfEven(-least / step);
  return values.map(
    (x) => step * (Math.min(2 ** bits - 1, Math.max(0, roundHalfEven(x / step) + zero)) - zero),
  );
}

/** The same by sorting and lists. */
function expected(
  { data, shape: [out = 0, columns = 0] }: ReturnType<typeof matrix>,
  share: number,
  asked: Asked,
) {
  const values = new Float32Array(out * columns);
  const largest = (of: readonly number[]) =>
    of.map(Math.abs).sort((a, b) => b - a)[roundHalfEven(share * of.length)]!;
  for (let row = 0; row < out; row++)
    for (let from = 0; from < columns; from += asked.groupSize) {
      const places = Array.from(
        { length: Math.min(asked.groupSize, columns - from) },
        (_, i) => row * columns + from + i,
      );
      const own = places.map((i) => data[i]!);
      const threshold = largest(asked.threshold === 'matrix' ? [...data] : own);
      for (const isOutlier of [false, true]) {
        const part = places.filter((i) => Math.abs(data[i]!) > threshold === isOutlier);
        const bits = isOutlier ? asked.outlierBits : asked.bits;
        rounded(
          part.map((i) => data[i]!),
          bits,
          asked.grid,
        ).forEach((x, i) => (values[part[i]!] = x));
      }
    }
  return values;
}

describe('a weight split into outliers and the rest', () => {
  const usual: Asked = {
    bits: 3,
    outlierBits: 3,
    groupSize: 16,
    grid: 'symmetric',
    threshold: 'matrix',
  };
  it.each<Partial<Asked>>([
    {},
    { bits: 2, outlierBits: 2 },
    { outlierBits: 6 },
    { grid: 'asymmetric' },
    { threshold: 'group' },
    { groupSize: 64 },
    { groupSize: 1 },
  ])('is what loops in float64 make of it: %o', (change) => {
    const asked = { ...usual, ...change };
    for (const share of [0, 0.06, 0.5]) {
      const weight = matrix(5, 40);
      const found = toFloats(quantized(weight, share, asked));
      const loops = expected(weight, share, asked);
      found.forEach((x, i) => expect(x).toBeCloseTo(loops[i]!, 5));
    }
  });

  it('scales with the weight', () => {
    const weight = matrix(4, 32);
    const twice = { ...weight, data: weight.data.map((x) => 2 * x) };
    expect(toFloats(quantized(twice, 0.1))).toEqual(toFloats(quantized(weight, 0.1)).map((x) => 2 * x));
  });

  it('keeps the only outlier of a group, and has no number that is none', () => {
    const weight = { data: new Float32Array(32), shape: [2, 16] };
    weight.data[5] = -3.3;
    expect(maxDifference(toFloats(quantized(weight, 1 / 32)), weight.data)).toBeLessThan(1e-6);
    weight.data[5] = 0;
    expect(toFloats(quantized(weight, 1 / 32))).toEqual(weight.data);
  });

  it('has weights as large as the threshold among the others', () => {
    const weight = { data: Float32Array.of(3, -3, 3, 1, 0, 2, -1, 0), shape: [1, 8] };
    expect(quantized(weight, 0.25).outliers!.values).toHaveLength(0);
    expect(quantized(weight, 0.375).outliers!.values).toHaveLength(3);
  });

  it('counts outliers and their groups as its form has them', () => {
    for (const threshold of ['matrix', 'group'] as const) {
      const weight = matrix(6, 40);
      const thresholds = thresholdsOf(weight, { outliers: 0.03, threshold, groupSize: 16 });
      const counts = countOutliers(weight, thresholds, 16);
      const form = formOf(quantized(weight, 0.03, { threshold, outlierBits: 5 }));
      expect(form).toMatchObject({ zeroBits: 0, apart: { ...counts, bits: 5, zeroBits: 0 } });
      expect(counts.elements).toBe(threshold === 'matrix' ? roundHalfEven(0.03 * 240) : 0);
    }
  });
});

it('finds the magnitude of a rank without sorting', () => {
  const values = Float32Array.from([...normals(500), 0, 0, 1e-42, -3e38, ...Array<number>(20).fill(-0.5)]);
  const sorted = values.map(Math.abs).sort().reverse();
  for (let rank = 0; rank < values.length; rank++) expect(largestAt(values, rank)).toBe(sorted[rank]);
});
