/** The evaluate job: full precision, baselines and adapter sets on one evaluation set. */
import { openCheckpoint } from '../../models/checkpoint.js';
import { closeAdapterSets, openAdapterSets } from '../evaluated-sets.js';
import { evaluatePictures } from '../../evaluation/evaluate-pictures.js';
import { evaluateText } from '../../evaluation/evaluate-text.js';
import { peakMemory } from '../memory.js';
import type { JobHooks } from '../requests.js';
import type { EvaluateRequest, EvaluateResult } from '../../protocol/protocol.js';

export async function runEvaluate(
  request: EvaluateRequest,
  hooks: JobHooks<'evaluate'>,
): Promise<EvaluateResult> {
  const started = performance.now();
  const checkpoint = await openCheckpoint(
    request.model,
    request.length === undefined ? {} : { tokens: request.length },
  );
  try {
    const { model } = checkpoint;
    const sets = await openAdapterSets(checkpoint, request);
    const measured = await (
      model.task === 'text-generation'
        ? evaluateText(request, checkpoint, model, sets, hooks)
        : evaluatePictures(request, checkpoint, model, sets, hooks)
    ).finally(() => closeAdapterSets(sets));
    const seconds = (performance.now() - started) / 1000;
    return { ...measured, seconds, peakMemory: peakMemory() };
  } finally {
    await checkpoint.close();
  }
}
