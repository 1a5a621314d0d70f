/** GPTQ of one weight (Frantar et al. 2023): columns are rounded one after another, each correcting for those before it. */
import { smallestStep } from '../graph/quantizers.js';
import type { HostTensor } from '../models/checkpoint.js';
import type { GridWeight } from '../quantized/weight.js';
import type { Programs } from '../runtime/programs.js';
import { rounded, visitPanels } from './panels.js';

/** Columns between two products on the device, where a group of columns does not set it (docs/METHOD.md, section 8). */
const PANEL = 128;

/**
 * Rounds a weight W [out, in] to `bits` so that Σ over rows of (w − ŵ) H (w − ŵ)ᵀ stays small.
 *
 * With H = TᵀT, T lower triangular, that error is ‖T (w − ŵ)ᵀ‖², whose entry j depends on columns up to j only. So column j
 * is rounded where it makes entry j least, at w_j + Σ_{i<j} T_ji (w_i − ŵ_i) / T_jj. These are the weights that GPTQ's own
 * updates, w ← w − (w_j − ŵ_j) [H⁻¹]_j: / [H⁻¹]_jj over the columns not yet rounded, leave for column j, without H⁻¹.
 *
 * Grids are asymmetric and span the whole range: of a row of W, or, of a group of columns, of the corrected weights when
 * its first column is reached.
 * @param factor T [in, in]; a column whose row of T has nothing but its diagonal and whose input was never active
 * (`isDead`) counts as zero
 */
export async function roundCorrecting(
  programs: Programs,
  { data, shape }: HostTensor,
  factor: Float32Array,
  isDead: (column: number) => boolean,
  { bits, groupSize }: { readonly bits: number; readonly groupSize: number },
  signal: AbortSignal,
): Promise<GridWeight> {
  const [out, n] = shape as readonly [number, number];
  const panel = groupSize === -1 ? PANEL : groupSize;
  const panels = Math.ceil(n / panel);
  const levels = 2 ** bits - 1;
  const codes = new Uint8Array(out * n);
  const grids = out * (groupSize === -1 ? 1 : panels);
  const [scale, zero] = [new Float32Array(grids), new Float32Array(grids)];
  const setGrid = (grid: number, low: number, high: number) => {
    scale[grid] = Math.max(Math.fround(high - low) / levels, smallestStep(low, high));
    zero[grid] = rounded(-low / scale[grid]);
  };
  if (groupSize === -1)
    for (let row = 0; row < out; row++) {
      const [low, high] = rangeOf(data.subarray(row * n, (row + 1) * n));
      setGrid(row, low, high);
    }

  const weight = new Float64Array(panel);
  const sums = new Float64Array(panel);
  await visitPanels(
    programs,
    factor,
    { out, n, panel },
    signal,
    ({ index, start, columns, before, corner }, errors) => {
      /** Goes through the panel's columns of a row; `replace` says what becomes of the corrected weight of column j. */
      const correct = (row: number, replace: (corrected: number, j: number) => number) => {
        for (let j = 0; j < columns; j++) sums[j] = before[row * panel + j]!;
        for (let j = 0; j < columns; j++) {
          const at = j * panel;
          const error = weight[j]! - replace(weight[j]! + sums[j]! / corner[at + j]!, j);
          for (let k = j; k < columns; k++) sums[k]! += error * corner[at + k]!;
        }
      };
      for (let row = 0; row < out; row++) {
        const at = row * n + start;
        for (let j = 0; j < columns; j++) weight[j] = isDead(start + j) ? 0 : data[at + j]!;
        const grid = groupSize === -1 ? row : row * panels + index;
        if (groupSize !== -1) {
          // A group that the last columns do not fill is filled up with zeros, as in `fakeQuantizeWeight`.
          let [low, high] = columns < panel ? [0, 0] : [Infinity, -Infinity];
          correct(row, (x) => {
            low = Math.min(low, x);
            high = Math.max(high, x);
            return x;
          });
          setGrid(grid, low, high);
        }
        const [s, z] = [scale[grid]!, zero[grid]!];
        correct(row, (x, j) => {
          const code = Math.min(Math.max(rounded(x / s) + z, 0), levels);
          const value = s * (code - z);
          codes[at + j] = code;
          errors[at + j] = weight[j]! - value;
          return value;
        });
      }
    },
  );
  return { kind: 'grid', shape: [out, n], bits, codes, scale, zero, groupSize };
}

function rangeOf(values: Float32Array): readonly [number, number] {
  let [low, high] = [Infinity, -Infinity];
  for (const x of values) {
    low = Math.min(low, x);
    high = Math.max(high, x);
  }
  return [low, high];
}
