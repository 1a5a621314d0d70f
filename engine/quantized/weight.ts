/**
 * A weight matrix as data: what sizes, sessions, exporters and tests read of any method. Codes have one byte each; how
 * they are packed belongs to files (`packing.ts`) and exporters.
 */

/** Single elements that are kept apart and replace the grid's values. */
export interface Outliers {
  readonly rows: Uint32Array;
  readonly columns: Uint32Array;
  readonly values: Float32Array;
  /** Bits of codes and zero points where those of each group of columns lie on a grid of their own; else they are numbers. */
  readonly grid?: { readonly bits: number; readonly zeroBits: number };
}

/** A statistic of all grids on grids of its own: step · (code − start), each operation rounded to float32. */
export interface GriddedStatistic {
  /** 1 to 8. */
  readonly bits: number;
  /** One per grid: [out · groups]. */
  readonly codes: Uint8Array;
  /** One per group of columns of a band of rows: [⌈out / rows⌉ · groups], such as float16 holds. */
  readonly step: Float32Array;
  readonly start: Float32Array;
}

/** Scales and zero points that are themselves on grids, for bands of so many rows (SpQR). */
export interface SecondLevel {
  readonly rows: number;
  readonly scale: GriddedStatistic;
  readonly zero: GriddedStatistic;
}

/** W [out, in] on uniform grids: Ŵ = scale · (code − zero), each operation rounded to float32. */
export interface GridWeight {
  readonly kind: 'grid';
  readonly shape: readonly [out: number, columns: number];
  /** 1 to 8. */
  readonly bits: number;
  /** [out, in], each 0 to 2^bits − 1. */
  readonly codes: Uint8Array;
  /** Columns that share a scale, the last group as many as are left; -1 for whole rows. */
  readonly groupSize: number;
  /** One per group of columns of a row: [out · ⌈in / groupSize⌉]. */
  readonly scale: Float32Array;
  /** As many; whole numbers, halves, or any others. */
  readonly zero: Float32Array;
  /** What `scale` and `zero` are made of, where they are on grids (`statisticValues`). */
  readonly level?: SecondLevel;
  /** The order in which columns were put into groups, where a method sorted them: the i-th is column `order[i]`. */
  readonly order?: Uint32Array;
  readonly outliers?: Outliers;
}

/**
 * W [out, in] as signs: an element is mean + scale · sign of its row, group of columns and class; in the columns of `second`
 * it is, of its row and group of columns, mean + scale · sign, plus scale · sign of a second plane.
 */
export interface BinaryWeight {
  readonly kind: 'binary';
  readonly shape: readonly [out: number, columns: number];
  /** [out, in], 1 for +, 0 for −. */
  readonly signs: Uint8Array;
  /** Classes of elements that have statistics of their own, at least 1. */
  readonly classes: number;
  /** [out, in], each below `classes`; 0 in the columns of `second`. */
  readonly classOf: Uint8Array;
  /** Columns of a group, -1 for whole rows. */
  readonly groupSize: number;
  /** [out · groups · classes] */
  readonly scale: Float32Array;
  readonly mean: Float32Array;
  /** Columns approximated by two planes. */
  readonly second?: {
    /** Ascending. */
    readonly columns: Uint32Array;
    /** Of the second plane, [out, columns.length]. */
    readonly signs: Uint8Array;
    /** [out · groups], as the scales of both planes. */
    readonly mean: Float32Array;
    readonly scales: readonly [first: Float32Array, second: Float32Array];
  };
}

export type QuantizedWeight = GridWeight | BinaryWeight;

/** The i-th value of a statistic [out · groups]. @param rows of a band */
export function statisticValue(
  { codes, step, start }: GriddedStatistic,
  i: number,
  groups: number,
  rows: number,
): number {
  const at = Math.floor(Math.floor(i / groups) / rows) * groups + (i % groups);
  return Math.fround(step[at]! * Math.fround(codes[i]! - start[at]!));
}

export const statisticValues = (own: GriddedStatistic, groups: number, rows: number): Float32Array =>
  Float32Array.from(own.codes, (_, i) => statisticValue(own, i, groups, rows));

/** The weight in float32, [out, in]. */
export function toFloats(weight: QuantizedWeight): Float32Array {
  return weight.kind === 'grid' ? gridFloats(weight) : binaryFloats(weight);
}

function gridFloats({ shape: [out, n], codes, scale, zero, groupSize, order, outliers }: GridWeight) {
  const perGroup = groupSize === -1 ? n : groupSize;
  const groups = Math.ceil(n / perGroup);
  const groupOf = new Uint32Array(n);
  for (let i = 0; i < n; i++) groupOf[order?.[i] ?? i] = Math.floor(i / perGroup);
  const floats = new Float32Array(out * n);
  for (let row = 0; row < out; row++)
    for (let column = 0; column < n; column++) {
      const grid = row * groups + groupOf[column]!;
      floats[row * n + column] = scale[grid]! * Math.fround(codes[row * n + column]! - zero[grid]!);
    }
  outliers?.values.forEach((value, i) => {
    floats[outliers.rows[i]! * n + outliers.columns[i]!] = value;
  });
  return floats;
}

function binaryFloats({ shape: [out, n], groupSize, ...weight }: BinaryWeight): Float32Array {
  const perGroup = groupSize === -1 ? n : groupSize;
  const groups = Math.ceil(n / perGroup);
  const floats = new Float32Array(out * n);
  for (let row = 0; row < out; row++)
    for (let column = 0; column < n; column++) {
      const at = row * n + column;
      const group = row * groups + Math.floor(column / perGroup);
      const own = group * weight.classes + weight.classOf[at]!;
      floats[at] = weight.mean[own]! + weight.scale[own]! * (2 * weight.signs[at]! - 1);
    }
  const { second } = weight;
  second?.columns.forEach((column, i) => {
    const [first, other] = second.scales;
    for (let row = 0; row < out; row++) {
      const group = row * groups + Math.floor(column / perGroup);
      const sign = 2 * weight.signs[row * n + column]! - 1;
      const otherSign = 2 * second.signs[row * second.columns.length + i]! - 1;
      floats[row * n + column] =
        Math.fround(second.mean[group]! + first[group]! * sign) + other[group]! * otherSign;
    }
  });
  return floats;
}
