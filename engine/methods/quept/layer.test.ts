/** A layer at the weights, clips and grids that were learned of it, run as calibrated blocks are. */
import { describe, expect, it } from 'vitest';
import { maxDifference } from '../../../test/support.js';
import type { RunnablePart } from '../../execution/part.js';
import { openElasticPart } from '../../execution/quantized-part.js';
import type { PartSource } from '../../execution/source.js';
import type { NamedTensors } from '../../execution/tensors.js';
import {
  quantizedRow,
  rounded,
  roundedBlock,
  rowsOf,
  singleLayer,
  usePrograms,
} from '../../execution/testing.js';
import { listPart } from '../../models/listing.js';
import { adapterLayout } from './adapters.js';
import { learnedBlock, randomAdapters } from './testing.js';
import { NO_CLIP } from './weights.js';

const programs = usePrograms();
const BATCH = 2;

const { part: single, weight, bias, input } = singleLayer(BATCH);
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
