/** Passes of samples through a whole model, counted. */
import { plainGraph } from '../../execution/part.js';
import { sizeOf } from '../../graph/ir.js';
import { addWork, peakBytes, timesWork, workOf, type Work } from '../../graph/work.js';
import type { Checkpoint } from '../../models/checkpoint.js';
import { headOf, inputSize, outputSize, partsOf, type Part } from '../../models/model.js';

const FLOAT = 4;
/** Operators over the logits that make a score and a divergence of them. */
const SCORING = 12;

export interface Passes {
  /** Of one sample. */
  readonly work: Work;
  /** The tensors of the part that takes most, with its parameters on host and device. */
  readonly bytes: number;
  /** Of all parameters, once. */
  readonly parameters: number;
  /** Of the widest activations between parts of a sample. */
  readonly activations: number;
}

/** Of one sample when `batch` run at once, to scores of its logits. */
export function passesOf({ model, listing }: Pick<Checkpoint, 'model' | 'listing'>, batch: number): Passes {
  const { rows, outputs } = headOf(model);
  const known = new Map<string, { readonly work: Work; readonly bytes: number }>();
  const of = (part: Part) => {
    const found = known.get(part.kind);
    if (found) return found;
    // A head of a language model takes as many rows at a time as memory has room for.
    const graph = plainGraph(part, part === model.head ? rows : batch);
    const one = timesWork(workOf(graph), part === model.head ? 1 : 1 / batch);
    const own = { work: one, bytes: peakBytes(graph) + 2 * parametersOf(part) };
    known.set(part.kind, own);
    return own;
  };
  const parametersOf = (part: Part) =>
    listing(part).parameters.reduce((sum, { shape }) => sum + sizeOf(shape) * FLOAT, 0);
  const parts = partsOf(model);
  const scoring = { flops: 0, elements: SCORING * rows * outputs, operators: SCORING };
  return {
    work: parts.map((part) => of(part).work).reduce(addWork, scoring),
    bytes: Math.max(...parts.map((part) => of(part).bytes)),
    parameters: parts.reduce((sum, part) => sum + parametersOf(part), 0),
    activations:
      Math.max(...parts.filter((p) => p !== model.head).map((p) => outputSize(p) + inputSize(p))) * FLOAT,
  };
}
