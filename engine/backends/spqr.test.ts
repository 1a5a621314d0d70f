import { describe, expect, it } from 'vitest';
import { createRandom } from '../data/random.js';
import { normals, rounded, usePrograms } from '../execution/testing.js';
import { toFloats } from '../quantized/weight.js';
import { factorHessian } from './factor.js';
import { bothInOrder, byFallingDiagonal } from './order.js';
import { fitGrid, roundSparse, type SpqrShape } from './spqr.js';
import { damped, randomHessian, weightedError } from './testing.js';

const programs = usePrograms();
const { signal } = new AbortController();
const [OUT, IN] = [20, 40];
const LEVEL = { rows: 16, scaleBits: 3, zeroBits: 3 };
const spqr: SpqrShape = { bits: 2, groupSize: 16, level: LEVEL, threshold: 0.3 };

async function round(seed: number, by = 1, shape: Partial<SpqrShape> = {}, dead: readonly number[] = []) {
  const weight = normals([OUT, IN], 'weight', seed);
  const plain = randomHessian(IN, 60, seed, dead);
  const hessian = plain.map((x) => x * by);
  const order = byFallingDiagonal(hessian, IN);
  const note = () => expect.fail('damping was raised');
  const placed = bothInOrder(hessian, order);
  const factor = await factorHessian(programs, placed, IN, 'layer', { signal, note }, 0.1);
  const isDead = (column: number) => dead.includes(column);
  const found = await roundSparse(programs, weight, { order, factor, isDead }, { ...spqr, ...shape }, signal);
  return { weight, hessian: plain, found };
}

describe('SpQR of a weight', () => {
  it.each([2 ** 20, 2 ** -20])('is the same for a Hessian %d times as large', async (by) => {
    expect((await round(11, by)).found).toEqual((await round(11)).found);
  });

  it.each([21, 22, 23])('errs less than without corrections, seed %i', async (seed) => {
    const { weight, hessian, found } = await round(seed, 1, { threshold: Infinity });
    const identity = Float32Array.from({ length: IN * IN }, (_, i) => Number(i % (IN + 1) === 0));
    const isDead = () => false;
    // Of equal diagonals the order is that of the columns; the one of the Hessian keeps groups the same.
    const factor = { order: found.order, factor: identity, isDead };
    const plain = await roundSparse(programs, weight, factor, { ...spqr, threshold: Infinity }, signal);
    const matrix = damped(hessian, IN, 0.1);
    const own = weightedError(weight, toFloats(found), matrix);
    expect(own).toBeLessThan(weightedError(weight, toFloats(plain), matrix));
  });

  it('has more outliers, and smaller errors, the lower the threshold', async () => {
    const counts: number[] = [];
    const errors: number[] = [];
    for (const threshold of [0.05, 0.3, 1]) {
      const { weight, hessian, found } = await round(31, 1, { threshold });
      counts.push(found.outliers!.values.length);
      errors.push(weightedError(weight, toFloats(found), damped(hessian, IN, 0.1)));
    }
    expect(counts).toEqual([...counts].sort((a, b) => b - a));
    expect(counts[0]).toBeGreaterThan(counts[2]!);
    expect(errors[0]).toBeLessThan(errors[2]!);
  });

  it('keeps dead columns at zero', async () => {
    const { found } = await round(41, 1, { threshold: Infinity, level: undefined! }, [3, 17]);
    const floats = toFloats(found);
    // The two are the last of the order, in a group with live ones: zero as nearly as its grid has it.
    for (let row = 0; row < OUT; row++) {
      const grid = row * 3 + 2;
      for (const column of [3, 17])
        expect(Math.abs(floats[row * IN + column]!)).toBeLessThanOrEqual(0.51 * found.scale[grid]!);
    }
  });

  it('stays finite where weights of a group hardly differ, or are tiny', async () => {
    const base = normals([OUT, IN], 'weight', 51);
    const identity = Float32Array.from({ length: IN * IN }, (_, i) => Number(i % (IN + 1) === 0));
    for (const change of [(x: number) => 1000 + 1e-5 * x, (x: number) => 1e-9 * x, () => 0]) {
      const weight = { ...base, data: base.data.map(change) };
      const factor = { factor: identity, isDead: () => false };
      for (const level of [{ level: LEVEL }, {}]) {
        const shape = { bits: 2, groupSize: 16, threshold: Infinity, ...level };
        const found = toFloats(await roundSparse(programs, weight, factor, shape, signal));
        for (const [i, x] of found.entries())
          expect(Math.abs(x - weight.data[i]!)).toBeLessThan(0.01 * Math.abs(weight.data[i]!) + 1e-6);
      }
    }
  });
});

describe('the grid of a group', () => {
  const LEVELS = 3;
  const codeOf = (x: number, s: number, z: number) => Math.min(Math.max(rounded(x / s + z), 0), LEVELS);
  const grid = (values: readonly number[]) => {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    // Where all are likely but one, or all, one number stands for each.
    if (low === high)
      return low === 0 ? { scale: 1, zero: 0 } : { scale: Math.abs(low), zero: -Math.sign(low) };
    const scale = (high - low) / LEVELS;
    return { scale, zero: -low / scale };
  };

  it('leaves likely outliers out as leaving each out in turn says', () => {
    const random = createRandom(7, 'groups');
    let some = 0;
    for (let group = 0; group < 200; group++) {
      const values = Array.from({ length: 12 }, () => random.normal() * (random.integer(8) === 0 ? 4 : 1));
      const costs = values.map(() => 0.5 + random.next());
      const most = 0.8;
      const errorOf = (own: readonly number[], left?: number) => {
        const { scale, zero } = grid(own.filter((_, i) => i !== left));
        return own.reduce((sum, x, i) => {
          const value = scale * (codeOf(x, scale, zero) - zero);
          return i === left ? sum : sum + ((x - value) * costs[i]!) ** 2;
        }, 0);
      };
      const likely = values.map((_, i) => errorOf(values) - errorOf(values, i) > most);
      const others = values.filter((_, i) => !likely[i]);
      const mean = others.reduce((a, b) => a + b, 0) / Math.max(1, others.length);
      if (likely.includes(true)) some++;
      const expected = grid(values.map((x, i) => (likely[i] ? mean : x)));
      const found = fitGrid(Float64Array.from(values), Float64Array.from(costs), LEVELS, most);
      expect(found.scale).toBeCloseTo(expected.scale, 10);
      expect(found.zero).toBeCloseTo(expected.zero, 10);
    }
    expect(some).toBeGreaterThan(20);
  });
});
