/** The evaluate job: full precision, baselines and adapter sets on one evaluation set. */
import { openCheckpoint } from '../models/checkpoint.js';
import { evaluatePictures } from './evaluate-pictures.js';
import { evaluateText } from './evaluate-text.js';
import type { EvaluateRequest, EvaluateResult, JobHooks } from './requests.js';

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
    const measured =
      model.task === 'text-generation'
        ? await evaluateText(request, checkpoint, model, hooks)
        : await evaluatePictures(request, checkpoint, model, hooks);
    return { ...measured, seconds: (performance.now() - started) / 1000 };
  } finally {
    await checkpoint.close();
  }
}
