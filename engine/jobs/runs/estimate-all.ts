/** What each method would take to calibrate a model, at each of its efforts. */
import { UserError } from '../../errors.js';
import type { AnyMethod } from '../../methods/method.js';
import { listOptions } from '../../methods/options.js';
import { resolveRequest } from '../../methods/request.js';
import { methodsFor } from '../../methods/usual.js';
import { openCheckpoint, type Checkpoint } from '../../models/checkpoint.js';
import { knownDevice } from '../../runtime/known-rates.js';
import { taskOf } from '../../tasks/registry.js';
import { calibrationAmounts } from '../forecasts/calibration.js';
import { forecastOf } from '../forecasts/forecast.js';
import type { EstimateAllRequest, Estimated, JobHooks } from '../requests.js';

/** The usual method first; what a method refuses is left out. Throws UserError where all do. */
export async function runEstimateAll(
  request: EstimateAllRequest,
  { signal }: Pick<JobHooks<'estimate-all'>, 'signal'>,
): Promise<readonly Estimated[]> {
  const checkpoint = await openCheckpoint(
    request.model,
    request.length === undefined ? {} : { tokens: request.length },
  );
  try {
    return await estimatesOf(checkpoint, request, signal);
  } finally {
    await checkpoint.close();
  }
}

/** The same of a checkpoint that is open; its weights are not read. */
export async function estimatesOf(
  checkpoint: Checkpoint,
  request: EstimateAllRequest,
  signal: AbortSignal,
): Promise<readonly Estimated[]> {
  taskOf(checkpoint, request);
  const device = await knownDevice(request, signal);
  let refusal: unknown;
  const found = methodsFor(checkpoint).flatMap((method) =>
    effortsOf(method).flatMap((effort): Estimated[] => {
      const options = effort === undefined ? {} : { effort };
      try {
        const resolved = resolveRequest(checkpoint, { ...request, method: method.name, options });
        const { mode, offered, samples } = resolved.settings;
        const amounts = calibrationAmounts(checkpoint, resolved, samples, request.cacheMemory);
        const own = { method: method.name, ...(effort !== undefined && { effort }), mode, bits: offered };
        return [{ ...own, samples, forecast: forecastOf(amounts, device) }];
      } catch (error) {
        if (!(error instanceof UserError)) throw error;
        refusal ??= error;
        return [];
      }
    }),
  );
  if (found.length === 0) throw refusal;
  return found;
}

/** Undefined alone where there is no choice of them. */
const effortsOf = ({ options }: AnyMethod): readonly (string | undefined)[] =>
  listOptions(options).find(([key]) => key === 'effort')?.[1].choices ?? [undefined];
