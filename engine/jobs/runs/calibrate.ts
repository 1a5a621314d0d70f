/** The calibrate job: from paths and settings to an adapter set. */
import { dirname } from 'node:path';
import { CancelledError, UserError } from '../../errors.js';
import { defaultCacheMemory, openSampleCache, type SampleCache } from '../../execution/sample-store.js';
import type { SetConfig } from '../../formats/set-config.js';
import { calibrate } from '../../methods/calibrate.js';
import { resolveRequest } from '../../methods/request.js';
import { openSetOutput } from '../../methods/set-output.js';
import { openCheckpoint, type Checkpoint } from '../../models/checkpoint.js';
import type { CalibrateRequest, CalibrateResult } from '../../protocol/protocol.js';
import { withDevice } from '../../runtime/with-device.js';
import { taskOf } from '../../tasks/registry.js';
import type { Task } from '../../tasks/task.js';
import { version } from '../../version.js';
import { announced } from '../announce.js';
import { calibrationAmounts } from '../forecasts/calibration.js';
import { peakMemory } from '../memory.js';
import { namedSkipped } from '../skipped.js';
import type { JobHooks } from '../requests.js';

export async function runCalibrate(
  request: CalibrateRequest,
  hooks: JobHooks<'calibrate'>,
): Promise<CalibrateResult> {
  const checkpoint = await openCheckpoint(
    request.model,
    request.length === undefined ? {} : { tokens: request.length },
  );
  try {
    checkpoint.warnings.forEach((line) => hooks.note(line));
    const task = taskOf(checkpoint, request);
    const resolved = resolveRequest(checkpoint, request);
    const { out, resume = false, force = false } = request;
    const output = await openSetOutput({ out, resume, force }, { checkpoint, ...resolved });
    try {
      if (output.finished) return finishedResult(out, output.finished);
      const samples =
        request.data === undefined ? 0 : await task.count(request.data, resolved.settings.samples);
      // What is left of one that goes on is not known.
      const placed = await announced(request, resume ? { signal: hooks.signal } : hooks, () =>
        calibrationAmounts(checkpoint, resolved, samples, request.cacheMemory),
      );
      return await calibrateInto(output.place, task, checkpoint, resolved, placed, hooks);
    } finally {
      await output.release();
    }
  } finally {
    await checkpoint.close();
  }
}

/** Of a calibration whose set was there, complete, when it was resumed. */
const finishedResult = (out: string, { offered, calibration }: SetConfig): CalibrateResult => ({
  out,
  bits: offered,
  samples: calibration?.samples ?? 0,
  skipped: [],
  seconds: 0,
  peakMemory: peakMemory(),
});

type Resolved = ReturnType<typeof resolveRequest>;

/** @param place the folder of the adapter set */
async function calibrateInto(
  place: string,
  task: Task,
  checkpoint: Checkpoint,
  resolved: Resolved,
  request: CalibrateRequest,
  hooks: JobHooks<'calibrate'>,
): Promise<CalibrateResult> {
  const cache = await openSampleCache(request.cacheMemory ?? defaultCacheMemory(), dirname(place));
  try {
    return await calibrateWith(cache, place, task, checkpoint, resolved, request, hooks);
  } finally {
    cache.close();
  }
}

async function calibrateWith(
  cache: SampleCache,
  place: string,
  task: Task,
  checkpoint: Checkpoint,
  { method, settings }: Resolved,
  request: CalibrateRequest,
  hooks: JobHooks<'calibrate'>,
): Promise<CalibrateResult> {
  const started = performance.now();
  const { out, resume = false } = request;
  const prepare = (phase: string) => {
    if (hooks.signal.aborted) throw new CancelledError();
    // One that goes on shows where it was.
    if (!resume) hooks.status({ done: 0, phase });
  };
  prepare('reading samples');
  const read = await readSamples();
  const samples = read?.set.inputs.samples ?? 0;
  prepare('preparing the model');
  return withDevice({ ...request, signal: hooks.signal }, async (programs) => {
    const { distance } = task;
    const asked = {
      checkpoint,
      distance,
      ...(read && { set: read.set }),
      method,
      settings,
      out: place,
      resume,
      cache,
    };
    const { offered } = await calibrate(programs, { ...asked, engineVersion: version }, hooks);
    return {
      out,
      device: programs.runtime.device,
      bits: offered,
      samples,
      ...namedSkipped(read?.skipped ?? []),
      seconds: (performance.now() - started) / 1000,
      peakMemory: peakMemory(),
    };
  });

  async function readSamples() {
    if (settings.samples === 0) return undefined;
    if (request.data === undefined)
      throw new UserError(`Name the ${task.words.data} to calibrate on with --data.`);
    const found = await task.read(checkpoint, request.data, settings, cache, hooks.signal);
    const { name, inputs } = found.set;
    if (inputs.samples < settings.samples)
      hooks.note(`${name} has ${inputs.samples} samples; ${settings.samples} were asked for.`);
    return found;
  }
}
