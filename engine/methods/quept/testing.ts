/** Shared by the tests of this folder. */
import { afterAll } from 'vitest';
import { TINY_LLAMA, TINY_VIT } from '../../../test/fixtures.js';
import { createRandom } from '../../data/random.js';
import {
  everySample,
  openSampleCache,
  type SampleSource,
  type SampleStore,
} from '../../execution/sample-store.js';
import { sizeOf } from '../../graph/ir.js';
import type { PartSource, QuantizedSource } from '../../execution/source.js';
import type { Checkpoint, HostTensor } from '../../models/checkpoint.js';
import { ModelConfig } from '../../models/config.js';
import { listPart, type PartListing } from '../../models/listing.js';
import type { Part } from '../../models/model.js';
import { type BuildOptions } from '../../models/family.js';
import { buildModel } from '../../models/registry.js';
import { openPrograms, type Programs } from '../../runtime/programs.js';
import { openRuntime } from '../../runtime/session.js';
import { scaleRows } from '../../graph/quantizers.js';
import { type AdapterLayout } from './adapters.js';
import { fixedSource } from '../../execution/rounded.js';
import type { NamedTensors } from '../../execution/tensors.js';
import { blockSource, elasticSource, type ElasticSettings } from './source.js';

/** Standard normal numbers; the same path gives the same ones. */
export function normals(shape: readonly number[], ...path: (number | string)[]): HostTensor {
  const random = createRandom(1, ...path);
  return { shape, data: Float32Array.from({ length: sizeOf(shape) }, () => random.normal()) };
}

/** Programs on one CPU thread, released after the tests of the file. */
export function usePrograms(): Programs {
  const runtime = openRuntime('cpu', 1);
  const programs = openPrograms(runtime);
  afterAll(async () => {
    await programs.release();
    await runtime.dispose();
  });
  return programs;
}

/** A store in memory with these samples, one after another. */
export async function storeOf(data: Float32Array, samples: number): Promise<SampleStore> {
  const store = (await openSampleCache(Infinity)).store(samples, data.length / samples);
  store.write(everySample(store), data);
  return store;
}

/** All samples of a store, one after another. */
export function contentsOf(store: SampleSource): Float32Array {
  const data = new Float32Array(store.samples * store.size);
  store.read(everySample(store), data);
  return data;
}

export interface Block {
  readonly part: Part;
  readonly listing: PartListing;
  readonly parameters: ReadonlyMap<string, HostTensor>;
}

/** The first block of the tiny ViT (width 16, 5 tokens, 2 heads), parameters as in `randomBlock`. */
export const tinyBlock = (change: object = {}): Block => randomBlock({ ...TINY_VIT, ...change });

/** The first block of the tiny LLaMA for samples as long as those of the tiny ViT (width 16, 4 heads, 2 of keys). */
export const tinyDecoderBlock = (change: object = {}): Block =>
  randomBlock({ ...TINY_LLAMA, ...change }, { tokens: 5 });

/** The first block of a model with random parameters; channels of its norms differ in size. */
function randomBlock(config: Readonly<Record<string, unknown>>, options: BuildOptions = {}): Block {
  const part = buildModel(new ModelConfig(config, 'config.json'), options).blocks[0]!;
  const listing = listPart(part);
  const parameters = listing.parameters.map(({ name, shape }) => {
    const { data } = normals(shape, name);
    const isNorm = name.includes('layernorm') && name.endsWith('.weight');
    const sized = isNorm
      ? (x: number) => 0.2 + Math.abs(x)
      : (x: number) => x * (shape.length > 1 ? 0.25 : 0.1);
    return [name, { shape, data: data.map(sized) }] as const;
  });
  return { part, listing, parameters: new Map(parameters) };
}

/** Adapter tensors as a calibration may have learned them, with grids for activations of size about 1. */
export function randomAdapters({
  layers,
  groups,
  groupSizes,
  rank,
  quantizers,
}: AdapterLayout): NamedTensors {
  const tensors: NamedTensors = new Map();
  const set = (name: string, shape: readonly number[], change: (x: number) => number) =>
    tensors.set(name, { shape, data: normals(shape, name).data.map(change) });
  for (const layer of layers) {
    const { name, in: columns, out } = layer;
    set(`${name}.lora_A`, [rank, columns], (x) => 0.1 * x);
    set(`${name}.lora_B`, [out, rank], (x) => 0.1 * x);
    for (const [g, { bits }] of groups.entries())
      for (const b of bits)
        for (const side of ['upper', 'lower'])
          set(`${name}.clip_${side}.${b}`, [scaleRows(layer, groupSizes[g]!), 1], (x) => 3 + 0.5 * x);
  }
  for (const name of quantizers)
    for (const bits of groups.flatMap((g) => g.bits)) {
      set(`${name}.act_scale.${bits}`, [1], (x) => (6 + 0.1 * x) / (2 ** bits - 1));
      set(`${name}.act_zero.${bits}`, [1], () => 2 ** (bits - 1));
    }
  return tensors;
}

/** How blocks run whose learned tensors are laid out so; embedding and head stay in floating point. */
export const elasticSettings = (
  { groups, groupSizes, quantizers, tokens = false, cache }: AdapterLayout,
  change: Partial<ElasticSettings> = {},
): ElasticSettings => ({
  groups,
  groupSizeOf: (_layer, bits) => groupSizes[groups.findIndex((group) => group.bits.includes(bits))] ?? -1,
  isActivationQuantized: quantizers.length > 0 || tokens,
  embeddingBits: 32,
  headBits: 32,
  cacheBits: cache?.bits,
  ...change,
});

/** A block with what it may have learned. */
export const learnedBlock = (
  { part, parameters }: Pick<Block, 'part' | 'parameters'>,
  layout: AdapterLayout,
  learned: NamedTensors = randomAdapters(layout),
  change: Partial<ElasticSettings> = {},
): PartSource => blockSource(parameters, elasticSettings(layout, change), part, learned);

/** A block of which nothing was learned: the whole range of every row, at whatever bit-width it is run at. */
export const roundedBlock = ({ parameters }: Pick<Block, 'parameters'>): PartSource =>
  fixedSource(parameters);

/** Learned tensors of all blocks of a model, by full name. @param layoutOf of a block */
export function modelAdapters(
  { model }: Pick<Checkpoint, 'model'>,
  layoutOf: (part: Part) => AdapterLayout,
): NamedTensors {
  const named = (part: Part) =>
    [...randomAdapters(layoutOf(part))].map(([name, tensor]) => [part.prefix + name, tensor] as const);
  return new Map(model.blocks.flatMap(named));
}

/** Those of one part, by local name. */
export const localTensors = (tensors: NamedTensors, { prefix }: Pick<Part, 'prefix'>): NamedTensors =>
  new Map(
    [...tensors].flatMap(([name, tensor]) =>
      name.startsWith(prefix) ? [[name.slice(prefix.length), tensor]] : [],
    ),
  );

/** A calibrated model. @param tensors what its blocks learned, by full name */
export const learnedModel = (
  programs: Programs,
  checkpoint: Checkpoint,
  settings: ElasticSettings,
  tensors: NamedTensors,
): QuantizedSource =>
  elasticSource(programs, checkpoint, settings, (part) => Promise.resolve(localTensors(tensors, part)));

/** Rounds to the nearest integer, ties to even. */
export function rounded(x: number): number {
  const nearest = Math.round(x);
  return Math.abs(x % 1) === 0.5 && nearest % 2 !== 0 ? nearest - 1 : nearest;
}

/** What a weight row becomes at `bits` with clip logits, in float64 (docs/METHOD.md, section 3). */
export function quantizedRow(row: readonly number[], bits: number, upper: number, lower: number): number[] {
  const levels = 2 ** bits - 1;
  const share = (logit: number) => 1 / (1 + Math.exp(-logit));
  const [hi, lo] = [share(upper) * Math.max(...row), share(lower) * Math.min(...row)];
  const scale = Math.min(Math.max((hi - lo) / levels, 1e-5), 1e4);
  const zero = rounded(-lo / scale);
  return row.map((w) => scale * (Math.min(Math.max(rounded(w / scale) + zero, 0), levels) - zero));
}

/** The rows of a matrix. */
export const rowsOf = ({ data, shape }: HostTensor): number[][] =>
  Array.from({ length: shape[0]! }, (_, r) => [...data.subarray(r * shape[1]!, (r + 1) * shape[1]!)]);
