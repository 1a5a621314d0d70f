/** Shared by tests: tiny blocks with random parameters, programs, stores, and rounding in float64. */
import { afterAll } from 'vitest';
import { TINY_LLAMA, TINY_VIT } from '../../test/fixtures.js';
import { createRandom } from '../data/random.js';
import { sizeOf } from '../graph/ir.js';
import type { HostTensor } from '../models/checkpoint.js';
import { ModelConfig } from '../models/config.js';
import { type BuildOptions } from '../models/family.js';
import { listPart, type PartListing } from '../models/listing.js';
import type { Part } from '../models/model.js';
import { buildModel } from '../models/registry.js';
import { openPrograms, type Programs } from '../runtime/programs.js';
import { openRuntime } from '../runtime/session.js';
import { fixedSource } from './rounded.js';
import { everySample, openSampleCache, type SampleSource, type SampleStore } from './sample-store.js';
import type { PartSource } from './source.js';

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

/** A block of which nothing was learned: the whole range of every row, at whatever bit-width it is run at. */
export const roundedBlock = ({ parameters }: Pick<Block, 'parameters'>): PartSource =>
  fixedSource(parameters);

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
