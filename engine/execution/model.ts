/** A whole model, its parts on the device one after another. */
import { sizeOf } from '../graph/ir.js';
import type { Checkpoint } from '../models/checkpoint.js';
import { sideInput } from '../models/builders.js';
import { partsOf, type Model, type Part } from '../models/model.js';
import type { Programs } from '../runtime/programs.js';
import type { Tensor } from '../runtime/session.js';
import type { RunnablePart, Tensors } from './part.js';
import { plainParts, type OpenPart } from './part-by-part.js';

/**
 * Runs the whole model on a batch of inputs: logits [batch, classes], or [batch·tokens, vocabulary]. Texts may be shorter
 * than the model's samples, all of a batch alike: runs cost what their length does, and share the weights.
 */
export interface RunnableModel {
  /** As it is run: rotated, where that is so. */
  readonly model: Model;
  /** Its parts, to be run one by one; they stay the model's. */
  readonly open: OpenPart;
  /**
   * The logits where the device left them; the caller disposes of them.
   * @param side what feeds side ports, by their names
   */
  logits(inputs: Tensor, batch: number, side?: Tensors): Promise<Tensor>;
  /** The logits of one of the head's samples, of a batch of one: of a token, or of the picture (row 0). */
  row(inputs: Tensor, row: number, side?: Tensors): Promise<Float32Array>;
  /** The logits read back. */
  run(inputs: Tensor, batch: number, side?: Tensors): Promise<Float32Array>;
  dispose(): void;
}

/** The full names of the layers that have a bit-width of their own: those of blocks, in the model's order. */
export const layerNames = ({ model, listing }: Pick<Checkpoint, 'model' | 'listing'>): string[] =>
  model.blocks.flatMap((part) => listing(part).linears.map(({ name }) => part.prefix + name));

export async function openPlainModel(programs: Programs, checkpoint: Checkpoint): Promise<RunnableModel> {
  const parts: RunnablePart[] = [];
  for (const part of partsOf(checkpoint.model)) parts.push(await plainParts(programs, checkpoint)(part));
  return chain(programs, checkpoint.model, parts);
}

export function chain(programs: Programs, model: Model, parts: readonly RunnablePart[]): RunnableModel {
  /** Elements of one of the head's samples. */
  const size = sizeOf(model.head.inputShape(1));
  const shared = new Map(partsOf(model).map((part, i) => [part, { ...parts[i]!, dispose: () => undefined }]));
  /** What the head reads. */
  const hidden = async (inputs: Tensor, batch: number, side: Tensors) => {
    let x = inputs;
    for (const part of [model.stem, ...model.blocks]) {
      const y = await shared.get(part)!.run(x, batch, portsFed(part, side));
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
  const logits = async (inputs: Tensor, batch: number, side: Tensors = {}) => {
    const x = await hidden(inputs, batch, side);
    const y = await parts.at(-1)!.run(x, sizeOf(x.shape) / size);
    x.dispose();
    return y;
  };
  return {
    model,
    open: (part) => Promise.resolve(shared.get(part)!),
    logits,
    row: async (inputs, row, side = {}) => {
      const x = await read(await hidden(inputs, 1, side));
      const own = x.slice(row * size, (row + 1) * size);
      const y = await parts.at(-1)!.run(programs.runtime.tensor(own, model.head.inputShape(1)), 1);
      return read(y);
    },
    run: async (inputs, batch, side) => read(await logits(inputs, batch, side)),
    dispose: () => parts.forEach((part) => part.dispose()),
  };
}

/** What feeds a part's side ports, by the names of its graph's inputs. */
const portsFed = (part: Part, side: Tensors): Tensors =>
  Object.fromEntries(
    (part.side ?? []).map(({ name }) => {
      const tensor = side[name];
      if (!tensor) throw new Error(`${part.prefix} (${part.kind}): nothing feeds the side port "${name}".`);
      return [sideInput(name), tensor];
    }),
  );
