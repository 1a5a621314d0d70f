/** A calibration set: from a path to samples as the model reads them. */
import { openImages } from '../data/images.js';
import { readPreprocessor } from '../data/preprocessor.js';
import { samplesIn, type SampleCache } from '../execution/sample-store.js';
import { selectFirst, selectRandom } from '../data/select.js';
import { openText } from '../data/text/source.js';
import { openTokenizer, requireVocabulary } from '../data/text/tokenizer.js';
import { readWindows } from '../data/text/windows.js';
import { CancelledError } from '../errors.js';
import type { CalibrationSet } from '../methods/method.js';
import type { Checkpoint } from '../models/checkpoint.js';
import { requireVision, type LanguageModel } from '../models/model.js';
import type { CalibrateResult } from '../protocol/protocol.js';

/** How a calibration set is drawn. */
export interface Draw {
  readonly samples: number;
  readonly seed: number;
  /** Samples that are read at once. */
  readonly batch: number;
  /** Whether pictures are the first of the data rather than drawn by the seed. */
  readonly first?: boolean;
}

interface ReadSet {
  readonly set: CalibrationSet;
  readonly skipped: CalibrateResult['skipped'];
}

/** The samples that a calibration with these settings sees. */
export const readCalibrationSet = (
  checkpoint: Checkpoint,
  path: string,
  draw: Draw,
  cache: SampleCache,
  signal: AbortSignal,
): Promise<ReadSet> =>
  checkpoint.model.task === 'text-generation'
    ? readText(checkpoint, checkpoint.model, path, draw)
    : readPictures(checkpoint, path, draw, cache, signal);

/** Pictures (all of them where there are no more), preprocessed. */
async function readPictures(
  checkpoint: Checkpoint,
  path: string,
  options: Draw,
  cache: SampleCache,
  signal: AbortSignal,
): Promise<ReadSet> {
  const { image } = requireVision(checkpoint.model, checkpoint.name, 'calibrate');
  const source = await openImages(path);
  const preprocessor = await readPreprocessor(checkpoint.folder, {
    channels: image.channels,
    imageSize: image,
  });
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

/** The first windows of a text, as token ids. */
async function readText(
  checkpoint: Checkpoint,
  model: LanguageModel,
  path: string,
  options: Draw,
): Promise<ReadSet> {
  const tokenizer = await openTokenizer(checkpoint.folder);
  requireVocabulary(tokenizer, model.vocabulary);
  const source = await openText(path);
  const { ids, count } = await readWindows(source, tokenizer, {
    count: options.samples,
    length: model.tokens,
  });
  const inputs = samplesIn(BigInt64Array.from(ids, BigInt), count);
  return {
    set: { inputs, name: source.name, fingerprint: await source.fingerprint() },
    skipped: source.skipped,
  };
}
