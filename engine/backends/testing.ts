/** Shared by the tests of this folder. */
import type { HostTensor } from '../models/checkpoint.js';
import { normals, rounded, rowsOf } from '../execution/testing.js';

/** Σ over `samples` random inputs x [n] of x xᵀ, [n, n], inputs correlated and of different sizes; those in `dead` are zero. */
export function randomHessian(n: number, samples: number, seed: number, dead: readonly number[] = []) {
  const [noise, mixing] = [normals([samples, n], 'inputs', seed), normals([n, n], 'mixing', seed)];
  const inputs = Array.from({ length: samples }, (_, s) =>
    Array.from({ length: n }, (_, i) => {
      if (dead.includes(i)) return 0;
      let x = 0;
      for (let k = 0; k < n; k++) x += noise.data[s * n + k]! * mixing.data[k * n + i]!;
      return (x / Math.sqrt(n)) * (i % 5 === 0 ? 3 : 1);
    }),
  );
  return Float32Array.from({ length: n * n }, (_, at) => {
    const [i, j] = [Math.floor(at / n), at % n];
    return inputs.reduce((sum, x) => sum + x[i]! * x[j]!, 0);
  });
}

/** H + share · mean diagonal, as rows in float64; a zero on the diagonal counts as the mean of the others. */
export function damped(hessian: Float32Array, n: number, share: number): number[][] {
  const rows = Array.from({ length: n }, (_, i) => [...hessian.subarray(i * n, (i + 1) * n)]);
  const active = rows.map((row, i) => row[i]!).filter((x) => x !== 0);
  const mean = active.reduce((a, b) => a + b, 0) / active.length;
  for (const [i, row] of rows.entries()) row[i] = (row[i]! || mean) + share * mean;
  return rows;
}

/** By Gauss-Jordan elimination, for a positive definite matrix. */
export function inverse(matrix: readonly (readonly number[])[]): number[][] {
  const n = matrix.length;
  const rows = matrix.map((row, i) => [...row, ...Array.from({ length: n }, (_, j) => Number(i === j))]);
  for (let i = 0; i < n; i++) {
    const pivot = rows[i]![i]!;
    rows[i] = rows[i]!.map((x) => x / pivot);
    for (let k = 0; k < n; k++)
      if (k !== i) {
        const share = rows[k]![i]!;
        rows[k] = rows[k]!.map((x, j) => x - share * rows[i]![j]!);
      }
  }
  return rows.map((row) => row.slice(n));
}

/** Scale and zero point of the whole range of some weights. */
function gridOf(weights: readonly number[], levels: number) {
  const [low, high] = [Math.min(...weights), Math.max(...weights)];
  const scale = Math.max((high - low) / levels, 1e-5 * Math.max(high, -low), 1e-20);
  return { scale, zero: rounded(-low / scale) };
}

/**
 * Optimal brain surgery as it is written down (Frantar et al. 2022, equations 2 to 4, columns in order): after every column
 * all weights behind it move, and the column is eliminated from H⁻¹.
 */
export function surgery(
  weight: HostTensor,
  hessian: number[][],
  bits: number,
  groupSize: number,
): number[][] {
  const levels = 2 ** bits - 1;
  return rowsOf(weight).map((start) => {
    const n = start.length;
    const row = [...start];
    let left = inverse(hessian);
    let grid = gridOf(row, levels);
    for (let j = 0; j < n; j++) {
      if (groupSize !== -1 && j % groupSize === 0) {
        const group = row.slice(j, j + groupSize);
        grid = gridOf(group.length < groupSize ? [...group, 0] : group, levels);
      }
      const { scale, zero } = grid;
      const integer = Math.min(Math.max(rounded(row[j]! / scale) + zero, 0), levels);
      const error = row[j]! - scale * (integer - zero);
      const pivot = left[j]![j]!;
      for (let i = j + 1; i < n; i++) row[i]! -= (error / pivot) * left[j]![i]!;
      row[j] = scale * (integer - zero);
      left = left.map((line, a) => line.map((x, b) => x - (left[a]![j]! * left[j]![b]!) / pivot));
    }
    return row;
  });
}

/** Σ over rows of (w − ŵ) H (w − ŵ)ᵀ. */
export function weightedError(
  { data, shape }: HostTensor,
  quantized: Float32Array,
  hessian: number[][],
): number {
  const [out, n] = shape as readonly [number, number];
  let sum = 0;
  for (let row = 0; row < out; row++) {
    const error = Array.from({ length: n }, (_, i) => data[row * n + i]! - quantized[row * n + i]!);
    for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) sum += error[i]! * hessian[i]![j]! * error[j]!;
  }
  return sum;
}
