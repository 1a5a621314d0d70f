/** How far quantized models are from full precision as they are run: whole, each beside the same one. */
import type { Checkpoint } from '../models/checkpoint.js';
import type { Programs } from '../runtime/programs.js';
import type { Distance } from './logit-divergence.js';
import { passBlocks, plainParts, type ModelPass, type OpenPart } from './part-by-part.js';
import type { ModelInputs } from './sample-store.js';

export interface DivergenceTask extends Pick<ModelPass, 'cache' | 'batch'> {
  /** In full precision: of a set, with its transforms. */
  readonly checkpoint: Checkpoint;
  readonly inputs: ModelInputs;
  readonly distance: Distance;
}

/**
 * The mean distance of each model's outputs from those of the checkpoint, nats.
 * @param models opens the parts of each @param status hears 0 to 1
 */
export async function divergences(
  programs: Programs,
  { checkpoint, inputs, batch, cache, distance }: DivergenceTask,
  models: readonly OpenPart[],
  { signal, status }: { readonly signal: AbortSignal; readonly status: (done: number) => void },
): Promise<number[]> {
  const { model } = checkpoint;
  /** What the head reads, and the head; the model passes as the n-th. */
  const run = async (open: OpenPart, n: number) => {
    const store = await passBlocks(programs, model, open, inputs, {
      ...{ cache, batch: Math.min(batch, inputs.samples), signal },
      status: (done) => status((n + done) / (models.length + 1)),
    });
    try {
      const head = await open(model.head);
      const release = () => {
        head.dispose();
        store.release();
      };
      return { store, head, release };
    } catch (error) {
      store.release();
      throw error;
    }
  };
  const full = await run(plainParts(programs, checkpoint), 0);
  try {
    const costs: number[] = [];
    for (const [i, open] of models.entries()) {
      const own = await run(open, i + 1);
      // Rounding can bring the mean of next to nothing below zero.
      costs.push(Math.max(0, await distance(programs, model, full, own, signal).finally(own.release)));
    }
    return costs;
  } finally {
    full.release();
  }
}
