import { describe, expect, it } from 'vitest';
import { UserError } from '../../errors.js';
import { normals, usePrograms } from '../../execution/testing.js';
import { elementAt as at, type Chunked } from './columns.js';
import { factorMoment, timesInverse } from './factor.js';
import { beginRounding, descend, feedback } from './feedback.js';
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

// One panel, several, and more than one chunk of them; none a multiple of a panel.
describe.each([40, 300, 1100])('of %i inputs, fewer tokens than these', (n) => {
  const hessian = thinMoment(n, 12, [3]);
  const factored = factorMoment(programs, hessian, n, 0.1, 'layer', silent);

  it('is a factor of the damped moment', async () => {
    const { moment, upper, order } = await factored;
    const probe = Float64Array.from({ length: n }, (_, i) => Math.sin(i + 1));
    const expected = times(moment, probe);
    const found = times(upper, times(upper, probe), true);
    const scale = Math.max(...expected.map(Math.abs));
    for (const [i, x] of expected.entries()) expect(Math.abs(found[i]! - x) / scale).toBeLessThan(1e-5);
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

  it('counts every error where it is made, and descent lowers their sum', async () => {
    const own = await factored;
    const weight = normals([3, n], 'weight').data;
    const layout = { bits: 3, groupSize: 32, halves: true };
    const rounding = beginRounding(weight, own, layout, searchGrids(weight, costOf(own), layout));
    const lost = await feedback(programs, rounding, own, signal);
    const lossOf = (row: number) => {
      const e = Float64Array.from({ length: n }, (_, i) => at(rounding.errors, row, i));
      return times(own.moment, e).reduce((sum, x, i) => sum + x * e[i]!, 0);
    };
    for (const [row, x] of lost.entries()) expect(lossOf(row) / x).toBeCloseTo(1, 3);
    await descend(programs, rounding, own, signal);
    for (const [row, x] of lost.entries()) expect(lossOf(row)).toBeLessThanOrEqual(x * 1.0001);
  });

  it('keeps codes within what is allowed', async () => {
    const own = await factored;
    const weight = normals([3, n], 'weight').data;
    const layout = { bits: 4, groupSize: -1, halves: false };
    const allowed = { first: Uint8Array.from(weight, (_, i) => i % 14), count: 2 };
    const rounding = beginRounding(weight, own, layout, searchGrids(weight, costOf(own), layout), allowed);
    await feedback(programs, rounding, own, signal);
    await descend(programs, rounding, own, signal);
    for (let row = 0; row < 3; row++)
      for (const [place, column] of own.order.entries())
        expect([0, 1]).toContain(rounding.codes[row * n + place]! - ((row * n + column) % 14));
  });
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

it('stops when asked to', async () => {
  const stopped = { signal: AbortSignal.abort(), note: silent.note };
  await expect(factorMoment(programs, thinMoment(8, 9), 8, 0.1, 'layer', stopped)).rejects.toThrow(
    'Cancelled.',
  );
});
