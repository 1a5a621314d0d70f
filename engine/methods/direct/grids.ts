/** Grids of weights: how they are searched, and how a number is put on one. */
import { smallestStep } from '../../graph/quantizers.js';
import { kernels } from './kernels.js';

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

/** Shares of both sides of a range. */
interface Tried {
  readonly upper: number;
  readonly lower: number;
}

/** The shares that are tried in turn: goes on with what those before cost, and returns the best. */
export function* triedShares(): Generator<Tried, Tried, number> {
  let [upper, lower, least] = [1, 1, Infinity];
  for (const share of SHARES) {
    const cost = yield { upper: share, lower: share };
    if (cost < least) [upper, lower, least] = [share, share, cost];
  }
  for (const step of STEPS)
    for (const isUpper of [true, false]) {
      const side = isUpper ? upper : lower;
      for (const next of [side + step, side - step]) {
        const share = Math.min(1, Math.max(SMALLEST_SHARE, next));
        const [u, l] = isUpper ? [share, lower] : [upper, share];
        const cost = yield { upper: u, lower: l };
        if (cost < least) [upper, lower, least] = [u, l, cost];
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
  const { gridError, place } = openErrors(cost, perGroup);
  for (let row = 0; row < out; row++) {
    place(data, row);
    for (let group = 0; group < groups; group++) {
      const from = row * columns;
      const first = from + group * perGroup;
      const end = from + Math.min(columns, (group + 1) * perGroup);
      const range = rangeOf(data, first, end);
      const errorOf = (tried: Tried) => {
        const { s, z } = gridOf(range, tried, layout, stored);
        return gridError(group, s, z, halves, levels);
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
  }
  return { scale, zero, shares };
}

/** The errors of grids in a row at a time, which `place` puts in the kernels' memory; nobody may wait in between. */
function openErrors(cost: Float64Array, perGroup: number) {
  const columns = cost.length;
  const groups = Math.ceil(columns / perGroup);
  /** Elements of a group in memory, an even number; what fills it up costs nothing. */
  const stride = perGroup + (perGroup % 2);
  const { gridError, reserve } = kernels();
  const { buffer, at } = reserve([groups * stride * 8, groups * stride * 4]);
  const [costs, row] = at as [number, number];
  const placed = new Float32Array(buffer, row, groups * stride).fill(0);
  const placedCost = new Float64Array(buffer, costs, groups * stride).fill(0);
  const spread = (
    from: ArrayLike<number> & { subarray(a: number, b: number): ArrayLike<number> },
    to: Float32Array | Float64Array,
  ) => {
    for (let group = 0; group < groups; group++)
      to.set(from.subarray(group * perGroup, Math.min(columns, (group + 1) * perGroup)), group * stride);
  };
  spread(cost, placedCost);
  return {
    /** @param data [out, columns] */
    place: (data: Float32Array, index: number) =>
      spread(data.subarray(index * columns, (index + 1) * columns), placed),
    /** Σ_j cost_j (ŵ_j − w_j)² over a group of the row, by plain rounding. */
    gridError: (group: number, s: number, z: number, halves: boolean, levels: number): number =>
      gridError(
        row + group * stride * 4,
        costs + group * stride * 8,
        stride,
        s,
        halves ? z : 0,
        halves ? 0 : z,
        levels,
      ),
  };
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
  const { gridError, place } = openErrors(cost, columns);
  const tried = BASE_SHARES.map((each) => {
    const share = Math.round(each * whole);
    return { share, grids: gridsOf(new Uint8Array(out).fill(share)) };
  });
  for (let row = 0; row < out; row++) {
    place(data, row);
    let least = Infinity;
    for (const { share, grids } of tried) {
      const error = gridError(0, grids.scale[row]!, grids.zero[row]!, false, levels);
      if (error < least) {
        least = error;
        best[row] = share;
      }
    }
  }
  return best;
}
