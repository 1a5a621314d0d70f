/** A calibrated model as a source: its learned tensors read a part at a time, its weights made on the device. */
import {
  fixedBits,
  requireOffered,
  type ActivationForm,
  type NearestWeights,
  type PartSource,
  type QuantizedSource,
} from '../../execution/source.js';
import type { NamedTensors } from '../../execution/tensors.js';
import type { Checkpoint, HostTensor } from '../../models/checkpoint.js';
import { blocksOf, type Part } from '../../models/model.js';
import type { WeightForm } from '../../quantized/form.js';
import type { Programs } from '../../runtime/programs.js';
import { blockWeights, layerCodes, type BlockPrecision } from './weights.js';

/** What a set's config says of how its blocks run. */
export interface ElasticSettings {
  readonly groups: BlockPrecision['groups'];
  /** Input columns that share a weight scale, -1 for whole rows. @param layer its full name */
  readonly groupSizeOf: (layer: string, bits: number) => number;
  /** Whether zero points of weights are halves. */
  readonly hasHalves: (bits: number) => boolean;
  readonly isActivationQuantized: boolean;
  /** 2 to 8, or more for floating point. */
  readonly embeddingBits: number;
  readonly headBits: number;
  readonly cacheBits: number | undefined;
}

/**
 * @param checkpoint transforms applied
 * @param tensorsOf what was learned of a block, by local name
 */
export function elasticSource(
  programs: Programs,
  checkpoint: Checkpoint,
  settings: ElasticSettings,
  tensorsOf: (part: Part) => Promise<NamedTensors>,
): QuantizedSource {
  const { model } = checkpoint;
  const offered = settings.groups.flatMap(({ bits }) => bits).sort((a, b) => a - b);
  const layers = new Map(
    blocksOf(model).flatMap((part) =>
      checkpoint.listing(part).linears.map((layer) => [part.prefix + layer.name, { part, layer }] as const),
    ),
  );
  return {
    offered,
    checkpoint,
    cache: settings.cacheBits,
    fixedBits: fixedBits(model, settings.embeddingBits, settings.headBits),
    form: (name, bits): WeightForm => {
      const { in: columns, out } = layers.get(name)!.layer;
      const groupSize = settings.groupSizeOf(name, bits);
      return queptForm({ in: columns, out, groupSize }, bits, settings.hasHalves(bits));
    },
    weight: async (name, bits) => {
      requireOffered(offered, bits);
      const { part, layer } = layers.get(name)!;
      const parameters = await checkpoint.read(part);
      const { data } = parameters.get(`${layer.name}.weight`)!;
      return layerCodes(programs, inBlock(settings, part), await tensorsOf(part), layer, data, bits);
    },
    activation: async (name, bits) => {
      const part = blocksOf(model).find(({ prefix }) => name.startsWith(prefix))!;
      return activationOf(settings, await tensorsOf(part), name.slice(part.prefix.length), bits);
    },
    nearest: nearestWeights(settings, async (name) => {
      const { part, layer } = layers.get(name)!;
      const learned = await tensorsOf(part);
      const factor = (what: string) => learned.get(`${layer.name}.${what}`)!.data;
      return { a: factor('lora_A'), b: factor('lora_B') };
    }),
    part: async (part) => blockSource(await checkpoint.read(part), settings, part, await tensorsOf(part)),
  };
}

const nearestWeights = (
  { groups }: Pick<ElasticSettings, 'groups'>,
  factors: NearestWeights['factors'],
): NearestWeights => ({
  rank: groups.at(-1)!.rank,
  at: (bits) => {
    const { rank, gain } = groups.find((group) => group.bits.includes(bits))!;
    return { rank, gain };
  },
  factors,
});

/** A block that runs at any offered bit-width. @param parameters transforms applied */
export const blockSource = (
  parameters: ReadonlyMap<string, HostTensor>,
  settings: ElasticSettings,
  part: Pick<Part, 'prefix'>,
  learned: NamedTensors,
): PartSource => ({
  parameters,
  cache: settings.cacheBits,
  activation: (owner, bits) => activationOf(settings, learned, owner, bits),
  weights: (programs, placed, memory) =>
    blockWeights(programs, inBlock(settings, part), learned, placed, memory),
});

const inBlock = (
  { groups, groupSizeOf, hasHalves }: ElasticSettings,
  { prefix }: Pick<Part, 'prefix'>,
): BlockPrecision => ({
  groups,
  groupSizeOf: (layer, bits) => groupSizeOf(prefix + layer, bits),
  hasHalves,
});

/** A zero point that may be a half takes a bit more. */
export const queptForm = (
  layer: Pick<WeightForm, 'in' | 'out' | 'groupSize'>,
  bits: number,
  hasHalves: boolean,
): WeightForm => ({ kind: 'grid', ...layer, bits, ...(hasHalves && { zeroBits: bits + 1 }) });

function activationOf(
  { isActivationQuantized }: ElasticSettings,
  learned: NamedTensors,
  owner: string,
  bits: number,
): ActivationForm | undefined {
  if (!isActivationQuantized) return undefined;
  const scale = learned.get(`${owner}.act_scale.${bits}`)?.data[0];
  const zero = learned.get(`${owner}.act_zero.${bits}`)?.data[0];
  return scale === undefined || zero === undefined ? 'token' : { scale, zero };
}
