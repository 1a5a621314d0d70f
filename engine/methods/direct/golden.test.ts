/** Against vectors of an independent PyTorch statement (`test/golden/README.md`). */
import { describe, expect, it } from 'vitest';
import { maxDifference, readGolden } from '../../../test/support.js';
import { usePrograms } from '../../execution/testing.js';
import { fromChunks } from '../../backends/columns.js';
import { factorMoment } from '../../backends/moment-factor.js';
import { beginRounding, codesOf, descend, errorsOf, feedback } from './feedback.js';
import { searchGrids } from './grids.js';
import { costOf } from './site.js';
import { refitScales } from './refit.js';
import { correctedWeight, product } from '../../backends/corrected-weight.js';

const programs = usePrograms();
const vectors = await readGolden('effort.safetensors');
const { signal } = new AbortController();
const hooks = { signal, note: (line: string) => expect.fail(line) };
const DAMPING = 0.01;

describe.each([
  ['row2', 2, false],
  ['row3', 3, false],
  ['row4', 4, false],
  ['half2', 2, true],
  ['planes', 2, false],
] as const)('%s', (name, bits, halves) => {
  const at = (key: string) => vectors.floats(`${name}.${key}`).data;

  it('has the searched grid, codes, descent and scales', async () => {
    const weight = at('W');
    const factored = await factorMoment(programs, at('H'), 20, DAMPING, name, hooks);
    const cost = costOf(factored);
    for (const [i, x] of at('cond').entries()) expect(cost[i]! / x).toBeCloseTo(1, 5);

    const layout = { bits, groupSize: -1, halves };
    const grids = searchGrids(weight, cost, layout);
    expect(maxDifference(Float32Array.from(grids.shares), at('shares'))).toBeLessThan(1e-6);
    expect(maxDifference(grids.scale, at('scale'))).toBeLessThan(1e-5);
    expect([...grids.zero]).toEqual([...at('zero')]);

    const rounding = beginRounding(weight, factored, layout, grids);
    await feedback(programs, rounding, factored, signal);
    expect([...codesOf(rounding, factored.order)]).toEqual([...at('codes')]);
    const moment = placed(await dense(factored), 20, factored.order);
    const loss = () => {
      const errors = errorsOf(rounding, factored.order);
      let sum = 0;
      for (let row = 0; row < 6; row++)
        sum += quadratic(errors.subarray(row * 20, (row + 1) * 20), moment, 20);
      return sum;
    };
    let before = loss();
    for (let sweep = 0; sweep < 2; sweep++) {
      await descend(programs, rounding, factored, signal);
      const after = loss();
      expect(after).toBeLessThanOrEqual(before * (1 + 1e-5));
      before = after;
    }
    const codes = codesOf(rounding, factored.order);
    expect([...codes]).toEqual([...at('descent.codes')]);
    const steps = Float32Array.from(codes, (code, i) => code - grids.zero[Math.floor(i / 20)]!);
    const refit = await refitScales(programs, weight, steps, moment, layout, grids.scale, signal);
    expect(maxDifference(refit, at('refit.scale'))).toBeLessThan(1e-5);
  });
});

it('has the corrected targets', async () => {
  const at = (key: string) => vectors.floats(`target.${key}`).data;
  const [tokens, n] = [40, 20];
  const factored = await factorMoment(programs, at('H'), n, DAMPING, 'target', hooks);
  const [x, xq, r, rq] = [at('X'), at('Xq'), at('R'), at('Rq')];
  const transposed = (data: Float32Array, columns: number) =>
    Float32Array.from(data, (_, i) => data[(i % tokens) * columns + Math.floor(i / tokens)]!);
  const share = (data: Float32Array, by: number) => data.map((value) => (value * by) / tokens);
  const lost = await product(
    programs,
    transposed(
      x.map((value, i) => value - xq[i]!),
      n,
    ),
    xq,
    tokens,
  );
  const own = await product(programs, at('W'), share(lost, 1), n);
  const stream = await product(
    programs,
    transposed(
      r.map((value, i) => value - rq[i]!),
      6,
    ),
    share(xq, 1),
    tokens,
  );
  const found = {
    input_only: own,
    half: share(own, tokens / 2),
    residual: own.map((value, i) => value + stream[i]!),
  };
  for (const [name, correlation] of Object.entries(found)) {
    const target = await correctedWeight(programs, at('W'), correlation, factored, signal);
    expect(maxDifference(target, at(name)), name).toBeLessThan(1e-5);
  }
});

/** M in the columns' own order. */
async function dense({ moment, order }: Awaited<ReturnType<typeof factorMoment>>) {
  return Promise.resolve(fromChunks(moment, order));
}

/** Rows back from their places. */
function placed(data: Float32Array, n: number, order: Uint32Array): Float32Array {
  const found = new Float32Array(n * n);
  for (let i = 0; i < n; i++) found.set(data.subarray(i * n, (i + 1) * n), order[i]! * n);
  return found;
}

function quadratic(e: Float32Array, m: Float32Array, n: number): number {
  let sum = 0;
  for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) sum += e[i]! * m[i * n + j]! * e[j]!;
  return sum;
}
