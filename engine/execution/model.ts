/** A whole model, its parts on the device one after another. */
import { sizeOf } from '../graph/ir.js';
import type { Checkpoint } from '../models/checkpoint.js';
import { sideInput } from '../models/builders.js';
import {
  blocksOf,
  chainParts,
  inputSize,
  partsOf,
  type Chain,
  type LanguageModel,
  type Model,
  type Part,
} from '../models/model.js';
import type { Programs } from '../runtime/programs.js';
import type { Tensor } from '../runtime/session.js';
import { openGeneration, type Generation } from './generation.js';
import { disposeAll, type RunnablePart, type Tensors } from './part.js';
import { plainParts, type OpenPart } from './part-by-part.js';
import type { OpenOptions } from './wide-layers.js';

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
  /** A text that goes on; undefined of models whose parts do not keep keys and values. */
  generation(): Generation | undefined;
  dispose(): void;
}

/** The full names of the layers that have a bit-width of their own: those of blocks, in the model's order. */
export const layerNames = ({ model, listing }: Pick<Checkpoint, 'model' | 'listing'>): string[] =>
  blocksOf(model).flatMap((part) => listing(part).linears.map(({ name }) => part.prefix + name));

/** How many weights each of `layerNames` has. */
export const layerWeights = ({ model, listing }: Pick<Checkpoint, 'model' | 'listing'>): number[] =>
  blocksOf(model).flatMap((part) => listing(part).linears.map((linear) => linear.in * linear.out));

export async function openPlainModel(
  programs: Programs,
  checkpoint: Checkpoint,
  options?: OpenOptions,
): Promise<RunnableModel> {
  const parts = new Map<Part, RunnablePart>();
  const open = plainParts(programs, checkpoint, options);
  for (const part of partsOf(checkpoint.model)) parts.set(part, await open(part));
  return joinParts(programs, checkpoint.model, parts);
}

/** @param parts all of the model's; they become the whole model's to dispose of @param version changes when they are switched */
export function joinParts(
  programs: Programs,
  model: Model,
  parts: ReadonlyMap<Part, RunnablePart>,
  version: () => number = () => 0,
): RunnableModel {
  /** Elements of one of the head's samples. */
  const size = inputSize(model.head);
  const head = parts.get(model.head)!;
  const runChain = async (chain: Chain, entering: Tensor, batch: number, named: Tensors) => {
    let x = entering;
    for (const part of chainParts(chain)) {
      const y = await parts.get(part)!.run(x, batch, portsFed(part, named));
      if (x !== entering) x.dispose();
      x = y;
    }
    return x;
  };
  /** What the head reads. */
  const hidden = async (inputs: Tensor, batch: number, side: Tensors) => {
    const made: Record<string, Tensor> = {};
    const entering = ({ input, stem }: Chain) =>
      input === undefined ? inputs : feeding({ ...side, ...made }, input, stem);
    for (const tower of model.towers ?? [])
      made[tower.name] = await runChain(tower, entering(tower), batch, { ...side, ...made });
    const x = await runChain(model, entering(model), batch, { ...side, ...made });
    disposeAll(made);
    return x;
  };
  const read = async (tensor: Tensor) => {
    const data = await programs.runtime.read(tensor);
    tensor.dispose();
    return data;
  };
  const logits = async (inputs: Tensor, batch: number, side: Tensors = {}) => {
    const x = await hidden(inputs, batch, side);
    const y = await head.run(x, sizeOf(x.shape) / size);
    x.dispose();
    return y;
  };
  return {
    model,
    open: (part) => Promise.resolve({ ...parts.get(part)!, dispose: () => undefined }),
    logits,
    row: async (inputs, row, side = {}) => {
      const x = await read(await hidden(inputs, 1, side));
      const own = x.slice(row * size, (row + 1) * size);
      const y = await head.run(programs.runtime.tensor(own, model.head.inputShape(1)), 1);
      return read(y);
    },
    run: async (inputs, batch, side) => read(await logits(inputs, batch, side)),
    generation: () => {
      const own = model as Partial<LanguageModel>;
      return own.keeps ? openGeneration(programs, own as LanguageModel, parts, version) : undefined;
    },
    dispose: () => parts.forEach((part) => part.dispose()),
  };
}

/** What feeds a part's side ports, by the names of its graph's inputs. */
const portsFed = (part: Part, side: Tensors): Tensors =>
  Object.fromEntries((part.side ?? []).map(({ name }) => [sideInput(name), feeding(side, name, part)]));

function feeding(named: Tensors, name: string, { prefix, kind }: Part): Tensor {
  const tensor = named[name];
  if (!tensor) throw new Error(`${prefix} (${kind}): nothing feeds "${name}".`);
  return tensor;
}
