/** Codes of a bit-width beside what the 8-bit weight of the same layer rounds to. */
import { STORED_BITS } from './layout.js';

/** Weights on grids: value = scale · (code − zero), a scale and a zero point for each group of columns of a row. */
export interface Grids {
  readonly bits: number;
  /** Columns that share a scale, -1 for whole rows. */
  readonly groupSize: number;
  readonly scale: Float32Array;
  readonly zero: Float32Array;
}

/** Codes of 8 bits, a scale and a zero point for each row. */
export interface Base {
  readonly codes: Uint8Array;
  readonly scale: Float32Array;
  readonly zero: ArrayLike<number>;
}

/** The values of a base, [rows, columns]: scale · (code − zero), rounded to float32. */
export function baseValues({ codes, scale, zero }: Base): Float32Array {
  const values = new Float32Array(codes.length);
  const columns = codes.length / scale.length;
  for (let row = 0, i = 0; row < scale.length; row++)
    for (const end = i + columns; i < end; i++) values[i] = scale[row]! * (codes[i]! - zero[row]!);
  return values;
}

/** Calls `visit` with each element and the grid that it is on. */
export function eachOnGrid(
  length: number,
  columns: number,
  groupSize: number,
  visit: (element: number, grid: number) => void,
): void {
  const perGroup = groupSize === -1 ? columns : groupSize;
  const groups = Math.ceil(columns / perGroup);
  for (let row = 0, i = 0; i < length; row++)
    for (let column = 0; column < columns; column++, i++)
      visit(i, row * groups + Math.floor(column / perGroup));
}

const clamp = (code: number, most: number): number => (code < 0 ? 0 : code > most ? most : code);

/** The codes nearest to some values, [rows, columns]. */
export function nearestCodes(
  values: Float32Array,
  columns: number,
  { bits, groupSize, scale, zero }: Grids,
): Uint8Array {
  const codes = new Uint8Array(values.length);
  const most = 2 ** bits - 1;
  eachOnGrid(values.length, columns, groupSize, (i, grid) => {
    codes[i] = clamp(Math.floor(values[i]! / scale[grid]! + zero[grid]! + 0.5), most);
  });
  return codes;
}

/**
 * The lowest of the 2 (`up`) or 4 (`near`) codes that an element may have: ⌊w / scale + zero⌋, or one less, so that none leaves
 * the grid. In float64. @param values of the base, w
 */
export function firstBeside(
  values: Float32Array,
  columns: number,
  { bits, groupSize, scale, zero }: Grids,
  scheme: 'up' | 'near',
): Uint8Array {
  const first = new Uint8Array(values.length);
  const most = 2 ** bits - 2 ** STORED_BITS[scheme];
  const before = scheme === 'near' ? 1 : 0;
  eachOnGrid(values.length, columns, groupSize, (i, grid) => {
    first[i] = clamp(Math.floor(values[i]! / scale[grid]! + zero[grid]!) - before, most);
  });
  return first;
}
