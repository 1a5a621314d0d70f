/**
 * A weight matrix as data: what sizes, sessions, exporters and tests read of any method. Codes have one byte each; how
 * they are packed belongs to files (`packing.ts`) and exporters.
 */

/** Single elements that are kept as they are and replace the grid's values. */
export interface Outliers {
  readonly rows: Uint32Array;
  readonly columns: Uint32Array;
  readonly values: Float32Array;
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
  /** As many; whole numbers, or halves. */
  readonly zero: Float32Array;
  /** The order in which columns were put into groups, where a method sorted them: the i-th is column `order[i]`. */
  readonly order?: Uint32Array;
  readonly outliers?: Outliers;
}

/**
 * W [out, in] as signs: every element is mean + scale · sign of its row, group of columns and class, plus, in the columns
 * of `second`, scale · sign of a second plane.
 */
export interface BinaryWeight {
  readonly kind: 'binary';
  readonly shape: readonly [out: number, columns: number];
  /** [out, in], 1 for +, 0 for −. */
  readonly signs: Uint8Array;
  /** Classes of elements that have statistics of their own, at least 1. */
  readonly classes: number;
  /** [out, in], each below `classes`. */
  readonly classOf: Uint8Array;
  /** Columns of a group, -1 for whole rows. */
  readonly groupSize: number;
  /** [out · groups · classes] */
  readonly scale: Float32Array;
  readonly mean: Float32Array;
  /** Columns approximated by two planes: signs [out, columns.length], scale [out · groups]. */
  readonly second?: {
    readonly columns: Uint32Array;
    readonly signs: Uint8Array;
    readonly scale: Float32Array;
  };
}

export type QuantizedWeight = GridWeight | BinaryWeight;

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
    for (let row = 0; row < out; row++)
      floats[row * n + column]! +=
        second.scale[row * groups + Math.floor(column / perGroup)]! *
        (2 * second.signs[row * second.columns.length + i]! - 1);
  });
  return floats;
}
