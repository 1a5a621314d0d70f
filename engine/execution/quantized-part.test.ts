import { describe, expect, it } from 'vitest';
import { maxDifference } from '../../test/support.js';
import { Graph, type Value } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import { fakeQuantizeCache } from '../graph/quantizers.js';
import { fullPrecision } from '../models/builders.js';
import { listPart } from '../models/listing.js';
import type { Part } from '../models/model.js';
import { openPrograms } from '../runtime/programs.js';
import { adapterLayout } from '../methods/quept/adapters.js';
import { openPlainPart, type RunnablePart } from './part.js';
import { NO_CLIP, openElasticPart, type ElasticPart, type PartPrecision } from './quantized-part.js';
import type { NamedTensors } from './tensors.js';
import {
  normals,
  quantizedRow,
  randomAdapters,
  rounded,
  rowsOf,
  tinyBlock,
  tinyDecoderBlock,
  usePrograms,
} from '../methods/quept/testing.js';

const programs = usePrograms();
const BATCH = 2;

/** One layer of 6 inputs and 4 outputs: what it is quantized to can be computed by hand. */
const single: Part = {
  prefix: '',
  kind: 'single',
  inputShape: (n) => [3 * n, 6],
  outputShape: (n) => [3 * n, 4],
  forward: (b, x) => op.neg(b.linear('layer', x, 4)),
};
const weight = normals([4, 6], 'weight');
const bias = normals([4], 'bias');
const input = normals([3 * BATCH, 6], 'input');
const layer = adapterLayout(
  listPart(single),
  [
    { bits: [4, 8], rank: 2, gain: 1 },
    { bits: [2], rank: 3, gain: 0.5 },
  ],
  true,
);
const adapters = randomAdapters(layer);
const parameters = new Map([['layer.weight', weight], ['layer.bias', bias]]); // prettier-ignore

const openSingle = (tensors: NamedTensors = adapters, without: readonly string[] = []) =>
  openElasticPart(
    programs,
    single,
    listPart(single),
    new Map([...parameters].filter(([name]) => !without.includes(name))),
    tensors,
  );

async function output(part: RunnablePart, x = input, batch = BATCH): Promise<Float32Array> {
  return (
    await programs.runtime.read(await part.run(programs.runtime.tensor(x.data, x.shape), batch))
  ).slice();
}

async function at(part: ElasticPart, precision: PartPrecision): Promise<Float32Array> {
  await part.use(precision);
  return output(part);
}

/** −(Q(x) Q(W + gain · BA)ᵀ + bias) in float64. */
function expected(
  { weight: bits, activation, rank, gain = 1 }: PartPrecision,
  clipped: boolean,
  biased = true,
  perToken?: (row: readonly number[]) => number[],
): Float32Array {
  const named = (name: string) => adapters.get(`layer.${name}`)!;
  const [a, b] = [rowsOf(named('lora_A')), rowsOf(named('lora_B'))];
  const quantized = rowsOf(weight).map((row, o) => {
    const adapted = row.map((w, i) =>
      a.slice(0, rank).reduce((sum, direction, r) => sum + gain * b[o]![r]! * direction[i]!, w),
    );
    const [upper, lower] = ['upper', 'lower'].map((side) =>
      clipped ? named(`clip_${side}.${bits}`).data[o]! : NO_CLIP,
    ) as [number, number];
    return quantizedRow(adapted, bits, upper, lower);
  });
  function onGrid(x: number): number {
    if (activation === undefined) return x;
    const [scale, zero] = [
      named(`act_scale.${activation}`).data[0]!,
      named(`act_zero.${activation}`).data[0]!,
    ];
    return scale * Math.min(Math.max(rounded(x / scale), -zero), 2 ** activation - 1 - zero);
  }
  return Float32Array.from(
    rowsOf(input)
      .map(perToken ?? ((row) => row.map(onGrid)))
      .flatMap((row) =>
        quantized.map((w, o) => -w.reduce((sum, v, i) => sum + v * row[i]!, biased ? bias.data[o]! : 0)),
      ),
  );
}

describe('a single layer', () => {
  it.each<[string, PartPrecision]>([
    ['weights at 8 bits', { weight: 8, rank: 0 }],
    ['weights and activations at 4 bits', { weight: 4, activation: 4, rank: 0 }],
    ['with two directions', { weight: 4, activation: 4, rank: 2 }],
    ['with all directions at half gain', { weight: 2, activation: 2, rank: 3, gain: 0.5 }],
    ['weights at 8 and activations at 2 bits', { weight: 8, activation: 2, rank: 2 }],
  ])('is the fake-quantized product: %s', async (_, precision) => {
    const part = await openSingle();
    expect(maxDifference(await at(part, precision), expected(precision, true))).toBeLessThan(1e-5);
    part.dispose();
  });

  it.each([2, 4, 8])('without a grid quantizes its input per token at %i bits', async (bits) => {
    const part = await openSingle(new Map([...adapters].filter(([name]) => !/act_/.test(name))));
    const top = 2 ** (bits - 1) - 1;
    const perToken = (row: readonly number[]) => {
      const scale = Math.max(...row.map(Math.abs)) / top;
      return row.map((v) => scale * rounded(v / scale));
    };
    const found = await at(part, { weight: 8, activation: bits, rank: 2 });
    expect(maxDifference(found, expected({ weight: 8, rank: 2 }, true, true, perToken))).toBeLessThan(1e-5);
    part.dispose();
  });

  it.each([2, 3, 4, 5, 6, 7, 8])(
    'without an adapter set rounds the whole range of each row at %i bits',
    async (bits) => {
      const part = await openSingle(new Map());
      expect(
        maxDifference(await at(part, { weight: bits, rank: 2 }), expected({ weight: bits, rank: 0 }, false)),
      ).toBeLessThan(1e-5);
      part.dispose();
    },
  );

  it('takes a layer without bias for one of bias 0', async () => {
    const part = await openSingle(adapters, ['layer.bias']);
    expect(
      maxDifference(await at(part, { weight: 8, rank: 0 }), expected({ weight: 8, rank: 0 }, true, false)),
    ).toBeLessThan(1e-5);
    part.dispose();
  });

  it('tells gains of the same rank apart', async () => {
    const part = await openSingle();
    const [full, half] = [
      await at(part, { weight: 4, rank: 2 }),
      await at(part, { weight: 4, rank: 2, gain: 0.5 }),
    ];
    expect(maxDifference(full, expected({ weight: 4, rank: 2 }, true))).toBeLessThan(1e-5);
    expect(maxDifference(half, expected({ weight: 4, rank: 2, gain: 0.5 }, true))).toBeLessThan(1e-5);
    expect(maxDifference(full, half)).toBeGreaterThan(1e-3);
    part.dispose();
  });
});

describe('a block', () => {
  const block = tinyBlock();
  const layout = adapterLayout(
    block.listing,
    [
      { bits: [7, 8], rank: 2, gain: 1 },
      { bits: [4], rank: 4, gain: 1 },
    ],
    true,
  );
  const x = normals(block.part.inputShape(BATCH), 'x');
  const precisions: PartPrecision[] = [8, 7, 4].map((bits) => ({
    weight: bits,
    activation: bits,
    rank: bits === 4 ? 4 : 2,
  }));

  it('keeps keys and values, and no queries, at the bits of the cache', async () => {
    const decoder = tinyDecoderBlock();
    const own = openPrograms(programs.runtime);
    const part = await openElasticPart(own, decoder.part, decoder.listing, decoder.parameters, new Map());
    const plain = await openPlainPart(own, decoder.part, decoder.parameters);
    // What is kept, quantized by hand: 2 heads of 4 channels, a grid for each.
    const onGrid = (x: Value, name: string) =>
      name === 'self_attn.q'
        ? x
        : op.reshape(fakeQuantizeCache(op.reshape(x, [20, 4]), 4, x.graph.scalar(3)), x.shape);
    const graph = new Graph();
    const builder = { ...fullPrecision(graph), operand: (name: string, v: Value) => onGrid(v, name) };
    graph.output('y', decoder.part.forward(builder, graph.input('x', x.shape), BATCH, {}));
    const program = await programs.runtime.compile(graph, 'by hand', { keep: false });
    const feeds = Object.fromEntries(
      [...decoder.parameters].map(([name, t]) => [name, programs.runtime.tensor(t.data, t.shape)]),
    );
    const byHand = await program.run({ ...feeds, x: programs.runtime.tensor(x.data, x.shape) });
    const expected = await programs.runtime.read(byHand.y!);

    const precision = { weight: 24, rank: 0 };
    await part.use({ ...precision, cache: 2 });
    const cached = await output(part, x);
    expect(maxDifference(cached, expected)).toBeLessThan(1e-4);
    await part.use({ ...precision, cache: 16 });
    expect(maxDifference(await output(part, x), await output(plain, x))).toBeLessThan(1e-4);
    expect(maxDifference(cached, await output(plain, x))).toBeGreaterThan(1e-2);
    await program.dispose();
    await own.release();
  });

  it('gives the same bits again after switching to others and back', async () => {
    const part = await openElasticPart(
      programs,
      block.part,
      block.listing,
      block.parameters,
      randomAdapters(layout),
    );
    const run = async (precision: PartPrecision) => {
      await part.use(precision);
      return output(part, x);
    };
    const first = [];
    for (const precision of precisions) first.push(await run(precision));
    for (const i of [1, 0, 2, 0, 1]) expect(await run(precisions[i]!)).toEqual(first[i]);
    await part.use({ weight: 8, rank: 0 });
    expect(await run(precisions[2]!)).toEqual(first[2]);
    expect(maxDifference(first[0]!, first[2]!)).toBeGreaterThan(1e-2);
    part.dispose();
  });

  it('comes closer to full precision with more bits', async () => {
    const plain = await openPlainPart(programs, block.part, block.parameters);
    const target = await output(plain, x);
    const part = await openElasticPart(programs, block.part, block.listing, block.parameters, new Map());
    const errors = [];
    for (const bits of [2, 4, 6, 8, 12]) {
      await part.use({ weight: bits, rank: 0 });
      errors.push(maxDifference(await output(part, x), target));
    }
    for (let i = 1; i < errors.length; i++) expect(errors[i]!).toBeLessThan(errors[i - 1]! / 2);
    plain.dispose();
    part.dispose();
  });

  it('quantizes an input per token where it has no grid at the bit-width, and no operands then', async () => {
    const all = randomAdapters(layout);
    const has = (name: string, input: string) => !/act_(scale|zero)/.test(name) || name.startsWith(input);
    const outputs = [];
    for (const tensors of [all, pick(all, 'output.dense'), pick(all, '-')]) {
      const part = await openElasticPart(programs, block.part, block.listing, block.parameters, tensors);
      await part.use(precisions[2]!);
      outputs.push(await output(part, x));
      await part.use({ weight: 4, rank: 4 });
      outputs.push(await output(part, x));
      part.dispose();
    }
    const [static_, plain, mixed, plainOfMixed, dynamic, plainOfDynamic] = outputs as [
      Float32Array,
      ...Float32Array[],
    ];
    for (const same of [plainOfMixed, plainOfDynamic]) expect(same).toEqual(plain);
    for (const [a, b] of [
      [static_, mixed],
      [mixed, dynamic],
      [dynamic, plain],
    ] as const)
      // prettier-ignore
      expect(maxDifference(a!, b!)).toBeGreaterThan(1e-3);

    function pick(tensors: typeof all, input: string) {
      return new Map([...tensors].filter(([name]) => has(name, input)));
    }
  });
});
