import { expect, it } from 'vitest';
import { normals, usePrograms } from '../../execution/testing.js';
import { asStored, codeOf, gridOf, rangeOf, searchGrids, type Grids } from './grids.js';
import { searchNearest } from './nearest.js';

const programs = usePrograms();
const { signal } = new AbortController();
const [OUT, IN] = [5, 20];
const { data } = normals([OUT, IN], 'weight');
const layout = { bits: 2, groupSize: 8, halves: true };

it('searches by the diagonal where there is nothing else', async () => {
  const cost = Float64Array.from({ length: IN }, (_, i) => 1 + (i % 3));
  const moment = new Float32Array(IN * IN);
  cost.forEach((x, i) => (moment[i * IN + i] = x));
  for (const groupSize of [8, -1]) {
    const { scale, zero } = searchGrids(data, cost, { ...layout, groupSize }, asStored);
    const found = await searchNearest(programs, data, moment, { ...layout, groupSize }, signal, asStored);
    expect(found).toEqual({ scale, zero });
  }
});

it('finds what errors cost least on together', async () => {
  const x = normals([30, IN], 'inputs').data.map((value, i) => value + 2 * Math.sin(i % IN));
  const moment = Float32Array.from({ length: IN * IN }, (_, at) => {
    let sum = 0;
    for (let t = 0; t < 30; t++) sum += x[t * IN + Math.floor(at / IN)]! * x[t * IN + (at % IN)]!;
    return sum;
  });
  const whole = { ...layout, groupSize: -1 };
  const costs = ({ scale, zero }: Grids) =>
    Array.from({ length: OUT }, (_, row) => {
      const own = data.subarray(row * IN, (row + 1) * IN);
      const [s, z] = [scale[row]!, zero[row]!];
      const errors = Float64Array.from(own, (w) => s * (codeOf(w, s, z, true, 0, 3) - z) - w);
      let sum = 0;
      for (let i = 0; i < IN; i++)
        for (let j = 0; j < IN; j++) sum += errors[i]! * moment[i * IN + j]! * errors[j]!;
      return sum;
    });
  const found = costs(await searchNearest(programs, data, moment, whole, signal));
  for (const share of [1, 0.84, 0.6, 0.36]) {
    const grids = Array.from({ length: OUT }, (_, row) =>
      gridOf(rangeOf(data, row * IN, (row + 1) * IN), { upper: share, lower: share }, whole, Math.fround),
    );
    const tried = costs({
      scale: Float32Array.from(grids, ({ s }) => s),
      zero: Float32Array.from(grids, ({ z }) => z),
    });
    found.forEach((cost, row) => expect(cost).toBeLessThan(tried[row]! * (1 + 1e-5)));
  }
});
