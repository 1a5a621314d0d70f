import { expect, it } from 'vitest';
import { usePrograms } from '../execution/testing.js';
import { factorHessian } from './factor.js';
import { damped, randomHessian } from './testing.js';

const programs = usePrograms();
const { signal } = new AbortController();

async function factorOf(hessian: Float32Array, n: number) {
  const notes: string[] = [];
  const note = (line: string) => void notes.push(line);
  const factor = await factorHessian(programs, hessian, n, 'some.layer', { signal, note });
  return { factor, notes };
}

/** The largest entry of TᵀT − M, in parts of M's largest. */
function distance(factor: Float32Array, matrix: readonly (readonly number[])[]): number {
  const n = matrix.length;
  let [worst, largest] = [0, 0];
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let k = 0; k < n; k++) sum += factor[k * n + i]! * factor[k * n + j]!;
      worst = Math.max(worst, Math.abs(sum - matrix[i]![j]!));
      largest = Math.max(largest, Math.abs(matrix[i]![j]!));
    }
  return worst / largest;
}

// Below, at and above whole panels of 128 rows.
it.each([1, 5, 128, 129, 300])(
  'of a Hessian of %i inputs is lower triangular and gives it back',
  async (n) => {
    const hessian = randomHessian(n, 2 * n, n);
    const { factor, notes } = await factorOf(hessian, n);
    expect(distance(factor, damped(hessian, n, 0.01))).toBeLessThan(1e-6);
    for (let i = 0; i < n; i++) {
      expect(factor[i * n + i]).toBeGreaterThan(0);
      expect(factor.subarray(i * n + i + 1, (i + 1) * n).every((x) => x === 0)).toBe(true);
    }
    expect(notes).toEqual([]);
  },
);

it('copes with fewer samples than inputs, and with inputs that were never active', async () => {
  const hessian = randomHessian(40, 7, 1, [0, 17, 39]);
  const { factor, notes } = await factorOf(hessian, 40);
  expect(distance(factor, damped(hessian, 40, 0.01))).toBeLessThan(1e-6);
  expect(notes).toEqual([]);
});

it('is as good for inputs that were all never active', async () => {
  const { factor } = await factorOf(new Float32Array(9), 3);
  expect(distance(factor, [[1.01, 0, 0], [0, 1.01, 0], [0, 0, 1.01]])).toBeLessThan(1e-6); // prettier-ignore
});

it('raises damping, with a note each time, until there is a factor', async () => {
  // Eigenvalues 6 and −4, mean diagonal 1: damping must exceed 400 %.
  const { factor, notes } = await factorOf(Float32Array.of(1, 5, 5, 1), 2);
  expect(distance(factor, [[11, 5], [5, 11]])).toBeLessThan(1e-6); // prettier-ignore
  expect(notes).toEqual([
    'some.layer: damping of 1 % is too little for a Cholesky factor; trying 10 %.',
    'some.layer: damping of 10 % is too little for a Cholesky factor; trying 100 %.',
    'some.layer: damping of 100 % is too little for a Cholesky factor; trying 1000 %.',
  ]);
});

it('gives up on what is no Hessian, naming the layer', async () => {
  await expect(factorOf(Float32Array.of(1, 1000, 1000, 1), 2)).rejects.toThrow(
    'some.layer: there is no Cholesky factor, even with damping of 10000 %.',
  );
  await expect(factorOf(Float32Array.of(NaN, 0, 0, 1), 2)).rejects.toThrow(
    'some.layer: what it reads is NaN, infinite or too large',
  );
});

it('stops when asked to', async () => {
  const stop = AbortSignal.abort();
  const hooks = { signal: stop, note: () => undefined };
  await expect(factorHessian(programs, Float32Array.of(1), 1, 'x', hooks)).rejects.toThrow('Cancelled.');
});
