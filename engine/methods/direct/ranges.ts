/** Grids of activations by what their errors cost where they are read. */
import { gridOver, type Grid } from '../../execution/activation-ranges.js';

/** A side of the range is tried that much larger and smaller, by turns (docs/METHOD.md, section 13). */
const STEPS = [0.2, 0.1, 0.05];

/** An activation that a grid is searched for. */
export interface Seen {
  /** [rows, columns] */
  readonly values: Float32Array;
  /** What an error of each column costs, [columns]. */
  readonly cost: Float64Array;
}

/** A grid with no larger Σ cost_j (x̂_j − x_j)² over the rows than that of `start`, whose sides are moved in turn. */
export function searchGrid(seen: Seen, bits: number, start: Grid): Grid {
  const levels = 2 ** bits - 1;
  let [best, least] = [start, gridError(seen, bits, start)];
  let [low, high] = [-start.zero * start.scale, (levels - start.zero) * start.scale];
  for (const step of STEPS)
    for (const isUpper of [true, false])
      for (const factor of [1 + step, 1 - step]) {
        const [lo, hi] = isUpper ? [low, high * factor] : [low * factor, high];
        const grid = gridOver(lo, hi, levels);
        const error = gridError(seen, bits, grid);
        if (error < least) [best, least, low, high] = [grid, error, lo, hi];
      }
  return best;
}

/** Σ cost_j (x̂_j − x_j)² over the rows. Counted loops: most of a search's time. */
export function gridError({ values, cost }: Seen, bits: number, { scale, zero }: Grid): number {
  const columns = cost.length;
  const perScale = 1 / scale;
  const [low, high] = [-zero, 2 ** bits - 1 - zero];
  let sum = 0;
  for (let at = 0; at < values.length; at += columns)
    for (let j = 0; j < columns; j++) {
      const x = values[at + j]!;
      let q = Math.floor(x * perScale + 0.5);
      if (q < low) q = low;
      else if (q > high) q = high;
      const error = q * scale - x;
      sum += cost[j]! * error * error;
    }
  return sum;
}
