import { describe, expect, it } from 'vitest';
import { maxDifference } from '../../test/support.js';
import { Graph, type Value } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import { fakeQuantizeCache } from '../graph/quantizers.js';
import { fullPrecision } from '../models/builders.js';
import { listPart } from '../models/listing.js';
import { openPrograms } from '../runtime/programs.js';
import { openPlainPart, type RunnablePart } from './part.js';
import { openElasticPart, type Widths } from './quantized-part.js';
import type { ActivationForm, PartSource } from './source.js';
import {
  gridBlock,
  normals,
  quantizedRow,
  randomGrid,
  rounded,
  roundedBlock,
  rowsOf,
  singleLayer,
  tinyBlock,
  tinyDecoderBlock,
  usePrograms,
} from './testing.js';

const programs = usePrograms();
const BATCH = 2;

const { part: single, weight, bias, input } = singleLayer(BATCH);
const parameters = new Map(Object.entries({ 'layer.weight': weight, 'layer.bias': bias }));

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

/** A logit whose share is 1: the whole range. */
const WHOLE = 30;

/** −(Q(x) Q(W)ᵀ + bias) in float64. @param quantize what a row of x becomes */
const expected = (bits: number, quantize = (row: readonly number[]) => [...row], biased = true) =>
  Float32Array.from(
    rowsOf(input)
      .map(quantize)
      .flatMap((row) =>
        rowsOf(weight).map(
          (w, o) =>
            -quantizedRow(w, bits, WHOLE, WHOLE).reduce(
              (sum, v, i) => sum + v * row[i]!,
              biased ? bias.data[o]! : 0,
            ),
        ),
      ),
  );

describe('a single layer', () => {
  it.each([2, 3, 4, 5, 6, 7, 8])('rounds the whole range of each row at %i bits', async (bits) => {
    expect(maxDifference(await at(bits, roundedBlock({ parameters })), expected(bits))).toBeLessThan(1e-5);
  });

  it.each([2, 4, 8])('reads its input on the grid that it has at %i bits', async (bits) => {
    const { scale, zero } = randomGrid('layer', bits);
    const onGrid = (row: readonly number[]) =>
      row.map((x) => scale * Math.min(Math.max(rounded(x / scale), -zero), 2 ** bits - 1 - zero));
    const found = await at(bits, gridBlock({ parameters }));
    expect(maxDifference(found, expected(bits, onGrid))).toBeLessThan(1e-5);
  });

  it.each([2, 4, 8])('without a grid quantizes its input per token at %i bits', async (bits) => {
    const top = 2 ** (bits - 1) - 1;
    const perToken = (row: readonly number[]) => {
      const scale = Math.max(...row.map(Math.abs)) / top;
      return row.map((v) => scale * rounded(v / scale));
    };
    const found = await at(bits, gridBlock({ parameters }, { activation: () => 'token' }));
    expect(maxDifference(found, expected(bits, perToken))).toBeLessThan(1e-5);
  });

  it('has no bias where it has none', async () => {
    const found = await at(8, roundedBlock({ parameters: new Map([['layer.weight', weight]]) }));
    expect(maxDifference(found, expected(8, undefined, false))).toBeLessThan(1e-5);
  });
});

describe('a block', () => {
  const block = tinyBlock();
  const x = normals(block.part.inputShape(BATCH), 'x');
  const open = (source = gridBlock(block)) => openElasticPart(programs, block.part, block.listing, source);

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
    const at4 = async (activation: (owner: string, bits: number) => ActivationForm | undefined) => {
      const part = await open(gridBlock(block, { activation }));
      await part.use(4);
      const found = await output(part, x);
      part.dispose();
      return found;
    };
    const onGrids = await at4(randomGrid);
    const mixed = await at4((owner, bits) => (owner === 'output.dense' ? randomGrid(owner, bits) : 'token'));
    const dynamic = await at4(() => 'token');
    const plain = await at4(() => undefined);
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
    const spoiled = (owner: string, bits: number) => {
      const { scale, zero } = randomGrid(owner, bits);
      return { scale: owner === query && bits === 8 ? 1 : scale, zero };
    };
    const coarse = await open(gridBlock(block, { activation: spoiled }));
    await coarse.use((name) => ({ [key!]: 4 })[name]);
    expect(await output(coarse, x)).toEqual(alone);
    await coarse.use((name) => ({ [key!]: 4, [value!]: 8 })[name]);
    const mixed = await output(coarse, x);
    expect(maxDifference(mixed, await run({ [key!]: 4, [value!]: 8 }))).toBeGreaterThan(1e-3);
    coarse.dispose();
    part.dispose();
  });
});
