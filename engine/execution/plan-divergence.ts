/** What plans cost as they are run: the whole model at each, beside its full precision. */
import type { Distance } from './logit-divergence.js';
import { passBlocks, plainParts, type OpenPart } from './part-by-part.js';
import { quantizedParts, type Widths } from './quantized-model.js';
import type { ModelInputs, SampleCache } from './sample-store.js';
import type { QuantizedSource } from './source.js';
import type { Programs } from '../runtime/programs.js';

export interface PlanDivergenceTask {
  readonly source: QuantizedSource;
  readonly inputs: ModelInputs;
  readonly batch: number;
  readonly cache: SampleCache;
  readonly distance: Distance;
}

/**
 * The mean distance of each plan's outputs from those of the set's own unquantized weights, nats; embedding and head at
 * their own bit-widths where they have any. @param status hears 0 to 1
 */
export async function planDivergences(
  programs: Programs,
  { source, inputs, batch, cache, distance }: PlanDivergenceTask,
  plans: readonly Widths[],
  { signal, status }: { readonly signal: AbortSignal; readonly status: (done: number) => void },
): Promise<number[]> {
  const { checkpoint } = source;
  const { model } = checkpoint;
  const passes = plans.length + 1;
  const passed = (open: OpenPart, before: number) =>
    passBlocks(programs, model, open, inputs, {
      ...{ cache, batch: Math.min(batch, inputs.samples), signal },
      status: (done) => status((before + done) / passes),
    });
  const plain = plainParts(programs, checkpoint);
  const full = await passed(plain, 0);
  try {
    const head = await plain(model.head);
    try {
      const costs: number[] = [];
      for (const [i, widths] of plans.entries()) {
        const open = quantizedParts(programs, source, widths);
        const store = await passed(open, i + 1);
        try {
          const own = await open(model.head);
          try {
            const p = { head, store: full };
            const q = { head: own, store };
            // Rounding can bring the mean of next to nothing below zero.
            costs.push(Math.max(0, await distance(programs, model, p, q, signal)));
          } finally {
            own.dispose();
          }
        } finally {
          store.release();
        }
      }
      return costs;
    } finally {
      head.dispose();
    }
  } finally {
    full.release();
  }
}
