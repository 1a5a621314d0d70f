import { describe, expect, it } from 'vitest';
import { normals } from '../../execution/testing.js';
import { kernels } from './kernels.js';

describe('the error of a grid', () => {
  it.each([
    ['whole zero points', 0, 3],
    ['half zero points', 2.5, 0],
  ])('is that of plain rounding, with %s', (_, inner, outer) => {
    const { gridError, reserve } = kernels();
    const [count, scale, last] = [10, 0.3, 7];
    const data = normals([count], 'weights').data;
    const { buffer, at } = reserve([count * 4, count * 8]);
    new Float32Array(buffer, at[0], count).set(data);
    const cost = new Float64Array(buffer, at[1], count).map((_x, i) => 1 + i);
    new Float64Array(buffer, at[1], count).set(cost);
    let expected = 0;
    for (const [i, w] of data.entries()) {
      const code = Math.min(Math.max(Math.round(w / scale + inner) + outer, 0), last);
      expected += cost[i]! * (scale * (code - inner - outer) - w) ** 2;
    }
    expect(gridError(at[0]!, at[1]!, count, scale, inner, outer, last)).toBeCloseTo(expected, 10);
  });
});

it('has room for as much as is asked for', () => {
  const { buffer, at } = kernels().reserve([5, 3 << 20, 7]);
  expect(at).toEqual([0, 16, 16 + (3 << 20)]);
  expect(buffer.byteLength).toBeGreaterThanOrEqual(at[2]! + 7);
});
