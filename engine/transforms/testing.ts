/** Shared by tests of transforms: a block whose norms are folded by what they put out. */
import { observe, type Observed } from '../execution/observe.js';
import type { NamedTensors } from '../execution/tensors.js';
import type { Block } from '../execution/testing.js';
import type { HostTensor } from '../models/checkpoint.js';
import type { Programs } from '../runtime/programs.js';
import { foldedNorm } from './fold-norms.js';

/**
 * Folds every norm of the block that has a bias, over the whole range of its output.
 * @param x inputs of `batch` samples
 * @returns the tensors, and what the first reader of each norm sees behind it
 */
export async function foldedBlock(
  programs: Programs,
  { part, listing }: Pick<Block, 'part' | 'listing'>,
  parameters: ReadonlyMap<string, HostTensor>,
  x: Float32Array,
  batch: number,
  bits: number,
): Promise<{ readonly tensors: NamedTensors; readonly observed: Observed }> {
  const readers = new Map(
    listing.linears.flatMap(({ input, norm }) =>
      norm !== undefined && parameters.has(`${norm}.bias`) ? [[input, norm] as const] : [],
    ),
  );
  const observed = await observe(programs, part, [...readers.keys()], parameters, [{ x }], batch);
  const tensors: NamedTensors = new Map();
  for (const [reader, norm] of readers)
    for (const tensor of foldedNorm({ listing, parameters }, norm, observed.get(reader)!, bits, [1]))
      tensors.set(...tensor);
  return { tensors, observed };
}
