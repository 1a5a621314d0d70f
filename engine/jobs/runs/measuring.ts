/** What measurements of an adapter set share: the model, the set and the samples, opened and closed. */
import { defaultCacheMemory, openSampleCache, type SampleCache } from '../../execution/sample-store.js';
import { openAdapterSet, requireMatch, type AdapterSet } from '../../methods/sets.js';
import type { CalibrationSet } from '../../methods/method.js';
import { openCheckpoint, type Checkpoint } from '../../models/checkpoint.js';
import { taskOf } from '../../tasks/registry.js';
import type { Task } from '../../tasks/task.js';
import type { JobHooks, MeasuringRequest } from '../requests.js';

export interface Measuring {
  readonly original: Checkpoint;
  readonly adapters: AdapterSet;
  readonly task: Task;
  readonly set: CalibrationSet;
  /** Samples that run at once. */
  readonly batch: number;
  readonly cache: SampleCache;
}

/**
 * Throws UserError for a set of another model, and for unfit data.
 * @param folder where activations lie that do not fit in memory
 */
export async function withMeasuring<T>(
  request: MeasuringRequest,
  folder: string,
  { signal, note }: Pick<JobHooks<'sensitivity'>, 'signal' | 'note'>,
  use: (measuring: Measuring) => Promise<T>,
): Promise<T> {
  const { length } = request;
  const original = await openCheckpoint(request.model, length === undefined ? {} : { tokens: length });
  try {
    original.warnings.forEach((line) => note(line));
    const task = taskOf(original, request);
    const adapters = await openAdapterSet(request.adapters);
    try {
      await requireMatch(original, adapters, request.adapters);
      const cache = await openSampleCache(request.cacheMemory ?? defaultCacheMemory(), folder);
      try {
        const usual = task.sensitivity;
        const batch = request.batch ?? usual.batch;
        const draw = { samples: request.samples ?? usual.samples, seed: adapters.config.seed, batch };
        const { set } = await task.read(original, request.data, draw, cache, signal);
        return await use({ original, adapters, task, set, batch, cache });
      } finally {
        cache.close();
      }
    } finally {
      await adapters.close();
    }
  } finally {
    await original.close();
  }
}
