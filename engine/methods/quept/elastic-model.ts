/** A model opened once with adapter sets and run at any of their bit-widths. */
import { UserError } from '../../errors.js';
import { groupSizeOf, type AdapterSet } from '../../formats/adapter-set.js';
import type { Checkpoint } from '../../models/checkpoint.js';
import { partsOf, type Part } from '../../models/model.js';
import type { Programs } from '../../runtime/programs.js';
import type { Tensor } from '../../runtime/session.js';
import { openElasticPart, openPlainPart, type ElasticPart, type RunnablePart } from './execution.js';
import { MAX_BITS } from './options.js';
import { foldedParameters } from './reparameterise.js';
import type { NamedTensors } from './state.js';

/** Runs the whole model on a batch of inputs: logits [batch, classes], or [batch·tokens, vocabulary]. */
export interface RunnableModel {
  /** The logits where the device left them; the caller disposes of them. */
  logits(inputs: Tensor, batch: number): Promise<Tensor>;
  /** The logits read back. */
  run(inputs: Tensor, batch: number): Promise<Float32Array>;
  dispose(): void;
}

export interface ElasticModel extends RunnableModel {
  readonly bits: readonly number[];
  /** Switches every block to a bit-width; embedding and head keep theirs. */
  use(bits: number): Promise<void>;
}

/** What an elastic model needs of an adapter set; `AdapterSet` has it. */
export interface Adapters {
  readonly config: Pick<
    AdapterSet['config'],
    'mode' | 'bit_groups' | 'embedding_bits' | 'head_bits' | 'layers'
  >;
  readonly tensors: AdapterSet['tensors'];
}

export async function openPlainModel(programs: Programs, checkpoint: Checkpoint): Promise<RunnableModel> {
  const parts: RunnablePart[] = [];
  for (const part of partsOf(checkpoint.model))
    parts.push(await openPlainPart(programs, part, await checkpoint.read(part)));
  return chain(programs, parts);
}

/** Throws UserError where the adapter set belongs to another model. */
export async function openElasticModel(
  programs: Programs,
  checkpoint: Checkpoint,
  adapters: Adapters,
): Promise<ElasticModel> {
  const { model } = checkpoint;
  const { mode, bit_groups: groups, layers } = adapters.config;
  const open = async (part: Part) => {
    const own = tensorsOf(adapters.tensors, part.prefix);
    const parameters = foldedParameters(await checkpoint.read(part), own);
    return openElasticPart(programs, part, checkpoint.listing(part), parameters, own);
  };
  /** Embedding and head have one bit-width, or stay in floating point. */
  const openFixed = async (part: Part, bits: number): Promise<RunnablePart> => {
    if (bits > MAX_BITS) return openPlainPart(programs, part, await checkpoint.read(part));
    const elastic = await open(part);
    await elastic.use({ weight: bits, rank: 0 });
    return elastic;
  };
  const stem = await openFixed(model.stem, adapters.config.embedding_bits);
  const head = await openFixed(model.head, adapters.config.head_bits);
  const blocks: ElasticPart[] = [];
  for (const part of model.blocks) blocks.push(await open(part));
  return {
    ...chain(programs, [stem, ...blocks, head]),
    bits: groups.flatMap((g) => g.bits).sort((a, b) => b - a),
    use: async (bits) => {
      const group = groups.find((g) => g.bits.includes(bits));
      if (!group)
        throw new UserError(
          `The adapter set has no ${bits}-bit setting; it has ${groups.flatMap((g) => g.bits).join(', ')}.`,
        );
      const { rank, gain } = group;
      const activation = mode === 'weight-activation' ? { activation: bits } : {};
      for (const [i, block] of blocks.entries()) {
        const { prefix } = model.blocks[i]!;
        const layer = Object.keys(layers).find((name) => name.startsWith(prefix));
        const groupSize = layer === undefined ? -1 : groupSizeOf(layers[layer]!, bits);
        await block.use({ weight: bits, ...activation, rank, gain, groupSize });
      }
    },
  };
}

/** Throws UserError unless the adapter set was made for this checkpoint as it is now. */
export async function requireMatch(
  checkpoint: Checkpoint,
  { config }: AdapterSet,
  where: string,
): Promise<void> {
  if ((await checkpoint.fingerprint()) !== config.model.fingerprint)
    throw new UserError(
      `${where} was calibrated for another model, or ${checkpoint.name} has changed since; calibrate again.`,
    );
}

/** The tensors of one part under their local names. The head's prefix is empty: it has no adapter tensors. */
function tensorsOf(tensors: AdapterSet['tensors'], prefix: string): NamedTensors {
  const own: NamedTensors = new Map();
  if (prefix !== '')
    for (const [name, tensor] of tensors)
      if (name.startsWith(prefix)) own.set(name.slice(prefix.length), tensor);
  return own;
}

function chain(programs: Programs, parts: readonly RunnablePart[]): RunnableModel {
  const logits = async (inputs: Tensor, batch: number) => {
    let x = inputs;
    for (const part of parts) {
      const y = await part.run(x, batch);
      if (x !== inputs) x.dispose();
      x = y;
    }
    return x;
  };
  return {
    logits,
    run: async (inputs, batch) => {
      const found = await logits(inputs, batch);
      const read = await programs.runtime.read(found);
      found.dispose();
      return read;
    },
    dispose: () => parts.forEach((part) => part.dispose()),
  };
}
