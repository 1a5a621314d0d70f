import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parquetWriteBuffer } from 'hyparquet-writer';
import sharp from 'sharp';
import type { Sharp } from 'sharp';
import { onTestFinished } from 'vitest';
import type { ImageBatch, ImageSource } from './image-source.js';
import { parsePreprocessor } from './preprocessor.js';
import type { Preprocessor } from './preprocessor.js';
import type { RawImage } from './resize.js';

/** A folder that lasts as long as the test that asks for it. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'elastic-precision-data-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Bytes without any pattern, the same each time. */
export function noise(height: number, width: number, channels: number): RawImage {
  const data = Uint8Array.from(
    { length: height * width * channels },
    (_, i) => Math.imul(i, 2654435761) >>> 24,
  );
  return { data, width, height, channels };
}

/** `image` for sharp to encode. */
export const encoder = ({ data, width, height, channels }: RawImage): Sharp =>
  sharp(data, { raw: { width, height, channels: channels as 1 | 2 | 3 | 4 } });

/** A grey PNG of `height` × `width` pixels of `value`. */
export const greyPng = (value: number, height = 2, width = 2): Promise<Buffer> =>
  encoder({ data: new Uint8Array(height * width).fill(value), height, width, channels: 1 })
    .toColourspace('b-w')
    .png()
    .toBuffer();

/** An IDX file of bytes. */
export function idxFile(shape: readonly number[], data: Uint8Array, type = 0x08): Buffer {
  const header = Buffer.alloc(4 + 4 * shape.length);
  header.set([0, 0, type, shape.length]);
  shape.forEach((size, i) => header.writeUInt32BE(size, 4 + 4 * i));
  return Buffer.concat([header, data]);
}

/** A Parquet file as the hub writes one: `image` {bytes, path}, `label`, class names in its metadata. */
export function parquetFile(
  pictures: readonly ({ bytes: Uint8Array | null; path: string } | null)[],
  labels: readonly (number | null)[],
  options: { rowGroupSize?: number; names?: readonly string[] } = {},
): Buffer {
  const info = {
    features: { image: { _type: 'Image' }, label: { _type: 'ClassLabel', names: options.names } },
  };
  return Buffer.from(
    parquetWriteBuffer({
      columnData: [
        { name: 'image', data: [...pictures] },
        { name: 'label', data: [...labels] },
      ],
      schema: [
        { name: 'schema', num_children: 2 },
        { name: 'image', num_children: 2, repetition_type: 'OPTIONAL' },
        { name: 'bytes', type: 'BYTE_ARRAY', repetition_type: 'OPTIONAL' },
        { name: 'path', type: 'BYTE_ARRAY', converted_type: 'UTF8', repetition_type: 'OPTIONAL' },
        { name: 'label', type: 'INT32', repetition_type: 'OPTIONAL' },
      ],
      rowGroupSize: options.rowGroupSize ?? 2,
      ...(options.names && { kvMetadata: [{ key: 'huggingface', value: JSON.stringify({ info }) }] }),
    }),
  );
}

/** A preprocessor for a model of one channel. */
export const parsed = (config: object, imageSize: number): Preprocessor =>
  parsePreprocessor(config, { channels: 1, imageSize, family: 'vit' }, 'test');

/** Bytes as they are, `size` × `size` of them: pixels can be compared with what was written. */
export const plain = (size = 2): Preprocessor =>
  parsed({ do_resize: false, do_rescale: false, do_normalize: false }, size);

export async function readAll(
  source: ImageSource,
  indices: Iterable<number>,
  batchSize = 4,
  preprocessor: Preprocessor = plain(),
): Promise<ImageBatch[]> {
  const batches: ImageBatch[] = [];
  for await (const batch of source.batches(indices, batchSize, preprocessor)) batches.push(batch);
  return batches;
}

/** The first pixel of every picture read. */
export const firstPixels = (batches: readonly ImageBatch[]): number[] =>
  batches.flatMap(({ pixels, count }) =>
    Array.from({ length: count }, (_, i) => pixels[(i * pixels.length) / count]!),
  );
