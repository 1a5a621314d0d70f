/** The evaluate job, whose result is kept where the request asks for it. */
import { runEvaluate } from './runs/evaluate.js';
import { prepareEvaluation, saveEvaluation } from './evaluations.js';
import type { JobHooks } from './requests.js';
import type { EvaluateRequest, EvaluateResult } from '../protocol/protocol.js';

export async function runSavedEvaluate(
  request: EvaluateRequest,
  hooks: JobHooks<'evaluate'>,
): Promise<EvaluateResult> {
  if (request.save === undefined) return runEvaluate(request, hooks);
  // Before the work, so that it is not in vain.
  const saved = await prepareEvaluation(request, request.save);
  const result = await runEvaluate(request, hooks);
  await saveEvaluation(saved, request, result);
  return { ...result, saved };
}
