/** Quantized weights as ONNX Runtime's `MatMulNBits` reads them: codes and zero points in 2, 4 or 8 bits, scales in float32. */
import type { WeightForm } from '../../quantized/form.js';
import type { GridWeight, QuantizedWeight } from '../../quantized/weight.js';
import { isPlain, rounded8, withZeroInside, zerosOf } from '../grids.js';

export interface NBits {
  readonly bits: 2 | 4 | 8;
  /** Columns that share a scale: a power of two, 16 to 256. */
  readonly block: number;
  /** Steps of the container in one of the grid: 2 where zero points are halves. */
  readonly parts: 1 | 2;
  /** Whether codes go over; else values are rounded again. */
  readonly isOnGrid: boolean;
}

/** Kernels are for blocks up to these; larger ones load slowly or not at all. */
const MOST_BLOCK = { 2: 128, 4: 128, 8: 256 } as const;
const LEAST_BLOCK = 16;
/** Of weights that are rounded again. */
const ROUNDED: NBits = { bits: 8, block: 32, parts: 1, isOnGrid: false };

/** The smallest container for weights of a form. @param least its fewest bits */
export function nbitsFor(form: WeightForm, least: NBits['bits'] = 2): NBits {
  if (!isPlain(form)) return ROUNDED;
  const zeros = zerosOf(form);
  const needed = Math.max(least, form.bits + (zeros === 'half' ? 1 : 0));
  if (zeros === 'any' || needed > 8) return ROUNDED;
  const bits = needed <= 2 ? 2 : needed <= 4 ? 4 : 8;
  const { in: columns, groupSize } = form;
  // Any power of two that whole rows, or groups, are made of; the last block of a row may be longer than what is left.
  const whole = groupSize === -1 ? 2 ** Math.ceil(Math.log2(columns)) : groupSize & -groupSize;
  if (groupSize !== -1 && whole < LEAST_BLOCK) return ROUNDED;
  const block = Math.max(LEAST_BLOCK, Math.min(MOST_BLOCK[bits], whole));
  return { bits, block, parts: zeros === 'half' ? 2 : 1, isOnGrid: true };
}

/** Shapes of the three tensors of a weight [out, in]. */
export function nbitsShapes({ bits, block }: NBits, { in: columns, out }: Pick<WeightForm, 'in' | 'out'>) {
  const blocks = Math.ceil(columns / block);
  return {
    integers: [out, blocks, (block * bits) / 8],
    scales: [out * blocks],
    zeros: [out * Math.ceil((blocks * bits) / 8)],
  } as const;
}

/** What a container holds of a weight: as `nbitsFor` says of its form. */
export const heldInNBits = (weight: QuantizedWeight, { isOnGrid, block }: NBits): GridWeight =>
  isOnGrid ? withZeroInside(weight as GridWeight) : rounded8(weight, block);

/** Integers fill bytes from the lowest bits; each block, and each row of zero points, begins with a byte. */
export function packNBits(held: GridWeight, nbits: NBits) {
  const { bits, block, parts } = nbits;
  const [out, columns] = held.shape;
  const shapes = nbitsShapes(nbits, { in: columns, out });
  const [, blocks, blob] = shapes.integers;
  const integers = new Uint8Array(out * blocks * blob);
  const scales = new Float32Array(out * blocks);
  const zeros = new Uint8Array(shapes.zeros[0]);
  const zeroBytes = zeros.length / out;
  const groupSize = held.groupSize === -1 ? columns : held.groupSize;
  const groups = Math.ceil(columns / groupSize);
  const perByte = 8 / bits;
  for (let row = 0; row < out; row++) {
    for (let b = 0; b < blocks; b++) {
      const group = row * groups + Math.floor((b * block) / groupSize);
      scales[row * blocks + b] = held.scale[group]! / parts;
      zeros[row * zeroBytes + Math.floor(b / perByte)]! |=
        (held.zero[group]! * parts) << (bits * (b % perByte));
    }
    for (let column = 0; column < columns; column++) {
      const at = (row * blocks + Math.floor(column / block)) * blob + Math.floor((column % block) / perByte);
      integers[at]! |= (held.codes[row * columns + column]! * parts) << (bits * (column % perByte));
    }
  }
  return { integers, scales, zeros };
}
