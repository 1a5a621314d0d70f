/** The weights of a model's folder, whichever file they are in. */
import { join } from 'node:path';
import { elasticWeights, isElastic } from './elastic.js';
import { isThere } from './paths.js';
import { openSafetensors, type TensorSource } from './safetensors.js';
import { TENSORS_FILE } from './set.js';

/**
 * Those of `model.safetensors` or its shards; where neither is there, those of an elastic file. Throws UserError as
 * `openSafetensors`.
 */
export async function openWeights(
  folder: string,
): Promise<{ readonly weights: TensorSource; readonly isElastic: boolean }> {
  const elastic = await openElastic(folder);
  return elastic
    ? { weights: elastic, isElastic: true }
    : { weights: await openSafetensors(folder), isElastic: false };
}

/** The weights of the elastic file in a folder; undefined where none is, or one of a checkpoint stands before it. */
async function openElastic(folder: string): Promise<TensorSource | undefined> {
  const path = join(folder, TENSORS_FILE);
  if (
    (await isThere(join(folder, 'model.safetensors'))) ||
    (await isThere(join(folder, 'model.safetensors.index.json')))
  )
    return undefined;
  if (!(await isThere(path))) return undefined;
  const source = await openSafetensors(path);
  try {
    if (isElastic(source)) return elasticWeights(source, TENSORS_FILE);
  } catch (error) {
    await source.close();
    throw error;
  }
  await source.close();
  return undefined;
}

/** Whether a folder holds an elastic file, and so a model with its own adapter set. */
export async function holdsElastic(folder: string): Promise<boolean> {
  const found = await openElastic(folder);
  await found?.close();
  return found !== undefined;
}
