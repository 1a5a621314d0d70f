/** What a calibration will take, before it starts. */
import { defaultCacheMemory } from '../../execution/sample-store.js';
import { UserError } from '../../errors.js';
import { resolveRequest } from '../../methods/request.js';
import { openCheckpoint } from '../../models/checkpoint.js';
import type { CalibrateEstimate, DeviceReport, EstimateRequest } from '../../protocol/protocol.js';
import { taskOf } from '../../tasks/registry.js';
import type { EstimateJobRequest } from '../requests.js';

/**
 * What the counted work does not say, as `npm run bench:estimate` found it on a CPU: a process with its compiled
 * graphs, before it holds a tensor; its start; how much longer graphs take than their operators at the measured rates;
 * and an element of a loop on the host (docs/METHOD.md, section 10).
 */
const PROCESS_BYTES = 300e6;
const STARTUP_SECONDS = 3;
const SLOWDOWN = 1.5;
const HOST_SECONDS = 4e-9;

/**
 * Seconds: the calibration's matrix products over the device's measured rate of them, its other elements over the
 * measured rate of additions, and the measured overhead of running an operator for each (`Method.cost`,
 * `runtime/measure.ts`). Bytes: what the activations of the calibration set (as far as they stay in memory), the
 * tensors of a step and the process itself hold at the peak. Throws UserError for a request that could not be calibrated.
 */
export async function runEstimate({ request, devices }: EstimateJobRequest): Promise<CalibrateEstimate> {
  const device = deviceOf(request.device ?? 'auto', devices);
  const checkpoint = await openCheckpoint(
    request.model,
    request.length === undefined ? {} : { tokens: request.length },
  );
  try {
    const task = taskOf(checkpoint, request);
    const { method, settings } = resolveRequest(checkpoint, request);
    const samples =
      request.data === undefined ? settings.samples : await task.count(request.data, settings.samples);
    const { work, looked, activations, tensors } = method.cost(checkpoint, settings, samples);
    const inMemory = Math.min(activations, request.cacheMemory ?? defaultCacheMemory());
    const running =
      work.flops / (device.gflops * 1e9) +
      work.elements / (device.gelements * 1e9) +
      work.operators * device.overhead;
    const seconds = STARTUP_SECONDS + SLOWDOWN * running + HOST_SECONDS * looked;
    return {
      seconds,
      bytes: PROCESS_BYTES + inMemory + tensors,
      device: device.kind,
      gflops: device.gflops,
      gflop: work.flops / 1e9,
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

/** The device a calibration would run on, with its rates. */
function deviceOf(wanted: NonNullable<EstimateRequest['device']>, devices: readonly DeviceReport[]) {
  const available = devices.filter((d) => d.available);
  const [fastest] = [...available].sort((a, b) => b.gflops - a.gflops);
  const found = wanted === 'auto' ? fastest : available.find(({ kind }) => kind === wanted);
  if (found) return found;
  const report = devices.find(({ kind }) => kind === wanted);
  const reason = report && !report.available ? report.reason : 'it is not known here.';
  throw new UserError(`The device "${wanted}" is not available: ${reason}`);
}
