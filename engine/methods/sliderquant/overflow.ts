/** Names the layer that a window's activations overflow at, before anything is learned from them. */
import { batchesOf } from '../../execution/batches.js';
import { observe } from '../../execution/observe.js';
import { openPlainPart } from '../../execution/part.js';
import { passPart } from '../../execution/part-by-part.js';
import type { SampleStore, Sources } from '../../execution/sample-store.js';
import type { Part } from '../../models/model.js';
import type { CalibrationContext } from '../method.js';
import { batchOf } from '../walk.js';

/** Elements that are looked at together. */
const SPAN = 1 << 20;

export function isFiniteStore(store: SampleStore): boolean {
  const all = store.samples * store.size;
  const span = new Float32Array(Math.min(SPAN, all));
  for (let start = 0; start < all; start += SPAN) {
    const part = span.subarray(0, Math.min(SPAN, all - start));
    store.readSpan(start, part);
    if (!part.every(Number.isFinite)) return false;
  }
  return true;
}

/**
 * Runs blocks in full precision until a layer reads what is not finite. Throws UserError that names it; returns where none does.
 * @param x what the first block reads; left as it is
 */
export async function requireFiniteInputs(
  { programs, checkpoint, cache, hooks: { signal } }: CalibrationContext,
  blocks: readonly Part[],
  x: SampleStore,
  side: Sources,
): Promise<void> {
  const batch = batchOf(checkpoint.model, x.samples);
  let own = x;
  try {
    for (const part of blocks) {
      const parameters = await checkpoint.read(part);
      const readers = checkpoint.listing(part).linears.filter(({ name, input }) => name === input);
      const names = readers.map(({ name }) => name);
      await observe(programs, part, names, parameters, batchesOf(part, own, side, own.samples, batch), batch);
      const runnable = await openPlainPart(programs, part, parameters);
      const run = { part, runnable, source: own, side, batch };
      own = await passPart(programs, run, own === x ? undefined : own, cache, { signal }).finally(() =>
        runnable.dispose(),
      );
    }
  } finally {
    if (own !== x) own.release();
  }
}
