import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { fileError } from '../formats/paths.js';
import type { RawImage } from './resize.js';

/** A picture left out, and why. */
export interface Skipped {
  readonly name: string;
  readonly reason: string;
}

/** A listing of pictures of one kind, before any preprocessing: what an `ImageSource` is made of. */
export interface PictureSet {
  readonly name: string;
  readonly kind: 'folder' | 'idx' | 'parquet';
  readonly length: number;
  /** The names of labels 0, 1, …, where the set has them. */
  readonly classNames?: readonly string[];
  /** The label of each picture, -1 where it has none; absent where no picture has one. */
  readonly labels?: Int32Array;
  /** What the listing left out. */
  readonly skipped: readonly Skipped[];
  /** What messages call picture `index`. */
  nameOf(index: number): string;
  /** The size of the file that reading a picture takes, where each has one. Rejects with a `UserError` as `read` does. */
  bytes?(index: number): Promise<number>;
  /** The encoded or decoded picture. Rejects with a `UserError` where it cannot be read. */
  read(index: number): Promise<Uint8Array | RawImage>;
  /** A text that changes when the picture, its name or its place in the set does. */
  identity(index: number): Promise<string>;
  /** Drops what is held in memory. */
  close(): void;
}

export const sha256 = (data: Uint8Array | string): string => createHash('sha256').update(data).digest('hex');

/** In the order of their UTF-16 units: the same on every system, whatever its language. */
export const byName = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** The first `length` bytes of the file `path`, or all of a shorter one. */
export const readStart = (path: string, length: number): Promise<Buffer> =>
  withFile(path, (file) => readAt(file, 0, length));

const RANGES = 16;
const RANGE_BYTES = 1 << 16;

/**
 * A hash (hex sha256) of a file's size and content: of all of it up to 1 MiB, above that of 16 ranges of 64
 * KiB spread evenly from the first byte to the last.
 */
export const hashFile = (path: string): Promise<string> =>
  withFile(path, async (file) => {
    const { size } = await file.stat();
    const hash = createHash('sha256').update(`${size}\n`);
    if (size <= RANGES * RANGE_BYTES) return hash.update(await readAt(file, 0, size)).digest('hex');
    for (let i = 0; i < RANGES; i++) {
      const start = Math.floor(((size - RANGE_BYTES) * i) / (RANGES - 1));
      hash.update(await readAt(file, start, RANGE_BYTES));
    }
    return hash.digest('hex');
  });

async function readAt(file: FileHandle, start: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await file.read(buffer, 0, length, start);
  return buffer.subarray(0, bytesRead);
}

async function withFile<T>(path: string, use: (file: FileHandle) => Promise<T>): Promise<T> {
  let file: FileHandle | undefined;
  try {
    file = await open(path);
    return await use(file);
  } catch (error) {
    throw fileError(error, 'read', path);
  } finally {
    await file?.close();
  }
}
