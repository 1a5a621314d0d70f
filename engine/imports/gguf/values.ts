/** Tensors of a GGUF file as numbers, whatever type of ggml's they are stored in. */
import type { FileHandle } from 'node:fs/promises';
import { UserError } from '../../errors.js';
import { bfloat16ToFloat32, halfToFloat32 } from '../../formats/floats.js';
import {
  decodeBlocks,
  q2_K,
  q3_K,
  q4_0,
  q4_1,
  q4_K,
  q5_0,
  q5_1,
  q5_K,
  q6_K,
  q8_0,
  type BlockType,
} from '../../formats/gguf/blocks.js';
import type { GgufTensor } from '../../formats/gguf/header.js';
import { show } from '../../formats/paths.js';
import { sizeOf } from '../../graph/ir.js';

export interface StoredType {
  readonly name: string;
  /** Elements and bytes of a block, which lies within a row. */
  readonly elements: number;
  readonly bytes: number;
  /** The values of any number of blocks. */
  decode(this: void, bytes: Uint8Array, out: Float32Array<ArrayBuffer>): void;
}

const words = (bytes: Uint8Array) => new Uint16Array(new Uint8Array(bytes).buffer);

const ofBlocks = (type: Omit<BlockType, 'encode'>): StoredType => ({
  name: type.name,
  elements: type.elements,
  bytes: type.bytes,
  decode: (bytes, out) => decodeBlocks(type, bytes, out),
});

const FLOATS: Readonly<Record<number, StoredType>> = {
  0: {
    name: 'F32',
    elements: 1,
    bytes: 4,
    decode: (bytes, out) => out.set(new Float32Array(new Uint8Array(bytes).buffer)),
  },
  1: { name: 'F16', elements: 1, bytes: 2, decode: (bytes, out) => void halfToFloat32(words(bytes), out) },
  30: {
    name: 'BF16',
    elements: 1,
    bytes: 2,
    decode: (bytes, out) => void bfloat16ToFloat32(words(bytes), out),
  },
};

/** By ggml's number. */
export const TYPES: Readonly<Record<number, StoredType>> = {
  ...FLOATS,
  ...Object.fromEntries(
    [q4_0, q4_1, q5_0, q5_1, q8_0, q2_K, q3_K, q4_K, q5_K, q6_K].map((type) => [type.id, ofBlocks(type)]),
  ),
};

/** The type of a tensor. Throws UserError, beginning with `where`, for one that is not read, and where the tensor does not fit. */
export function typeOf(tensor: GgufTensor, size: number, where: string): StoredType {
  const { name, shape, place } = tensor;
  const type = TYPES[tensor.type];
  if (!type)
    throw new UserError(
      `${where}: the tensor ${show(name)} is of ggml's type ${tensor.type}; read are ${Object.values(TYPES)
        .map((each) => each.name)
        .join(', ')}.`,
    );
  if ((shape.at(-1) ?? 1) % type.elements !== 0)
    throw new UserError(
      `${where}: rows of the tensor ${show(name)} are no whole number of ${type.name}'s blocks.`,
    );
  if (place + bytesOf(tensor, type) > size)
    throw new UserError(`${where}: the tensor ${show(name)} goes on behind the end of the file.`);
  return type;
}

const bytesOf = ({ shape }: GgufTensor, { elements, bytes }: StoredType) =>
  (sizeOf(shape) / elements) * bytes;

/** What is read at once, about. */
const CHUNK_BYTES = 4 << 20;

/** All of a tensor, row-major. Throws as `typeOf`. */
export async function readTensor(
  file: FileHandle,
  tensor: GgufTensor,
  size: number,
  where: string,
): Promise<Float32Array> {
  const type = typeOf(tensor, size, where);
  const total = bytesOf(tensor, type);
  const values = new Float32Array(sizeOf(tensor.shape));
  const step = Math.max(1, Math.floor(CHUNK_BYTES / type.bytes)) * type.bytes;
  for (let done = 0; done < total;) {
    const bytes = new Uint8Array(Math.min(step, total - done));
    const { bytesRead } = await file.read(bytes, 0, bytes.length, tensor.place + done);
    if (bytesRead < bytes.length) throw new UserError(`${where}: ends too early; did it change?`);
    const first = (done / type.bytes) * type.elements;
    type.decode(bytes, values.subarray(first, first + (bytes.length / type.bytes) * type.elements));
    done += bytes.length;
  }
  return values;
}
