/** The calibrate job: from paths and settings to an adapter set. */
import { openImages, selectRandom, type ImageSource } from '../data/images.js';
import { readPreprocessor } from '../data/preprocessor.js';
import { CancelledError, UserError } from '../errors.js';
import { calibrate, type CalibrationSet } from '../methods/quept/calibrate.js';
import { mergeWeights } from '../methods/quept/merge.js';
import { bitGroups, DEFAULT_VIT, PAPER_VIT, type QueptOptions } from '../methods/quept/options.js';
import { openCheckpoint, type Checkpoint } from '../models/checkpoint.js';
import { chooseDevice } from '../runtime/devices.js';
import { openPrograms } from '../runtime/programs.js';
import { openRuntime } from '../runtime/session.js';
import { version } from '../version.js';
import type { CalibrateRequest, CalibrateResult, JobHooks } from './requests.js';

export async function runCalibrate(
  request: CalibrateRequest,
  hooks: JobHooks<'calibrate'>,
): Promise<CalibrateResult> {
  const started = performance.now();
  const options = resolveOptions(request);
  const checkpoint = await openCheckpoint(request.model);
  try {
    const source = await openImages(request.data);
    const set = await readCalibrationSet(checkpoint, source, options, hooks.signal);
    if (set.samples < options.samples)
      hooks.note(`${set.name} has ${set.samples} pictures; ${options.samples} were asked for.`);
    const device = await chooseDevice(request.device ?? 'auto');
    const runtime = openRuntime(device, request.threads);
    const programs = openPrograms(runtime);
    try {
      const config = await calibrate(
        programs,
        {
          checkpoint,
          set,
          options,
          out: request.out,
          resume: request.resume ?? false,
          engineVersion: version,
        },
        { signal: hooks.signal, status: (status) => hooks.status(status) },
      );
      const bits = config.bit_groups.flatMap((g) => g.bits).sort((a, b) => b - a);
      return {
        out: request.out,
        device,
        bits,
        samples: set.samples,
        skipped: source.skipped,
        seconds: (performance.now() - started) / 1000,
      };
    } finally {
      await programs.release();
      await runtime.dispose();
    }
  } finally {
    await checkpoint.close();
  }
}

/** The recipe's settings with what the request overrides. */
export function resolveOptions(request: CalibrateRequest): QueptOptions {
  const recipe = request.recipe === 'paper' ? PAPER_VIT : DEFAULT_VIT;
  const bits = request.groups ?? recipe.groups.map((g) => g.bits);
  const { rank = 16 } = request;
  if (typeof rank !== 'number' && rank.length !== bits.length)
    throw new UserError(`${bits.length} bit groups need as many ranks, not ${rank.length}.`);
  const given = Object.fromEntries(
    (['samples', 'epochs', 'batch', 'seed', 'loss', 'merge', 'keep', 'clipStart'] as const).flatMap((key) =>
      request[key] === undefined ? [] : [[key, request[key]]],
    ),
  ) as Partial<QueptOptions>;
  return {
    ...recipe,
    groups: bitGroups(bits, rank),
    mergeWeights: mergeWeights(bits.length),
    ...given,
    ...(request.guard !== undefined && { guard: request.guard === 'on' }),
    rates: {
      lora: request.rateLora ?? recipe.rates.lora,
      clip: request.rateClip ?? recipe.rates.clip,
      scale: request.rateScale ?? recipe.rates.scale,
    },
  };
}

/** Pictures drawn by the seed (all of them, in order, where there are no more), preprocessed into one array. */
async function readCalibrationSet(
  checkpoint: Checkpoint,
  source: ImageSource,
  options: QueptOptions,
  signal: AbortSignal,
): Promise<CalibrationSet> {
  const { image } = checkpoint.model;
  const preprocessor = await readPreprocessor(checkpoint.folder, {
    channels: image.channels,
    imageSize: image,
  });
  const indices = selectRandom(source, options.samples, options.seed);
  const size = image.channels * image.height * image.width;
  const inputs = new Float32Array(indices.length * size);
  let samples = 0;
  for await (const batch of source.batches(indices, options.batch, preprocessor)) {
    if (signal.aborted) throw new CancelledError();
    inputs.set(batch.pixels.subarray(0, batch.count * size), samples * size);
    samples += batch.count;
  }
  return {
    inputs: inputs.subarray(0, samples * size),
    samples,
    name: source.name,
    fingerprint: await source.fingerprint(indices),
  };
}
