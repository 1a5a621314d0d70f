import { createHash } from 'node:crypto';
import { stageFile } from './atomic.js';
import type { StagedFile } from './atomic.js';
import { float32ToBfloat16, float32ToHalf } from './floats.js';
import { show } from './paths.js';
import { byteLengthOf, DTYPE_BYTES } from './safetensors-header.js';
import type { SafetensorsDType } from './safetensors-header.js';

/**
 * Elements of one tensor, row-major: the typed array of its dtype; the raw little-endian bytes; or, for
 * F16 and BF16, a `Float32Array`, which is rounded half to even.
 */
export type SafetensorsData =
  | Float64Array
  | Float32Array
  | Uint16Array
  | BigInt64Array
  | Int32Array
  | Int16Array
  | Int8Array
  | Uint8Array;

export interface SafetensorsLayout {
  readonly name: string;
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
}

/** A tensor to write. Give `data` as a function to have it made only when its turn comes. */
export interface SafetensorsEntry extends SafetensorsLayout {
  readonly data: SafetensorsData | (() => SafetensorsData | Promise<SafetensorsData>);
}

/** What was written: its size, and the SHA-256 of all its bytes as 64 hex digits. */
export interface WrittenFile {
  readonly byteLength: number;
  readonly sha256: string;
}

/**
 * Writes a safetensors file atomically, one tensor at a time. The bytes depend on the content alone, not on
 * the order given: tensors lie by falling element size, then by name (UTF-16 code units), metadata by key;
 * the header is padded with spaces so that the data starts at a multiple of 8.
 */
export async function writeSafetensors(
  path: string,
  tensors: Iterable<SafetensorsEntry>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<WrittenFile> {
  const { staged, ...written } = await stageSafetensors(path, tensors, metadata);
  await staged.commit();
  return written;
}

/** `writeSafetensors` up to the rename. */
export async function stageSafetensors(
  path: string,
  tensors: Iterable<SafetensorsEntry>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<WrittenFile & { readonly staged: StagedFile }> {
  const entries = inOrder(tensors);
  const header = buildHeader(entries, metadata);
  const hash = createHash('sha256');
  let byteLength = 0;
  async function* pieces(): AsyncGenerator<Uint8Array> {
    for await (const piece of rawPieces(header, entries)) {
      hash.update(piece);
      byteLength += piece.byteLength;
      yield piece;
    }
  }
  const staged = await stageFile(path, pieces());
  return { staged, byteLength, sha256: hash.digest('hex') };
}

/** The bytes of the file that `writeSafetensors` makes of such tensors, known without their elements. */
export function safetensorsBytes(
  tensors: Iterable<SafetensorsLayout>,
  metadata: Readonly<Record<string, string>> = {},
): number {
  const entries = inOrder(tensors);
  return entries.reduce((sum, entry) => sum + entryBytes(entry), buildHeader(entries, metadata).length);
}

const inOrder = <T extends SafetensorsLayout>(tensors: Iterable<T>): T[] =>
  [...tensors].sort(
    (a, b) => elementBytes(b) - elementBytes(a) || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0),
  );

async function* rawPieces(
  header: Uint8Array,
  entries: readonly SafetensorsEntry[],
): AsyncGenerator<Uint8Array> {
  yield header;
  for (const entry of entries) {
    const data = typeof entry.data === 'function' ? await entry.data() : entry.data;
    const bytes = encode(entry, data);
    if (bytes.byteLength !== entryBytes(entry))
      throw new Error(
        `Tensor ${entry.name}: ${bytes.byteLength} bytes for ${entry.dtype} [${entry.shape.join(', ')}].`,
      );
    yield bytes;
  }
}

function buildHeader(
  entries: readonly SafetensorsLayout[],
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  const fields: string[] = [];
  const keys = Object.keys(metadata).sort();
  if (keys.length > 0) {
    const pairs = keys.map((key) => `${JSON.stringify(key)}:${JSON.stringify(metadata[key])}`);
    fields.push(`"__metadata__":{${pairs.join(',')}}`);
  }
  let offset = 0;
  const names = new Set(['__metadata__', '__proto__']);
  for (const entry of entries) {
    if (names.has(entry.name)) throw new Error(`Tensor name ${show(entry.name)} is taken.`);
    names.add(entry.name);
    const { name, dtype, shape } = entry;
    const end = offset + entryBytes(entry);
    fields.push(`${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [offset, end] })}`);
    offset = end;
  }
  const json = new TextEncoder().encode(`{${fields.join(',')}}`);
  const padded = Math.ceil(json.length / 8) * 8;
  const header = new Uint8Array(8 + padded).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(padded), true);
  header.set(json, 8);
  return header;
}

const elementBytes = (entry: SafetensorsLayout): number => DTYPE_BYTES.get(entry.dtype)!;

function entryBytes(entry: SafetensorsLayout): number {
  const bytes = byteLengthOf(entry.shape, elementBytes(entry));
  if (bytes === undefined) throw new Error(`Tensor ${entry.name}: impossible shape.`);
  return bytes;
}

function encode(entry: SafetensorsEntry, data: SafetensorsData): Uint8Array {
  const { dtype } = entry;
  if (data instanceof Float32Array && dtype === 'F16') return bytesOf(float32ToHalf(data));
  if (data instanceof Float32Array && dtype === 'BF16') return bytesOf(float32ToBfloat16(data));
  if (!(data instanceof Uint8Array) && !accepts(dtype, data))
    throw new Error(`Tensor ${entry.name}: a ${data.constructor.name} does not hold ${dtype}.`);
  return bytesOf(data);
}

function accepts(dtype: SafetensorsDType, data: SafetensorsData): boolean {
  switch (dtype) {
    case 'F64':
      return data instanceof Float64Array;
    case 'F32':
      return data instanceof Float32Array;
    case 'F16':
    case 'BF16':
      return data instanceof Uint16Array;
    case 'I64':
      return data instanceof BigInt64Array;
    case 'I32':
      return data instanceof Int32Array;
    case 'I16':
      return data instanceof Int16Array;
    case 'I8':
      return data instanceof Int8Array;
    case 'U8':
    case 'BOOL':
      return data instanceof Uint8Array;
  }
}

const bytesOf = (view: ArrayBufferView): Uint8Array =>
  new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
