import { expect, it } from 'vitest';
import { normals } from '../execution/testing.js';
import { factorSquare } from './square.js';

/** Σ x xᵀ of more vectors than numbers in each: [n, n]. */
function moment(n: number): Float64Array {
  const tokens = 2 * n;
  const { data } = normals([tokens, n], 'tokens');
  const found = new Float64Array(n * n);
  for (let t = 0; t < tokens; t++)
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++) found[i * n + j]! += data[t * n + i]! * data[t * n + j]!;
  return found;
}

// Less than a vector, and not a multiple of what is taken side by side.
it.each([1, 3, 8, 21, 128])('of %i columns is a factor and its inverse, and zero below the diagonal', (n) => {
  const a = moment(n);
  const { upper, inverse } = factorSquare(a, n)!;
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++) {
      let [made, one] = [0, 0];
      for (let k = 0; k < n; k++) {
        made += upper[k * n + i]! * upper[k * n + j]!;
        one += upper[i * n + k]! * inverse[k * n + j]!;
      }
      expect(made).toBeCloseTo(a[i * n + j]!, 9);
      expect(one).toBeCloseTo(Number(i === j), 9);
      if (j < i) expect([upper[i * n + j], inverse[i * n + j]]).toEqual([0, 0]);
    }
});

it('has no factor of what is not positive definite', () => {
  expect(factorSquare(Float64Array.of(1, 2, 2, 1), 2)).toBeUndefined();
  expect(factorSquare(Float64Array.of(0), 1)).toBeUndefined();
  expect(factorSquare(Float64Array.of(NaN), 1)).toBeUndefined();
});
