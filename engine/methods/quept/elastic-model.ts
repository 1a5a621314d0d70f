/** A model opened once with adapter sets and run at any of their bit-widths. */
import { UserError } from '../../errors.js';
import { groupSizeOf, type AdapterSet, type AdapterSource } from '../../formats/adapter-set.js';
import { sizeOf } from '../../graph/ir.js';
import type { Checkpoint } from '../../models/checkpoint.js';
import type { PartListing } from '../../models/listing.js';
import { partsOf, type Model, type Part } from '../../models/model.js';
import type { Programs } from '../../runtime/programs.js';
import type { Tensor } from '../../runtime/session.js';
import { rotateCheckpoint } from '../rotation/checkpoint.js';
import { signsFromText } from '../rotation/signs.js';
import {
  openElasticPart,
  type AdaptedWeights,
  type ElasticPart,
  type LayerPrecision,
  type MixedPrecision,
  type RunnablePart,
} from './execution.js';
import { MAX_BITS } from '../../plans/bits.js';
import { plainParts, type OpenPart } from './part-by-part.js';
import { foldedParameters } from './reparameterise.js';
import type { NamedTensors } from './state.js';

/**
 * Runs the whole model on a batch of inputs: logits [batch, classes], or [batch·tokens, vocabulary]. Texts may be shorter
 * than the model's samples, all of a batch alike: runs cost what their length does, and share the weights.
 */
export interface RunnableModel {
  /** As it is run: rotated, where that is so. */
  readonly model: Model;
  /** Its parts, to be run one by one; they stay the model's. */
  readonly open: OpenPart;
  /** The logits where the device left them; the caller disposes of them. */
  logits(inputs: Tensor, batch: number): Promise<Tensor>;
  /** The logits of one of the head's samples, of a batch of one: of a token, or of the picture (row 0). */
  row(inputs: Tensor, row: number): Promise<Float32Array>;
  /** The logits read back. */
  run(inputs: Tensor, batch: number): Promise<Float32Array>;
  dispose(): void;
}

/** A bit-width for all layers of blocks, or one by a layer's full name; a layer of none stays in full precision. */
export type Widths = number | ((layer: string) => number | undefined);

export interface ElasticModel extends RunnableModel {
  readonly bits: readonly number[];
  /** Switches layers of blocks, embedding and head keeping theirs; resolves to how many weights had to change. */
  use(widths: Widths): Promise<number>;
}

/** The full names of the layers that have a bit-width of their own: those of blocks, in the model's order. */
export const layerNames = ({ model, listing }: Pick<Checkpoint, 'model' | 'listing'>): string[] =>
  model.blocks.flatMap((part) => listing(part).linears.map(({ name }) => part.prefix + name));

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

export async function openPlainModel(programs: Programs, checkpoint: Checkpoint): Promise<RunnableModel> {
  const parts: RunnablePart[] = [];
  for (const part of partsOf(checkpoint.model)) parts.push(await plainParts(programs, checkpoint)(part));
  return chain(programs, checkpoint.model, parts);
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
  const stem = await open.fixed(model.stem);
  const head = await open.fixed(model.head);
  const blocks: ElasticPart[] = [];
  for (const part of model.blocks) blocks.push(await open.block(part));
  return {
    ...chain(programs, model, [stem, ...blocks, head]),
    bits: config.bit_groups.flatMap((g) => g.bits).sort((a, b) => b - a),
    use: async (widths) => {
      const precisions = model.blocks.map((part) =>
        precisionOf(config, part, checkpoint.listing(part), widths),
      );
      let changed = 0;
      for (const [i, block] of blocks.entries()) changed += await block.use(precisions[i]!);
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
        signs: signsFromText(rotation.signs, checkpoint.model.width),
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
    if (part === model.stem || part === model.head) return open.fixed(part);
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
    const bits = part === checkpoint.model.stem ? config.embedding_bits : config.head_bits;
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

function chain(programs: Programs, model: Model, parts: readonly RunnablePart[]): RunnableModel {
  /** Elements of one of the head's samples. */
  const size = sizeOf(model.head.inputShape(1));
  const shared = new Map(partsOf(model).map((part, i) => [part, { ...parts[i]!, dispose: () => undefined }]));
  /** What the head reads. */
  const hidden = async (inputs: Tensor, batch: number) => {
    let x = inputs;
    for (const part of parts.slice(0, -1)) {
      const y = await part.run(x, batch);
      if (x !== inputs) x.dispose();
      x = y;
    }
    return x;
  };
  const read = async (tensor: Tensor) => {
    const data = await programs.runtime.read(tensor);
    tensor.dispose();
    return data;
  };
  const logits = async (inputs: Tensor, batch: number) => {
    const x = await hidden(inputs, batch);
    const y = await parts.at(-1)!.run(x, sizeOf(x.shape) / size);
    x.dispose();
    return y;
  };
  return {
    model,
    open: (part) => Promise.resolve(shared.get(part)!),
    logits,
    row: async (inputs, row) => {
      const x = await read(await hidden(inputs, 1));
      const own = x.slice(row * size, (row + 1) * size);
      const y = await parts.at(-1)!.run(programs.runtime.tensor(own, model.head.inputShape(1)), 1);
      return read(y);
    },
    run: async (inputs, batch) => read(await logits(inputs, batch)),
    dispose: () => parts.forEach((part) => part.dispose()),
  };
}
