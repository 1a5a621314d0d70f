/** Shared by tests of QuEPT: what it may have learned of a block or a model. */
import type { PartSource, QuantizedSource } from '../../execution/source.js';
import type { NamedTensors } from '../../execution/tensors.js';
import { normals, type Block } from '../../execution/testing.js';
import { scaleRows } from '../../graph/quantizers.js';
import type { Checkpoint } from '../../models/checkpoint.js';
import type { Part } from '../../models/model.js';
import type { Programs } from '../../runtime/programs.js';
import { type AdapterLayout } from './adapters.js';
import { blockSource, elasticSource, type ElasticSettings } from './source.js';

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
  { groups, groupSizes, halves = [], quantizers, tokens = false, cache }: AdapterLayout,
  change: Partial<ElasticSettings> = {},
): ElasticSettings => ({
  groups,
  groupSizeOf: (_layer, bits) => groupSizes[groups.findIndex((group) => group.bits.includes(bits))] ?? -1,
  hasHalves: (bits) => halves[groups.findIndex((group) => group.bits.includes(bits))] ?? false,
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
