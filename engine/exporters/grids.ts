/** Quantized weights made ready for containers of other tools. */
import type { GridForm, WeightForm } from '../quantized/form.js';
import { toFloats, type GridWeight, type QuantizedWeight } from '../quantized/weight.js';

/** Zero points of a grid: whole numbers, halves too, or any. */
export type Zeros = 'whole' | 'half' | 'any';

export function zerosOf({ bits, zeroBits = bits, level }: GridForm): Zeros {
  if (level) return 'any';
  return zeroBits <= bits ? 'whole' : zeroBits === bits + 1 ? 'half' : 'any';
}

/** Whether all values of a weight are on grids of consecutive columns. */
export const isPlain = (form: WeightForm): form is GridForm =>
  form.kind === 'grid' &&
  (form.outliers ?? 0) === 0 &&
  !form.apart &&
  (!form.ordered || form.groupSize === -1);

/**
 * Grids whose zero points are codes, as all containers have them: a grid whose values are all on one side of zero is widened to
 * it, and its values are rounded again. Hardly any calibration makes such.
 */
export function withZeroInside(weight: GridWeight): GridWeight {
  const levels = 2 ** weight.bits - 1;
  const isInside = (z: number) => z >= 0 && z <= levels;
  if (weight.zero.every(isInside)) return weight;
  const [codes, scale, zero] = [weight.codes.slice(), weight.scale.slice(), weight.zero.slice()];
  const [rows, columns] = weight.shape;
  const size = weight.groupSize === -1 ? columns : weight.groupSize;
  const groups = Math.ceil(columns / size);
  weight.zero.forEach((z, group) => {
    if (isInside(z)) return;
    const own = weight.scale[group]!;
    scale[group] = (own * (z < 0 ? levels - z : z)) / levels;
    zero[group] = z < 0 ? 0 : levels;
    const start = Math.floor(group / groups) * columns + (group % groups) * size;
    const end = Math.min(start + size, (Math.floor(group / groups) + 1) * columns, rows * columns);
    for (let i = start; i < end; i++)
      codes[i] = Math.round((own * (codes[i]! - z)) / scale[group]) + zero[group];
  });
  return { ...weight, codes, scale, zero };
}

/** A weight that lies on no grids of consecutive columns, rounded to nearest at 8 bits in groups of so many. */
export function rounded8(weight: QuantizedWeight, groupSize: number): GridWeight {
  const [rows, columns] = weight.shape;
  const floats = toFloats(weight);
  const groups = Math.ceil(columns / groupSize);
  const [scale, zero] = [new Float32Array(rows * groups), new Float32Array(rows * groups).fill(128)];
  const codes = new Uint8Array(floats.length);
  for (let group = 0; group < scale.length; group++) {
    const row = Math.floor(group / groups);
    const start = row * columns + (group % groups) * groupSize;
    const own = floats.subarray(start, Math.min(start + groupSize, (row + 1) * columns));
    const step = own.reduce((most, x) => Math.max(most, Math.abs(x)), 0) / 127;
    scale[group] = step;
    own.forEach((x, i) => (codes[start + i] = 128 + (step > 0 ? Math.round(x / step) : 0)));
  }
  return { kind: 'grid', shape: [rows, columns], bits: 8, codes, groupSize, scale, zero };
}
