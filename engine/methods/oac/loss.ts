/** The loss of calibration samples that errors are weighed by. */
import { drawLabels, labelledRows, nextTokens, replaceByGradient } from '../../execution/loss.js';
import type { SweepTask } from '../../execution/reverse-sweep.js';
import type { SampleSource } from '../../execution/sample-store.js';
import type { Checkpoint } from '../../models/checkpoint.js';
import type { CalibrationContext } from '../method.js';
import { batchOf } from '../walk.js';
import type { OacSettings } from './settings.js';

/** A sweep over all samples. Labels are those of the data, the next tokens of a text; or drawn from the prediction for the same rows. */
export function sweepTask(
  { programs, checkpoint: whole, cache, set }: CalibrationContext,
  { labels, seed }: OacSettings,
  checkpoint: Checkpoint = whole,
): SweepTask {
  const { model } = checkpoint;
  const { inputs } = set!;
  const isLabelled = labelledRows(checkpoint);
  return {
    checkpoint,
    inputs,
    cache,
    batch: batchOf(model, inputs.samples),
    differentiate: async (store, hooks) => {
      const own =
        labels === 'data'
          ? nextTokens(inputs as SampleSource<BigInt64Array>)
          : await drawLabels(programs, checkpoint, store, { seed, isLabelled }, { signal: hooks.signal });
      await replaceByGradient(programs, checkpoint, store, own, hooks);
    },
  };
}
