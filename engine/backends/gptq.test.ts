import { describe, expect, it } from 'vitest';
import type { HostTensor } from '../models/checkpoint.js';
import { roundedCodes } from '../execution/rounded.js';
import { normals, rowsOf, usePrograms } from '../execution/testing.js';
import { factorHessian } from './factor.js';
import { damped, randomHessian, surgery, weightedError } from './testing.js';
import { toFloats } from '../quantized/weight.js';
import { roundCorrecting } from './gptq.js';

const programs = usePrograms();
const { signal } = new AbortController();
const alive = () => false;

async function gptq(
  weight: HostTensor,
  hessian: Float32Array,
  bits: number,
  groupSize: number,
  dead: readonly number[] = [],
): Promise<Float32Array> {
  const n = weight.shape[1]!;
  const note = () => expect.fail('damping was raised');
  const factor = await factorHessian(programs, hessian, n, 'layer', { signal, note });
  const isDead = (column: number) => dead.includes(column);
  return toFloats(await roundCorrecting(programs, weight, factor, isDead, { bits, groupSize }, signal));
}

/** The weight rounded to nearest, by a graph of its own. */
async function rounding({ data, shape }: HostTensor, bits: number, groupSize: number) {
  const [out, n] = shape as readonly [number, number];
  const layer = { name: 'layer', in: n, out, bias: false, input: 'layer', norm: undefined };
  return toFloats(await roundedCodes(programs, layer, data, bits, groupSize));
}

const settings = [
  ['8 bits, whole rows', 8, -1],
  ['3 bits, whole rows', 3, -1],
  ['4 bits in groups', 4, 8],
  ['2 bits in groups', 2, 8],
] as const;

describe('GPTQ of a weight', () => {
  it.each(settings)('is what surgery column by column gives: %s', async (_, bits, groupSize) => {
    // 20 columns leave the last group of 8 half empty.
    const weight = normals([6, 20], 'weight');
    const hessian = randomHessian(20, 50, 3);
    const found = await gptq(weight, hessian, bits, groupSize);
    const expected = surgery(weight, damped(hessian, 20, 0.01), bits, groupSize).flat();
    for (const [i, x] of found.entries()) expect(x).toBeCloseTo(expected[i]!, 4);
  });

  it('is the same across blocks of columns', async () => {
    const weight = normals([3, 150], 'wide');
    const hessian = randomHessian(150, 400, 4);
    const found = await gptq(weight, hessian, 4, -1);
    const expected = surgery(weight, damped(hessian, 150, 0.01), 4, -1).flat();
    for (const [i, x] of found.entries()) expect(x).toBeCloseTo(expected[i]!, 4);
  });

  it.each(settings)('is plain rounding where inputs are not correlated: %s', async (_, bits, groupSize) => {
    const weight = normals([16, 300], 'plain');
    const identity = Float32Array.from({ length: 300 ** 2 }, (_, i) => Number(i % 301 === 0));
    const found = await gptq(weight, identity, bits, groupSize);
    const expected = await rounding(weight, bits, groupSize);
    for (const [i, x] of found.entries()) expect(x).toBeCloseTo(expected[i]!, 5);
  });

  it.each(settings)('never does worse than rounding where errors matter: %s', async (_, bits, groupSize) => {
    for (let seed = 0; seed < 20; seed++) {
      const weight = normals([8, 32], 'random', seed);
      const hessian = randomHessian(32, 40, seed);
      const matrix = damped(hessian, 32, 0.01);
      const own = weightedError(weight, await gptq(weight, hessian, bits, groupSize), matrix);
      const plain = weightedError(weight, await rounding(weight, bits, groupSize), matrix);
      expect(own / plain, `seed ${seed}`).toBeLessThan(1);
    }
  });

  it('takes a column whose input was never active for zero, and leaves the others as they would be without', async () => {
    const weight = normals([4, 12], 'dead');
    const dead = [0, 5, 11];
    // A row's whole range must not come from a dead column.
    const shrunk = { ...weight, data: weight.data.map((x, i) => (dead.includes(i % 12) ? 0.01 : x)) };
    const hessian = randomHessian(12, 30, 5, dead);
    const found = rowsOf({ data: await gptq(shrunk, hessian, 4, -1, dead), shape: [4, 12] });
    for (const row of found) for (const column of dead) expect(Math.abs(row[column]!)).toBe(0);
    const kept = [...Array(12).keys()].filter((i) => !dead.includes(i));
    const small = { data: Float32Array.from(rowsOf(shrunk).flatMap((row) => kept.map((i) => row[i]!))), shape: [4, 9] }; // prettier-ignore
    const smallHessian = Float32Array.from(kept.flatMap((i) => kept.map((j) => hessian[i * 12 + j]!)));
    const expected = rowsOf({ data: await gptq(small, smallHessian, 4, -1), shape: [4, 9] });
    for (const [r, row] of found.entries())
      for (const [i, column] of kept.entries()) expect(row[column]).toBeCloseTo(expected[r]![i]!, 5);
  });

  it('stops when asked to', async () => {
    const weight = normals([1, 1], 'stop');
    const run = roundCorrecting(programs, weight, Float32Array.of(1), alive, { bits: 4, groupSize: -1 }, AbortSignal.abort()); // prettier-ignore
    await expect(run).rejects.toThrow('Cancelled.');
  });
});
