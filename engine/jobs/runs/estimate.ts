/** What a calibration will take, before it starts. */
import { resolveRequest } from '../../methods/request.js';
import { openCheckpoint } from '../../models/checkpoint.js';
import type { CalibrateEstimate } from '../../protocol/protocol.js';
import { deviceOf, keepBest } from '../../runtime/known-rates.js';
import { taskOf } from '../../tasks/registry.js';
import { calibrationAmounts } from '../forecasts/calibration.js';
import { peakOf, secondsOf } from '../forecasts/forecast.js';
import type { EstimateJobRequest } from '../requests.js';

/** At the rates of the request's device. Throws UserError for a request that could not be calibrated. */
export async function runEstimate({ request, devices }: EstimateJobRequest): Promise<CalibrateEstimate> {
  const device = deviceOf(request.device ?? 'auto', await keepBest(devices));
  const checkpoint = await openCheckpoint(
    request.model,
    request.length === undefined ? {} : { tokens: request.length },
  );
  try {
    const task = taskOf(checkpoint, request);
    const { method, settings } = resolveRequest(checkpoint, request);
    const samples =
      request.data === undefined ? settings.samples : await task.count(request.data, settings.samples);
    const amounts = calibrationAmounts(checkpoint, { method, settings }, samples, request.cacheMemory);
    return {
      seconds: secondsOf(amounts, device),
      bytes: peakOf(amounts),
      disk: amounts.disk,
      device: device.kind,
      gflops: device.gflops,
      gflop: amounts.work.flops / 1e9,
      settings: {
        method: method.name,
        mode: settings.mode,
        bits: settings.offered,
        samples,
        seed: settings.seed,
        facts: method.facts(settings),
      },
    };
  } finally {
    await checkpoint.close();
  }
}
