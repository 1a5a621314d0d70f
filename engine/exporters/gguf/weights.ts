/** Quantized weights in GGUF: which tensor type holds one, and its bytes. */
import { float32ToHalf, halfToFloat32 } from '../../formats/floats.js';
import type { GridForm, WeightForm } from '../../quantized/form.js';
import { toFloats, type GridWeight, type QuantizedWeight } from '../../quantized/weight.js';
import { isPlain, withZeroInside, zerosOf, type Zeros } from '../grids.js';
import {
  encodeBytes,
  q2_K,
  q3_K,
  q4_0,
  q4_1,
  q4_K,
  q5_1,
  q5_K,
  q6_K,
  q8_0,
  type BlockType,
} from './blocks.js';

/** What a matrix is stored as. */
export interface TensorType {
  readonly name: string;
  readonly id: number;
  readonly fileType: number;
  readonly elements: number;
  readonly bytes: number;
}

export const F32: TensorType = { name: 'F32', id: 0, fileType: 0, elements: 1, bytes: 4 };
export const F16: TensorType = { name: 'F16', id: 1, fileType: 1, elements: 1, bytes: 2 };

/** What a type holds with no more than its scales rounded, or hardly more: codes of so many bits. By bytes, the fewest first. */
const HOLDING: readonly (readonly [BlockType, most: (zeros: Zeros) => number])[] = [
  [q2_K, () => 2],
  [q3_K, (zeros) => (zeros === 'whole' ? 3 : 0)],
  [q4_0, (zeros) => ({ whole: 3, half: 2, any: 0 })[zeros]],
  [q4_K, () => 4],
  [q4_1, () => 4],
  [q5_K, () => 5],
  [q5_1, () => 5],
  [q6_K, (zeros) => (zeros === 'whole' ? 6 : 0)],
  [q8_0, (zeros) => ({ whole: 8, half: 7, any: 0 })[zeros]],
];

/**
 * The smallest type for weights of a form; `isOnGrid` where its codes go over. Others are rounded again, to 8 bits, and what has
 * rows that no block fits is stored in float16.
 */
export function typeFor(form: WeightForm): { readonly type: TensorType; readonly isOnGrid: boolean } {
  const found = isPlain(form) && HOLDING.find(([type, most]) => fits(form, type, most));
  if (found) return { type: found[0], isOnGrid: true };
  return { type: form.in % q8_0.elements === 0 ? q8_0 : F16, isOnGrid: false };
}

function fits(form: GridForm, { elements, run }: BlockType, most: (zeros: Zeros) => number): boolean {
  const { bits, groupSize } = form;
  return (
    form.in % elements === 0 && (groupSize === -1 || groupSize % run === 0) && bits <= most(zerosOf(form))
  );
}

/** The bytes of a weight, row by row, as `typeFor` says of its form. */
export function encodeWeight(weight: QuantizedWeight, type: TensorType, isOnGrid: boolean): Uint8Array {
  if (type === F16) return bytesOf(float32ToHalf(toFloats(weight)));
  return isOnGrid
    ? encodeGrids(withZeroInside(weight as GridWeight), type as BlockType)
    : encodeFloats(toFloats(weight));
}

function encodeFloats(values: Float32Array): Uint8Array {
  const { elements, bytes } = q8_0;
  const out = new Uint8Array((values.length / elements) * bytes);
  for (let block = 0; block * elements < values.length; block++)
    encodeBytes(
      values.subarray(block * elements, (block + 1) * elements),
      out.subarray(block * bytes, (block + 1) * bytes),
    );
  return out;
}

function encodeGrids(weight: GridWeight, { elements, bytes, run, encode }: BlockType): Uint8Array {
  const [rows, columns] = weight.shape;
  const groupSize = weight.groupSize === -1 ? columns : weight.groupSize;
  const groups = Math.ceil(columns / groupSize);
  const out = new Uint8Array(((rows * columns) / elements) * bytes);
  const [scale, zero] = [new Float32Array(elements / run), new Float32Array(elements / run)];
  for (let row = 0, at = 0; row < rows; row++)
    for (let column = 0; column < columns; column += elements, at += bytes) {
      for (let j = 0; j < scale.length; j++) {
        const group = row * groups + Math.floor((column + j * run) / groupSize);
        scale[j] = weight.scale[group]!;
        zero[j] = weight.zero[group]!;
      }
      const start = row * columns + column;
      const grids = { codes: weight.codes.subarray(start, start + elements), scale, zero };
      encode(grids, out.subarray(at, at + bytes));
    }
  return out;
}

/** The values that a reader of the file makes of such bytes. */
export function decodeWeight(bytes: Uint8Array, type: TensorType): Float32Array {
  if (type === F16) return halfToFloat32(new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2));
  const { elements, bytes: size, decode } = type as BlockType;
  const out = new Float32Array((bytes.length / size) * elements);
  for (let block = 0; block * size < bytes.length; block++)
    decode(
      bytes.subarray(block * size, (block + 1) * size),
      out.subarray(block * elements, (block + 1) * elements),
    );
  return out;
}

export const bytesOf = (view: ArrayBufferView): Uint8Array =>
  new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
