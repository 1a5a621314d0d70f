/** The container of GGUF, version 3: keys and values, where tensors lie, and the tensors; all numbers little-endian. */
import type { TensorType } from './weights.js';

const TYPES = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8 } as const;
const ARRAY = 9;
const MAGIC = 'GGUF';
const VERSION = 3;
export const ALIGNMENT = 32;

export type GgufValue =
  | { readonly type: 'u32' | 'i32' | 'f32'; readonly value: number | readonly number[] }
  | { readonly type: 'bool'; readonly value: boolean }
  | { readonly type: 'string'; readonly value: string | readonly string[] };

/** In the order in which they are written. */
export type Metadata = readonly (readonly [key: string, GgufValue])[];

export const u32 = (value: number): GgufValue => ({ type: 'u32', value });
export const f32 = (value: number): GgufValue => ({ type: 'f32', value });
export const text = (value: string | readonly string[]): GgufValue => ({ type: 'string', value });

export interface GgufLayout {
  readonly name: string;
  /** As the checkpoint has it, rows first. */
  readonly shape: readonly number[];
  readonly type: TensorType;
}

export interface GgufTensor extends GgufLayout {
  /** Its bytes, made when its turn comes. */
  readonly data: () => Promise<Uint8Array>;
}

export const bytesOfTensor = ({ shape, type }: GgufLayout): number =>
  (shape.reduce((a, b) => a * b, 1) / type.elements) * type.bytes;

const aligned = (bytes: number) => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;

/** The size of a file. */
export const ggufBytes = (metadata: Metadata, tensors: readonly GgufLayout[]): number =>
  tensors.reduce((sum, tensor) => sum + aligned(bytesOfTensor(tensor)), header(metadata, tensors).length);

/** The bytes of a file, tensor by tensor. */
export async function* ggufPieces(
  metadata: Metadata,
  tensors: readonly GgufTensor[],
): AsyncGenerator<Uint8Array> {
  yield header(metadata, tensors);
  for (const tensor of tensors) {
    const data = await tensor.data();
    const size = bytesOfTensor(tensor);
    if (data.length !== size) throw new Error(`Tensor ${tensor.name}: ${data.length} bytes for ${size}.`);
    yield data;
    yield new Uint8Array(aligned(size) - size);
  }
}

function header(metadata: Metadata, tensors: readonly GgufLayout[]): Buffer {
  const pieces: Uint8Array[] = [Buffer.from(MAGIC), number('u32', VERSION), u64(tensors.length)];
  pieces.push(u64(metadata.length));
  for (const [key, { type, value }] of metadata) {
    const items: readonly (number | boolean | string)[] = Array.isArray(value) ? value : [value];
    pieces.push(string(key));
    if (Array.isArray(value))
      pieces.push(number('u32', ARRAY), number('u32', TYPES[type]), u64(items.length));
    else pieces.push(number('u32', TYPES[type]));
    for (const item of items) pieces.push(scalar(type, item));
  }
  let offset = 0;
  for (const tensor of tensors) {
    const { name, shape, type } = tensor;
    pieces.push(string(name), number('u32', shape.length), ...[...shape].reverse().map(u64));
    pieces.push(number('u32', type.id), u64(offset));
    offset += aligned(bytesOfTensor(tensor));
  }
  const bytes = Buffer.concat(pieces);
  return Buffer.concat([bytes, new Uint8Array(aligned(bytes.length) - bytes.length)]);
}

function scalar(type: GgufValue['type'], value: number | boolean | string): Uint8Array {
  if (type === 'string') return string(value as string);
  return type === 'bool' ? Uint8Array.of(value ? 1 : 0) : number(type, value as number);
}

function string(value: string): Uint8Array {
  const bytes = Buffer.from(value);
  return Buffer.concat([u64(bytes.length), bytes]);
}

function number(type: 'u32' | 'i32' | 'f32', value: number): Uint8Array {
  const bytes = Buffer.alloc(4);
  if (type === 'u32') bytes.writeUInt32LE(value);
  else if (type === 'i32') bytes.writeInt32LE(value);
  else bytes.writeFloatLE(value);
  return bytes;
}

function u64(value: number): Uint8Array {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}
