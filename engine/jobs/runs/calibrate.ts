/** The calibrate job: from paths and settings to an adapter set. */
import { dirname, resolve } from 'node:path';
import { defaultCacheMemory, openSampleCache, type SampleCache } from '../../execution/sample-store.js';
import { UserError } from '../../errors.js';
import { calibrate, type CalibrationStatus } from '../../methods/quept/calibrate.js';
import { mergeWeights } from '../../methods/quept/merge.js';
import {
  bitGroups,
  defaultGroups,
  DEFAULT_TEXT,
  DEFAULT_TEXT_ACTIVATIONS,
  DEFAULT_VIT,
  PAPER_TEXT,
  PAPER_TEXT_ACTIVATIONS,
  PAPER_VIT,
  ranksOf,
  type QueptOptions,
} from '../../methods/quept/options.js';
import { openCheckpoint, type Checkpoint } from '../../models/checkpoint.js';
import type { Model } from '../../models/model.js';
import { chooseDevice } from '../../runtime/devices.js';
import { openPrograms } from '../../runtime/programs.js';
import { openRuntime } from '../../runtime/session.js';
import { readCalibrationSet } from '../calibration-set.js';
import { peakMemory } from '../memory.js';
import { version } from '../../version.js';
import type { JobHooks } from '../requests.js';
import type { CalibrateRequest, CalibrateResult, Status } from '../../protocol/protocol.js';

export async function runCalibrate(
  request: CalibrateRequest,
  hooks: JobHooks<'calibrate'>,
): Promise<CalibrateResult> {
  const checkpoint = await openCheckpoint(
    request.model,
    request.length === undefined ? {} : { tokens: request.length },
  );
  try {
    const options = resolveOptions(request, checkpoint.model.task);
    const memory = request.cacheMemory ?? defaultCacheMemory();
    const cache = await openSampleCache(memory, dirname(resolve(request.out)));
    try {
      return await calibrateWith(cache, checkpoint, options, request, hooks);
    } finally {
      cache.close();
    }
  } finally {
    await checkpoint.close();
  }
}

async function calibrateWith(
  cache: SampleCache,
  checkpoint: Checkpoint,
  options: QueptOptions,
  request: CalibrateRequest,
  hooks: JobHooks<'calibrate'>,
): Promise<CalibrateResult> {
  const started = performance.now();
  const { set, skipped } = await readCalibrationSet(checkpoint, request.data, options, cache, hooks.signal);
  const { samples } = set.inputs;
  if (samples < options.samples)
    hooks.note(`${set.name} has ${samples} samples; ${options.samples} were asked for.`);
  const device = await chooseDevice(request.device ?? 'auto');
  const runtime = openRuntime(device, request.threads);
  const programs = openPrograms(runtime);
  try {
    const { out, resume = false } = request;
    const task = { checkpoint, set, options, out, resume, cache, engineVersion: version };
    const config = await calibrate(programs, task, {
      signal: hooks.signal,
      status: (status) => hooks.status(statusOf(status)),
    });
    const bits = config.bit_groups.flatMap((g) => g.bits).sort((a, b) => b - a);
    const seconds = (performance.now() - started) / 1000;
    return { out, device, bits, samples, skipped, seconds, peakMemory: peakMemory() };
  } finally {
    await programs.release();
    await runtime.dispose();
  }
}

/** A calibration's status as a job's. */
export function statusOf(status: CalibrationStatus): Status {
  const { block, blocks, epoch, epochs, done, groups, losses } = status;
  return {
    done,
    phase: `block ${block + 1}/${blocks}, epoch ${Math.min(epoch + 1, epochs)}/${epochs}`,
    place: block,
    ...(losses && {
      series: losses.map((value, g) => ({ label: `loss at ${groups[g]!.join('/')} bits`, value })),
    }),
  };
}

/** The recipe's settings with what the request overrides. */
export function resolveOptions(
  request: Omit<CalibrateRequest, 'data' | 'out'>,
  task: Model['task'] = 'image-classification',
): QueptOptions {
  const recipe = recipesOf(task, request.mode)[request.recipe ?? 'default'];
  if (request.bits && request.groups) throw new UserError('Name either bit-widths or bit groups, not both.');
  const bits =
    request.groups ??
    (request.bits && defaultGroups([...new Set(request.bits)], recipe.apart)) ??
    recipe.groups.map((g) => g.bits);
  // A group apart from the others needs more directions of its own.
  const { rank: asked = recipe.groups[0]!.rank } = request;
  const rank = typeof asked === 'number' ? ranksOf(bits, asked, recipe.apart) : asked;
  if (rank.length !== bits.length)
    throw new UserError(`${bits.length} bit groups need as many ranks, not ${rank.length}.`);
  const given = Object.fromEntries(
    (['samples', 'epochs', 'batch', 'seed', 'loss', 'merge', 'keep', 'clipStart', 'kvBits'] as const).flatMap(
      (key) => (request[key] === undefined ? [] : [[key, request[key]]]),
    ),
  ) as Partial<QueptOptions>;
  return {
    ...recipe,
    groups: bitGroups(bits, rank),
    mergeWeights: mergeWeights(bits.length),
    ...given,
    ...(request.guard !== undefined && { guard: request.guard === 'on' }),
    ...(request.smooth !== undefined && { smooth: request.smooth === 'on' }),
    ...(request.rotation !== undefined && { rotate: request.rotation === 'on' }),
    rates: {
      lora: request.rateLora ?? recipe.rates.lora,
      clip: request.rateClip ?? recipe.rates.clip,
      scale: request.rateScale ?? recipe.rates.scale,
    },
  };
}

function recipesOf(task: Model['task'], mode?: QueptOptions['mode']) {
  if (task === 'text-generation')
    return mode === 'weight-activation'
      ? { paper: PAPER_TEXT_ACTIVATIONS, default: DEFAULT_TEXT_ACTIVATIONS }
      : { paper: PAPER_TEXT, default: DEFAULT_TEXT };
  if (mode === 'weight-only')
    throw new UserError(
      'The mode "weight-only" is for language models; pictures are calibrated in weight-activation.',
    );
  return { paper: PAPER_VIT, default: DEFAULT_VIT };
}
