/** How far quantized models are from full precision as they are run: whole, each beside the same one. */
import type { Checkpoint } from '../models/checkpoint.js';
import type { Programs } from '../runtime/programs.js';
import type { Distance } from './logit-divergence.js';
import type { RunnablePart } from './part.js';
import { passBlocks, plainParts, type ModelPass, type OpenPart, type PassHooks } from './part-by-part.js';
import type { ModelInputs } from './sample-store.js';

export interface DivergenceTask extends Pick<ModelPass, 'cache' | 'batch'> {
  /** In full precision: of a set, with its transforms. */
  readonly checkpoint: Checkpoint;
  readonly inputs: ModelInputs;
  readonly distance: Distance;
}

/**
 * The mean distance of each model's outputs from those of the checkpoint, nats; rounding can bring that of next to nothing
 * below zero.
 * @param models opens the parts of each
 */
export async function divergences(
  programs: Programs,
  { checkpoint, inputs, batch, cache, distance }: DivergenceTask,
  models: readonly OpenPart[],
  { signal, status }: PassHooks,
): Promise<number[]> {
  const { model } = checkpoint;
  /** What the head reads; the model passes as the n-th. */
  const pass = (open: OpenPart, n: number) =>
    passBlocks(programs, model, open, inputs, {
      ...{ cache, batch: Math.min(batch, inputs.samples), signal },
      status: (done) => status?.((n + done) / (models.length + 1)),
    });
  const plain = plainParts(programs, checkpoint);
  const reference = await pass(plain, 0);
  const divergence = async (open: OpenPart, n: number) => {
    const store = await pass(open, n);
    const heads: RunnablePart[] = [];
    try {
      for (const part of [plain, open]) heads.push(await part(model.head));
      const [full, own] = heads as [RunnablePart, RunnablePart];
      return await distance(programs, model, { head: full, store: reference }, { head: own, store }, signal);
    } finally {
      for (const head of heads) head.dispose();
      store.release();
    }
  };
  try {
    const costs: number[] = [];
    for (const [i, open] of models.entries()) costs.push(await divergence(open, i + 1));
    return costs;
  } finally {
    reference.release();
  }
}
