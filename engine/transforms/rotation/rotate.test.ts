import { describe, expect, it } from 'vitest';
import { evaluate, maxDifference } from '../../../test/support.js';
import { normals } from '../../execution/testing.js';
import { hadamardFactors, hadamardMatrix } from './hadamard.js';
import { rotate } from './rotate.js';

/** R = diag(signs)·(H₁ ⊗ H₂ ⊗ …)/√size, entry by entry. */
function rotation(size: number, signs: (i: number) => number): (i: number, j: number) => number {
  const factors = hadamardFactors(size)!.map((order) => ({ order, matrix: hadamardMatrix(order) }));
  return (i, j) => {
    let [row, column, entry] = [i, j, signs(i)];
    for (const { order, matrix } of [...factors].reverse()) {
      entry *= matrix[(row % order) * order + (column % order)]!;
      [row, column] = [Math.floor(row / order), Math.floor(column / order)];
    }
    return entry / Math.sqrt(size);
  };
}

describe('rotate', () => {
  it.each([
    ['a power of two', 16],
    ['Paley I', 12],
    ['Paley II', 36],
    ['two factors', 352],
    ['three factors', 896],
  ])('multiplies the last axis by the matrix: %s', async (_, size) => {
    const x = normals([3, size], 'x');
    const entry = rotation(size, (i) => (i % 3 === 0 ? -1 : 1));
    const signs = {
      shape: [size],
      data: Float32Array.from({ length: size }, (_, i) => (i % 3 === 0 ? -1 : 1)),
    };
    const { y } = await evaluate({ x, signs }, (v) => ({ y: rotate(v.x!, 1, size, v.signs) }));
    const expected = Float32Array.from({ length: 3 * size }, (_, at) => {
      let sum = 0;
      for (let i = 0; i < size; i++) sum += x.data[Math.floor(at / size) * size + i]! * entry(i, at % size);
      return sum;
    });
    expect(maxDifference(y!, expected)).toBeLessThan(2e-6 * Math.sqrt(size));
  });

  it('turns another axis, in blocks, and keeps lengths', async () => {
    const x = normals([24, 5], 'blocks');
    const entry = rotation(12, () => 1);
    const { y } = await evaluate({ x }, (v) => ({ y: rotate(v.x!, 0, 12) }));
    const expected = Float32Array.from({ length: 120 }, (_, at) => {
      const [row, column] = [Math.floor(at / 5), at % 5];
      let sum = 0;
      for (let i = 0; i < 12; i++) sum += x.data[(row - (row % 12) + i) * 5 + column]! * entry(i, row % 12);
      return sum;
    });
    expect(maxDifference(y!, expected)).toBeLessThan(1e-5);
    const square = (data: Float32Array) => data.reduce((sum, v) => sum + v * v, 0);
    expect(square(y!) / square(x.data)).toBeCloseTo(1, 5);
  });

  it('refuses an axis that is not a multiple of the size, and a size without a matrix', async () => {
    const x = normals([2, 20], 'x');
    await expect(evaluate({ x }, (v) => ({ y: rotate(v.x!, 1, 12) }))).rejects.toThrow(/axis of 20/);
    await expect(evaluate({ x }, (v) => ({ y: rotate(v.x!, 1, 10) }))).rejects.toThrow(/turned by 10/);
  });
});
