import { describe, expect, it } from 'vitest';
import { UserError } from '../../errors.js';
import { normals, usePrograms } from '../../execution/testing.js';
import { elementAt as at, type Chunked } from '../../backends/columns.js';
import { timesInverse } from '../../backends/inverse.js';
import { factorMoment, type Factored } from '../../backends/moment-factor.js';
import { beginRounding, codesOf, descend, endRounding, errorsOf, feedback } from './feedback.js';
import { searchGrids } from './grids.js';
import { costOf } from './site.js';

const programs = usePrograms();
const { signal } = new AbortController();
const silent = { signal, note: (line: string) => expect.fail(line) };

/** Σ x xᵀ of a few inputs whose channels differ in size: of far lower rank than n. */
function thinMoment(n: number, tokens: number, dead: readonly number[] = []): Float32Array {
  const { data } = normals([tokens, n], 'tokens');
  const x = data.map((value, i) => (dead.includes(i % n) ? 0 : value * (1 + ((i % n) % 7))));
  const h = new Float32Array(n * n);
  for (let t = 0; t < tokens; t++)
    for (let i = 0; i < n; i++) {
      const share = x[t * n + i]!;
      for (let j = 0; j < n; j++) h[i * n + j]! += share * x[t * n + j]!;
    }
  return h;
}

const times = (m: Chunked, x: Float64Array, isTransposed = false) =>
  Float64Array.from(x, (_, i) => {
    let sum = 0;
    for (const [j, value] of x.entries()) sum += (isTransposed ? at(m, j, i) : at(m, i, j)) * value;
    return sum;
  });

/** UᵀU v less M v for some v, in parts of the largest of M v. */
async function distance(factored: Promise<Factored>): Promise<number> {
  const { moment, upper, order } = await factored;
  const probe = Float64Array.from(order, (_, i) => Math.sin(i + 1));
  const expected = times(moment, probe);
  const found = times(upper, times(upper, probe), true);
  return Math.max(...expected.map((x, i) => Math.abs(found[i]! - x))) / Math.max(...expected.map(Math.abs));
}

// One panel, several, and more than one chunk of them; none a multiple of a panel, and one odd.
describe.each([41, 300, 1100])('of %i inputs, fewer tokens than these', (n) => {
  const hessian = thinMoment(n, 12, [3]);
  const factored = factorMoment(programs, hessian, n, 0.1, 'layer', silent);

  it('is a factor of the damped moment', async () => {
    const { order } = await factored;
    expect(await distance(factored)).toBeLessThan(1e-5);
    // The columns that matter most come last.
    const diagonal = [...order].map((column) => hessian[column * n + column]!);
    for (const [i, x] of diagonal.entries()) if (i > 0) expect(x).toBeGreaterThanOrEqual(diagonal[i - 1]!);
  });

  it('divides by it', async () => {
    const x = normals([2, n], 'right').data;
    const { moment, order } = await factored;
    const solved = await timesInverse(programs, x, 2, await factored, signal);
    for (let row = 0; row < 2; row++) {
      const placed = Float64Array.from(order, (column) => solved[row * n + column]!);
      const back = times(moment, placed);
      for (const [i, column] of order.entries())
        expect(Math.abs(back[i]! - x[row * n + column]!)).toBeLessThan(2e-3);
    }
  });

  it('rounds every column for what was rounded before it, and descent lowers the error', async () => {
    const own = await factored;
    const weight = normals([3, n], 'weight').data;
    const layout = { bits: 3, groupSize: 32, halves: true };
    const grids = searchGrids(weight, costOf(own), layout);
    const rounding = beginRounding(weight, own, layout, grids);
    await feedback(programs, rounding, own, signal);
    const errorsIn = (row: number) => {
      const errors = errorsOf(rounding, own.order);
      return Float64Array.from(own.order, (column) => errors[row * n + column]!);
    };
    const codes = codesOf(rounding, own.order);
    for (let row = 0; row < 3; row++) {
      const e = errorsIn(row);
      for (const [place, column] of own.order.entries()) {
        let sum = 0;
        for (let i = place + 1; i < n; i++) sum += at(own.upper, place, i) * e[i]!;
        const grid = row * Math.ceil(n / 32) + Math.floor(column / 32);
        const code = codes[row * n + column]!;
        const steps = (weight[row * n + column]! + sum / at(own.upper, place, place)) / grids.scale[grid]!;
        const wanted = Math.min(Math.max(steps + grids.zero[grid]!, 0), 7);
        expect(Math.abs(wanted - code)).toBeLessThan(0.501);
        const value = grids.scale[grid]! * (code - grids.zero[grid]!);
        expect(e[place]! + value).toBeCloseTo(weight[row * n + column]!, 5);
      }
    }
    const lossOf = (row: number) => {
      const e = errorsIn(row);
      return times(own.moment, e).reduce((sum, x, i) => sum + x * e[i]!, 0);
    };
    const before = [0, 1, 2].map(lossOf);
    await descend(programs, rounding, own, signal);
    for (const [row, x] of before.entries()) expect(lossOf(row)).toBeLessThanOrEqual(x * (1 + 1e-6));
  });

  it('rounds alike whatever was rounded before in the same memory', async () => {
    const own = await factored;
    const weight = normals([3, n], 'weight').data;
    const layout = { bits: 3, groupSize: -1, halves: false };
    const codes = async (data: Float32Array) => {
      const rounding = beginRounding(data, own, layout, searchGrids(data, costOf(own), layout));
      await feedback(programs, rounding, own, signal);
      await descend(programs, rounding, own, signal);
      const found = codesOf(rounding, own.order);
      endRounding(rounding);
      return { found, buffer: rounding.buffer };
    };
    const before = await codes(weight);
    await codes(normals([40, n], 'more rows').data);
    const after = await codes(weight);
    expect(after.found).toEqual(before.found);
    const next = await codes(weight);
    expect(next.buffer).toBe(after.buffer);
    expect(next.found).toEqual(before.found);
  });

  it('keeps codes within what is allowed', async () => {
    const own = await factored;
    const weight = normals([3, n], 'weight').data;
    const layout = { bits: 4, groupSize: -1, halves: false };
    const allowed = { first: Uint8Array.from(weight, (_, i) => i % 14), count: 2 };
    const rounding = beginRounding(weight, own, layout, searchGrids(weight, costOf(own), layout), allowed);
    await feedback(programs, rounding, own, signal);
    await descend(programs, rounding, own, signal);
    for (const [i, code] of codesOf(rounding, own.order).entries()) expect([0, 1]).toContain(code - (i % 14));
  });
});

it('is a factor of so many inputs that a product does not take all rows above a block', async () => {
  const n = 2600;
  const factored = factorMoment(programs, thinMoment(n, 3), n, 0.1, 'layer', silent);
  expect(await distance(factored)).toBeLessThan(1e-5);
});

it('raises the damping where that is needed, and says so', async () => {
  // Not of any inputs: 1 on the diagonal, and more beside it.
  const hessian = Float32Array.of(1, 1.5, 1.5, 1);
  const notes: string[] = [];
  const found = await factorMoment(programs, hessian, 2, 0.1, 'some.layer', {
    signal,
    note: (line) => notes.push(line),
  });
  expect(at(found.moment, 0, 0)).toBeCloseTo(2);
  expect(notes).toEqual([
    'some.layer: damping of 10 % is too little for its inputs’ second moments; trying 100 %.'.replace(
      '’',
      "'",
    ),
  ]);
});

it('refuses what is NaN in one line', async () => {
  const run = factorMoment(programs, Float32Array.of(1, NaN, NaN, NaN), 2, 0.1, 'some.layer', silent);
  await expect(run).rejects.toThrow(UserError);
});

it.each([NaN, Infinity])('refuses %s beside the diagonal in one line', async (odd) => {
  const n = 300;
  const hessian = thinMoment(n, 12);
  hessian[7 * n + 290] = hessian[290 * n + 7] = odd;
  const run = factorMoment(programs, hessian, n, 0.1, 'some.layer', silent);
  await expect(run).rejects.toThrow(UserError);
});

it('stops when asked to', async () => {
  const stopped = { signal: AbortSignal.abort(), note: silent.note };
  await expect(factorMoment(programs, thinMoment(8, 9), 8, 0.1, 'layer', stopped)).rejects.toThrow(
    'Cancelled.',
  );
});
