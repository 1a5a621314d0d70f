/** Shared by the tests of this folder. */
import { normals } from '../quept/testing.js';

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
