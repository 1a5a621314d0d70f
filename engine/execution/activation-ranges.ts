/**
 * The start of static activation scales: of percentile ranges the one of least squared error (docs/METHOD.md, section
 * 3).
 */
import { smallestStep } from '../graph/quantizers.js';

/** The paper's (docs/METHOD.md, section 3). */
export const PERCENTILES: readonly number[] = [0.999, 0.9999, 0.99999];

/** Scale and integer zero point of an asymmetric grid with 2^bits levels; a range without 0 puts the zero point outside the grid. */
export interface Grid {
  readonly scale: number;
  readonly zero: number;
}

/**
 * For every bit-width the grid over one of the percentile ranges of `values` that has the least mean squared error.
 * Runs once per quantizer, not per step. Reorders `values`.
 * @param values elements of the activation, any order, at least one, all finite
 */
export function percentileStart(
  values: Float32Array,
  bits: readonly number[],
  percentiles: readonly number[] = PERCENTILES,
): Grid[] {
  const ranges = percentileRanges(values, percentiles);
  return bits.map((b) => {
    const levels = 2 ** b - 1;
    const grids = ranges.map(([lo, hi]) => gridOver(lo, hi, levels));
    const errors = grids.map((grid) => squaredError(values, grid, levels));
    return grids[errors.indexOf(Math.min(...errors))]!;
  });
}

/** @param lo,hi the ends of its range, which need not hold 0 */
export function gridOver(lo: number, hi: number, levels: number): Grid {
  const scale = Math.fround(Math.max((hi - lo) / levels, smallestStep(lo, hi)));
  return { scale, zero: roundHalfEven(-lo / scale) };
}

/** [mirror percentile, percentile] of the values, interpolated linearly between order statistics. */
function percentileRanges(values: Float32Array, percentiles: readonly number[]): [number, number][] {
  const last = values.length - 1;
  const widest = Math.ceil((1 - Math.min(...percentiles)) * last);
  // Only the tails are looked at: put each in its place, then sort it.
  if (2 * (widest + 1) >= values.length) values.sort();
  else {
    selectSmallest(values, 0, last, widest);
    values.subarray(0, widest + 1).sort();
    selectSmallest(values, widest + 1, last, last - widest);
    values.subarray(last - widest).sort();
  }
  const at = (position: number) => {
    const below = Math.min(Math.floor(position), last);
    const above = Math.min(below + 1, last);
    return values[below]! + (values[above]! - values[below]!) * (position - below);
  };
  return percentiles.map((p) => [at((1 - p) * last), at(p * last)]);
}

/** Reorders values[from..to] so that the element that sorting would put at `k` is there, smaller ones before it (Hoare 1961). */
function selectSmallest(values: Float32Array, from: number, to: number, k: number): void {
  while (from < to) {
    const pivot = values[(from + to) >> 1]!;
    let i = from;
    let j = to;
    while (i <= j) {
      while (values[i]! < pivot) i++;
      while (values[j]! > pivot) j--;
      if (i <= j) {
        const swap = values[i]!;
        values[i++] = values[j]!;
        values[j--] = swap;
      }
    }
    if (k <= j) to = j;
    else if (k >= i) from = i;
    else return;
  }
}

/** Most of a start's time: counted loops and comparisons take a third of what iterators, `Math.min` and `Math.max` do. */
function squaredError(values: Float32Array, { scale, zero }: Grid, levels: number): number {
  const perScale = 1 / scale;
  const [low, high] = [-zero, levels - zero];
  let sum = 0;
  // eslint-disable-next-line @typescript-eslint/prefer-for-of
  for (let i = 0; i < values.length; i++) {
    const x = values[i]!;
    let q = Math.floor(x * perScale + 0.5);
    if (q < low) q = low;
    else if (q > high) q = high;
    const error = q * scale - x;
    sum += error * error;
  }
  return sum / values.length;
}

/** To the nearest integer, ties to even, as ONNX's Round. */
export function roundHalfEven(x: number): number {
  const down = Math.floor(x);
  const rest = x - down;
  return rest > 0.5 || (rest === 0.5 && down % 2 !== 0) ? down + 1 : down;
}
