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
/** How many are tried. */
export const TRIED = SHARES.length + 4 * STEPS.length;

/** Shares of both sides of a range, and what they must cost less than to be better than the best before. */
interface Tried {
  readonly upper: number;
  readonly lower: number;
  readonly most: number;
}

/** The shares that are tried in turn: goes on with what those before cost, and returns the best. */
export function* triedShares(): Generator<Tried, Omit<Tried, 'most'>, number> {
  let [upper, lower, most] = [1, 1, Infinity];
  for (const share of SHARES) {
    const cost = yield { upper: share, lower: share, most };
    if (cost < most) [upper, lower, most] = [share, share, cost];
  }
  for (const step of STEPS)
    for (const isUpper of [true, false]) {
      const side = isUpper ? upper : lower;
      for (const next of [side + step, side - step]) {
        const share = Math.min(1, Math.max(SMALLEST_SHARE, next));
        const [u, l] = isUpper ? [share, lower] : [upper, share];
        const cost = yield { upper: u, lower: l, most };
        if (cost < most) [upper, lower, most] = [u, l, cost];
      }
    }
  return { upper, lower };
}

/** The range of some weights, with zero in it, so that zero points are codes. */
export function rangeOf(data: Float32Array, first: number, end: number): { low: number; high: number } {
  let [low, high] = [0, 0];
  for (let i = first; i < end; i++) {
    const x = data[i]!;
    if (x < low) low = x;
    if (x > high) high = x;
  }
  return { low, high };
}

/** The grid of shares of a range. @param stored what becomes of a scale where it is stored */
export function gridOf(
  { low, high }: { readonly low: number; readonly high: number },
  { upper, lower }: { readonly upper: number; readonly lower: number },
  { bits, halves }: Pick<Layout, 'bits' | 'halves'>,
  stored: (scale: number) => number,
): { readonly s: number; readonly z: number } {
  const levels = 2 ** bits - 1;
  const s = stored(Math.max((upper * high - lower * low) / levels, smallestStep(low, high)));
  const z = halves ? rounded((-2 * lower * low) / s) / 2 : rounded((-lower * low) / s);
  // A step that became smaller where it is stored would take the zero point of negative weights past the last code.
  return { s, z: Math.min(z, levels) };
}

/**
 * For each group of columns of a row the shares of its range, upper · max and lower · min, with the least
 * Σ_j cost_j (ŵ_j − w_j)² by plain rounding.
 * @param data W [out, columns] @param cost of an error in each column, [columns]
 * @param stored what becomes of a scale where it is stored
 */
export function searchGrids(
  data: Float32Array,
  cost: Float64Array,
  layout: Layout,
  stored: (scale: number) => number = Math.fround,
): Grids & { readonly shares: Float64Array } {
  const { bits, groupSize, halves } = layout;
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
      const from = row * columns;
      const first = from + group * perGroup;
      const end = from + Math.min(columns, (group + 1) * perGroup);
      const range = rangeOf(data, first, end);
      const errorOf = ({ most, ...tried }: Tried) => {
        const { s, z } = gridOf(range, tried, layout, stored);
        let sum = 0;
        for (let i = first; i < end && sum < most; i++) {
          const x = data[i]!;
          const error = s * (codeOf(x, s, z, halves, 0, levels) - z) - x;
          sum += cost[i - from]! * error * error;
        }
        return sum < most ? sum : Infinity;
      };
      const path = triedShares();
      let next = path.next();
      while (!next.done) next = path.next(errorOf(next.value));
      const grid = row * groups + group;
      const { s, z } = gridOf(range, next.value, layout, stored);
      scale[grid] = s;
      zero[grid] = z;
      shares.set([next.value.upper, next.value.lower], 2 * grid);
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
