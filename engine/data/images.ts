import { createHash } from 'node:crypto';
import { basename, join, resolve } from 'node:path';
import { UserError } from '../errors.js';
import { statPath } from '../formats/paths.js';
import { readImage } from './decode.js';
import { listFolder, openFolder } from './folder.js';
import { isIdxImagesName, looksLikeIdx, openIdx } from './idx.js';
import type { ImageBatch, ImageSource } from './image-source.js';
import { openParquet, parquetSplits, splitAt } from './parquet.js';
import { readStart } from './picture-set.js';
import type { PictureSet, Skipped } from './picture-set.js';
import type { Preprocessor } from './preprocessor.js';

const SUPPORTED =
  'a folder of PNG, JPEG or WebP pictures (one subfolder per class), IDX files or Parquet files with embedded pictures';

/**
 * Opens the pictures at `path`: an IDX or Parquet file, a folder with one IDX images file or the Parquet files
 * of one split, or a folder of pictures. `FOLDER/train` stands for `FOLDER/train-00000-of-00002.parquet` and
 * so on. `UserError` for anything else, with what is supported.
 */
export async function openImages(path: string): Promise<ImageSource> {
  return sourceOf(await openSet(path));
}

async function openSet(path: string): Promise<PictureSet> {
  const split = await splitAt(path);
  if (split) return openParquet(basename(resolve(path)), split);
  const stats = await statPath(path);
  if (stats.isFile()) return openFile(path);
  if (!stats.isDirectory()) throw new UserError(`${path} is neither a file nor a folder.`);

  const names = (await listFolder(path)).filter((entry) => !entry.isDirectory()).map((entry) => entry.name);
  const splits = [...parquetSplits(names)];
  const images = names.filter(isIdxImagesName);
  const choices = [...splits.map(([name, files]) => name || files[0]!), ...images];
  if (choices.length > 1)
    throw new UserError(
      `${path} holds several sets of pictures; name one: ${choices.map((name) => join(path, name)).join(', ')}.`,
    );
  if (images[0] !== undefined) return openIdx(join(path, images[0]));
  if (splits[0])
    return openParquet(
      basename(resolve(path)),
      splits[0][1].map((name) => join(path, name)),
    );
  return openFolder(path);
}

async function openFile(path: string): Promise<PictureSet> {
  const start = await readStart(path, 4);
  if (start.toString('latin1') === 'PAR1') return openParquet(basename(path), [path]);
  if (looksLikeIdx(start)) return openIdx(path);
  throw new UserError(`${path} is not a set of pictures; supported are ${SUPPORTED}.`);
}

function sourceOf(set: PictureSet): ImageSource {
  const skipped = new Map(set.skipped.map((item) => [item.name, item]));
  return {
    name: set.name,
    kind: set.kind,
    length: set.length,
    ...(set.classNames && { classNames: set.classNames }),
    ...(set.labels && { labels: set.labels }),
    labelled: set.labels?.some((label) => label >= 0) ?? false,
    get skipped() {
      return [...skipped.values()];
    },
    fingerprint: async (indices = Array.from({ length: set.length }, (_, index) => index)) => {
      const hash = createHash('sha256').update(`pictures 1 ${set.kind} ${indices.length}\n`);
      for (const index of indices) {
        checkIndex(set, index);
        hash.update(`${JSON.stringify([await set.identity(index), set.labels?.[index] ?? -1])}\n`);
      }
      return hash.digest('hex');
    },
    batches: (indices, batchSize, preprocessor) =>
      readBatches(set, skipped, indices, batchSize, preprocessor),
    close: () => {
      set.close();
      return Promise.resolve();
    },
  };
}

/** Pictures read and decoded ahead: as many as the threads that decode. */
const AHEAD = 4;

async function* readBatches(
  set: PictureSet,
  skipped: Map<string, Skipped>,
  indices: Iterable<number>,
  batchSize: number,
  preprocessor: Preprocessor,
): AsyncGenerator<ImageBatch> {
  if (!Number.isInteger(batchSize) || batchSize < 1)
    throw new RangeError(`A batch of ${batchSize} pictures.`);
  const { channels, output } = preprocessor;
  const size = channels * output.height * output.width;
  const pixels = new Float32Array(batchSize * size);
  const labels = new Int32Array(batchSize);
  let [count, read] = [0, 0];
  let failure: Skipped | undefined;
  for await (const { index, outcome } of readAhead(set, indices, preprocessor)) {
    if (outcome instanceof UserError) {
      failure = { name: set.nameOf(index), reason: outcome.message };
      skipped.set(failure.name, failure);
      continue;
    }
    pixels.set(outcome, count * size);
    labels[count] = set.labels?.[index] ?? -1;
    count++;
    read++;
    if (count < batchSize) continue;
    yield { pixels: pixels.slice(), labels: labels.slice(), count };
    count = 0;
  }
  if (count > 0) yield { pixels: pixels.slice(0, count * size), labels: labels.slice(0, count), count };
  if (read === 0 && failure)
    throw new UserError(`No picture of ${set.name} could be read; ${failure.name}: ${failure.reason}`);
}

interface Reading {
  readonly index: number;
  readonly outcome: Float32Array | UserError;
}

/** In the order of `indices`, while the next few are under way. What is not a `UserError` is thrown in turn. */
async function* readAhead(
  set: PictureSet,
  indices: Iterable<number>,
  preprocessor: Preprocessor,
): AsyncGenerator<Reading> {
  const waiting: Promise<Reading>[] = [];
  for (const index of indices) {
    const reading = readOne(set, index, preprocessor);
    reading.catch(() => undefined);
    waiting.push(reading);
    if (waiting.length >= AHEAD) yield await waiting.shift()!;
  }
  for (const reading of waiting) yield await reading;
}

async function readOne(set: PictureSet, index: number, preprocessor: Preprocessor): Promise<Reading> {
  checkIndex(set, index);
  try {
    const bytes = await set.bytes?.(index);
    return { index, outcome: await readImage(() => set.read(index), bytes, preprocessor) };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return { index, outcome: error };
  }
}

function checkIndex(set: PictureSet, index: number): void {
  if (!Number.isInteger(index) || index < 0 || index >= set.length)
    throw new RangeError(`Picture ${index} of ${set.length}.`);
}
