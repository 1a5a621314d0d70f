/** Shared by tests: tiny blocks with random parameters, programs, stores, and rounding in float64. */
import { afterAll } from 'vitest';
import { TINY_LLAMA, TINY_VIT } from '../../test/fixtures.js';
import { createRandom } from '../data/random.js';
import { sizeOf } from '../graph/ir.js';
import * as op from '../graph/ops.js';
import type { Checkpoint, HostTensor } from '../models/checkpoint.js';
import { ModelConfig } from '../models/config.js';
import { type BuildOptions } from '../models/family.js';
import { listPart, type PartListing } from '../models/listing.js';
import { blocksOf, type Part } from '../models/model.js';
import { buildModel } from '../models/registry.js';
import { openPrograms, type Programs } from '../runtime/programs.js';
import { openRuntime } from '../runtime/session.js';
import { fixedSource, roundedCodes, roundedWeights } from './rounded.js';
import { everySample, openSampleCache, type SampleSource, type SampleStore } from './sample-store.js';
import {
  fixedBits,
  requireOffered,
  type ActivationForm,
  type PartSource,
  type QuantizedSource,
} from './source.js';

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

/**
 * One layer of 6 inputs and 4 outputs, what it is quantized to can be computed by hand; with weight, bias and, three rows a
 * sample, inputs.
 */
export function singleLayer(samples: number): {
  readonly part: Part;
  readonly weight: HostTensor;
  readonly bias: HostTensor;
  readonly input: HostTensor;
} {
  const part: Part = {
    prefix: '',
    kind: 'single',
    inputShape: (n) => [3 * n, 6],
    outputShape: (n) => [3 * n, 4],
    forward: (b, x) => op.neg(b.linear('layer', x, 4)),
  };
  return {
    part,
    weight: normals([4, 6], 'weight'),
    bias: normals([4], 'bias'),
    input: normals([3 * samples, 6], 'input'),
  };
}

export interface Block {
  readonly part: Part;
  readonly listing: PartListing;
  readonly parameters: ReadonlyMap<string, HostTensor>;
}

/** The first block of the tiny ViT (16 features, 5 tokens, 2 heads), parameters as in `randomBlock`. */
export const tinyBlock = (change: object = {}): Block => randomBlock({ ...TINY_VIT, ...change });

/** The first block of the tiny LLaMA for samples as long as those of the tiny ViT (16 features, 4 heads, 2 of keys). */
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

/** A block of which nothing was learned: the whole range of every row, at whatever bit-width it is run at. */
export const roundedBlock = ({ parameters }: Pick<Block, 'parameters'>): PartSource =>
  fixedSource(parameters);

/** A grid for activations of size about 1, another one for each of them and each bit-width. */
export function randomGrid(owner: string, bits: number): Exclude<ActivationForm, 'token'> {
  const [x] = normals([1], owner, bits).data;
  return { scale: Math.fround((6 + 0.1 * x!) / (2 ** bits - 1)), zero: 2 ** (bits - 1) };
}

export interface GridSettings {
  /** Columns that share a scale, -1 for whole rows. */
  readonly groupSizeOf?: (bits: number) => number;
  readonly activation?: (owner: string, bits: number) => ActivationForm | undefined;
}

/** A block of which nothing was learned but grids of activations. */
export const gridBlock = (
  { parameters }: Pick<Block, 'parameters'>,
  { groupSizeOf = () => -1, activation = randomGrid }: GridSettings = {},
): PartSource => ({
  ...fixedSource(parameters),
  activation,
  weights: (programs, placed) => roundedWeights(programs, (_layer, bits) => groupSizeOf(bits), placed),
});

/** What a method may yield of a model, without any: weights rounded to nearest, and grids of activations. */
export function gridSource(
  programs: Programs,
  checkpoint: Checkpoint,
  offered: readonly number[],
  { embeddingBits = 32, ...settings }: GridSettings & { readonly embeddingBits?: number } = {},
): QuantizedSource {
  const { groupSizeOf = () => -1, activation = randomGrid } = settings;
  const layerOf = (name: string) => {
    const part = blocksOf(checkpoint.model).find(({ prefix }) => name.startsWith(prefix))!;
    const layer = checkpoint.listing(part).linears.find((l) => part.prefix + l.name === name)!;
    return { part, layer };
  };
  return {
    offered: [...offered].sort((a, b) => a - b),
    checkpoint,
    cache: undefined,
    fixedBits: fixedBits(checkpoint.model, embeddingBits, 32),
    form: (name, bits) => {
      const { in: columns, out } = layerOf(name).layer;
      return { kind: 'grid', in: columns, out, bits, groupSize: groupSizeOf(bits) };
    },
    weight: async (name, bits) => {
      requireOffered(offered, bits);
      const { part, layer } = layerOf(name);
      const { data } = (await checkpoint.read(part)).get(`${layer.name}.weight`)!;
      return roundedCodes(programs, layer, data, bits, groupSizeOf(bits));
    },
    activation: (name, bits) => Promise.resolve(activation(name, bits)),
    part: async (part) =>
      gridBlock(
        { parameters: await checkpoint.read(part) },
        { groupSizeOf, activation: (owner, bits) => activation(part.prefix + owner, bits) },
      ),
  };
}

/** The weights of a model's blocks rounded over the whole range of every row; nothing else is quantized. */
export const roundedSource = (
  programs: Programs,
  checkpoint: Checkpoint,
  offered: readonly number[],
): QuantizedSource => gridSource(programs, checkpoint, offered, { activation: () => undefined });

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
  const magnitude = row.reduce((most, w) => Math.max(most, Math.abs(w)), 0);
  const scale = Math.max((hi - lo) / levels, 1e-5 * magnitude, 1e-20);
  const zero = rounded(-lo / scale);
  return row.map((w) => scale * (Math.min(Math.max(rounded(w / scale) + zero, 0), levels) - zero));
}

/** The rows of a matrix. */
export const rowsOf = ({ data, shape }: HostTensor): number[][] =>
  Array.from({ length: shape[0]! }, (_, r) => [...data.subarray(r * shape[1]!, (r + 1) * shape[1]!)]);
