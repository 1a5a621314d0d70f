/** Image classification: pictures to the classes of their contents. */
import { openImages } from '../data/images.js';
import { readPreprocessor } from '../data/preprocessor.js';
import { selectFirst, selectRandom } from '../data/select.js';
import { CancelledError } from '../errors.js';
import { meanDivergence } from '../execution/logit-divergence.js';
import type { SampleCache } from '../execution/sample-store.js';
import type { Checkpoint } from '../models/checkpoint.js';
import type { VisionModel } from '../models/model.js';
import { evaluatePictures, measurePictures } from './pictures/evaluate.js';
import { picturePredictor } from './pictures/predict.js';
import type { Draw, ReadSet, Task } from './task.js';

export const imageClassification: Task<VisionModel> = {
  name: 'image-classification',
  words: { model: 'an image classifier', data: 'pictures' },
  sensitivity: { samples: 128, batch: 32 },
  hasLength: false,
  sharesData: true,
  distance: meanDivergence,
  count: async (path, samples) => Math.min(samples, (await openImages(path)).length),
  read: readPictures,
  evaluate: evaluatePictures,
  predictor: picturePredictor,
  measure: measurePictures,
};

/** Pictures (all of them where there are no more), preprocessed. */
async function readPictures(
  { folder, model: { image, family } }: Checkpoint<VisionModel>,
  path: string,
  options: Draw,
  cache: SampleCache,
  signal: AbortSignal,
): Promise<ReadSet> {
  const source = await openImages(path);
  const preprocessor = await readPreprocessor(folder, { channels: image.channels, imageSize: image, family });
  const indices = options.first
    ? selectFirst(source, options.samples)
    : selectRandom(source, options.samples, options.seed);
  const size = image.channels * image.height * image.width;
  const pixels = cache.store(indices.length, size);
  let samples = 0;
  for await (const batch of source.batches(indices, options.batch, preprocessor)) {
    if (signal.aborted) throw new CancelledError();
    const next = Array.from({ length: batch.count }, (_, i) => samples + i);
    pixels.write(next, batch.pixels.subarray(0, batch.count * size));
    samples += batch.count;
  }
  const set = {
    inputs: { ...pixels, samples },
    name: source.name,
    fingerprint: await source.fingerprint(indices),
  };
  return { set, skipped: source.skipped };
}
