/** Quantized weights in GGUF: which tensor type holds one, and its bytes. */
import { float32ToHalf, halfToFloat32 } from '../../formats/floats.js';
import type { GridForm, WeightForm } from '../../quantized/form.js';
import { toFloats, type GridWeight, type QuantizedWeight } from '../../quantized/weight.js';
import { isPlain, withZeroInside, zerosOf, type Zeros } from '../grids.js';
import {
  decodeBlocks,
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
} from '../../formats/gguf/blocks.js';

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

type IsExact = (form: GridForm) => boolean;
const always: IsExact = () => true;
const never: IsExact = () => false;
/** One scale and zero point for a row are the one unit of its super-blocks; several are whole multiples of a unit, or nearly. */
const ofRows: IsExact = ({ groupSize }) => groupSize === -1;
/** Steps between codes and zero points that a byte holds whatever they are. */
const withinBytes: IsExact = (form) => form.bits < (zerosOf(form) === 'half' ? 7 : 8);

/**
 * What a type holds with no more than its scales rounded, or hardly more: codes of so many bits, and of which forms nothing but
 * the rounding of scales is lost. By bytes, the fewest first.
 */
const HOLDING: readonly (readonly [BlockType, most: (zeros: Zeros) => number, IsExact])[] = [
  [q2_K, () => 2, ofRows],
  [q3_K, (zeros) => (zeros === 'whole' ? 3 : 0), never],
  [q4_0, (zeros) => ({ whole: 3, half: 2, any: 0 })[zeros], always],
  [q4_K, () => 4, ofRows],
  [q4_1, () => 4, always],
  [q5_K, () => 5, ofRows],
  [q5_1, () => 5, always],
  [q6_K, (zeros) => (zeros === 'whole' ? 6 : 0), never],
  [q8_0, (zeros) => ({ whole: 8, half: 7, any: 0 })[zeros], withinBytes],
];

interface Typed {
  readonly type: TensorType;
  /** Whether codes go over. */
  readonly isOnGrid: boolean;
  /** Whether zero points do too, and scales in float16. */
  readonly isExact: boolean;
}

/**
 * The smallest type for weights of a form. Those on no grid are rounded again, to 8 bits, and what has rows that no block fits is
 * stored in float16.
 */
export function typeFor(form: WeightForm): Typed {
  if (isPlain(form))
    for (const [type, most, isExact] of HOLDING)
      if (fits(form, type, most)) return { type, isOnGrid: true, isExact: isExact(form) };
  return { type: form.in % q8_0.elements === 0 ? q8_0 : F16, isOnGrid: false, isExact: false };
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
  const { elements, bytes: size } = type;
  const out = new Float32Array((bytes.length / size) * elements);
  decodeBlocks(type as BlockType, bytes, out);
  return out;
}

export const bytesOf = (view: ArrayBufferView): Uint8Array =>
  new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
