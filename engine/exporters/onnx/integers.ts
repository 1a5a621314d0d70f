/** Quantized weights as `MatMulInteger` reads them: an integer of 8 bits each, columns first, a scale for each row. */
import type { WeightForm } from '../../quantized/form.js';
import type { GridWeight } from '../../quantized/weight.js';
import { isPlain, zerosOf } from '../grids.js';

export interface Integers {
  /** Signed ones have their zero points taken off, and are twice as fast on processors that multiply 8 bits by 8. */
  readonly type: 'int8' | 'uint8';
  /** Steps of the integers in one of the grid: 2 where zero points are halves. */
  readonly parts: 1 | 2;
}

/** Kernels of older x86 processors add two products of uint8 and int8 in 16 bits, and saturate beyond. */
const MOST_SUM = 2 ** 15 - 1;

/**
 * How weights of a form are held whose inputs have as many bits; undefined where 8 bits a weight and a scale a row are not enough.
 * They are signed where no pair of products saturates.
 */
export function integersFor(form: WeightForm): Integers | undefined {
  if (!isPlain(form)) return undefined;
  const zeros = zerosOf(form);
  const parts = zeros === 'half' ? 2 : 1;
  const most = 2 ** form.bits - 1;
  const isWhole = form.groupSize === -1 || form.groupSize >= form.in;
  if (!isWhole || zeros === 'any' || most * parts > 255) return undefined;
  return { type: 2 * most * most * parts <= MOST_SUM ? 'int8' : 'uint8', parts };
}

/** Shapes of the tensors of a weight [out, in]. */
export const integerShapes = ({ in: columns, out }: Pick<WeightForm, 'in' | 'out'>) =>
  ({ integers: [columns, out], scales: [out], zeros: [out] }) as const;

/** `zeros` are of unsigned integers; signed ones need none. */
export function packIntegers(held: GridWeight, { type, parts }: Integers) {
  const [out, columns] = held.shape;
  const integers = type === 'int8' ? new Int8Array(out * columns) : new Uint8Array(out * columns);
  for (let row = 0; row < out; row++) {
    const taken = type === 'int8' ? held.zero[row]! : 0;
    for (let column = 0; column < columns; column++)
      integers[column * out + row] = (held.codes[row * columns + column]! - taken) * parts;
  }
  return {
    integers,
    scales: Float32Array.from(held.scale, (scale) => scale / parts),
    zeros: Uint8Array.from(held.zero, (zero) => zero * parts),
  };
}
