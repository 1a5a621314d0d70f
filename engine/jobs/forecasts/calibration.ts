/** What a calibration will take. */
import { defaultCacheMemory } from '../../execution/sample-store.js';
import type { AnyMethod, CommonSettings } from '../../methods/method.js';
import type { Checkpoint } from '../../models/checkpoint.js';
import type { Amounts } from './forecast.js';

/**
 * Its activations take memory as far as they may, and a file beyond that. On disk there are at the end the progress and the set.
 * @param samples those that it will see
 */
export function calibrationAmounts(
  checkpoint: Checkpoint,
  { method, settings }: { readonly method: AnyMethod; readonly settings: CommonSettings },
  samples: number,
  cacheMemory = defaultCacheMemory(),
): Amounts {
  const { work, looked, activations, tensors, stored } = method.cost(checkpoint, settings, samples);
  const inMemory = Math.min(activations, cacheMemory);
  return { work, looked, bytes: inMemory + tensors, disk: activations - inMemory + 2 * stored };
}
