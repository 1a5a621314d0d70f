/** A model opened once with adapter sets and run at any of their bit-widths. */
import { UserError } from '../errors.js';
import { groupSizeOf, type AdapterSet, type AdapterSource } from '../formats/adapter-set.js';
import type { Checkpoint } from '../models/checkpoint.js';
import type { PartListing } from '../models/listing.js';
import { blocksOf, partsOf, streamWidth, type Part } from '../models/model.js';
import type { Programs } from '../runtime/programs.js';
import { rotateCheckpoint } from '../transforms/rotation/checkpoint.js';
import { signsFromText } from '../transforms/rotation/signs.js';
import type { RunnablePart } from './part.js';
import {
  openElasticPart,
  type AdaptedWeights,
  type ElasticPart,
  type LayerPrecision,
  type MixedPrecision,
} from './quantized-part.js';
import { MAX_BITS } from '../plans/bits.js';
import { plainParts, type OpenPart } from './part-by-part.js';
import { foldedParameters } from '../transforms/fold-norms.js';
import type { NamedTensors } from './tensors.js';
import { joinParts, type RunnableModel } from './model.js';

/** A bit-width for all layers of blocks, or one by a layer's full name; a layer of none stays in full precision. */
export type Widths = number | ((layer: string) => number | undefined);

export interface ElasticModel extends RunnableModel {
  readonly bits: readonly number[];
  /** Switches layers of blocks, embedding and head keeping theirs; resolves to how many weights had to change. */
  use(widths: Widths): Promise<number>;
}

/** The widths of a plan that has one for each layer, in the order of `layerNames`. */
export function widthsOf(layers: readonly string[], bits: readonly number[]): Widths {
  const byName = new Map(layers.map((name, i) => [name, bits[i]]));
  return (name) => byName.get(name);
}

/** What an elastic model needs of an adapter set; `AdapterSet` has it. */
export interface Adapters {
  readonly config: Pick<
    AdapterSet['config'],
    'mode' | 'bit_groups' | 'embedding_bits' | 'head_bits' | 'layers' | 'rotation' | 'kv_bits'
  >;
  /** By their full names, or read a part at a time: from its prefix to those by local name. */
  readonly tensors: AdapterSet['tensors'] | AdapterSource['tensors'];
}

/**
 * Throws UserError where the adapter set belongs to another model.
 * @param memory bytes for weights with adapters added, which switches between bit groups then need not add again
 */
export async function openElasticModel(
  programs: Programs,
  original: Checkpoint,
  { config, tensors }: Adapters,
  memory = 0,
): Promise<ElasticModel> {
  const checkpoint = rotatedFor(programs, original, config);
  const { model } = checkpoint;
  const open = elasticOpener(programs, checkpoint, config, (part) => tensorsOf(tensors, part), {
    left: memory,
  });
  const blocks = new Map<Part, ElasticPart>();
  for (const part of blocksOf(model)) blocks.set(part, await open.block(part));
  const parts = new Map<Part, RunnablePart>(blocks);
  for (const part of partsOf(model)) if (!blocks.has(part)) parts.set(part, await open.fixed(part));
  return {
    ...joinParts(programs, model, parts),
    bits: config.bit_groups.flatMap((g) => g.bits).sort((a, b) => b - a),
    use: async (widths) => {
      const precisions = new Map(
        blocksOf(model).map((part) => [part, precisionOf(config, part, checkpoint.listing(part), widths)]),
      );
      let changed = 0;
      for (const [part, block] of blocks) changed += await block.use(precisions.get(part)!);
      return changed;
    },
  };
}

/** The checkpoint rotated as an adapter set was calibrated, or as it is. */
export const rotatedFor = (
  programs: Programs,
  checkpoint: Checkpoint,
  { rotation, kv_bits }: Pick<Adapters['config'], 'rotation' | 'kv_bits'>,
): Checkpoint =>
  rotation
    ? rotateCheckpoint(programs, checkpoint, {
        signs: signsFromText(rotation.signs, streamWidth(checkpoint.model)),
        keys: kv_bits !== undefined,
      })
    : checkpoint;

/**
 * The parts of an elastic model at a bit-width, for running it part by part.
 * @param checkpoint rotated already where the config says so (`rotatedFor`)
 * @param adaptersOf the adapter tensors of a part by local name
 */
export function elasticParts(
  programs: Programs,
  checkpoint: Checkpoint,
  config: Adapters['config'],
  adaptersOf: (part: Part) => NamedTensors | Promise<NamedTensors>,
): (widths: Widths) => OpenPart {
  const { model } = checkpoint;
  const open = elasticOpener(programs, checkpoint, config, adaptersOf);
  return (widths) => async (part) => {
    if (!blocksOf(model).includes(part)) return open.fixed(part);
    const precision = precisionOf(config, part, checkpoint.listing(part), widths);
    const block = await open.block(part);
    await block.use(precision);
    return block;
  };
}

/** Opens blocks to be switched, and stem and head at their fixed widths. */
export function elasticOpener(
  programs: Programs,
  checkpoint: Checkpoint,
  config: Adapters['config'],
  adaptersOf: (part: Part) => NamedTensors | Promise<NamedTensors>,
  memory?: AdaptedWeights,
) {
  const block = async (part: Part) => {
    const own = await adaptersOf(part);
    const parameters = foldedParameters(await checkpoint.read(part), own);
    return openElasticPart(programs, part, checkpoint.listing(part), parameters, own, memory);
  };
  /** Embedding and head have one bit-width, or stay in floating point. */
  const fixed = async (part: Part): Promise<RunnablePart> => {
    const bits = part === checkpoint.model.head ? config.head_bits : config.embedding_bits;
    if (bits > MAX_BITS) return plainParts(programs, checkpoint)(part);
    const elastic = await block(part);
    await elastic.use({ weight: bits, rank: 0 });
    return elastic;
  };
  return { block, fixed };
}

/** How a block runs at these widths. Throws UserError for one that the set lacks. */
export function precisionOf(
  { mode, bit_groups: groups, layers, kv_bits }: Adapters['config'],
  { prefix }: Part,
  { linears }: PartListing,
  widths: Widths,
): MixedPrecision {
  const precisions = new Map<string, LayerPrecision>();
  for (const { name } of linears) {
    const bits = typeof widths === 'number' ? widths : widths(prefix + name);
    if (bits === undefined) continue;
    const group = groups.find((g) => g.bits.includes(bits));
    if (!group)
      throw new UserError(
        `The adapter set has no ${bits}-bit setting; it has ${groups.flatMap((g) => g.bits).join(', ')}.`,
      );
    const layer = layers[prefix + name];
    precisions.set(name, {
      weight: bits,
      ...(mode === 'weight-activation' && { activation: bits }),
      rank: group.rank,
      gain: group.gain,
      groupSize: layer ? groupSizeOf(layer, bits) : -1,
    });
  }
  return { layers: precisions, ...(kv_bits !== undefined && { cache: kv_bits }) };
}

/** Throws UserError unless the adapter set was made for this checkpoint as it is now. */
export async function requireMatch(
  checkpoint: Checkpoint,
  { config }: Pick<AdapterSet, 'config'>,
  where: string,
): Promise<void> {
  if ((await checkpoint.fingerprint()) !== config.model.fingerprint)
    throw new UserError(
      `${where} was calibrated for another model, or ${checkpoint.name} has changed since; calibrate again.`,
    );
}

/** The tensors of one part under their local names. The head's prefix is empty: it has no adapter tensors. */
export async function tensorsOf(tensors: Adapters['tensors'], { prefix }: Part): Promise<NamedTensors> {
  if (prefix === '') return new Map();
  if (typeof tensors === 'function') return tensors(prefix);
  const own: NamedTensors = new Map();
  for (const [name, tensor] of tensors)
    if (name.startsWith(prefix)) own.set(name.slice(prefix.length), tensor);
  return own;
}
