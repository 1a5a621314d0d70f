import { describe, expect, it } from 'vitest';
import { createRandom } from '../data/random.js';
import { normals, usePrograms } from '../execution/testing.js';
import { toFloats } from '../quantized/weight.js';
import { binarize, choose } from './billm.js';
import { factorHessian } from './factor.js';
import { damped, inverse, randomHessian } from './testing.js';

const programs = usePrograms();
const { signal } = new AbortController();
const [OUT, IN, BLOCK] = [6, 40, 16];

/** `order` binary approximations of a row's masked numbers, one of what the other leaves; 0 elsewhere. */
function planes(row: readonly number[], mask: readonly boolean[], order: number): number[] {
  const found = row.map(() => 0);
  const count = mask.filter(Boolean).length;
  if (count === 0) return found;
  for (let plane = 0; plane < order; plane++) {
    const left = row.map((x, i) => x - found[i]!);
    const mean = left.reduce((sum, r, i) => sum + (mask[i] ? r : 0), 0) / count;
    const scale = left.reduce((sum, r, i) => sum + (mask[i] ? Math.abs(r - mean) : 0), 0) / count;
    for (const [i, r] of left.entries()) if (mask[i]) found[i]! += mean + (r >= mean ? scale : -scale);
  }
  return found;
}

const plus = (a: readonly number[], b: readonly number[]) => a.map((x, i) => x + b[i]!);
const squares = (rows: readonly number[][], near: readonly number[][]) =>
  rows.flatMap((row, r) => row.map((x, i) => (x - near[r]![i]!) ** 2)).reduce((a, b) => a + b, 0);

/** Salient columns and split by trying each, as it is written down. */
function chooseByTrying(saliency: readonly number[][], columns: number) {
  const sums = Array.from({ length: columns }, (_, j) => saliency.reduce((sum, row) => sum + row[j]!, 0));
  const order = [...sums.keys()].sort((a, b) => sums[b]! - sums[a]!);
  const maskOf = (k: number) => sums.map((_, j) => order.indexOf(j) < k);
  const counts = Array.from({ length: Math.min(49, columns - 1) }, (_, i) => i + 1);
  const errors = counts.map((k) => {
    const mask = maskOf(k);
    const other = mask.map((x) => !x);
    return squares(
      saliency,
      saliency.map((row) => plus(planes(row, mask, 2), planes(row, other, 2))),
    );
  });
  const mask = maskOf(counts[errors.indexOf(Math.min(...errors))]!);
  const sorted = saliency.flatMap((row) => row.map((s, j) => (mask[j] ? 0 : s))).sort((a, b) => a - b);
  const splits = Array.from({ length: 81 }, (_, i) => {
    const at = ((10 + i) / 100) * (sorted.length - 1);
    const low = sorted[Math.floor(at)]!;
    return low + (sorted[Math.ceil(at)]! - low) * (at % 1);
  });
  const ofSplit = splits.map((split) =>
    squares(
      saliency,
      saliency.map((row) => {
        const dense = row.map((s, j) => !mask[j] && s >= split);
        const sparse = row.map((s, j) => !mask[j] && s < split);
        return plus(plus(planes(row, sparse, 1), planes(row, dense, 1)), planes(row, mask, 2));
      }),
    ),
  );
  return { mask, split: splits[ofSplit.indexOf(Math.min(...ofSplit))]! };
}

const rowsOf = (data: ArrayLike<number>, columns: number) =>
  Array.from({ length: data.length / columns }, (_, row) =>
    Array.from({ length: columns }, (_unused, j) => data[row * columns + j]!),
  );

describe('the choice of a block', () => {
  it.each([1, 2, 3, 4])('is what trying each gives, seed %i', (seed) => {
    const random = createRandom(seed, 'block');
    const columns = 24;
    const weight = Float64Array.from({ length: OUT * columns }, () => random.normal());
    const diagonal = Float64Array.from(
      { length: columns },
      (_, j) => 0.5 + random.next() + (j % 7 === 0 ? 2 : 0),
    );
    const expected = chooseByTrying(
      rowsOf(
        weight.map((w, i) => (w * diagonal[i % columns]!) ** 2),
        columns,
      ),
      columns,
    );
    const found = choose(weight, diagonal);
    expect([...found.isSalient].map(Boolean)).toEqual(expected.mask);
    expect(found.split).toBeCloseTo(expected.split, 10);
  });

  it('has no salient column where there is but one', () => {
    const found = choose(Float64Array.of(1, -2, 3), Float64Array.of(2));
    expect([...found.isSalient]).toEqual([0]);
  });
});

describe('BiLLM of a weight', () => {
  const run = async (seed: number, by = 1) => {
    const weight = normals([OUT, IN], 'weight', seed);
    const hessian = randomHessian(IN, 60, seed);
    const note = () => expect.fail('damping was raised');
    const scaled = hessian.map((x) => x * by);
    const factor = await factorHessian(programs, scaled, IN, 'layer', { signal, note }, 0.1);
    const shape = { block: BLOCK, precision: 'float32' } as const;
    const found = await binarize(programs, weight, { factor, isDead: () => false }, shape, signal);
    return { weight, hessian, found };
  };

  it('passes errors of a block on by the inverse of the Hessian, as it is written down', async () => {
    const { weight, hessian, found } = await run(5);
    // Upper triangular U with UᵀU = (H + λI)⁻¹.
    const u = inverse(damped(hessian, IN, 0.1));
    for (let k = 0; k < IN; k++) {
      const pivot = Math.sqrt(u[k]![k]!);
      for (let j = k; j < IN; j++) u[k]![j]! /= pivot;
      for (let i = k + 1; i < IN; i++) for (let j = i; j < IN; j++) u[i]![j]! -= u[k]![i]! * u[k]![j]!;
    }
    const rows = rowsOf(weight.data, IN);
    const quantized = rows.map(() => Array<number>(IN).fill(0));
    for (let start = 0; start < IN; start += BLOCK) {
      const end = Math.min(IN, start + BLOCK);
      const own = rows.map((row) => row.slice(start, end));
      const saliency = own.map((row) => row.map((w, j) => (w / u[start + j]![start + j]!) ** 2));
      const { mask, split } = chooseByTrying(saliency, end - start);
      for (const [r, row] of own.entries()) {
        const dense = saliency[r]!.map((s, j) => !mask[j] && s >= split);
        const sparse = saliency[r]!.map((s, j) => !mask[j] && s < split);
        const near = plus(plus(planes(row, sparse, 1), planes(row, dense, 1)), planes(row, mask, 2));
        for (const [j, x] of near.entries()) {
          quantized[r]![start + j] = x;
          const error = (row[j]! - x) / u[start + j]![start + j]!;
          for (let k = end; k < IN; k++) rows[r]![k]! -= error * u[start + j]![k]!;
        }
      }
    }
    const floats = toFloats(found);
    for (const [i, x] of quantized.flat().entries()) expect(floats[i]).toBeCloseTo(x, 4);
  });

  it.each([2 ** 20, 2 ** -20])('is the same for a Hessian %d times as large', async (by) => {
    expect((await run(6, by)).found).toEqual((await run(6)).found);
  });
});
