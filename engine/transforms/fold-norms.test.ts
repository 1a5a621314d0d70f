import { describe, expect, it } from 'vitest';
import { maxDifference } from '../../test/support.js';
import { openPlainPart, type RunnablePart } from '../execution/part.js';
import { openElasticPart } from '../execution/quantized-part.js';
import { observe } from '../execution/observe.js';
import { foldBias, foldNorm, reparameterise } from './fold-norms.js';
import { rescaledParameters, scaledColumns } from './rescaling.js';
import { percentileStart, type Grid } from '../execution/activation-ranges.js';
import { foldedBlock } from './testing.js';
import { normals, roundedBlock, rowsOf, tinyBlock, usePrograms } from '../execution/testing.js';

const [ROWS, FEATURES, OUT, BITS] = [400, 8, 5, 4];
const LEVELS = 2 ** BITS - 1;

/** A norm of unlike channels: sizes from 0.1 to 10, centres apart. */
const gamma = Float32Array.from(
  { length: FEATURES },
  (_, c) => 0.1 * 100 ** (c / (FEATURES - 1)) * (c % 2 ? -1 : 1),
);
const beta = normals([FEATURES], 'beta').data;
const normal = rowsOf(normals([ROWS, FEATURES], 'normalised'));
const next = normals([OUT, FEATURES], 'next');
const nextBias = normals([OUT], 'next bias').data;

const normed = (weight: ArrayLike<number>, bias: ArrayLike<number>) =>
  normal.map((row) => row.map((x, c) => x * weight[c]! + bias[c]!));
const linear = (rows: readonly number[][], weight: Float32Array, bias?: Float32Array) =>
  rows.flatMap((row) =>
    rowsOf({ data: weight, shape: [OUT, FEATURES] }).map((w, o) =>
      w.reduce((sum, v, c) => sum + v * row[c]!, bias?.[o] ?? 0),
    ),
  );
const column = (rows: readonly number[][], c: number) => rows.map((row) => row[c]!);

function fold(weight: Float32Array, bias: Float32Array, percentiles?: readonly number[]) {
  const output = Float32Array.from(normed(weight, bias).flat());
  const change = reparameterise(output, FEATURES, BITS, percentiles);
  const norm = foldNorm(weight, bias, change);
  return { change, folded: normed(norm.weight, norm.bias), weight: scaledColumns(next.data, change.ratio) };
}

describe('a folded norm', () => {
  it('and the layer behind it are the same function as before', () => {
    const { change, folded, weight } = fold(gamma, beta);
    for (const bias of [nextBias, undefined]) {
      const before = linear(normed(gamma, beta), next.data, bias);
      const after = linear(folded, weight, foldBias(bias, weight, change.shift));
      expect(maxDifference(Float32Array.from(after), Float32Array.from(before))).toBeLessThan(1e-4);
    }
    expect(foldBias(undefined, weight, change.shift)).toHaveLength(OUT);
  });

  it('brings the range of every channel onto the one grid', () => {
    const { change, folded } = fold(gamma, beta, [1]);
    const { scale, zero } = change.grid;
    const [bottom, top] = [-zero * scale, (LEVELS - zero) * scale];
    for (let c = 0; c < FEATURES; c++) {
      const [least, most] = [Math.min(...column(folded, c)), Math.max(...column(folded, c))];
      // Zero points are whole: the ends are met to half a step.
      expect(Math.abs(least - bottom)).toBeLessThan(0.51 * scale);
      expect(Math.abs(most - top)).toBeLessThan(0.51 * scale);
    }
    expect(scale).toBeGreaterThan(0);
    expect(Number.isInteger(zero)).toBe(true);
  });

  it('loses less to one grid than the norm as it was', () => {
    const loss = (rows: readonly number[][], reference: readonly number[][]) => {
      const values = rows.flat();
      const [lo, hi] = [Math.min(...values), Math.max(...values)];
      const step = (hi - lo) / LEVELS;
      const sizes = reference[0]!.map(
        (_, c) => Math.max(...column(reference, c)) - Math.min(...column(reference, c)),
      );
      const errors = rows.flatMap((row) =>
        row.map((x, c) => ((Math.round((x - lo) / step) * step + lo - x) / sizes[c]!) ** 2),
      );
      return errors.reduce((a, b) => a + b) / errors.length;
    };
    const { folded } = fold(gamma, beta, [1]);
    const before = normed(gamma, beta);
    expect(loss(folded, folded)).toBeLessThan(loss(before, before) / 10);
  });
});

describe('a channel that does not move', () => {
  const still = gamma.map((x, c) => (c === 3 ? 0 : x));

  it.each([0, 0.5, -40])('at %d stays finite and changes nothing of the function', (centre) => {
    const bias = beta.map((x, c) => (c === 3 ? centre : x));
    const { change, folded, weight } = fold(still, bias);
    expect([...change.ratio, ...change.shift, ...folded.flat()].every(Number.isFinite)).toBe(true);
    const after = linear(folded, weight, foldBias(nextBias, weight, change.shift));
    const before = linear(normed(still, bias), next.data, nextBias);
    expect(maxDifference(Float32Array.from(after), Float32Array.from(before))).toBeLessThan(1e-3);
  });

  it('leaves the zero point to the channels that do', () => {
    const bias = beta.map((x, c) => (c === 3 ? 0.5 : x));
    const others = fold(gamma, bias).change.grid.zero;
    expect(Math.abs(fold(still, bias).change.grid.zero - others)).toBeLessThanOrEqual(2);
  });

  it('is no trouble where all are like it', () => {
    const { change, folded } = fold(new Float32Array(FEATURES), beta);
    expect([...change.ratio, ...change.shift, ...folded.flat()].every(Number.isFinite)).toBe(true);
  });
});

describe('a block of a model', () => {
  const BATCH = 4;
  const programs = usePrograms();

  async function started(change: object) {
    const block = tinyBlock(change);
    const x = normals(block.part.inputShape(BATCH), 'x', JSON.stringify(change));
    const folded = await foldedBlock(programs, block, block.parameters, x.data, BATCH, BITS);
    return { block, x, ...folded };
  }

  it.each([{}, { qkv_bias: false }])(
    'with %j computes the same with folded parameters, a bias for every layer behind a norm',
    async (change) => {
      const { block, x, tensors } = await started(change);
      const folded = rescaledParameters(block.parameters, tensors);
      const output = async (part: RunnablePart) => {
        const y = await programs.runtime.read(
          await part.run(programs.runtime.tensor(x.data, x.shape), BATCH),
        );
        part.dispose();
        return y.slice();
      };
      const original = await output(await openPlainPart(programs, block.part, block.parameters));
      // The elastic part gives every layer a bias; with so many bits its rounding is lost in the tolerance.
      const source = roundedBlock({ parameters: folded });
      const elastic = await openElasticPart(programs, block.part, block.listing, source);
      await elastic.use(20);
      expect(maxDifference(await output(elastic), original)).toBeLessThan(2e-3);
      for (const name of ['query', 'key', 'value'].map((n) => `attention.attention.${n}.bias`))
        expect(folded.get(name)!.shape).toEqual([16]);
      expect(folded.get('layernorm_before.weight')!.data).not.toEqual(
        block.parameters.get('layernorm_before.weight')!.data,
      );
      expect(folded.get('attention.output.dense.weight')).toBe(
        block.parameters.get('attention.output.dense.weight'),
      );
    },
  );

  it('has grids that hold what the folded norm puts out, and scales the inputs of all its readers alike', async () => {
    const { block, x: input, observed, tensors } = await started({});
    const name = 'attention.attention.query';
    const own = rescaledParameters(block.parameters, tensors);
    const again = await observe(programs, block.part, [name], own, [{ x: input.data }], BATCH);
    const { data } = again.get(name)!;
    const told = observed.get(name)!.data;
    expect(maxDifference(told, data)).toBeLessThan(1e-4);
    for (const bits of [BITS, 8]) {
      const [{ scale, zero }] = percentileStart(told.slice(), [bits], [1]) as [Grid];
      for (const x of data) {
        expect(x).toBeGreaterThan((-zero - 0.51) * scale);
        expect(x).toBeLessThan((2 ** bits - 1 - zero + 0.51) * scale);
      }
    }
    for (const reader of ['key', 'value'])
      expect(tensors.get(`attention.attention.${reader}.input_scale`)).toEqual(
        tensors.get(`${name}.input_scale`),
      );
    expect([...tensors.keys()].filter((key) => key.endsWith('input_scale'))).toHaveLength(4);
  });

  it('does not change the parameters it is given', async () => {
    const { block, tensors } = await started({});
    const before = [...block.parameters].map(([name, { data }]) => [name, data.slice()] as const);
    rescaledParameters(block.parameters, tensors);
    for (const [name, data] of before) expect(block.parameters.get(name)!.data).toEqual(data);
  });
});
