/** What a quantized weight takes as it is stored, known without its elements: layout in, bytes out. */
import type { GridWeight, Outliers, QuantizedWeight } from './weight.js';

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
  /** Bits of a zero point, default `bits`; 0 where all are the middle of the codes. */
  readonly zeroBits?: number;
  /** Where scales and zero points are on grids for bands of so many rows: the bits of each. */
  readonly level?: { readonly rows: number; readonly scaleBits: number; readonly zeroBits: number };
  /** Elements kept apart in float16, each with its place. */
  readonly outliers?: number;
  /** Elements on a second grid of their group of columns. */
  readonly apart?: ApartForm;
  /** Whether the order of columns is stored. */
  readonly ordered?: boolean;
}

/** Elements that lie on a grid of their own in each group of columns of a row, their codes in the others' places. */
export interface ApartForm {
  readonly elements: number;
  /** Groups that have any. */
  readonly groups: number;
  /** Of a code, at least the weight's. */
  readonly bits: number;
  readonly zeroBits: number;
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
/** Bits of a whole number below so many. */
export const bitsFor = (values: number) => Math.ceil(Math.log2(Math.max(1, values)));
/** Groups of columns of a row. */
export const groupsOf = ({ in: columns, groupSize }: Pick<WeightForm, 'in' | 'groupSize'>) =>
  groupSize === -1 ? 1 : Math.ceil(columns / groupSize);

/**
 * Bytes of a weight with everything that its values need, each tensor packed without gaps: codes; of every group of columns of a
 * row a float16 scale and a zero point, or their codes and a float16 step and start of each for bands of rows; the order of
 * columns, and outliers as float16 with row and column. Of signs see `binaryBytes`.
 */
export function bytesOf(form: WeightForm): number {
  if (form.kind === 'binary') return binaryBytes(form);
  const { in: columns, out, bits, zeroBits = bits, level, outliers = 0, apart, ordered = false } = form;
  const groups = out * groupsOf(form);
  const statistics = level
    ? bytesOfBits(groups, level.scaleBits) +
      bytesOfBits(groups, level.zeroBits) +
      4 * Math.ceil(out / level.rows) * groupsOf(form) * FLOAT_BYTES
    : groups * FLOAT_BYTES + bytesOfBits(groups, zeroBits);
  return (
    bytesOfBits(out * columns, bits) +
    statistics +
    (apart ? bytesApart(form, apart) : 0) +
    (ordered ? bytesOfBits(columns, bitsFor(columns)) : 0) +
    outliers * FLOAT_BYTES +
    bytesOfBits(outliers, bitsFor(out) + bitsFor(columns))
  );
}

/**
 * A sign of every element, and of those of a second plane; the class of every element outside its columns; which columns those
 * are; in float16, mean and scale per class, and mean and two scales of the columns with two planes, of every group of a row.
 */
function binaryBytes(form: BinaryForm): number {
  const { in: columns, out, classes, second } = form;
  const groups = out * groupsOf(form);
  return (
    bytesOfBits(out * (columns + second), 1) +
    bytesOfBits(out * (columns - second), bitsFor(classes)) +
    (second > 0 ? bytesOfBits(columns, 1) : 0) +
    groups * (2 * classes + (second > 0 ? 3 : 0)) * FLOAT_BYTES
  );
}

/** What a second grid adds: bits that its codes have more, a scale and a zero point where there are any, how many a group has, and where. */
function bytesApart(form: GridForm, { elements, groups, bits, zeroBits }: ApartForm): number {
  const width = Math.min(form.in, form.groupSize === -1 ? form.in : form.groupSize);
  return (
    bytesOfBits(elements, bits - form.bits) +
    groups * FLOAT_BYTES +
    bytesOfBits(groups, zeroBits) +
    form.out * groupsOf(form) * Math.ceil(bitsFor(width + 1) / 8) +
    bytesOfBits(elements, bitsFor(width))
  );
}

/** The average bits per weight of a form, everything stored counted. */
export const bitsPerWeight = (form: WeightForm): number => (8 * bytesOf(form)) / (form.in * form.out);

/** Bits of an outlier as SpQR's authors count: a float16, and as much for its place. */
const STATED_OUTLIER = 32;

/**
 * The average bits per weight as papers count, where that is less than everything stored: of SpQR's form without the order of
 * columns, groups and bands taken for full; of signs these alone (BiLLM). Undefined for other forms.
 */
export function statedBits(form: WeightForm): number | undefined {
  const { in: columns, out } = form;
  if (form.kind === 'binary') return (columns + form.second) / columns;
  if (!form.level) return undefined;
  const { rows, scaleBits, zeroBits } = form.level;
  const perGroup = form.groupSize === -1 ? columns : form.groupSize;
  const starts = (4 * 8 * FLOAT_BYTES) / rows;
  const share = (form.outliers ?? 0) / (columns * out);
  return form.bits + (scaleBits + zeroBits + starts) / perGroup + STATED_OUTLIER * share;
}

/** The form of a weight. A zero point takes as many bits as its values need: none where it is always the middle, else those of a code, one more for halves. */
export function formOf(weight: QuantizedWeight): WeightForm {
  const [out, columns] = weight.shape;
  if (weight.kind === 'binary') {
    const { groupSize, classes, second } = weight;
    return { kind: 'binary', in: columns, out, groupSize, classes, second: second?.columns.length ?? 0 };
  }
  const { bits, groupSize, zero, level, outliers, order } = weight;
  return {
    kind: 'grid',
    in: columns,
    out,
    bits,
    groupSize,
    ...(level
      ? { level: { rows: level.rows, scaleBits: level.scale.bits, zeroBits: level.zero.bits } }
      : { zeroBits: zeroBits(zero, bits) }),
    ...(outliers &&
      (outliers.grid
        ? { apart: apartOf(weight, outliers, outliers.grid) }
        : { outliers: outliers.values.length })),
    ...(order && { ordered: true }),
  };
}

function apartOf(
  { shape: [, columns], groupSize }: GridWeight,
  outliers: Outliers,
  grid: NonNullable<Outliers['grid']>,
): ApartForm {
  const width = groupSize === -1 ? columns : groupSize;
  const perRow = Math.ceil(columns / width);
  const groups = new Set(
    Array.from(outliers.rows, (row, i) => row * perRow + Math.floor(outliers.columns[i]! / width)),
  );
  return { elements: outliers.values.length, groups: groups.size, bits: grid.bits, zeroBits: grid.zeroBits };
}

/** Zero points are whole numbers of the grid; halves take one bit more, and any others 16. */
function zeroBits(zero: Float32Array, bits: number): number {
  if (zero.every((z) => z === 2 ** (bits - 1) - 1)) return 0;
  const isWithin = (x: number) => x >= 0 && x <= 2 ** bits - 1;
  if (zero.every((z) => Number.isInteger(z) && isWithin(z))) return bits;
  return zero.every((z) => Number.isInteger(2 * z) && isWithin(z)) ? bits + 1 : 16;
}
