import { expect, it } from 'vitest';
import { normals, singleLayer } from '../../execution/testing.js';
import { curvatureOf } from './curvature.js';

const { part } = singleLayer(1);
const FEATURES = 4;
const slope = normals([FEATURES, 1], 'slope').data;
const squares = Float32Array.from({ length: FEATURES ** 2 }, (_, i) => {
  return slope[Math.floor(i / FEATURES)]! * slope[i % FEATURES]!;
});

const costs = async (kept?: Float32Array) => {
  const tensors = new Map([['output', { shape: [FEATURES, FEATURES], data: kept! }]]);
  const load = () => Promise.resolve(kept && { tensors, bytes: new Map(), notes: {} });
  return (await curvatureOf({ progress: { load } }, part, 0)).data;
};
const costOf = (c: Float32Array, e: ArrayLike<number>) =>
  c.reduce((sum, x, i) => sum + x * e[Math.floor(i / FEATURES)]! * e[i % FEATURES]!, 0);

it('costs most along the slope, and something across it', async () => {
  const c = await costs(squares);
  let trace = 0;
  for (let i = 0; i < FEATURES; i++) trace += c[i * (FEATURES + 1)]!;
  expect(trace).toBeCloseTo(FEATURES, 5);
  const along = slope.map((x) => x / Math.hypot(...slope));
  const across = [along[1]!, -along[0]!, 0, 0].map((x) => x / Math.hypot(along[0]!, along[1]!));
  expect(costOf(c, along)).toBeCloseTo(0.9 * FEATURES + 0.1, 5);
  expect(costOf(c, across)).toBeCloseTo(0.1, 5);
});

it('is the same for gradients of any size', async () => {
  const c = await costs(squares.map((x) => x * 2 ** -60));
  expect(c).toEqual(await costs(squares));
});

it.each([
  ['kept', undefined],
  ['that is not zero', new Float32Array(FEATURES ** 2)],
])('without a gradient %s all channels count alike', async (_, kept) => {
  const c = await costs(kept);
  expect([...c]).toEqual(Array.from(c, (_x, i) => Number(i % (FEATURES + 1) === 0)));
});
