import { basename } from 'node:path';
import { UserError } from '../errors.js';
import { decodeUtf8, expectObject, expectObjectAt, expectString, parseJsonStrict } from './json.js';
import type { JsonObject } from './json.js';
import { show } from './paths.js';

export type SafetensorsDType = 'F64' | 'F32' | 'F16' | 'BF16' | 'I64' | 'I32' | 'I16' | 'I8' | 'U8' | 'BOOL';

/** Bytes of one element, by dtype. */
export const DTYPE_BYTES: ReadonlyMap<string, number> = new Map<SafetensorsDType, number>([
  ['F64', 8],
  ['F32', 4],
  ['F16', 2],
  ['BF16', 2],
  ['I64', 8],
  ['I32', 4],
  ['I16', 2],
  ['I8', 1],
  ['U8', 1],
  ['BOOL', 1],
]);

/** Whether something is known of a dtype. */
export const isKnownDtype = (dtype: string): dtype is SafetensorsDType => DTYPE_BYTES.has(dtype);

/** Of elements that can be read as float32. */
export const isFloat = ({ dtype }: Pick<TensorInfo, 'dtype'>): boolean =>
  ['F64', 'F32', 'F16', 'BF16'].includes(dtype);

/** Where one tensor lies. `offset` counts from the start of `file`, in bytes; the data is row-major. */
export interface TensorInfo {
  readonly name: string;
  /** A `SafetensorsDType`, or another that nothing is known of: such tensors can be copied, and no more. */
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly file: string;
  readonly offset: number;
  readonly byteLength: number;
}

export interface SafetensorsHeader {
  /** In the order of their offsets. */
  readonly tensors: readonly TensorInfo[];
  readonly metadata: ReadonlyMap<string, string>;
}

/**
 * Reads the JSON header of a safetensors file. `header` is its bytes, `dataBytes` what follows it up to
 * the end of the file. Ensures that every tensor has a shape that agrees with its bytes, where its dtype is known,
 * and that the tensors cover the data exactly, without overlap or hole.
 */
export function parseSafetensorsHeader(
  header: Uint8Array,
  dataBytes: number,
  file: string,
): SafetensorsHeader {
  const where = basename(file);
  if (header[0] !== 0x7b) throw new UserError(`${where}: not a safetensors file (its header is not JSON).`);
  const root = expectObject(parseJsonStrict(decodeUtf8(header, where), where), where);
  const metadata = new Map<string, string>();
  const tensors: TensorInfo[] = [];
  const dataStart = 8 + header.length;
  for (const name of Object.keys(root)) {
    if (name === '__metadata__') {
      const entries = expectObjectAt(root, name, where);
      for (const key of Object.keys(entries))
        metadata.set(key, expectString(entries, key, `${where}: __metadata__`));
    } else {
      tensors.push(parseTensor(name, expectObjectAt(root, name, where), dataStart, dataBytes, file));
    }
  }
  tensors.sort((a, b) => a.offset - b.offset || a.byteLength - b.byteLength);
  let end = dataStart;
  for (const { name, offset, byteLength } of tensors) {
    if (offset < end) throw new UserError(`${where}: tensor ${show(name)} overlaps the tensor before it.`);
    if (offset > end)
      throw new UserError(`${where}: ${offset - end} bytes before tensor ${show(name)} belong to no tensor.`);
    end = offset + byteLength;
  }
  if (end !== dataStart + dataBytes)
    throw new UserError(
      `${where}: the last ${dataStart + dataBytes - end} bytes of the file belong to no tensor.`,
    );
  return { tensors, metadata };
}

function parseTensor(
  name: string,
  entry: JsonObject,
  dataStart: number,
  dataBytes: number,
  file: string,
): TensorInfo {
  const where = `${basename(file)}: tensor ${show(name)}`;
  const { dtype, shape, data_offsets: offsets } = entry;
  const size = typeof dtype === 'string' ? DTYPE_BYTES.get(dtype) : undefined;
  if (typeof dtype !== 'string' || !/^\w{1,24}$/.test(dtype))
    throw new UserError(`${where} has the invalid dtype ${show(dtype, 24)}.`);
  if (!Array.isArray(shape) || !shape.every(isCount))
    throw new UserError(`${where} has the invalid shape ${show(shape, 40)}.`);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount))
    throw new UserError(`${where} has invalid data_offsets ${show(offsets, 40)}.`);
  const [begin, end] = offsets as [number, number];
  if (begin > end || end > dataBytes)
    throw new UserError(
      `${where} lies at bytes ${begin} to ${end}, but the file holds 0 to ${dataBytes}; is it cut off?`,
    );
  const byteLength = size === undefined ? end - begin : byteLengthOf(shape, size);
  if (byteLength === undefined) throw new UserError(`${where} is too large: shape ${show(shape, 40)}.`);
  if (byteLength !== end - begin)
    throw new UserError(
      `${where} has ${end - begin} bytes, but ${show(dtype)} ${show(shape, 40)} needs ${byteLength}.`,
    );
  return { name, dtype, shape, file, offset: dataStart + begin, byteLength };
}

/** Bytes of a tensor of `shape` with `size` bytes per element; undefined where a product passes 2^53. */
export function byteLengthOf(shape: readonly number[], size: number): number | undefined {
  let product = size;
  for (const dimension of shape) {
    product *= dimension;
    if (!Number.isSafeInteger(product)) return undefined;
  }
  return product;
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0;
