/** Grids of weights: how they are searched, and how a number is put on one. */
import { smallestStep } from '../../graph/quantizers.js';

/** How a weight is laid out on grids at a bit-width. */
export interface Layout {
  readonly bits: number;
  /** Columns that share a scale, -1 for whole rows. */
  readonly groupSize: number;
  /** Whether zero points may be halves. */
  readonly halves: boolean;
}

/** A scale and a zero point per group of columns of a row: [out · groups]. */
export interface Grids {
  readonly scale: Float32Array;
  readonly zero: Float32Array;
}

export const groupsOf = (columns: number, groupSize: number): number =>
  groupSize === -1 ? 1 : Math.ceil(columns / groupSize);

/** 1.5 · 2⁵²: float64 numbers of this size are whole, so that adding it rounds, half to even. */
const WHOLE = 1.5 * 2 ** 52;
export const rounded = (x: number): number => x + WHOLE - WHOLE;

const float = new Float32Array(1);
const word = new Uint32Array(float.buffer);

/** A step as a set stores scales: the nearest bfloat16, which keeps float32's range. */
export function asStored(x: number): number {
  float[0] = x;
  word[0] = (word[0]! + 0x7fff + ((word[0]! >>> 16) & 1)) & 0xffff0000;
  return float[0];
}

/** The code nearest to x / scale, from `least` to `most`. */
export const codeOf = (
  x: number,
  scale: number,
  zero: number,
  halves: boolean,
  least: number,
  most: number,
): number => {
  const code = halves ? rounded(x / scale + zero) : rounded(x / scale) + zero;
  return code < least ? least : code > most ? most : code;
};

/** Shares of both sides of a range alike, then steps of one side at a time (docs/METHOD.md, section 13). */
const SHARES = [1, 0.92, 0.84, 0.76, 0.68, 0.6, 0.52, 0.44, 0.36];
const STEPS = [0.12, 0.06, 0.03];
const SMALLEST_SHARE = 0.2;

/**
 * For each group of columns of a row the shares of its range, upper · max and lower · min, with the least
 * Σ_j cost_j (ŵ_j − w_j)² by plain rounding.
 * @param data W [out, columns] @param cost of an error in each column, [columns]
 * @param stored what becomes of a scale where it is stored
 */
export function searchGrids(
  data: Float32Array,
  cost: Float64Array,
  { bits, groupSize, halves }: Layout,
  stored: (scale: number) => number = Math.fround,
): Grids & { readonly shares: Float64Array } {
  const columns = cost.length;
  const out = data.length / columns;
  const perGroup = groupSize === -1 ? columns : groupSize;
  const groups = groupsOf(columns, groupSize);
  const levels = 2 ** bits - 1;
  const scale = new Float32Array(out * groups);
  const zero = new Float32Array(out * groups);
  const shares = new Float64Array(out * groups * 2);
  for (let row = 0; row < out; row++)
    for (let group = 0; group < groups; group++) {
      const first = row * columns + group * perGroup;
      const end = row * columns + Math.min(columns, (group + 1) * perGroup);
      const from = row * columns;
      // Zero is in every range, so that zero points are codes.
      let [low, high] = [0, 0];
      for (let i = first; i < end; i++) {
        const x = data[i]!;
        if (x < low) low = x;
        if (x > high) high = x;
      }
      const gridOf = (upper: number, lower: number) => {
        const s = stored(Math.max((upper * high - lower * low) / levels, smallestStep(low, high)));
        const z = halves ? rounded((-2 * lower * low) / s) / 2 : rounded((-lower * low) / s);
        // A step that became smaller where it is stored would take the zero point of negative weights past the last code.
        return { s, z: Math.min(z, levels) };
      };
      const errorOf = (upper: number, lower: number, most: number) => {
        const { s, z } = gridOf(upper, lower);
        let sum = 0;
        for (let i = first; i < end && sum < most; i++) {
          const x = data[i]!;
          const error = s * (codeOf(x, s, z, halves, 0, levels) - z) - x;
          sum += cost[i - from]! * error * error;
        }
        return sum < most ? sum : Infinity;
      };
      let [upper, lower, least] = [1, 1, Infinity];
      for (const share of SHARES) {
        const error = errorOf(share, share, least);
        if (error < least) [upper, lower, least] = [share, share, error];
      }
      for (const step of STEPS)
        for (const isUpper of [true, false]) {
          const side = isUpper ? upper : lower;
          for (const next of [side + step, side - step]) {
            const share = Math.min(1, Math.max(SMALLEST_SHARE, next));
            const [u, l] = isUpper ? [share, lower] : [upper, share];
            const error = errorOf(u, l, least);
            if (error < least) [upper, lower, least] = [u, l, error];
          }
        }
      const grid = row * groups + group;
      const { s, z } = gridOf(upper, lower);
      scale[grid] = s;
      zero[grid] = z;
      shares.set([upper, lower], 2 * grid);
    }
  return { scale, zero, shares };
}

/** Shares of the base's range that a bit-width above 4 is tried on. */
const BASE_SHARES = [1, 0.96, 0.92, 0.88, 0.84, 0.8];

/** As `searchGrids`, for grids that are shares of others, whole rows each. @returns the share of each row, [out], of `whole` */
export function searchShares(
  data: Float32Array,
  cost: Float64Array,
  bits: number,
  whole: number,
  gridsOf: (shares: ArrayLike<number>) => Grids,
): Uint8Array {
  const columns = cost.length;
  const out = data.length / columns;
  const levels = 2 ** bits - 1;
  const best = new Uint8Array(out);
  const least = new Float64Array(out).fill(Infinity);
  for (const each of BASE_SHARES) {
    const share = Math.round(each * whole);
    const { scale, zero } = gridsOf(new Uint8Array(out).fill(share));
    for (let row = 0; row < out; row++) {
      const [s, z] = [scale[row]!, zero[row]!];
      let sum = 0;
      for (let j = 0; j < columns; j++) {
        const x = data[row * columns + j]!;
        const error = s * (codeOf(x, s, z, false, 0, levels) - z) - x;
        sum += cost[j]! * error * error;
      }
      if (sum < least[row]!) {
        least[row] = sum;
        best[row] = share;
      }
    }
  }
  return best;
}
