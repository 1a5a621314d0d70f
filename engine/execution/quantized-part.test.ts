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
import { NO_CLIP } from '../methods/quept/weights.js';
import { openElasticPart, type Widths } from './quantized-part.js';
import type { PartSource } from './source.js';
import type { NamedTensors } from './tensors.js';
import {
  normals,
  quantizedRow,
  rounded,
  roundedBlock,
  rowsOf,
  tinyBlock,
  tinyDecoderBlock,
  usePrograms,
} from './testing.js';
import { learnedBlock, randomAdapters } from '../methods/quept/testing.js';

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
const parameters = new Map(Object.entries({ 'layer.weight': weight, 'layer.bias': bias }));

/** How the layer is run: at one bit-width, its activations quantized too or not. */
interface Run {
  readonly bits: number;
  readonly rank: number;
  readonly gain?: number;
  readonly isActivationQuantized?: boolean;
}

const sourceOf = (
  { bits, rank, gain = 1, isActivationQuantized = false }: Run,
  learned: NamedTensors = adapters,
  own = parameters,
): PartSource =>
  learnedBlock({ part: single, parameters: own }, layer, learned, {
    groups: [{ bits: [bits], rank, gain }],
    isActivationQuantized,
  });

async function output(part: RunnablePart, x = input, batch = BATCH): Promise<Float32Array> {
  return (
    await programs.runtime.read(await part.run(programs.runtime.tensor(x.data, x.shape), batch))
  ).slice();
}

async function at(bits: number, source: PartSource): Promise<Float32Array> {
  const part = await openElasticPart(programs, single, listPart(single), source);
  await part.use(bits);
  const found = await output(part);
  part.dispose();
  return found;
}

/** −(Q(x) Q(W + gain · BA)ᵀ + bias) in float64. */
function expected(
  { bits, rank, gain = 1, isActivationQuantized = false }: Run,
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
    if (!isActivationQuantized) return x;
    const [scale, zero] = [named(`act_scale.${bits}`).data[0]!, named(`act_zero.${bits}`).data[0]!];
    return scale * Math.min(Math.max(rounded(x / scale), -zero), 2 ** bits - 1 - zero);
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
  it.each<[string, Run]>([
    ['weights at 8 bits', { bits: 8, rank: 0 }],
    ['weights and activations at 4 bits', { bits: 4, rank: 0, isActivationQuantized: true }],
    ['with two directions', { bits: 4, rank: 2, isActivationQuantized: true }],
    ['with all directions at half gain', { bits: 2, rank: 3, gain: 0.5, isActivationQuantized: true }],
    ['weights and activations at 8 bits', { bits: 8, rank: 2, isActivationQuantized: true }],
  ])('is the fake-quantized product: %s', async (_, run) => {
    expect(maxDifference(await at(run.bits, sourceOf(run)), expected(run, true))).toBeLessThan(1e-5);
  });

  it.each([2, 4, 8])('without a grid quantizes its input per token at %i bits', async (bits) => {
    const learned = new Map([...adapters].filter(([name]) => !/act_/.test(name)));
    const top = 2 ** (bits - 1) - 1;
    const perToken = (row: readonly number[]) => {
      const scale = Math.max(...row.map(Math.abs)) / top;
      return row.map((v) => scale * rounded(v / scale));
    };
    const run = { bits, rank: 2, isActivationQuantized: true };
    const found = await at(bits, sourceOf(run, learned));
    expect(maxDifference(found, expected(run, true, true, perToken))).toBeLessThan(1e-5);
  });

  it.each([2, 3, 4, 5, 6, 7, 8])(
    'of which nothing was learned rounds the whole range of each row at %i bits',
    async (bits) => {
      const plain = expected({ bits, rank: 0 }, false);
      expect(maxDifference(await at(bits, roundedBlock({ parameters })), plain)).toBeLessThan(1e-5);
      expect(maxDifference(await at(bits, sourceOf({ bits, rank: 2 }, new Map())), plain)).toBeLessThan(1e-5);
    },
  );

  it('takes a layer without bias for one of bias 0', async () => {
    const own = new Map([['layer.weight', weight]]);
    const found = await at(8, sourceOf({ bits: 8, rank: 0 }, adapters, own));
    expect(maxDifference(found, expected({ bits: 8, rank: 0 }, true, false))).toBeLessThan(1e-5);
  });

  it('tells gains of the same rank apart, with room for what is kept or without', async () => {
    const groups = [
      { bits: [8], rank: 2, gain: 1 },
      { bits: [4], rank: 2, gain: 0.5 },
    ];
    const source = learnedBlock({ part: single, parameters }, layer, adapters, {
      groups,
      isActivationQuantized: false,
    });
    for (const left of [0, 1e6]) {
      const part = await openElasticPart(programs, single, listPart(single), source, { left });
      for (const { bits, rank, gain } of [...groups, ...groups]) {
        await part.use(bits[0]!);
        const found = await output(part);
        expect(maxDifference(found, expected({ bits: bits[0]!, rank, gain }, true))).toBeLessThan(1e-5);
        const other = expected({ bits: bits[0]!, rank, gain: 1.5 - gain }, true);
        expect(maxDifference(found, other)).toBeGreaterThan(1e-3);
      }
      part.dispose();
    }
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
  const open = (source = learnedBlock(block, layout)) =>
    openElasticPart(programs, block.part, block.listing, source);

  it('keeps keys and values, and no queries, at the bits of the cache', async () => {
    const decoder = tinyDecoderBlock();
    const own = openPrograms(programs.runtime);
    const source = { ...roundedBlock(decoder), cache: 2 };
    const part = await openElasticPart(own, decoder.part, decoder.listing, source);
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

    await part.use(24);
    const cached = await output(part, x);
    expect(maxDifference(cached, expected)).toBeLessThan(1e-4);
    await part.use(24, false);
    expect(maxDifference(await output(part, x), await output(plain, x))).toBeLessThan(1e-4);
    expect(maxDifference(cached, await output(plain, x))).toBeGreaterThan(1e-2);
    await program.dispose();
    await own.release();
  });

  it('gives the same bits again after switching to others and back', async () => {
    const part = await open();
    const run = async (widths: Widths) => {
      await part.use(widths);
      return output(part, x);
    };
    const widths = [8, 7, 4];
    const first = [];
    for (const bits of widths) first.push(await run(bits));
    for (const i of [1, 0, 2, 0, 1]) expect(await run(widths[i]!)).toEqual(first[i]);
    await run(() => undefined);
    expect(await run(4)).toEqual(first[2]);
    expect(maxDifference(first[0]!, first[2]!)).toBeGreaterThan(1e-2);
    part.dispose();
  });

  it('comes closer to full precision with more bits', async () => {
    const plain = await openPlainPart(programs, block.part, block.parameters);
    const target = await output(plain, x);
    const part = await open(roundedBlock(block));
    const errors = [];
    for (const bits of [2, 4, 6, 8, 12]) {
      await part.use(bits);
      errors.push(maxDifference(await output(part, x), target));
    }
    for (let i = 1; i < errors.length; i++) expect(errors[i]!).toBeLessThan(errors[i - 1]! / 2);
    plain.dispose();
    part.dispose();
  });

  it('quantizes an input per token where it has no grid at the bit-width, and no operands then', async () => {
    const all = randomAdapters(layout);
    const has = (name: string, input: string) => !/act_(scale|zero)/.test(name) || name.startsWith(input);
    const pick = (input: string) => new Map([...all].filter(([name]) => has(name, input)));
    const at4 = async (learned: NamedTensors, isActivationQuantized = true) => {
      const part = await open(learnedBlock(block, layout, learned, { isActivationQuantized }));
      await part.use(4);
      const found = await output(part, x);
      part.dispose();
      return found;
    };
    const [onGrids, mixed, dynamic] = [await at4(all), await at4(pick('output.dense')), await at4(pick('-'))];
    const plain = await at4(all, false);
    for (const learned of [pick('output.dense'), pick('-')]) expect(await at4(learned, false)).toEqual(plain);
    expect(maxDifference(onGrids, mixed)).toBeGreaterThan(1e-3);
    expect(maxDifference(mixed, dynamic)).toBeGreaterThan(1e-3);
    expect(maxDifference(dynamic, plain)).toBeGreaterThan(1e-3);
  });

  it('quantizes an input anew for each bit-width that its layers are at', async () => {
    const part = await open();
    const [query, key, value] = ['query', 'key', 'value'].map((name) => `attention.attention.${name}`);
    const run = async (widths: Readonly<Record<string, number>>) => {
      await part.use((name) => widths[name]);
      return output(part, x);
    };
    // Keys alone: what they read does not depend on what else reads it, nor at how many bits.
    const [alone, other] = [await run({ [key!]: 4 }), await run({ [key!]: 8 })];
    expect(maxDifference(alone, other)).toBeGreaterThan(1e-3);
    const spoiled = randomAdapters(layout);
    spoiled.set(`${query!}.act_scale.8`, { shape: [1], data: Float32Array.of(1) });
    const coarse = await open(learnedBlock(block, layout, spoiled));
    await coarse.use((name) => ({ [key!]: 4 })[name]);
    expect(await output(coarse, x)).toEqual(alone);
    await coarse.use((name) => ({ [key!]: 4, [value!]: 8 })[name]);
    const mixed = await output(coarse, x);
    expect(maxDifference(mixed, await run({ [key!]: 4, [value!]: 8 }))).toBeGreaterThan(1e-3);
    coarse.dispose();
    part.dispose();
  });
});
