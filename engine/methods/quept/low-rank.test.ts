import { expect, it } from 'vitest';
import { maxDifference, readGolden } from '../../../test/support.js';
import { normals, usePrograms } from '../../execution/testing.js';
import { lowRank, type LowRank } from './low-rank.js';

const programs = usePrograms();

/** B · A, [out, in]. */
function product({ a, b }: LowRank, columns: number): Float32Array {
  const rank = a.length / columns;
  return Float32Array.from({ length: (b.length / rank) * columns }, (_, i) => {
    const [row, column] = [Math.floor(i / columns), i % columns];
    let sum = 0;
    for (let d = 0; d < rank; d++) sum += b[row * rank + d]! * a[d * columns + column]!;
    return sum;
  });
}

it('is the product of an independent PyTorch statement', async () => {
  const vectors = await readGolden('effort.safetensors');
  const at = (key: string) => vectors.floats(`low_rank.${key}`).data;
  const found = product(await lowRank(programs, at('error'), at('H'), 20, 2), 20);
  expect(maxDifference(found, at('product'))).toBeLessThan(1e-5);
});

it('leaves nothing of an error of fewer directions than it may take, and makes nothing of none', async () => {
  const [out, columns] = [40, 30];
  const [left, right] = [normals([out, 3], 'left').data, normals([3, columns], 'right').data];
  const error = product({ a: right, b: left }, columns);
  const identity = new Float32Array(columns ** 2).map((_, i) => Number(i % (columns + 1) === 0));
  const found = await lowRank(programs, error, identity, columns, 8);
  expect([found.a.length, found.b.length]).toEqual([8 * columns, out * 8]);
  expect(maxDifference(product(found, columns), error)).toBeLessThan(1e-4);

  const none = await lowRank(programs, new Float32Array(out * columns), identity, columns, 8);
  expect(new Set([...none.a, ...none.b])).toEqual(new Set([0]));
});

it('may be asked for more directions than the error has rows', async () => {
  const error = normals([3, 10], 'few rows').data;
  const identity = new Float32Array(100).map((_, i) => Number(i % 11 === 0));
  expect(maxDifference(product(await lowRank(programs, error, identity, 10, 5), 10), error)).toBeLessThan(
    1e-5,
  );
});
