import { readFile, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { constants, gunzip } from 'node:zlib';
import { messageOf, UserError } from '../errors.js';
import { fileError, sizeOfFile } from '../formats/paths.js';
import { readStart, sha256 } from './picture-set.js';
import type { PictureSet } from './picture-set.js';

/** An IDX file of bytes (element type 0x08): its dimensions and its content in row-major order. */
export interface Idx {
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

/**
 * The pictures of the IDX file `path` (images `[N, H, W]` or `[N, H, W, C]` with 1, 3 or 4 channels, bytes,
 * also gzipped), all in memory, with the labels of the file beside it whose name says `labels` and `idx1`
 * where this one says `images` and `idx3`; without such a file, unlabelled.
 */
export async function openIdx(path: string): Promise<PictureSet> {
  const name = basename(path);
  const { shape, data } = await readIdx(path);
  if (shape.length === 1)
    throw new UserError(`${name} holds labels, not pictures: name the images file beside it.`);
  const [length, height, width, channels = 1] = shape as [number, number, number, number?];
  if (![1, 3, 4].includes(channels))
    throw new UserError(`${name}: pictures of ${channels} channels are not supported (1, 3 or 4 are).`);
  const labels = await readLabels(path, length);
  const size = height * width * channels;
  const pictureAt = (index: number) => data.subarray(index * size, (index + 1) * size);
  return {
    name,
    kind: 'idx',
    length,
    ...(labels && { labels }),
    skipped: [],
    nameOf: (index) => `${name} picture ${index}`,
    read: (index) => Promise.resolve({ data: pictureAt(index), width, height, channels }),
    identity: (index) => Promise.resolve(`${height}x${width}x${channels} ${sha256(pictureAt(index))}`),
    close: () => undefined,
  };
}

/** Whether `name` is that of an IDX images file: `train-images-idx3-ubyte.gz` and the like. */
export const isIdxImagesName = (name: string): boolean =>
  !name.startsWith('.') && /idx[34]/i.test(name) && !/\.txt$/i.test(name);

/** Whether a file that starts with `start` (4 bytes or more) may be IDX, gzipped or not. */
export const looksLikeIdx = (start: Uint8Array): boolean =>
  isGzip(start) || (start[0] === 0 && start[1] === 0 && start[2] === ELEMENT_BYTE);

/**
 * Reads and checks an IDX file of bytes. Memory is bounded by the header's own claim, and that by what a
 * file of this size can hold: a gzip file that unpacks to more or less than its header says is an error.
 */
export async function readIdx(path: string): Promise<Idx> {
  const name = basename(path);
  const fileSize = await sizeOfFile(path);
  const start = await readStart(path, 4096);
  const gzipped = isGzip(start);
  const header = gzipped ? await unpack(start, name, { finishFlush: constants.Z_SYNC_FLUSH }) : start;
  const { shape, offset } = parseHeader(header, name);
  const expected = offset + shape.reduce((product, size) => product * size, 1);
  if (expected > MAX_BYTES)
    throw new UserError(`${name}: its header claims ${expected} bytes; up to ${MAX_BYTES} are supported.`);
  const atMost = gzipped ? fileSize * MAX_DEFLATE_RATIO : fileSize;
  if (atMost < expected) throw sizeError(name, gzipped ? 'far less' : `${fileSize}`, expected);
  if (!gzipped && fileSize > expected) throw sizeError(name, `${fileSize}`, expected);

  const content = await readWhole(path);
  const bytes = gzipped ? await unpack(content, name, { maxOutputLength: expected }, expected) : content;
  if (bytes.length !== expected) throw sizeError(name, `${bytes.length}`, expected);
  return { shape, data: bytes.subarray(offset) };
}

const ELEMENT_BYTE = 0x08;
const MAX_BYTES = 2 ** 31 - 1;
/** No deflate stream unpacks to more than this many times its size. */
const MAX_DEFLATE_RATIO = 1032;

const isGzip = (bytes: Uint8Array) => bytes[0] === 0x1f && bytes[1] === 0x8b;

const sizeError = (name: string, found: string, expected: number) =>
  new UserError(`${name}: its header claims ${expected} bytes, but there are ${found}; the file is damaged.`);

function parseHeader(bytes: Buffer, name: string): { shape: number[]; offset: number } {
  const rank = bytes[3] ?? 0;
  const offset = 4 + 4 * rank;
  if (bytes.length < 4) throw new UserError(`${name}: ends within its header.`);
  if (bytes[0] !== 0 || bytes[1] !== 0) throw new UserError(`${name}: not an IDX file.`);
  if (bytes[2] !== ELEMENT_BYTE || ![1, 3, 4].includes(rank))
    throw new UserError(
      `${name}: IDX of ${rank} dimensions and element type 0x${bytes[2]!.toString(16).padStart(2, '0')} is not supported; images have 3 or 4, labels 1, of bytes (0x08).`,
    );
  if (bytes.length < offset) throw new UserError(`${name}: ends within its header.`);
  const shape = Array.from({ length: rank }, (_, i) => bytes.readUInt32BE(4 + 4 * i));
  if (shape.includes(0)) throw new UserError(`${name}: is empty (${shape.join(' × ')}).`);
  return { shape, offset };
}

async function unpack(
  bytes: Uint8Array,
  name: string,
  options: { finishFlush?: number; maxOutputLength?: number },
  expected = 0,
): Promise<Buffer> {
  try {
    return await promisify<Uint8Array, object, Buffer>(gunzip)(bytes, options);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ERR_BUFFER_TOO_LARGE') throw sizeError(name, 'more', expected);
    if (code === 'Z_BUF_ERROR') throw sizeError(name, 'fewer', expected);
    throw new UserError(`${name}: damaged gzip data (${messageOf(error)}).`, { cause: error });
  }
}

async function readWhole(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    throw fileError(error, 'read', path);
  }
}

async function readLabels(imagesPath: string, length: number): Promise<Int32Array | undefined> {
  const path = await findLabels(imagesPath);
  if (path === undefined) return undefined;
  const { shape, data } = await readIdx(path);
  const name = basename(path);
  if (shape.length !== 1) throw new UserError(`${name}: holds pictures where labels were expected.`);
  if (data.length !== length)
    throw new UserError(
      `${name} holds ${data.length} labels, but ${basename(imagesPath)} holds ${length} pictures.`,
    );
  return Int32Array.from(data);
}

async function findLabels(imagesPath: string): Promise<string | undefined> {
  const images = basename(imagesPath);
  const labels = images.replace(/images/i, 'labels').replace(/idx[34]/i, 'idx1');
  if (labels === images) return undefined;
  const other = /\.gz$/i.test(labels) ? labels.slice(0, -3) : `${labels}.gz`;
  for (const name of [labels, other]) {
    const path = join(dirname(imagesPath), name);
    const stats = await stat(path).catch(() => undefined);
    if (stats?.isFile()) return path;
  }
  return undefined;
}
