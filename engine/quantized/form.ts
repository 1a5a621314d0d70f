/** What a quantized weight takes as it is stored, known without its elements: layout in, bytes out. */
import type { QuantizedWeight } from './weight.js';

/** Of a float16: scales, statistics, and what stays in floating point. */
export const FLOAT_BYTES = 2;

/** The layout of a `GridWeight`. */
export interface GridForm {
  readonly kind: 'grid';
  readonly in: number;
  readonly out: number;
  readonly bits: number;
  /** Columns that share a scale, -1 for whole rows. */
  readonly groupSize: number;
  /** Bits of a zero point, default `bits`. */
  readonly zeroBits?: number;
  /** Elements kept apart in float16, each with its place. */
  readonly outliers?: number;
  /** Whether the order of columns is stored. */
  readonly ordered?: boolean;
}

/** The layout of a `BinaryWeight`. */
export interface BinaryForm {
  readonly kind: 'binary';
  readonly in: number;
  readonly out: number;
  readonly groupSize: number;
  readonly classes: number;
  /** Columns that have a second plane. */
  readonly second: number;
}

export type WeightForm = GridForm | BinaryForm;

const bytesOfBits = (count: number, bits: number) => Math.ceil((count * bits) / 8);
const bitsFor = (values: number) => Math.ceil(Math.log2(Math.max(1, values)));
const groupsOf = ({ in: columns, groupSize }: Pick<WeightForm, 'in' | 'groupSize'>) =>
  groupSize === -1 ? 1 : Math.ceil(columns / groupSize);

/**
 * Bytes of a weight with everything that its values need, each tensor packed without gaps: codes, a float16 scale and a
 * zero point per group of columns of a row, the order of columns, and outliers as float16 with row and column.
 */
export function bytesOf(form: WeightForm): number {
  const { in: columns, out } = form;
  const groups = out * groupsOf(form);
  if (form.kind === 'binary') {
    const { classes, second } = form;
    const statistics = 2 * groups * classes + (second > 0 ? groups : 0);
    return (
      bytesOfBits(out * (columns + second), 1) +
      bytesOfBits(out * columns, bitsFor(classes)) +
      (second > 0 ? bytesOfBits(columns, 1) : 0) +
      statistics * FLOAT_BYTES
    );
  }
  const { bits, zeroBits = bits, outliers = 0, ordered = false } = form;
  return (
    bytesOfBits(out * columns, bits) +
    groups * FLOAT_BYTES +
    bytesOfBits(groups, zeroBits) +
    (ordered ? bytesOfBits(columns, bitsFor(columns)) : 0) +
    outliers * FLOAT_BYTES +
    bytesOfBits(outliers, bitsFor(out) + bitsFor(columns))
  );
}

/** The average bits per weight of a form, everything stored counted. */
export const bitsPerWeight = (form: WeightForm): number => (8 * bytesOf(form)) / (form.in * form.out);

/** The form of a weight. A zero point takes as many bits as its values need: those of a code, one more for halves. */
export function formOf(weight: QuantizedWeight): WeightForm {
  const [out, columns] = weight.shape;
  if (weight.kind === 'binary') {
    const { groupSize, classes, second } = weight;
    return { kind: 'binary', in: columns, out, groupSize, classes, second: second?.columns.length ?? 0 };
  }
  const { bits, groupSize, zero, outliers, order } = weight;
  return {
    kind: 'grid',
    in: columns,
    out,
    bits,
    groupSize,
    zeroBits: zeroBits(zero, bits),
    ...(outliers && { outliers: outliers.values.length }),
    ...(order && { ordered: true }),
  };
}

/** Zero points are whole numbers of the grid; halves take one bit more, and any others 16. */
function zeroBits(zero: Float32Array, bits: number): number {
  const isWithin = (x: number) => x >= 0 && x <= 2 ** bits - 1;
  if (zero.every((z) => Number.isInteger(z) && isWithin(z))) return bits;
  return zero.every((z) => Number.isInteger(2 * z) && isWithin(z)) ? bits + 1 : 16;
}
