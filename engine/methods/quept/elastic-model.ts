/** A model opened once with adapter sets and run at any of their bit-widths. */
import { UserError } from '../../errors.js';
import type { AdapterSet } from '../../formats/adapter-set.js';
import { readPart, type Checkpoint } from '../../models/checkpoint.js';
import { partsOf } from '../../models/model.js';
import type { Programs } from '../../runtime/programs.js';
import type { Tensor } from '../../runtime/session.js';
import { openElasticPart, openPlainPart, type ElasticPart, type RunnablePart } from './execution.js';
import { foldedParameters } from './reparameterise.js';
import type { NamedTensors } from './state.js';

/** Runs the whole model on inputs of a fixed batch; the logits are read back, [batch, classes]. */
export interface RunnableModel {
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
  readonly config: Pick<AdapterSet['config'], 'bit_groups' | 'embedding_bits' | 'head_bits'>;
  readonly tensors: AdapterSet['tensors'];
}

export async function openPlainModel(programs: Programs, checkpoint: Checkpoint): Promise<RunnableModel> {
  const parts: RunnablePart[] = [];
  for (const part of partsOf(checkpoint.model))
    parts.push(await openPlainPart(programs, part, await readPart(checkpoint, part)));
  return chain(programs, parts);
}

/** Throws UserError where the adapter set belongs to another model. */
export async function openElasticModel(
  programs: Programs,
  checkpoint: Checkpoint,
  adapters: Adapters,
): Promise<ElasticModel> {
  const { model } = checkpoint;
  const { bit_groups: groups, embedding_bits, head_bits } = adapters.config;
  const open = async (part: (typeof model.blocks)[number]) => {
    const own = tensorsOf(adapters.tensors, part.prefix);
    return openElasticPart(
      programs,
      part,
      checkpoint.listing(part),
      foldedParameters(await readPart(checkpoint, part), own),
      own,
    );
  };
  const [stem, head] = [await open(model.stem), await open(model.head)];
  const blocks: ElasticPart[] = [];
  for (const part of model.blocks) blocks.push(await open(part));
  await stem.use({ weight: embedding_bits, rank: 0 });
  await head.use({ weight: head_bits, rank: 0 });
  return {
    ...chain(programs, [stem, ...blocks, head]),
    bits: groups.flatMap((g) => g.bits).sort((a, b) => b - a),
    use: async (bits) => {
      const group = groups.find((g) => g.bits.includes(bits));
      if (!group)
        throw new UserError(
          `The adapter set has no ${bits}-bit setting; it has ${groups.flatMap((g) => g.bits).join(', ')}.`,
        );
      for (const block of blocks)
        await block.use({ weight: bits, activation: bits, rank: group.rank, gain: group.gain });
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
  return {
    run: async (inputs, batch) => {
      let x = inputs;
      for (const part of parts) {
        const y = await part.run(x, batch);
        if (x !== inputs) x.dispose();
        x = y;
      }
      const logits = await programs.runtime.read(x);
      x.dispose();
      return logits;
    },
    dispose: () => parts.forEach((part) => part.dispose()),
  };
}
